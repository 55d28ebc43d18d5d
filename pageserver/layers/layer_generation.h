// LayerGeneration: all layers of a timeline at one moment, and what of the history they have left.
// A read uses one generation of each timeline from its first step to its last, so that it never
// finds half of what retention has just taken away.
//
// What a newer generation does not need any more (files, WAL) is removed when the last reader of
// the older ones is gone: LayerEpoch.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/status.h"
#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/layers/in_memory_layer.h"
#include "pageserver/layers/layer_worker.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {

using LayerFiles = std::vector<std::shared_ptr<const DeltaLayerFile>>;

// What only readers of older generations use.
struct ObsoleteFiles {
    LayerFiles layers;
    std::vector<std::shared_ptr<const ImageFile>> images;
    Lsn wal_before;                // WAL segments that end before or here; invalid: none
    std::optional<Lsn> wal_after;  // all WAL behind it: the timeline ends there
};

// Removes them in the background. Outlives its timeline when a reader does; then only files go, and
// the WAL when the timeline is opened again.
class LayerRemover : public std::enable_shared_from_this<LayerRemover> {
  public:
    LayerRemover(LayerWorker* worker, WalStorage* wal, const TimelineId& timeline)
        : worker_(worker), wal_(wal), timeline_(timeline) {}
    // Any thread; only hands it on.
    void Remove(ObsoleteFiles files);
    // At once.
    Status RemoveWal(const ObsoleteFiles& files);
    // The timeline, its WAL and its worker go: drops what has not begun.
    void Close();

  private:
    std::mutex posting_mutex_;
    LayerWorker* worker_;  // guarded by posting_mutex_; null: closed
    std::mutex mutex_;     // one removal at a time
    WalStorage* wal_;      // guarded by mutex_; null: closed
    const TimelineId timeline_;
};

// A row of generations that use the same files and WAL. Each epoch keeps the next one alive, so
// that they end in order: what the readers of one epoch use may be obsolete since a later one.
class LayerEpoch {
  public:
    explicit LayerEpoch(std::shared_ptr<LayerRemover> remover) : remover_(std::move(remover)) {}
    ~LayerEpoch() {
        if (next_ != nullptr) {
            remover_->Remove(std::move(obsolete_));
        }
    }
    LayerEpoch(const LayerEpoch&) = delete;
    LayerEpoch& operator=(const LayerEpoch&) = delete;

    // Once, by whoever puts the next generation in place, who holds this epoch meanwhile.
    std::shared_ptr<LayerEpoch> EndWith(ObsoleteFiles obsolete) {
        obsolete_ = std::move(obsolete);
        next_ = std::make_shared<LayerEpoch>(remover_);
        return next_;
    }

  private:
    const std::shared_ptr<LayerRemover> remover_;
    ObsoleteFiles obsolete_;
    std::shared_ptr<LayerEpoch> next_;
};

// A layer that does not change any more, and the LSN before which it says nothing.
struct OlderLayer {
    Lsn start;
    std::shared_ptr<const Layer> layer;
    // The same, once it is a file.
    std::shared_ptr<const DeltaLayerFile> file;
};

struct LayerGeneration {
    // The only thing in here that changes: guarded by the timeline's lock while it is the newest.
    std::shared_ptr<InMemoryLayer> open;
    std::vector<OlderLayer> older;  // newest first
    // See LayerManifest.
    Lsn readable_from;
    std::vector<Lsn> points;
    std::optional<Lsn> ends_at;
    std::shared_ptr<LayerEpoch> epoch;

    // Not for LSNs before the timeline begins.
    bool IsReadable(Lsn at) const;
    // Why not.
    Status NotReadable(const TimelineId& timeline, Lsn at) const;
};

}  // namespace zenith
