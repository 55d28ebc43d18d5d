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
#include "pageserver/layers/timeline_impl.h"

namespace zenith {

namespace {

using Clock = std::chrono::steady_clock;

// memory_bytes() walks all relations.
constexpr uint64_t kMemoryCheckInterval = 1 << 20;  // bytes of WAL
constexpr std::chrono::seconds kRetryAfter(5);

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
    if (flush_thread_.joinable()) {
        flush_thread_.join();
    }
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
    if (wal_bytes >= factor * options_.limits.wal_bytes) {
        return true;
    }
    const Clock::time_point now = Clock::now();
    if (open_since_ == Clock::time_point()) {
        open_since_ = now;
    }
    if (!flushing && now - open_since_ >= options_.limits.age && wal_bytes >= options_.limits.age_wal_bytes) {
        return true;
    }
    if (end < next_memory_check_) {
        return false;
    }
    next_memory_check_ = end + std::min(kMemoryCheckInterval, options_.limits.wal_bytes / 16);
    return open_->memory_bytes() >= factor * options_.limits.memory_bytes;
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
        auto next = std::make_shared<InMemoryLayer>(wal_.get());
        mutex_.lock();
        layer = std::exchange(open_, std::move(next));
        auto older = std::make_shared<OlderLayers>(*older_);
        older->insert(older->begin(), {open_start_, layer});
        older_ = std::move(older);
        mutex_.unlock();
        frozen_ = layer;
        frozen_start_ = open_start_;
        frozen_end_ = end;
        open_start_ = end;
        open_since_ = {};
        next_memory_check_ = end;
    } else {
        layer = frozen_.lock();  // older_ keeps it until there is a file
    }
    flush_status_ = Status::Ok();
    flushing_.store(true);
    flush_thread_ = std::thread(&TimelineImpl::WriteLayer, this, std::move(layer), frozen_start_,
                                frozen_end_);
}

Status TimelineImpl::WaitForFlush() {
    if (flush_thread_.joinable()) {
        flush_thread_.join();
    }
    return flush_status_;
}

Result<std::shared_ptr<const DeltaLayerFile>> TimelineImpl::MakeLayerFile(
    const InMemoryLayer& layer, Lsn start, Lsn end) const {
    ZENITH_RETURN_IF_ERROR(SyncWal(wal_->directory(), start, end));
    if (!FileExists(layer_directory_)) {
        ZENITH_RETURN_IF_ERROR(EnsureDirectory(layer_directory_));
        ZENITH_RETURN_IF_ERROR(FsyncDirectory(layer_directory_ + "/.."));
    }
    const std::string path = layer_directory_ + "/" + DeltaLayerFileName(start, end);
    ZENITH_RETURN_IF_ERROR(WriteDeltaLayerFile(layer, id_, start, end, path));
    return DeltaLayerFile::Open(path, id_, wal_.get());
}

void TimelineImpl::WriteLayer(std::shared_ptr<const InMemoryLayer> layer, Lsn start, Lsn end) {
    const Clock::time_point begin = Clock::now();
    Result<std::shared_ptr<const DeltaLayerFile>> file = MakeLayerFile(*layer, start, end);
    if (!file.ok()) {
        flush_status_ = file.status().WithContext("could not write the history of timeline " +
                                                  id_.ToString() + " from " + start.ToString() +
                                                  " to " + end.ToString() + " to a layer file");
        spdlog::error("layers: {}; it stays in memory", flush_status_.message());
        retry_at_ = Clock::now() + kRetryAfter;
        flushing_.store(false);
        return;
    }
    const uint64_t bytes = (*file)->file_bytes();
    std::shared_ptr<const OlderLayers> replaced;  // freed outside of the lock
    {
        mutex_.lock();
        auto older = std::make_shared<OlderLayers>(*older_);
        for (OlderLayer& candidate : *older) {
            if (candidate.layer == layer) {
                candidate.layer = *std::move(file);
            }
        }
        replaced = std::exchange(older_, std::move(older));
        mutex_.unlock();
    }
    spdlog::info("layers: timeline {} from {} to {} is in a file of {} bytes, written in {} ms",
                 id_.ToString(), start.ToString(), end.ToString(), bytes,
                 std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin)
                     .count());
    flushing_.store(false);
}

}  // namespace zenith
