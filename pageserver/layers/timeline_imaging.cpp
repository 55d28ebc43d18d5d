#include "pageserver/layers/timeline_imaging.h"

#include <string>
#include <utility>

#include "common/base/log.h"

namespace zenith {

namespace {

constexpr size_t kImagesPerBatch = 128;
constexpr size_t kEntriesPerBatch = 1 << 14;

}  // namespace

Result<uint64_t> TimelineImpl::ReplayBytes(const PageKey& key, Lsn at) const {
    PageHistory history;
    history.skip_base = true;
    ZENITH_RETURN_IF_ERROR(FindPage(key, at, nullptr, &history));
    uint64_t bytes = 0;
    for (const RecordRef& record : history.records) {
        bytes += record.end - record.start;
    }
    return bytes;
}

void TimelineImpl::ImagingSink::NoteFailure(const Status& status) {
    if (failures_++ == 0) {
        spdlog::warn("layers: timeline {}: could not make an image of a page, its records stay: {}",
                     timeline_->id_.ToString(), status.message());
    }
}

Status TimelineImpl::ImagingSink::Append(const Entry& entry) {
    if (key_ != entry.key) {
        key_ = entry.key;
        chain_.reset();
    }
    if (!entries_.empty()) {
        Entry& last = entries_.back();
        if (last.key == entry.key && last.end == entry.end) {
            // An image as of this LSN has both in it.
            Entry both = entry;
            both.image_follows = std::exchange(last.image_follows, false);
            entries_.push_back(both);
            return Status::Ok();
        }
        if (wanted_.size() >= kImagesPerBatch || entries_.size() >= kEntriesPerBatch) {
            ZENITH_RETURN_IF_ERROR(Drain());
        }
    }
    entries_.push_back(entry);
    return Status::Ok();
}

Status TimelineImpl::ImagingSink::Record(const PageKey& key, Lsn start, Lsn end,
                                         uint8_t ref_flags) {
    ZENITH_RETURN_IF_ERROR(Append({key, start, end, ref_flags, std::nullopt}));
    if ((ref_flags & kRefWillInit) != 0) {
        chain_ = 0;
    } else if (!chain_) {
        Result<uint64_t> found = timeline_->ReplayBytes(key, start_);
        if (!found.ok()) {
            NoteFailure(found.status());
        }
        chain_ = found.ok() ? *found : 0;
    }
    *chain_ += end - start;
    if (*chain_ > timeline_->options_.replay_bytes) {
        if (!entries_.back().image_follows) {
            entries_.back().image_follows = true;
            wanted_.push_back({key, end});
        }
        chain_ = 0;
    }
    return Status::Ok();
}

Status TimelineImpl::ImagingSink::Image(const PageKey& key, Lsn end, ConstPageSpan image) {
    ZENITH_RETURN_IF_ERROR(Append({key, Lsn(), end, 0, image}));
    chain_ = 0;
    return Status::Ok();
}

Status TimelineImpl::ImagingSink::Tombstone(const PageKey& key, Lsn end) {
    ZENITH_RETURN_IF_ERROR(Append({key, Lsn(), end, 0, std::nullopt}));
    chain_ = 0;
    return Status::Ok();
}

Status TimelineImpl::ImagingSink::Drain() {
    std::vector<Result<std::optional<PageBuffer>>> images;
    if (!wanted_.empty()) {
        images = timeline_->options_.imager->Images(*timeline_, wanted_);
    }
    size_t next = 0;
    for (const Entry& entry : entries_) {
        if (entry.start.valid()) {
            ZENITH_RETURN_IF_ERROR(
                to_->Record(entry.key, entry.start, entry.end, entry.ref_flags));
        } else if (entry.image) {
            ZENITH_RETURN_IF_ERROR(to_->Image(entry.key, entry.end, *entry.image));
        } else {
            ZENITH_RETURN_IF_ERROR(to_->Tombstone(entry.key, entry.end));
        }
        if (!entry.image_follows) {
            continue;
        }
        const size_t i = next++;
        if (i >= images.size()) {
            NoteFailure(Status::Internal("there was no answer"));
        } else if (!images[i].ok()) {
            NoteFailure(images[i].status());
        } else if (images[i]->has_value()) {
            ZENITH_RETURN_IF_ERROR(to_->Image(entry.key, entry.end, **images[i]));
        }
    }
    entries_.clear();
    wanted_.clear();
    return Status::Ok();
}

Status TimelineImpl::ImagingSink::Finish() {
    ZENITH_RETURN_IF_ERROR(Drain());
    if (failures_ > 1) {
        spdlog::warn("layers: timeline {}: {} images could not be made",
                     timeline_->id_.ToString(), failures_);
    }
    return Status::Ok();
}

}  // namespace zenith
