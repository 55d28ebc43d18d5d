#include "pageserver/wal_decoder/xact_record.h"

#include <cstring>
#include <string>

#include "common/base/byte_reader.h"
#include "common/pgformat/record_types.h"

namespace zenith {

namespace {

Status TooShort(const DecodedRecord& record, const char* what) {
    return Status::Corruption("WAL record at " + record.start.ToString() + ": " + what +
                              " record is too short or contradicts itself");
}

// A count followed by that many items: the items' bytes.
std::span<const std::byte> CountedItems(ByteReader* reader, size_t item_size) {
    const uint64_t count = reader->U32Le();
    return reader->Bytes(count * item_size);
}

}  // namespace

TransactionId XidList::operator[](size_t i) const {
    TransactionId xid;
    std::memcpy(&xid, bytes_.data() + i * 4, sizeof xid);
    return xid;
}

bool IsXactEnd(const DecodedRecord& record) {
    if (record.rmgr != Rmgr::kXact) {
        return false;
    }
    const uint8_t op = record.info & kXactOpMask;
    return op == kXactCommit || op == kXactAbort || op == kXactCommitPrepared ||
           op == kXactAbortPrepared;
}

Result<XactEnd> ParseXactEnd(const DecodedRecord& record) {
    const uint8_t op = record.info & kXactOpMask;
    XactEnd out;
    out.committed = op == kXactCommit || op == kXactCommitPrepared;
    out.prepared = op == kXactCommitPrepared || op == kXactAbortPrepared;
    out.xid = record.xid;

    ByteReader reader(record.main_data);
    out.time = static_cast<int64_t>(reader.U64Le());
    const uint32_t xinfo = (record.info & kXactHasInfo) != 0 ? reader.U32Le() : 0;
    if ((xinfo & kXinfoHasDbInfo) != 0) {
        reader.Skip(8);
    }
    if ((xinfo & kXinfoHasSubxacts) != 0) {
        out.subxacts = XidList(CountedItems(&reader, 4));
    }
    if ((xinfo & kXinfoHasRelFileNodes) != 0) {
        ByteReader nodes(CountedItems(&reader, 12));
        out.dropped_relations.reserve(nodes.remaining() / 12);
        while (nodes.remaining() > 0) {
            RelFileNode node;
            node.spc = nodes.U32Le();
            node.db = nodes.U32Le();
            node.rel = nodes.U32Le();
            out.dropped_relations.push_back(node);
        }
    }
    if ((xinfo & kXinfoHasDroppedStats) != 0) {
        CountedItems(&reader, kDroppedStatsItemSize);
    }
    if ((xinfo & kXinfoHasInvals) != 0 && out.committed) {
        CountedItems(&reader, kInvalidationMessageSize);
    }
    if ((xinfo & kXinfoHasTwoPhase) != 0) {
        const TransactionId prepared_xid = reader.U32Le();
        if (out.prepared) {
            out.xid = prepared_xid;
        }
        if ((xinfo & kXinfoHasGid) != 0) {
            reader.CString();
        }
    } else if (out.prepared) {
        return TooShort(record, "two-phase end of transaction");
    }
    if ((xinfo & kXinfoHasOrigin) != 0) {
        out.has_origin = true;
        out.origin_lsn = Lsn(reader.U64Le());
        out.origin_time = static_cast<int64_t>(reader.U64Le());
    }
    if (!reader.ok()) {
        return TooShort(record, "end of transaction");
    }
    return out;
}

Result<XactPrepare> ParseXactPrepare(const DecodedRecord& record) {
    ByteReader reader(record.main_data);
    const uint32_t magic = reader.U32Le();
    const uint32_t file_length = reader.U32Le();
    XactPrepare out;
    out.xid = reader.U32Le();
    reader.Skip(4);  // database
    out.time = static_cast<int64_t>(reader.U64Le());
    reader.Skip(4);  // owner
    const uint64_t subxact_count = reader.U32Le();
    reader.Skip(22);  // counts of what else follows, initfileinval
    const uint16_t gid_length = reader.U16Le();
    out.origin_lsn = Lsn(reader.U64Le());
    reader.Skip(8);  // origin_timestamp
    reader.Skip(MaxAlign(gid_length));
    out.subxacts = XidList(reader.Bytes(subxact_count * 4));
    // The file in pg_twophase is this body plus a CRC.
    if (!reader.ok() || magic != kTwoPhaseMagic || file_length != record.main_data.size() + 4) {
        return TooShort(record, "prepare transaction");
    }
    return out;
}

Result<std::optional<int64_t>> TransactionChangeTime(const DecodedRecord& record) {
    if (IsXactEnd(record)) {
        ZENITH_ASSIGN_OR_RETURN(const XactEnd end, ParseXactEnd(record));
        if (end.committed || end.prepared) {
            return std::optional(end.unix_time());
        }
    } else if (record.rmgr == Rmgr::kXact && (record.info & kXactOpMask) == kXactPrepare) {
        ZENITH_ASSIGN_OR_RETURN(const XactPrepare prepare, ParseXactPrepare(record));
        return std::optional(UnixMicros(prepare.time));
    }
    return std::optional<int64_t>();
}

}  // namespace zenith
