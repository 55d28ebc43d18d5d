// RedoApplier: applies WAL records to one page, as PostgreSQL's own redo would. The border between
// reconstruct (which knows the history) and redo (which knows how to apply it).
//
// Threads  Apply may be called from any thread. Errors: kUnavailable (no redo process could be
// had), kCorruption or kInternal (a record did not apply): one page failed, the applier lives on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

struct RedoRecord {
    Lsn start;
    Lsn end;
    std::string bytes;  // xl_tot_len bytes, no page headers
};

struct RedoRequest {
    PageKey key;  // a relation page
    std::optional<PageBuffer> base;
    std::vector<RedoRecord> records;  // oldest first, at least one
};

class RedoApplier {
  public:
    virtual ~RedoApplier() = default;
    // One result for each request, in order. Requests are independent; a batch is pipelined.
    virtual std::vector<Result<PageBuffer>> Apply(std::span<const RedoRequest> requests) = 0;
};

}  // namespace zenith
