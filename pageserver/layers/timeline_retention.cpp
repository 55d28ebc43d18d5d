// ApplyRetention(): layers that have what is to be kept, and nothing else, take the place of the
// layers up to the horizon. Reads go on in the generation they have begun with.
#include <algorithm>
#include <string>
#include <utility>

#include "common/base/log.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/timeline_impl.h"

namespace zenith {

namespace {

// Less new history than this is not worth a rewrite by itself.
constexpr uint64_t kWorthwhileBytes = 16 << 20;

// What RemoveWal() would free of the WAL.
Result<uint64_t> WalBytes(const WalStorage& wal, const ObsoleteFiles& files) {
    uint64_t bytes = 0;
    if (files.wal_before.valid()) {
        ZENITH_ASSIGN_OR_RETURN(bytes, wal.BytesBefore(files.wal_before));
    }
    if (files.wal_after) {
        // The segment it lies in stays.
        const Lsn border = WalSegmentStart(WalSegmentNumber(*files.wal_after + kWalSegmentSize - 1));
        ZENITH_ASSIGN_OR_RETURN(const uint64_t all, wal.BytesOnDisk());
        ZENITH_ASSIGN_OR_RETURN(const uint64_t kept, wal.BytesBefore(border));
        bytes += all - kept;
    }
    return bytes;
}

Result<uint64_t> Bytes(const WalStorage& wal, const ObsoleteFiles& files) {
    uint64_t bytes = 0;
    for (const auto& layer : files.layers) {
        bytes += layer->damage().ok() ? layer->file_bytes() : 0;
    }
    for (const auto& image : files.images) {
        ZENITH_ASSIGN_OR_RETURN(const uint64_t image_bytes, image->file_bytes());
        bytes += image_bytes;
    }
    ZENITH_ASSIGN_OR_RETURN(const uint64_t wal_bytes, WalBytes(wal, files));
    return bytes + wal_bytes;
}

}  // namespace

// What a root's snapshot, or the parent at the branch point, has.
class TimelineImpl::Below final : public HistoryBelow {
  public:
    explicit Below(const TimelineImpl& timeline) : timeline_(timeline) {}

    Result<bool> MayHaveDatabase(const DatabaseKey& db) const override {
        if (timeline_.parent_impl_ != nullptr) {
            return timeline_.parent_impl_->FindDatabase(db, timeline_.start_lsn_);
        }
        if (timeline_.snapshot_ == nullptr) {
            return false;
        }
        const std::vector<DatabaseKey>& databases = timeline_.snapshot_->databases();
        return std::find(databases.begin(), databases.end(), db) != databases.end();
    }
    Result<bool> MayHaveRelation(const RelForkKey& rel) const override {
        std::optional<BlockNumber> size;
        if (timeline_.parent_impl_ != nullptr) {
            ZENITH_ASSIGN_OR_RETURN(size,
                                    timeline_.parent_impl_->FindSize(rel, timeline_.start_lsn_));
        } else if (timeline_.snapshot_ != nullptr) {
            size = timeline_.snapshot_->RelationSize(rel);
        }
        return size.has_value();
    }
    Result<bool> MayHaveSlruPage(SlruKind kind, BlockNumber block) const override {
        if (timeline_.parent_impl_ != nullptr) {
            PageHistory history;
            ZENITH_RETURN_IF_ERROR(timeline_.parent_impl_->FindPage(
                PageKey::Slru(kind, block), timeline_.start_lsn_, nullptr, &history));
            return history.exists();
        }
        if (timeline_.snapshot_ == nullptr) {
            return false;
        }
        const std::vector<BlockNumber> pages = timeline_.snapshot_->SlruPages(kind);
        return std::find(pages.begin(), pages.end(), block) != pages.end();
    }
    Result<bool> MayHaveBlob(const std::string& key) const override {
        if (timeline_.parent_impl_ != nullptr) {
            ZENITH_ASSIGN_OR_RETURN(
                auto blob, timeline_.parent_impl_->FindBlob(key, timeline_.start_lsn_, nullptr));
            return blob.has_value();
        }
        return timeline_.snapshot_ != nullptr && timeline_.snapshot_->blobs().contains(key);
    }

