// pg_commit_ts. Source: commit_ts.c (TransactionIdSetCommitTs, commit_ts_redo).
#include <cstring>

#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/native_redo/page_bytes.h"
#include "pageserver/native_redo/slru_redo.h"
#include "pageserver/wal_decoder/multixact_record.h"
#include "pageserver/wal_decoder/xact_record.h"

namespace zenith {

namespace {

void SetEntry(PageSpan page, TransactionId xid, int64_t time, uint16_t origin) {
    const size_t at = xid % kXidsPerCommitTsPage * kCommitTsEntrySize;
    StoreAt<int64_t>(page, at, time);
    StoreAt<uint16_t>(page, at + 8, origin);
}

}  // namespace

Status ApplyToCommitTsPage(const DecodedRecord& record, BlockNumber block, PageSpan page) {
    const PageKey key = PageKey::Slru(SlruKind::kCommitTs, block);
    if (record.rmgr == Rmgr::kCommitTs && record.rmgr_info() == kCommitTsZeroPage) {
        ZENITH_ASSIGN_OR_RETURN(const BlockNumber zeroed, ParseZeroPage(record));
        if (zeroed != block) {
            return DoesNotFit(record, key);
        }
        std::memset(page.data(), 0, page.size());
        return Status::Ok();
    }
    if (!IsXactEnd(record)) {
        return DoesNotFit(record, key);
    }
    ZENITH_ASSIGN_OR_RETURN(const XactEnd end, ParseXactEnd(record));
    bool changed = false;
    if (end.committed && CommitTsPage(end.xid) == block) {
        SetEntry(page, end.xid, end.commit_time(), record.origin);
        changed = true;
    }
    for (size_t i = 0; end.committed && i < end.subxacts.size(); i++) {
        if (CommitTsPage(end.subxacts[i]) == block) {
            SetEntry(page, end.subxacts[i], end.commit_time(), record.origin);
            changed = true;
        }
    }
    return changed ? Status::Ok() : DoesNotFit(record, key);
}

}  // namespace zenith
