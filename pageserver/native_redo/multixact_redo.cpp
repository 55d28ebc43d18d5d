// pg_multixact. Source: RecordNewMultiXact(), multixact_redo() of multixact.c as of 15.18.
//
// Creating a multixact also writes the offset of the next one, which may be the first entry of the
// next page. Whether that page had to be initialized for it is the ingester's knowledge: it then
// references the record as one that rebuilds the page from nothing, and `page` comes in as zeroes.
#include <cstring>

#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/native_redo/page_bytes.h"
#include "pageserver/native_redo/slru_redo.h"
#include "pageserver/wal_decoder/multixact_record.h"

namespace zenith {

namespace {

// Zeroes the page if the record says so. Returns whether it did.
Result<bool> ApplyZeroPage(const DecodedRecord& record, uint8_t info, const PageKey& key,
                           PageSpan page) {
    if (record.rmgr != Rmgr::kMultixact || record.rmgr_info() != info) {
        return false;
    }
    ZENITH_ASSIGN_OR_RETURN(const BlockNumber zeroed, ParseZeroPage(record));
    if (zeroed != key.block) {
        return DoesNotFit(record, key);
    }
    std::memset(page.data(), 0, page.size());
    return true;
}

bool IsCreate(const DecodedRecord& record) {
    return record.rmgr == Rmgr::kMultixact && record.rmgr_info() == kMultixactCreateId;
}

bool SetOffset(PageSpan page, BlockNumber block, MultiXactId multi, MultiXactOffset offset) {
    if (MultiOffsetsPage(multi) != block) {
        return false;
    }
    StoreAt<uint32_t>(page, multi % kMultisPerOffsetsPage * sizeof(uint32_t), offset);
    return true;
}

}  // namespace

Status ApplyToMultiOffsetsPage(const DecodedRecord& record, BlockNumber block, PageSpan page) {
    const PageKey key = PageKey::Slru(SlruKind::kMultiOffsets, block);
    ZENITH_ASSIGN_OR_RETURN(const bool zeroed,
                            ApplyZeroPage(record, kMultixactZeroOffPage, key, page));
    if (zeroed) {
        return Status::Ok();
    }
    if (!IsCreate(record)) {
        return DoesNotFit(record, key);
    }
    ZENITH_ASSIGN_OR_RETURN(const MultiXactCreate create, ParseMultiXactCreate(record));
    const bool own = SetOffset(page, block, create.multi, create.offset);
    const bool next = SetOffset(page, block, NextMulti(create.multi), create.next_offset());
    return own || next ? Status::Ok() : DoesNotFit(record, key);
}

Status ApplyToMultiMembersPage(const DecodedRecord& record, BlockNumber block, PageSpan page) {
    const PageKey key = PageKey::Slru(SlruKind::kMultiMembers, block);
    ZENITH_ASSIGN_OR_RETURN(const bool zeroed,
                            ApplyZeroPage(record, kMultixactZeroMemPage, key, page));
    if (zeroed) {
        return Status::Ok();
    }
    if (!IsCreate(record)) {
        return DoesNotFit(record, key);
    }
    ZENITH_ASSIGN_OR_RETURN(const MultiXactCreate create, ParseMultiXactCreate(record));
    bool changed = false;
    MultiXactOffset offset = create.offset;  // wraps at 2^32 like the area itself
    for (uint32_t i = 0; i < create.member_count; i++, offset++) {
        if (MultiMembersPage(offset) == block) {
            StoreAt<uint32_t>(page, MemberXidByte(offset), create.member_xid(i));
            StoreAt<uint8_t>(page, MemberFlagByte(offset), create.member_status(i));
            changed = true;
        }
    }
    return changed ? Status::Ok() : DoesNotFit(record, key);
}

}  // namespace zenith
