#include "pageserver/layers/layer_generation.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/log.h"

namespace zenith {

namespace {

// How many retained points an error names.
constexpr size_t kNamedPoints = 3;

}  // namespace

void LayerRemover::Remove(ObsoleteFiles files) {
    std::lock_guard lock(posting_mutex_);
    if (worker_ == nullptr) {
        return;
    }
    auto shared = std::make_shared<ObsoleteFiles>(std::move(files));
    worker_->Post(this, LayerWorker::Kind::kRemoval, [self = shared_from_this(), shared]() mutable {
        Status status = self->RemoveWal(*shared);
        if (!status.ok()) {
            spdlog::warn("layers: could not remove old WAL of timeline {}: {}",
                         self->timeline_.ToString(), status.message());
        }
    });
}

Status LayerRemover::RemoveWal(const ObsoleteFiles& files) {
    std::lock_guard lock(mutex_);
    if (wal_ == nullptr) {
        return Status::Ok();
    }
    if (files.wal_after) {
        // First the position that says how far the WAL must reach.
        ZENITH_ASSIGN_OR_RETURN(std::optional<Lsn> durable, wal_->ReadDurablePosition());
        if (durable && *durable > *files.wal_after) {
            ZENITH_RETURN_IF_ERROR(wal_->SaveDurablePosition(*files.wal_after));
        }
        ZENITH_RETURN_IF_ERROR(wal_->TruncateAfter(*files.wal_after));
    }
    return files.wal_before.valid() ? wal_->RemoveBefore(files.wal_before).status()
                                    : Status::Ok();
}

void LayerRemover::Close() {
    LayerWorker* worker;
    {
        std::lock_guard lock(posting_mutex_);
        worker = std::exchange(worker_, nullptr);
    }
    worker->Forget(this);
    std::lock_guard lock(mutex_);
    wal_ = nullptr;
}

bool LayerGeneration::IsReadable(Lsn at) const {
    if (ends_at && at > *ends_at && at != kMaxLsn) {
        return false;
    }
    return at >= readable_from || std::binary_search(points.begin(), points.end(), at);
}

Status LayerGeneration::NotReadable(const TimelineId& timeline, Lsn at) const {
    if (ends_at && at > *ends_at) {
        return Status::NotFound("the history of timeline " + timeline.ToString() + " ends at " +
                                    ends_at->ToString() + ": " + at.ToString() +
                                    " was removed with its branch",
                                "Choose an LSN up to " + ends_at->ToString() + ".");
    }
    std::string hint = "Choose an LSN from " + readable_from.ToString() + " on";
    if (!points.empty()) {
        hint += "; before it only branch points, tags and the like are left (";
        const size_t first = points.size() - std::min(points.size(), kNamedPoints);
        hint += first > 0 ? "... " : "";
        for (size_t i = first; i < points.size(); i++) {
            hint += (i > first ? ", " : "") + points[i].ToString();
        }
        hint += ")";
    }
    return Status::NotFound("the history of timeline " + timeline.ToString() +
                                " does not reach " + at.ToString() +
                                " back: the oldest LSN is " + readable_from.ToString(),
                            hint + ".");
}

}  // namespace zenith
