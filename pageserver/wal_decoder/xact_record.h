// The body of a record that ends a transaction, or prepares it for two-phase commit.
//
// Source: ParseCommitRecord(), ParseAbortRecord() of xactdesc.c, xl_xact_prepare of access/xact.h.
// Spans point into the record's main data. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/base/time.h"
#include "common/pgformat/relation_key.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/wal_decoder/decoded_record.h"

namespace zenith {

// Transaction ids as they lie in a record, four bytes each, unaligned.
class XidList {
  public:
    XidList() = default;
    explicit XidList(std::span<const std::byte> bytes) : bytes_(bytes) {}
    size_t size() const { return bytes_.size() / 4; }
    TransactionId operator[](size_t i) const;

  private:
    std::span<const std::byte> bytes_;
};

// Of a TimestampTz, microseconds since 1970; "infinity" and the like stay what they are.
inline int64_t UnixMicros(int64_t timestamp) {
    int64_t result;
    return __builtin_add_overflow(timestamp, kPostgresEpochMicros, &result) ? timestamp : result;
}

// COMMIT, ABORT, COMMIT PREPARED, ABORT PREPARED.
struct XactEnd {
    bool committed = false;
    bool prepared = false;      // ends a prepared transaction
    TransactionId xid = 0;      // of the transaction that ends, also when it was prepared
    XidList subxacts;
    int64_t time = 0;           // TimestampTz of the end
    std::vector<RelFileNode> dropped_relations;
    bool has_origin = false;
    Lsn origin_lsn;
    int64_t origin_time = 0;

    XidStatus status() const { return committed ? XidStatus::kCommitted : XidStatus::kAborted; }
    int64_t unix_time() const { return UnixMicros(time); }
    // What pg_commit_ts keeps, as in xact_redo_commit().
    int64_t commit_time() const { return has_origin ? origin_time : time; }
};

bool IsXactEnd(const DecodedRecord& record);
// Requires: IsXactEnd(record).
Result<XactEnd> ParseXactEnd(const DecodedRecord& record);

struct XactPrepare {
    TransactionId xid = 0;
    int64_t time = 0;  // TimestampTz
    XidList subxacts;
    Lsn origin_lsn;
};
// Requires: a PREPARE record of the transaction resource manager.
Result<XactPrepare> ParseXactPrepare(const DecodedRecord& record);

// When (microseconds since 1970) a record changed which transactions are committed or prepared; what
// is only rolled back changes nothing. nullopt for all other records.
Result<std::optional<int64_t>> TransactionChangeTime(const DecodedRecord& record);

}  // namespace zenith
