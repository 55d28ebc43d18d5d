// The flushing half of TimelineImpl: the layer in memory becomes a layer file. The writer decides
// when and swaps the layers; a thread of its own writes the file, one at a time for each timeline.
#include <fcntl.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/timeline_imaging.h"
#include "pageserver/layers/timeline_impl.h"

namespace zenith {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kRetryAfter(5);
// Whatever the common memory: less than this is not worth a file.
constexpr size_t kLeastShare = 256 << 10;

// A file refers to records, so these come first: the WAL from `start` to `end` on disk. Mostly it is
// already; when a timeline is loaded it may be what a killed page server had not synced.
Status SyncWal(const std::string& directory, Lsn start, Lsn end) {
    for (uint64_t segment = WalSegmentNumber(start); segment <= WalSegmentNumber(end - 1);
         segment++) {
        const std::string path = directory + "/" + WalSegmentName(segment);
        ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR));
        ZENITH_RETURN_IF_ERROR(FdatasyncFile(fd.get(), path));
    }
    return FsyncDirectory(directory);
}

}  // namespace

TimelineImpl::~TimelineImpl() {
    // What is queued is dropped: the WAL has it, and the next one merges.
    stopping_.store(true);
    worker_->Forget(this);
    generation_ = nullptr;
    remover_->Close();
}

bool TimelineImpl::WantsFlush() {
    // What an abandoned record has put belongs in no file.
    if (layer_directory_.empty() || failed_.load() || abandoned_) {
        return false;
    }
    const bool flushing = flushing_.load();
    if (!flushing && !flush_status_.ok()) {
        return Clock::now() >= retry_at_;
    }
    const Lsn end = last_record_end();
    const uint64_t wal_bytes = end - open_start_;
    if (wal_bytes == 0) {
        return false;
    }
    // While a file is being written there may be twice as much; then the writer waits for it (in
    // Flush()) rather than using ever more memory.
    const uint64_t factor = flushing ? 2 : 1;
    const size_t bytes = open_->memory_bytes();
    if (wal_bytes >= factor * options_.limits.wal_bytes ||
        bytes >= factor * options_.limits.memory_bytes) {
        return true;
    }
    if (flushing) {
        return false;
    }
    if (const LayerMemory* memory = options_.memory;
        memory != nullptr && memory->used_bytes.load() > memory->limit_bytes) {
        // A fair share: whoever has more than the average can give something back.
        const size_t layers = std::max<size_t>(memory->layers.load(), 1);
        if (bytes >= std::max(memory->limit_bytes / layers, kLeastShare)) {
            return true;
        }
    }
    const Clock::time_point now = Clock::now();
    if (open_since_ == Clock::time_point()) {
        open_since_ = now;
    }
    return now - open_since_ >= options_.limits.age && wal_bytes >= options_.limits.age_wal_bytes;
}

void TimelineImpl::Flush() {
    assert(writer_.load(std::memory_order_relaxed) != std::this_thread::get_id());
    if (layer_directory_.empty() || failed_.load() || abandoned_) {
        return;
    }
    std::shared_ptr<const InMemoryLayer> layer;
    if (WaitForFlush().ok()) {
        const Lsn end = last_record_end();
        if (end == open_start_) {
            return;
        }
        auto next = std::make_shared<InMemoryLayer>(wal_.get(), options_.memory);
        View replaced;  // freed outside of the lock
        mutex_.lock();
        layer = std::exchange(open_, std::move(next));
        auto generation = std::make_shared<LayerGeneration>(*generation_);
        generation->older.insert(generation->older.begin(), {open_start_, layer, nullptr});
        generation->open = open_;
        replaced = std::exchange(generation_, std::move(generation));
        mutex_.unlock();
        frozen_ = layer;
        frozen_start_ = open_start_;
        frozen_end_ = end;
        open_start_ = end;
        open_since_ = {};
    } else {
        layer = frozen_.lock();  // generation_ keeps it until there is a file
    }
    flush_status_ = Status::Ok();
    flushing_.store(true);
    worker_->Post(this, LayerWorker::Kind::kFlush,
                  [this, layer = std::move(layer), start = frozen_start_, end = frozen_end_] {
                      WriteLayer(layer, start, end);
                  });
}

Status TimelineImpl::WaitForFlush() {
    std::unique_lock lock(flush_mutex_);
    flushed_.wait(lock, [&] { return !flushing_.load(); });
    return flush_status_;
}

