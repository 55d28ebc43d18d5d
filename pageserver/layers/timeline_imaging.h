// TimelineImpl::ImagingSink: passes a layer on to a file and puts images of pages in, so that no
// read at any LSN replays more than `replay_bytes` of records, and one record more. Private to this
// folder.
//
// The length of a page's chain of records counts from its last base, wherever that is: in this
// layer, an older one, an ancestor. Where an image cannot be made, the records stay as they are.
// Memory   a batch of images, and the entries they lie between.
#pragma once

#include <optional>
#include <vector>

#include "pageserver/layers/layer_sink.h"
#include "pageserver/layers/timeline_impl.h"

namespace zenith {

class TimelineImpl::ImagingSink final : public LayerSink {
  public:
    // The layer begins at `start`; `to` gets everything.
    ImagingSink(TimelineImpl* timeline, Lsn start, LayerSink* to)
        : timeline_(timeline), start_(start), to_(to) {}

    Status Cut(const DatabaseKey& db, const DatabaseCut& cut) override { return to_->Cut(db, cut); }
    Status Database(const DatabaseKey& db, Lsn lsn, bool exists) override {
        return to_->Database(db, lsn, exists);
    }
    Status Size(const RelForkKey& rel, Lsn lsn, std::optional<BlockNumber> blocks) override {
        return to_->Size(rel, lsn, blocks);
    }
    Status Floor(const RelForkKey& rel, Lsn lsn, BlockNumber blocks) override {
        return to_->Floor(rel, lsn, blocks);
    }
    Status Blob(const std::string& key, Lsn lsn, const std::string* value) override {
        return to_->Blob(key, lsn, value);
    }
    Status Record(const PageKey& key, Lsn start, Lsn end, uint8_t ref_flags) override;
    Status Image(const PageKey& key, Lsn end, ConstPageSpan image) override;
    Status Tombstone(const PageKey& key, Lsn end) override;
    // Passes on what is left.
    Status Finish();

  private:
    struct Entry {
        PageKey key;
        Lsn start;  // of a record; invalid: none
        Lsn end;
        uint8_t ref_flags = 0;
        std::optional<ConstPageSpan> image;  // neither record nor image: a tombstone
        bool image_follows = false;          // the next one of wanted_
    };

    // Makes room for `entry` and appends it.
    Status Append(const Entry& entry);
    Status Drain();
    void NoteFailure(const Status& status);

    TimelineImpl* const timeline_;
    const Lsn start_;
    LayerSink* const to_;
    std::vector<Entry> entries_;
    std::vector<PageImager::Wanted> wanted_;
    // Of the page that came last: bytes of records since its base; nullopt: not looked for yet.
    std::optional<PageKey> key_;
    std::optional<uint64_t> chain_;
    uint64_t failures_ = 0;
};

}  // namespace zenith
