// DeltaLayerFile: a flushed stretch of a timeline's history in one immutable file, asked like any
// layer. Format: layer_file_format.md.
//
// Memory   the index (about 60 bytes for each 8 kB of the file), a filter (1.25 bytes for each page
//          it has anything about) and what happened to databases; everything else is read, and
//          verified, when it is asked for.
// Threads  reading from any thread, no locks. Errors: kCorruption names file, offset, timeline and
//          LSNs; kRefused for a file of an unknown version.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"
#include "pageserver/layers/image_file.h"
#include "pageserver/layers/layer.h"
#include "pageserver/layers/layer_cursor.h"
#include "pageserver/layers/manifest.h"

namespace zenith {

class DeltaLayerFile : public Layer {
  public:
    // `wal` holds the records the file refers to; it outlives the layer and is only passed on.
    // `images` gives the image files it uses. The file must be what `entry` says.
    static Result<std::shared_ptr<const DeltaLayerFile>> Open(
        const std::string& directory, const TimelineId& timeline, const LayerManifest::Entry& entry,
        const WalStorage* wal, const std::shared_ptr<ImageFiles>& images);
    // A stand-in for a layer that cannot be opened: whatever needs it fails with `damage`.
    static std::shared_ptr<const DeltaLayerFile> Damaged(const LayerManifest::Entry& entry,
                                                         Status damage);
    // Removes the file if RemoveWhenUnused() was called.
    ~DeltaLayerFile() override;

    const LayerManifest::Entry& entry() const { return entry_; }
    Lsn start() const { return entry_.start; }
    Lsn end() const { return entry_.end; }
    uint64_t number() const { return entry_.number; }

    // Not OK: a stand-in (Damaged); the functions below say nothing then.
    virtual Status damage() const = 0;
    // The start of the first WAL record that an entry refers to; kMaxLsn when none does.
    virtual Lsn oldest_record() const = 0;
    // The image files that entries refer to, ascending.
    virtual const std::vector<uint64_t>& image_files() const = 0;
    virtual size_t memory_bytes() const = 0;
    virtual uint64_t file_bytes() const = 0;
    // Reads every byte of the file, and of the images it refers to: kCorruption for the first
    // damage found.
    virtual Status Verify() const = 0;
    // Over the whole file, or what it has of one kind. Fails for a stand-in. The cursor keeps what
    // it needs open.
    virtual Result<std::unique_ptr<LayerCursor>> NewCursor(
        std::optional<DeltaBlockKind> only = std::nullopt) const = 0;

    // The file (not its image files) goes with this object: it does not count any more, but readers
    // that began before use it.
    void RemoveWhenUnused() const { remove_ = true; }

  protected:
    DeltaLayerFile(std::string path, const LayerManifest::Entry& entry)
        : path_(std::move(path)), entry_(entry) {}

    const std::string path_;
    const LayerManifest::Entry entry_;

  private:
    mutable std::atomic<bool> remove_{false};
};

// What is in timelines/<id>/layers.
struct OpenedLayers {
    LayerManifest manifest;
    std::shared_ptr<ImageFiles> images;
    // As the manifest says, oldest first. A damaged file is a stand-in that fails what needs it.
    std::vector<std::shared_ptr<const DeltaLayerFile>> files;
};

enum class Leftovers { kRemove, kKeep };

// Opens the layers of a timeline that begins at `timeline_start`; `directory` need not exist.
// Fails when the manifest is damaged, a file of an unknown version, or the directory unreadable.
// Leftovers of a crash are removed with kRemove; with kKeep nothing is changed.
Result<OpenedLayers> OpenDeltaLayers(const std::string& directory, const TimelineId& timeline,
                                     Lsn timeline_start, const WalStorage* wal,
                                     Leftovers leftovers = Leftovers::kRemove);
// The names of the files in the directory that do not count.
Result<std::vector<std::string>> FindLeftovers(const std::string& directory,
                                               const OpenedLayers& layers);

}  // namespace zenith
