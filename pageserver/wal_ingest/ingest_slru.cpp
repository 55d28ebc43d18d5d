// Transaction status and commit timestamps. Source: clog_redo() of clog.c, commit_ts_redo() of
// commit_ts.c, SimpleLruTruncate() of slru.c.
#include "common/base/byte_reader.h"
#include "common/pgformat/record_types.h"
#include "pageserver/wal_decoder/multixact_record.h"
#include "pageserver/wal_ingest/record_ingest.h"

namespace zenith {

Status IngestClog(IngestContext& context, const DecodedRecord& record) {
    switch (record.rmgr_info()) {
        case kClogZeroPage: {
            ZENITH_ASSIGN_OR_RETURN(const BlockNumber page, ParseZeroPage(record));
            context.latest_clog_page = page;
            return context.slru.Change(record, SlruKind::kXact, page, true);
        }
        case kClogTruncate: {
            ByteReader reader(record.main_data);
            const BlockNumber cutoff = reader.U32Le();
            if (!reader.ok()) {
                return BadRecord(record, "transaction status truncation record is too short");
            }
            return context.slru.Truncate(SlruKind::kXact, cutoff, context.latest_clog_page);
        }
        default:
            return BadRecord(record, "unknown transaction status record");
    }
}

Status IngestCommitTs(IngestContext& context, const DecodedRecord& record) {
    switch (record.rmgr_info()) {
        case kCommitTsZeroPage: {
            ZENITH_ASSIGN_OR_RETURN(const BlockNumber page, ParseZeroPage(record));
            return context.slru.Change(record, SlruKind::kCommitTs, page, true);
        }
        case kCommitTsTruncate: {
            ByteReader reader(record.main_data);
            const BlockNumber cutoff = reader.U32Le();
            if (!reader.ok()) {
                return BadRecord(record, "commit timestamp truncation record is too short");
            }
            // Replay has no newest page to compare with and passes the cutoff itself.
            return context.slru.Truncate(SlruKind::kCommitTs, cutoff, cutoff);
        }
        default:
            return BadRecord(record, "unknown commit timestamp record");
    }
}

}  // namespace zenith
