// Source: replorigin_redo(), replorigin_advance() of replication/logical/origin.c.
#include "common/base/byte_reader.h"
#include "common/base/byte_writer.h"
#include "common/pgformat/record_types.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/wal_ingest/record_ingest.h"

namespace zenith {

void AdvanceReplicationOrigin(IngestContext& context, uint16_t node, Lsn remote_lsn,
                              bool backward) {
    if (node == kDoNotReplicateId || node == kInvalidReplicationOrigin) {
        return;
    }
    auto [entry, added] = context.replication_origins.try_emplace(node, Lsn());
    if (!added && !backward && entry->second >= remote_lsn) {
        return;
    }
    entry->second = remote_lsn;
    ByteWriter value;
    value.U64Le(remote_lsn.value);
    context.timeline.PutBlob(ReplicationOriginBlobKey(node), value.Take());
}

Status IngestReplorigin(IngestContext& context, const DecodedRecord& record) {
    ByteReader reader(record.main_data);
    switch (record.rmgr_info()) {
        case kReploriginSet: {
            const Lsn remote_lsn(reader.U64Le());
            const uint16_t node = reader.U16Le();
            const bool force = reader.U8() != 0;
            if (!reader.ok()) {
                return BadRecord(record, "replication origin record is too short");
            }
            AdvanceReplicationOrigin(context, node, remote_lsn, force);
            return Status::Ok();
        }
        case kReploriginDrop: {
            const uint16_t node = reader.U16Le();
            if (!reader.ok()) {
                return BadRecord(record, "replication origin drop record is too short");
            }
            if (context.replication_origins.erase(node) > 0) {
                context.timeline.DropBlob(ReplicationOriginBlobKey(node));
            }
            return Status::Ok();
        }
        default:
            return BadRecord(record, "unknown replication origin record");
    }
}

}  // namespace zenith
