// DurabilityModel: what a disk holds of a tree of files after a power cut. It is told every change
// and every sync, and says what may be left: what was synced, and any part of the rest.
//
// Rules     A file's content is durable up to its last sync. Later writes survive or not, each by
//           sectors of 512 bytes; the file's new length may survive without the bytes in it (they
//           read as zeroes). A name is durable from the last sync of its directory on, whatever was
//           synced of the file. A rename happens as a whole or not at all.
// Stricter  than today's file systems on purpose: syncing a file does not make its name durable, and
//           unsynced changes of names may survive out of order.
// Threads   not thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace zenith {

// A file's bytes, without the blocks that hold only zeroes.
class SparseContent {
  public:
    uint64_t size() const { return size_; }
    void Write(uint64_t offset, std::string_view data);
    // Grows with zeroes or cuts off.
    void Resize(uint64_t size);
    // visit(offset, bytes) for the blocks that may be other than zero, ascending.
    template <typename Visit>
    void ForEachBlock(Visit&& visit) const {
        for (const auto& [number, block] : blocks_) {
            const uint64_t offset = number * kBlockSize;
            visit(offset, std::string_view(block.data(), std::min<uint64_t>(kBlockSize, size_ - offset)));
        }
    }

  private:
    static constexpr uint64_t kBlockSize = 4096;
    uint64_t size_ = 0;
    std::map<uint64_t, std::array<char, kBlockSize>> blocks_;
};

class DurabilityModel {
  public:
    // A file or a directory; 0 is nobody.
    using Node = uint64_t;
    static constexpr Node kRoot = 1;

    DurabilityModel();

    // ---- what happens -----------------------------------------------------------------------------
    Node AddFile();
    Node AddDirectory();
    // `node` was there before and counts as durable, with the name and the content it gets.
    void AssumeDurable(Node directory, const std::string& name, Node node);
    void AssumeDurable(Node file, uint64_t offset, std::string_view data, uint64_t size);

    void Link(Node directory, const std::string& name, Node node);
    void Unlink(Node directory, const std::string& name);
    void Rename(Node from, const std::string& from_name, Node to, const std::string& to_name,
                Node node);
    void Write(Node file, uint64_t offset, std::string_view data);
    void Resize(Node file, uint64_t size);
    void Grow(Node file, uint64_t size);  // as Resize, but never cuts off
    void Sync(Node node);
    void SyncAll();
    // A sync of the file failed: some of what was to be written is on disk, and no later sync will
    // write the rest. (Names are another matter: a directory's are tried again.)
    void LoseUnsynced(Node file, std::mt19937& random);

    // ---- what is left -------------------------------------------------------------------------------
    struct Tree {
        std::map<std::string, SparseContent> files;  // by path below the root
        std::set<std::string> directories;           // parents before children
    };
    // One of the trees that a power cut now may leave.
    Tree Crash(std::mt19937& random) const;
    size_t unsynced_name_changes() const { return name_changes_.size(); }

  private:
    struct Change {
        enum Kind { kWrite, kResize, kGrow } kind;
        uint64_t offset;  // or size
        std::string data;
    };
    struct FileState {
        SparseContent durable;
        std::vector<Change> unsynced;  // oldest first
    };
    using Names = std::map<std::string, Node>;
    // The name gets another node, or none; the edits of one change belong together.
    struct NameEdit {
        Node directory;
        std::string name;
        Node node;
    };
    using NameChange = std::vector<NameEdit>;
    using Directories = std::map<Node, Names>;

    static void Apply(const Change& change, SparseContent* content);
    static void ApplyPartly(const Change& change, unsigned keep_percent, std::mt19937& random,
                            SparseContent* content);
    static void Apply(const NameChange& change, Directories* directories);
    void MakeNamesDurable(Node directory);
    SparseContent CrashFile(const FileState& file, std::mt19937& random) const;

    Node next_ = kRoot + 1;
    std::map<Node, FileState> files_;
    Directories directories_;               // durable names
    std::vector<NameChange> name_changes_;  // unsynced, oldest first
};

}  // namespace zenith