NewLayer TimelineImpl::MakeNewLayer(Lsn start, Lsn end) {
    return NewLayer{layer_directory_, id_, {start, end, next_file_++}};
}

Result<WrittenLayer> TimelineImpl::MakeLayerFile(const InMemoryLayer& layer,
                                                 const NewLayer& place) {
    ZENITH_RETURN_IF_ERROR(SyncWal(wal_->directory(), place.entry.start, place.entry.end));
    if (!FileExists(layer_directory_ + "/" + kManifestFileName)) {
        ZENITH_RETURN_IF_ERROR(CreateLayerDirectory(layer_directory_, id_, start_lsn_));
    }
    DeltaLayerWriter writer(place);
    if (options_.imager != nullptr) {
        ImagingSink sink(this, place.entry.start, &writer);
        ZENITH_RETURN_IF_ERROR(layer.Export(&sink));
        ZENITH_RETURN_IF_ERROR(sink.Finish());
    } else {
        ZENITH_RETURN_IF_ERROR(layer.Export(&writer));
    }
    return writer.Finish();
}

Result<std::shared_ptr<const DeltaLayerFile>> TimelineImpl::OpenLayerFile(
    const WrittenLayer& written) const {
    ZENITH_RETURN_IF_ERROR(FsyncDirectory(layer_directory_));
    return DeltaLayerFile::Open(layer_directory_, id_, written.entry, wal_.get(), images_);
}

void TimelineImpl::WriteLayer(std::shared_ptr<const InMemoryLayer> layer, Lsn start, Lsn end) {
    const Clock::time_point begin = Clock::now();
    Result<WrittenLayer> written = MakeLayerFile(*layer, MakeNewLayer(start, end));
    Status status = written.status();
    if (status.ok()) {
        Result<std::shared_ptr<const DeltaLayerFile>> opened = OpenLayerFile(*written);
        status = opened.status();
        if (status.ok()) {
            status = Publish(
                [&](LayerManifest* manifest) { manifest->layers.push_back(written->entry); },
                [&](LayerGeneration* generation) {
                    for (OlderLayer& older : generation->older) {
                        if (older.layer == layer) {
                            older.layer = older.file = *opened;
                        }
                    }
                },
                nullptr);
        }
        if (!status.ok()) {
            DiscardLayer(written->entry);
        }
    }
    const auto elapsed =
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count();
    if (!status.ok()) {
        status = status.WithContext("could not write the history of timeline " + id_.ToString() +
                                    " from " + start.ToString() + " to " + end.ToString() +
                                    " to a layer file");
        spdlog::error("layers: {}; it stays in memory", status.message());
    } else {
        spdlog::info(
            "layers: timeline {} from {} to {} is in a file of {} bytes with {} images of {} "
            "bytes, written in {} ms",
            id_.ToString(), start.ToString(), end.ToString(), written->file_bytes,
            written->images, written->image_bytes, elapsed);
        PostMerge();
    }
    layer = nullptr;
    std::lock_guard lock(flush_mutex_);
    flush_status_ = status;
    retry_at_ = Clock::now() + kRetryAfter;
    flushing_.store(false);
    flushed_.notify_all();
}

Status TimelineImpl::Publish(const std::function<void(LayerManifest*)>& change_manifest,
                             const std::function<void(LayerGeneration*)>& change,
                             const LayerFiles* replaced_files) {
    std::lock_guard publishing(publish_mutex_);
    LayerManifest manifest = manifest_;
    manifest.next_file = next_file_.load();
    change_manifest(&manifest);
    ZENITH_RETURN_IF_ERROR(WriteLayerManifest(layer_directory_, id_, start_lsn_, manifest));
    manifest_ = std::move(manifest);
    View replaced;  // freed outside of the lock
    mutex_.lock();
    auto generation = std::make_shared<LayerGeneration>(*generation_);
    change(generation.get());
    if (replaced_files != nullptr) {
        ObsoleteFiles obsolete = MakeObsolete(*replaced_files, *generation_, *generation);
        for (const auto& file : obsolete.layers) {
            file->RemoveWhenUnused();
        }
        for (const auto& file : obsolete.images) {
            file->RemoveWhenUnused();
        }
        generation->epoch = generation_->epoch->EndWith(std::move(obsolete));
    }
    replaced = std::exchange(generation_, std::move(generation));
    mutex_.unlock();
    return Status::Ok();
}

}  // namespace zenith
