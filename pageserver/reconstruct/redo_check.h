// RedoCheck: a debugging aid. Rebuilds a sample of the pages that a reader is about to get a second
// way and compares, byte by byte. The second way uses nothing of what makes the first one fast: not
// the cache of rebuilt pages, not the images that layers put in the place of records, not our own
// code for full-page images; PostgreSQL's redo applies all records since the initial snapshot or the
// last record that needs no base.
//
// What it cannot do without: an image where retention has removed the records, or behind
// kMaxRecords records; our own code for the tails that a truncation clears in maps, which the redo
// process refuses.
//
// Cost     about that of the first read, for pages with much WAL much more. One page at a time:
//          8 MB of records, and the places of kMaxRecords.
// Threads  all methods from any thread. The applier must outlive this object.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/base/lsn.h"
#include "common/base/status.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/reconstruct/redo_applier.h"

namespace zenith {

struct RedoCheckStats {
    double percent = 0;       // 0: no page is checked
    uint64_t from_wal = 0;    // equal pages, rebuilt from WAL alone
    uint64_t from_image = 0;  // equal pages, rebuilt from an image and the records after it
    uint64_t impossible = 0;  // not compared: history collected meanwhile, no redo process ...
    uint64_t differences = 0; // other bytes, or records that do not apply

    uint64_t checked() const { return from_wal + from_image + differences; }
};

class RedoCheck {
  public:
    // A history from WAL takes 48 bytes for each record, its redo about 5 us.
    static constexpr size_t kMaxRecords = 10000;

    // `percent` of the pages, from 0 to 100.
    RedoCheck(RedoApplier& applier, double percent) : applier_(applier), percent_(percent) {}

    // Whether the next page is in the sample.
    bool Chosen() const;

    // How the page that is checked was rebuilt; for the message.
    struct First {
        size_t records = 0;  // in its history
        size_t known = 0;    // ... of which so many were in a version from the cache or the caller
        Lsn base_lsn;
        bool base_is_image = false;
    };
    // `page` is what relation page `key` was at `at`, rebuilt the first way. kCorruption when that
    // is not so; the log has the details. OK also when that cannot be found out.
    Status Check(Timeline& timeline, const PageKey& key, Lsn at, const PageBuffer& page,
                 const First& first);

    RedoCheckStats stats() const;

  private:
    // `history` gives its base away.
    Result<std::optional<PageBuffer>> Rebuild(const PageKey& key, PageHistory* history) const;

    RedoApplier& applier_;
    const double percent_;
    std::atomic<uint64_t> from_wal_{0};
    std::atomic<uint64_t> from_image_{0};
    std::atomic<uint64_t> impossible_{0};
    std::atomic<uint64_t> differences_{0};
};

}  // namespace zenith
