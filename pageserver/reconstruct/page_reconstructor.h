// PageReconstructor: the page at an LSN. Collects its history from the timeline, reads the records
// from the WAL, applies them (native code for SLRU pages, truncation tails and plain full-page
// images; the RedoApplier for the rest) and keeps recently rebuilt pages as bases for later reads.
//
// Threads  all methods from any thread. The applier must outlive this object.
// Memory   the cache of rebuilt pages holds at most `cache_bytes`.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/pgformat/page_format.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/reconstruct/redo_applier.h"
#include "pageserver/reconstruct/redo_check.h"

namespace zenith {

class PageReconstructor {
  public:
    // `check_percent` of the relation pages that are asked for are rebuilt a second way and compared
    // (redo_check.h); one that differs is kCorruption.
    PageReconstructor(RedoApplier& applier, size_t cache_bytes, double check_percent = 0);
    ~PageReconstructor();

    // The page, or nullopt when it does not exist at `at` (an all-zero page to PostgreSQL).
    using PageResult = Result<std::optional<PageBuffer>>;
    PageResult GetPage(const std::shared_ptr<Timeline>& timeline, const PageKey& key, Lsn at);
    // One result for each key, in order; the applier sees them as one batch.
    std::vector<PageResult> GetPages(const std::shared_ptr<Timeline>& timeline,
                                     std::span<const PageKey> keys, Lsn at);

    struct Wanted {
        PageKey key;
        Lsn at;
        // A version of the page that the caller has, to start from if it belongs to its history.
        Lsn known_at;
        const PageBuffer* known = nullptr;
    };
    // Pages at LSNs of their own, for somebody who does not come back for them: the results are not
    // kept for later reads.
    std::vector<PageResult> GetPagesAt(Timeline& timeline, std::span<const Wanted> wanted);

    RedoCheckStats check_stats() const;

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace zenith