  private:
    const TimelineImpl& timeline_;
};

Result<Timeline::RetentionReport> TimelineImpl::ApplyRetention(const Retention& retention) {
    if (layer_directory_.empty()) {
        return Status::Internal("timeline " + id_.ToString() + " keeps everything in memory");
    }
    ZENITH_RETURN_IF_ERROR(CheckUsable(kMaxLsn));
    if (retention.horizon < start_lsn_ || retention.horizon > last_record_end()) {
        return Status::InvalidArgument("the history of timeline " + id_.ToString() +
                                       " cannot be cut at " + retention.horizon.ToString() +
                                       ": it reaches from " + start_lsn_.ToString() + " to " +
                                       last_record_end().ToString());
    }
    Result<RetentionReport> report = [&] {
        std::lock_guard lock(rewrite_mutex_);
        return ApplyRetentionLocked(retention);
    }();
    // Merging may have been kept waiting.
    PostMerge();
    return report;
}

Result<Timeline::RetentionReport> TimelineImpl::ApplyRetentionLocked(const Retention& retention) {
    const Lsn horizon = retention.horizon;
    if (retention.ends_at_horizon) {
        // Nobody writes any more, so that this thread may flush.
        Flush();
        ZENITH_RETURN_IF_ERROR(WaitForFlush());
    }
    const View before = Newest();
    // What is gone does not come back.
    const Lsn limit = std::max(horizon, before->readable_from);

    // The layers that go into the new one, and those that are all behind the end; oldest first.
    LayerFiles inputs;
    LayerFiles replaced;
    Lsn cutoff = before->readable_from;
    for (auto layer = before->older.rbegin(); layer != before->older.rend(); ++layer) {
        if (layer->file == nullptr) {
            break;
        }
        const Lsn end = layer->file->end();
        if (retention.ends_at_horizon) {
            replaced.push_back(layer->file);
            if (layer->start < horizon) {
                inputs.push_back(layer->file);
            }
        } else if (end <= limit) {
            replaced.push_back(layer->file);
            inputs.push_back(layer->file);
            cutoff = std::max(cutoff, end);
        }
    }
    std::optional<Lsn> ends_at = before->ends_at;
    if (retention.ends_at_horizon) {
        if (Status status = CheckRetained(*before, horizon); !status.ok()) {
            return Status::InvalidArgument("timeline cannot end at " + horizon.ToString() + ": " +
                                           status.message());
        }
        cutoff = horizon;
        ends_at = horizon;
    }
    RetentionReport report;
    report.readable_from = cutoff;
    std::vector<Lsn> points;
    for (Lsn point : retention.points) {
        // At the branch point everything is the parent's.
        if (point >= cutoff || point < start_lsn_ || (parent_ != nullptr && point == start_lsn_)) {
            continue;
        }
        if (!before->IsReadable(point)) {
            return Status::InvalidArgument("cannot keep " + point.ToString() + ": " +
                                           before->NotReadable(id_, point).message());
        }
        if (!points.empty() && point <= points.back()) {
            return Status::InvalidArgument("the points to keep are not in order");
        }
        points.push_back(point);
    }
    if (cutoff == before->readable_from && points == before->points &&
        ends_at == before->ends_at) {
        return report;
    }
    if (retention.only_if_worthwhile && !retention.ends_at_horizon && !inputs.empty() &&
        std::includes(points.begin(), points.end(), before->points.begin(),
                      before->points.end()) &&
        cutoff - before->readable_from <
            std::max(kWorthwhileBytes, inputs.front()->file_bytes())) {
        report.readable_from = before->readable_from;
        return report;
    }

    const Below below(*this);
    RewriteRetention keep;
    keep.points = points;
    keep.state_at = retention.state_at;
    keep.imager = options_.imager;
    keep.timeline = this;
    keep.below = &below;
    keep.images = images_.get();
    std::shared_ptr<const DeltaLayerFile> output;
    RewrittenLayer rewritten;
    if (!inputs.empty()) {
        ZENITH_ASSIGN_OR_RETURN(
            output, Rewrite(inputs, std::min(cutoff, inputs.back()->end()), &keep, &rewritten));
    }
    if (rewritten.failed_images > 0) {
        spdlog::warn("layers: timeline {}: retention could not make {} images, their WAL stays",
                     id_.ToString(), rewritten.failed_images);
    }
    auto change = [&](LayerGeneration* generation) {
        generation->readable_from = cutoff;
        generation->points = points;
        generation->ends_at = ends_at;
    };
    LayerGeneration after = *before;
    ReplaceLayers(replaced, output, &after);
    change(&after);
    const ObsoleteFiles obsolete = MakeObsolete(replaced, *before, after);
    report.written_bytes = rewritten.layer.file_bytes + rewritten.layer.image_bytes;
    report.dropped_versions = rewritten.dropped_versions;
    Result<uint64_t> removed = Bytes(*wal_, obsolete);
    if (!removed.ok() || retention.dry_run) {
        if (output != nullptr) {
            DiscardLayer(output->entry());
        }
        ZENITH_RETURN_IF_ERROR(removed.status());
        report.removed_bytes = *removed;
        return report;
    }
    report.removed_bytes = *removed;
    ZENITH_RETURN_IF_ERROR(PublishRewrite(
        replaced, output,
        [&](LayerManifest* manifest) {
            manifest->readable_from = cutoff;
            manifest->points = points;
            manifest->ends_at = ends_at;
        },
        [&](LayerGeneration* generation) {
            change(generation);
            if (retention.ends_at_horizon) {
                // What is in memory is behind the end.
                open_ = generation->open =
                    std::make_shared<InMemoryLayer>(wal_.get(), options_.memory);
                open_start_ = record_start_ = record_end_ = horizon;
                last_record_end_.store(horizon.value);
            }
        }));
    spdlog::info("layers: timeline {}: history before {} is gone but for {} points: {} bytes freed, "
                 "{} written",
                 id_.ToString(), cutoff.ToString(), points.size(), report.removed_bytes,
                 report.written_bytes);
    return report;
}

}  // namespace zenith
