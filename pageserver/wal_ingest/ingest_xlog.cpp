// Block references of all resource managers, and the XLOG resource manager's own effects.
// Source: xlog_redo() of xlog.c, XLogReadBufferForRedoExtended() of xlogutils.c, hash_xlog.c.
#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/wal_ingest/record_ingest.h"

namespace zenith {

namespace {

// Does redo of `record` change the block it references as number `id`?
bool RedoChangesBlock(const DecodedRecord& record, int id) {
    const DecodedBlock& block = record.blocks[id];
    const uint8_t info = record.rmgr_info();
    if (record.rmgr == Rmgr::kXlog && info == kXlogFpiForHint) {
        // Without an image to apply there is nothing to do (full_page_writes = off).
        return block.has_image && block.apply_image;
    }
    if (record.rmgr == Rmgr::kHash && id == 0 &&
        (info == kHashMovePageContents || info == kHashSqueezePage || info == kHashDelete)) {
        // The bucket's primary page, there to be locked: present only when it is not changed.
        return false;
    }
    return true;
}

}  // namespace

Status BadRecord(const DecodedRecord& record, const char* what) {
    return Status::Corruption("WAL record at " + record.start.ToString() + ": " + what);
}

Status IngestBlockReferences(IngestContext& context, const DecodedRecord& record) {
    for (int id = 0; id <= record.max_block_id; id++) {
        const DecodedBlock& block = record.blocks[id];
        if (!block.in_use || !RedoChangesBlock(record, id)) {
            continue;
        }
        // An image that is only there for consistency checks rebuilds nothing.
        const bool init = block.will_init() || (block.has_image && block.apply_image);
        context.timeline.PutRecord(PageKey::Relation(block.rel, block.block),
                                   init ? kRefWillInit : 0);
    }
    return Status::Ok();
}

Status IngestXlog(IngestContext& context, const DecodedRecord& record) {
    if (record.rmgr_info() != kXlogParameterChange) {
        return Status::Ok();
    }
    // CommitTsParameterChange(); whether it changes shows in the state before and after.
    ClusterState after = context.state;
    ZENITH_RETURN_IF_ERROR(after.Apply(record));
    if (after.track_commit_timestamp && !context.state.track_commit_timestamp) {
        const BlockNumber page = CommitTsPage(static_cast<TransactionId>(context.state.next_xid));
        ZENITH_ASSIGN_OR_RETURN(const bool exists,
                                context.slru.Exists(SlruKind::kCommitTs, page));
        if (!exists) {
            context.slru.PutZeroes(SlruKind::kCommitTs, page);
        }
    } else if (!after.track_commit_timestamp && context.state.track_commit_timestamp) {
        ZENITH_RETURN_IF_ERROR(context.slru.DropAll(SlruKind::kCommitTs));
    }
    return Status::Ok();
}

}  // namespace zenith
