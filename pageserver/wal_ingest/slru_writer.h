// SlruWriter: writes SLRU changes into the timeline's index and keeps their history short.
//
// A transaction status page takes tens of thousands of records. So that rebuilding it stays cheap,
// the tip image of recently touched pages is kept here, each record is applied to it as it comes,
// and after every kReferencesPerImage references the image itself is written.
//
// Memory  at most kMaxPages tip images. Threads: one thread at a time, the ingester's.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "common/base/result.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/wal_decoder/decoded_record.h"

namespace zenith {

class SlruWriter {
  public:
    static constexpr uint32_t kReferencesPerImage = 512;
    static constexpr size_t kMaxPages = 64;

    // `timeline` outlives this object.
    explicit SlruWriter(Timeline& timeline) : timeline_(timeline) {}

    // `record` changes the page (ApplyNative() knows how). `init`: it rebuilds the page from
    // nothing, so the page starts out as zeroes. A page that does not exist yet does so too.
    Status Change(const DecodedRecord& record, SlruKind kind, BlockNumber page, bool init);
    // The page becomes zeroes as of the current record, which knows nothing of it.
    void PutZeroes(SlruKind kind, BlockNumber page);

    Result<bool> Exists(SlruKind kind, BlockNumber page);
    // SimpleLruTruncate(): drops the segments all of whose pages are older than `cutoff`; nothing
    // at all when `latest`, the newest page, would be among them (apparent wraparound).
    Status Truncate(SlruKind kind, BlockNumber cutoff, BlockNumber latest);
    // Drops the segments [first, end), going round after `last_segment`.
    Status DropSegments(SlruKind kind, uint32_t first, uint32_t end, uint32_t last_segment);
    Status DropAll(SlruKind kind);

  private:
    struct Tip {
        PageBuffer image{};
        uint32_t references = 0;  // since the newest image in the index
        uint64_t last_use = 0;
    };
    // The page as of the last record, from memory or from the index.
    Result<Tip*> Find(const PageKey& key);
    Tip* Insert(const PageKey& key);
    void Drop(SlruKind kind, BlockNumber page);

    Timeline& timeline_;
    std::unordered_map<PageKey, Tip> tips_;
    uint64_t uses_ = 0;
};

}  // namespace zenith
