// Visibility map pages that heap records clear without referencing them. Source: heap_redo(),
// heap2_redo() of heapam.c.
//
// The redo process applies the heap record itself with the map page as its target. A map page that
// does not exist has no bit to clear.
#include "common/pgformat/page_format.h"
#include "common/pgformat/record_types.h"
#include "pageserver/wal_ingest/record_ingest.h"

namespace zenith {

namespace {

// The record's flags byte; nullopt when the main data ends before it.
std::optional<uint8_t> FlagsAt(const DecodedRecord& record, size_t offset) {
    if (record.main_data.size() <= offset) {
        return std::nullopt;
    }
    return static_cast<uint8_t>(record.main_data[offset]);
}

// Where the flags are and which of them clear the map for block 0 (new) and block 1 (old).
struct ClearingFlags {
    size_t offset;
    uint8_t of_first_block;
    uint8_t of_old_block;
};

std::optional<ClearingFlags> ClearingFlagsOf(const DecodedRecord& record) {
    const uint8_t op = record.rmgr_info() & kHeapOpMask;
    if (record.rmgr == Rmgr::kHeap2) {
        switch (op) {
            case kHeap2MultiInsert:
                return ClearingFlags{kHeap2MultiInsertFlagsOffset, kHeapAllVisibleCleared, 0};
            case kHeap2LockUpdated:
                return ClearingFlags{kHeap2LockUpdatedFlagsOffset, kHeapAllFrozenCleared, 0};
            default:
                return std::nullopt;
        }
    }
    switch (op) {
        case kHeapInsert:
            return ClearingFlags{kHeapInsertFlagsOffset, kHeapAllVisibleCleared, 0};
        case kHeapDelete:
            return ClearingFlags{kHeapDeleteFlagsOffset, kHeapAllVisibleCleared, 0};
        case kHeapUpdate:
        case kHeapHotUpdate:
            return ClearingFlags{kHeapUpdateFlagsOffset, kHeapNewAllVisibleCleared,
                                 kHeapOldAllVisibleCleared};
        case kHeapLock:
            return ClearingFlags{kHeapLockFlagsOffset, kHeapAllFrozenCleared, 0};
        default:
            return std::nullopt;
    }
}

}  // namespace

Status IngestHeap(IngestContext& context, const DecodedRecord& record) {
    const std::optional<ClearingFlags> clearing = ClearingFlagsOf(record);
    if (!clearing) {
        return Status::Ok();
    }
    const std::optional<uint8_t> flags = FlagsAt(record, clearing->offset);
    if (!flags || !record.blocks[0].in_use) {
        return BadRecord(record, "heap record is too short or has no block");
    }
    const bool clears_first = (*flags & clearing->of_first_block) != 0;
    const bool clears_old = (*flags & clearing->of_old_block) != 0;
    if (!clears_first && !clears_old) {
        return Status::Ok();
    }
    const RelForkKey map{record.blocks[0].rel.node, Fork::kVm};
    ZENITH_ASSIGN_OR_RETURN(const std::optional<BlockNumber> size,
                            context.timeline.WriterRelationSize(map));
    if (!size) {
        return Status::Ok();
    }
    // An update within one page has no block 1.
    const BlockNumber first_page = record.blocks[0].block / kHeapBlocksPerVmPage;
    const BlockNumber old_page =
        record.blocks[1].in_use ? record.blocks[1].block / kHeapBlocksPerVmPage : first_page;
    if (clears_first && first_page < *size) {
        context.timeline.PutRecord(PageKey::Relation(map, first_page), 0);
    }
    if (clears_old && old_page < *size && !(clears_first && old_page == first_page)) {
        context.timeline.PutRecord(PageKey::Relation(map, old_page), 0);
    }
    return Status::Ok();
}

}  // namespace zenith
