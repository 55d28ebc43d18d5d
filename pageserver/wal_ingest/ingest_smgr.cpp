// Source: smgr_redo() of storage.c, visibilitymap_prepare_truncate(),
// FreeSpaceMapPrepareTruncateRel(). The upper levels of the free space map are left as they are:
// what they promise about cut-off blocks is checked by whoever believes it.
#include "common/base/byte_reader.h"
#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/wal_ingest/record_ingest.h"

namespace zenith {

namespace {

RelFileNode ReadNode(ByteReader* reader) {
    RelFileNode node;
    node.spc = reader->U32Le();
    node.db = reader->U32Le();
    node.rel = reader->U32Le();
    return node;
}

// Cuts a map fork after the page that describes the last kept heap block. That page's tail is
// cleared by the same record when it has one.
Status TruncateMap(IngestContext& context, const RelForkKey& map, BlockNumber last_page,
                   bool has_tail) {
    ZENITH_ASSIGN_OR_RETURN(const std::optional<BlockNumber> size,
                            context.timeline.WriterRelationSize(map));
    if (!size || last_page >= *size) {
        return Status::Ok();  // no such fork, or already shorter
    }
    context.timeline.TruncateRelation(map, has_tail ? last_page + 1 : last_page);
    if (has_tail) {
        context.timeline.PutRecord(PageKey::Relation(map, last_page), kRefNative);
    }
    return Status::Ok();
}

Status IngestTruncate(IngestContext& context, const DecodedRecord& record) {
    ByteReader reader(record.main_data);
    const BlockNumber blocks = reader.U32Le();
    const RelFileNode node = ReadNode(&reader);
    const uint32_t flags = reader.U32Le();
    if (!reader.ok()) {
        return BadRecord(record, "truncation record is too short");
    }
    const RelForkKey main{node, Fork::kMain};
    context.timeline.CreateRelation(main);
    if ((flags & kSmgrTruncateHeap) != 0) {
        context.timeline.TruncateRelation(main, blocks);
    }
    if ((flags & kSmgrTruncateFsm) != 0) {
        ZENITH_RETURN_IF_ERROR(TruncateMap(context, {node, Fork::kFsm},
                                           FsmLeafBlock(blocks / kFsmSlotsPerPage),
                                           blocks % kFsmSlotsPerPage != 0));
    }
    if ((flags & kSmgrTruncateVm) != 0) {
        ZENITH_RETURN_IF_ERROR(TruncateMap(context, {node, Fork::kVm},
                                           blocks / kHeapBlocksPerVmPage,
                                           blocks % kHeapBlocksPerVmPage != 0));
    }
    return Status::Ok();
}

}  // namespace

Status IngestSmgr(IngestContext& context, const DecodedRecord& record) {
    switch (record.rmgr_info()) {
        case kSmgrCreate: {
            ByteReader reader(record.main_data);
            const RelFileNode node = ReadNode(&reader);
            const uint32_t fork = reader.U32Le();
            if (!reader.ok() || fork >= static_cast<uint32_t>(kForkCount)) {
                return BadRecord(record, "file creation record is too short or names no fork");
            }
            context.timeline.CreateRelation({node, static_cast<Fork>(fork)});
            return Status::Ok();
        }
        case kSmgrTruncate:
            return IngestTruncate(context, record);
        default:
            return BadRecord(record, "unknown storage manager record");
    }
}

}  // namespace zenith
