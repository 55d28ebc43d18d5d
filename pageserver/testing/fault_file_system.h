// FaultFileSystem: watches what this process does to the files below a directory, so that a test
// can cut the power: build what a disk may hold then, or let calls fail from some moment on.
//
//   FaultFileSystem disk(directory, seed);      // what is there counts as durable
//   disk.PowerOffAt(n);                         // or FailFrom(n, count, ENOSPC)
//   ... the code under test, until it fails ...
//   disk.CrashInto(other_directory);            // and the code under test opens that
//
// Everything goes to the real files as well, so that the code under test reads what it wrote; only
// fsync is left out, which makes it quick. durability_model.h says what a power cut leaves.
//
// How       fault_file_system_hooks.cpp defines open, write, fsync, rename, ... in the test program,
//           where they come before those of the C library, also for libstdc++ (std::filesystem).
// Not seen  stores to mapped memory, stdio (fopen, fwrite, std::ofstream: what these write counts as
//           never there), other processes, links to files outside, symbolic links (ignored).
// Threads   the methods and the watched calls from any thread; they take one lock. One object
//           watches at a time. With one thread that writes, the same seed gives the same run.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "pageserver/testing/durability_model.h"

namespace zenith {

class FaultFileSystem {
  public:
    // `root` exists. Ends with an exception where it cannot be read.
    FaultFileSystem(const std::string& root, uint32_t seed);
    ~FaultFileSystem();
    FaultFileSystem(const FaultFileSystem&) = delete;
    FaultFileSystem& operator=(const FaultFileSystem&) = delete;

    // How many calls that change or sync something below the root there have been.
    uint64_t operations() const;

    // The power goes during the n-th operation from now on (1: the next one): it has happened or
    // not, and fails with EIO as do all after it, which change nothing any more.
    void PowerOffAt(uint64_t n);
    bool power_is_off() const;

    // The n-th operation from now on and `count - 1` more fail. ENOSPC: those that need space (a
    // write may first write a part). Other errors: all of them, and what a failing sync should have
    // written is lost for good, as the kernel has it.
    void FailFrom(uint64_t n, uint64_t count, int error_number);
    void StopFailing() { FailFrom(0, 0, 0); }

    // Makes one of the trees that a power cut at this moment may leave, in the new directory
    // `directory` (not below the root). To be called any number of times.
    void CrashInto(const std::string& directory);

    // Stops watching and goes on; for another object in between. Nothing must happen below the root
    // meanwhile.
    void Pause();
    void Resume();

    // ---- for the hooks ------------------------------------------------------------------------------
    // The one that watches; null: nobody does. Hold Mutex() to use it.
    static FaultFileSystem* Active();
    static std::mutex& Mutex();

    struct Place {
        DurabilityModel::Node directory;
        std::string name;
    };
    // Where `path` is, if that is below the root.
    std::optional<Place> Find(int directory_fd, const char* path) const;
    std::optional<DurabilityModel::Node> FindOpen(int fd) const;

    enum class Need { kSpace, kNoSpace };
    // What is to become of an operation. `error_number`: 0, or what it fails with; `happens`: it is
    // done nevertheless.
    struct Verdict {
        bool happens = true;
        int error_number = 0;
    };
    Verdict Begin(Need need);
    bool PowerIsOff() const { return power_off_at_ != 0 && operations_ >= power_off_at_; }
    bool TossCoin() { return random_() % 2 == 0; }

    // A file as it is before it loses a name.
    struct Known {
        std::pair<dev_t, ino_t> inode;
        DurabilityModel::Node node;
        bool last_name;
    };
    std::optional<Known> Look(int directory_fd, const char* path) const;
    void Created(const Place& place, int directory_fd, const char* path, bool is_directory);
    void Linked(const Place& place, DurabilityModel::Node node);
    void Removed(const Place& place, const std::optional<Known>& known);
    void Renamed(const Place& from, const Known& known, const Place& to,
                 const std::optional<Known>& replaced);
    void SyncFailed(DurabilityModel::Node node) { model_.LoseUnsynced(node, random_); }
    DurabilityModel& model() { return model_; }

  private:
    using Inode = std::pair<dev_t, ino_t>;

    void Adopt(const std::string& path, DurabilityModel::Node directory);
    void AdoptContent(const std::string& path, DurabilityModel::Node node);
    std::optional<DurabilityModel::Node> NodeOf(const struct stat& info) const;
    void ForgetIfLast(const Known& known);

    std::mt19937 random_;
    DurabilityModel model_;
    std::map<Inode, DurabilityModel::Node> nodes_;  // of what is really there
    uint64_t operations_ = 0;
    uint64_t power_off_at_ = 0;  // 0: never
    uint64_t fail_from_ = 0;     // 0: never
    uint64_t fail_until_ = 0;
    int fail_with_ = 0;
};

}  // namespace zenith
