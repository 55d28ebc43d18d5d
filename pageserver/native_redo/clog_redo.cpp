// pg_xact. Source: clog.c (TransactionIdSetPageStatus, clog_redo) and xact_redo() of xact.c.
#include <cstring>

#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/native_redo/page_bytes.h"
#include "pageserver/native_redo/slru_redo.h"
#include "pageserver/wal_decoder/multixact_record.h"
#include "pageserver/wal_decoder/xact_record.h"

namespace zenith {

namespace {

void SetStatus(PageSpan page, TransactionId xid, XidStatus status) {
    const uint32_t index = xid % kXidsPerClogPage;
    const int shift = static_cast<int>(index % 4) * 2;
    const auto old = LoadAt<uint8_t>(page, index / 4);
    StoreAt<uint8_t>(page, index / 4,
                     static_cast<uint8_t>((old & ~(3 << shift)) |
                                          (static_cast<int>(status) << shift)));
}

}  // namespace

Status ApplyToClogPage(const DecodedRecord& record, BlockNumber block, PageSpan page) {
    const PageKey key = PageKey::Slru(SlruKind::kXact, block);
    if (record.rmgr == Rmgr::kClog && record.rmgr_info() == kClogZeroPage) {
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
    // Replay goes straight to the final status: "sub-committed" is only ever seen in memory.
    bool changed = false;
    if (ClogPage(end.xid) == block) {
        SetStatus(page, end.xid, end.status());
        changed = true;
    }
    for (size_t i = 0; i < end.subxacts.size(); i++) {
        if (ClogPage(end.subxacts[i]) == block) {
            SetStatus(page, end.subxacts[i], end.status());
            changed = true;
        }
    }
    return changed ? Status::Ok() : DoesNotFit(record, key);
}

}  // namespace zenith
