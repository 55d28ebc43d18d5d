// Source: xact_redo() of xact.c, PrepareRedoAdd() and RecreateTwoPhaseFile() of twophase.c.
#include <algorithm>
#include <vector>

#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/wal_decoder/xact_record.h"
#include "pageserver/wal_ingest/record_ingest.h"

namespace zenith {

namespace {

// Pages that hold the transaction and its subtransactions, each once.
std::vector<BlockNumber> PagesOf(const XactEnd& end, BlockNumber (*page_of)(TransactionId)) {
    std::vector<BlockNumber> pages{page_of(end.xid)};
    for (size_t i = 0; i < end.subxacts.size(); i++) {
        const BlockNumber page = page_of(end.subxacts[i]);
        if (page != pages.back()) {
            pages.push_back(page);
        }
    }
    if (pages.size() > 1) {
        std::sort(pages.begin(), pages.end());
        pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
    }
    return pages;
}

Status IngestEnd(IngestContext& context, const DecodedRecord& record) {
    ZENITH_ASSIGN_OR_RETURN(const XactEnd end, ParseXactEnd(record));
    for (BlockNumber page : PagesOf(end, ClogPage)) {
        ZENITH_RETURN_IF_ERROR(context.slru.Change(record, SlruKind::kXact, page, false));
    }
    if (end.committed && context.state.track_commit_timestamp) {
        for (BlockNumber page : PagesOf(end, CommitTsPage)) {
            ZENITH_RETURN_IF_ERROR(context.slru.Change(record, SlruKind::kCommitTs, page, false));
        }
    }
    if (end.has_origin) {
        AdvanceReplicationOrigin(context, record.origin, end.origin_lsn, false);
    }
    for (const RelFileNode& node : end.dropped_relations) {
        context.timeline.DropRelation(node);
    }
    if (end.prepared) {
        context.timeline.DropBlob(TwoPhaseBlobKey(end.xid));
    }
    return Status::Ok();
}

}  // namespace

Status IngestXact(IngestContext& context, const DecodedRecord& record) {
    if (IsXactEnd(record)) {
        return IngestEnd(context, record);
    }
    if ((record.info & kXactOpMask) == kXactPrepare) {
        ZENITH_ASSIGN_OR_RETURN(const XactPrepare prepare, ParseXactPrepare(record));
        // The state file is the record's body and its checksum.
        ByteWriter file;
        file.Bytes(record.main_data);
        file.U32Le(Crc32c(record.main_data));
        context.timeline.PutBlob(TwoPhaseBlobKey(prepare.xid), file.Take());
        if (record.origin != kInvalidReplicationOrigin) {
            AdvanceReplicationOrigin(context, record.origin, prepare.origin_lsn, false);
        }
    }
    return Status::Ok();
}

}  // namespace zenith
