// The body of XLOG_MULTIXACT_CREATE_ID and which SLRU pages it touches.
//
// Source: multixact_redo(), RecordNewMultiXact() of multixact.c as of PostgreSQL 15.18.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/result.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/wal_decoder/decoded_record.h"

namespace zenith {

struct MultiXactCreate {
    MultiXactId multi = 0;
    MultiXactOffset offset = 0;
    uint32_t member_count = 0;

    TransactionId member_xid(size_t i) const;
    uint8_t member_status(size_t i) const;
    // The offset that belongs to the next multixact: 0 stands for "not set" and is skipped.
    MultiXactOffset next_offset() const {
        const MultiXactOffset next = offset + member_count;
        return next == 0 ? 1 : next;
    }

    std::span<const std::byte> members;  // member_count times xid (4 bytes), status (4 bytes)
};

// Requires: a CREATE_ID record of the multixact resource manager.
Result<MultiXactCreate> ParseMultiXactCreate(const DecodedRecord& record);

// The page number that *_ZERO*PAGE records of all SLRUs carry.
Result<BlockNumber> ParseZeroPage(const DecodedRecord& record);

}  // namespace zenith
