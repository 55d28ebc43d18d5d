#include "pageserver/wal_ingest/cluster_state.h"

#include <algorithm>

#include "common/base/byte_reader.h"
#include "common/base/byte_writer.h"
#include "common/base/time.h"
#include "common/pgformat/control_file.h"
#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/wal_decoder/multixact_record.h"
#include "pageserver/wal_decoder/xact_record.h"

namespace zenith {

namespace {

// Version of the serialized form: raise it when a field is added or changes its meaning. A reader
// refuses versions it does not know; the blob is derived data and can be made again from the WAL.
constexpr uint32_t kSerializedVersion = 2;

Status TooShort(const DecodedRecord& record, const char* what) {
    return Status::Corruption("WAL record at " + record.start.ToString() + ": " + what +
                              " record is too short");
}

}  // namespace

std::string ClusterState::Serialize() const {
    ByteWriter w;
    w.U32Le(kSerializedVersion);
    w.U64Le(record_end.value);
    w.U64Le(record_start.value);
    w.U64Le(next_xid);
    w.U32Le(next_oid);
    w.U32Le(next_multi);
    w.U32Le(next_multi_offset);
    w.U32Le(oldest_xid);
    w.U32Le(oldest_xid_db);
    w.U32Le(oldest_multi);
    w.U32Le(oldest_multi_db);
    w.U32Le(oldest_commit_ts_xid);
    w.U32Le(newest_commit_ts_xid);
    w.U8(full_page_writes);
    w.U64Le(static_cast<uint64_t>(checkpoint_time));
    w.U64Le(static_cast<uint64_t>(newest_commit_time));
    w.U64Le(static_cast<uint64_t>(newest_time));
    w.U32Le(static_cast<uint32_t>(wal_level));
    w.U8(wal_log_hints);
    w.U32Le(static_cast<uint32_t>(max_connections));
    w.U32Le(static_cast<uint32_t>(max_worker_processes));
    w.U32Le(static_cast<uint32_t>(max_wal_senders));
    w.U32Le(static_cast<uint32_t>(max_prepared_xacts));
    w.U32Le(static_cast<uint32_t>(max_locks_per_xact));
    w.U8(track_commit_timestamp);
    w.U32Le(data_checksum_version);
    w.U64Le(unlogged_lsn);
    return w.Take();
}

Result<ClusterState> ClusterState::Parse(std::string_view bytes) {
    ByteReader r(std::as_bytes(std::span(bytes.data(), bytes.size())));
    const uint32_t version = r.U32Le();
    if (r.ok() && version != kSerializedVersion) {
        return Status::Corruption("unknown version " + std::to_string(version) +
                                  " of the cluster state");
    }
    ClusterState s;
    s.record_end = Lsn(r.U64Le());
    s.record_start = Lsn(r.U64Le());
    s.next_xid = r.U64Le();
    s.next_oid = r.U32Le();
    s.next_multi = r.U32Le();
    s.next_multi_offset = r.U32Le();
    s.oldest_xid = r.U32Le();
    s.oldest_xid_db = r.U32Le();
    s.oldest_multi = r.U32Le();
    s.oldest_multi_db = r.U32Le();
    s.oldest_commit_ts_xid = r.U32Le();
    s.newest_commit_ts_xid = r.U32Le();
    s.full_page_writes = r.U8() != 0;
    s.checkpoint_time = static_cast<int64_t>(r.U64Le());
    s.newest_commit_time = static_cast<int64_t>(r.U64Le());
    s.newest_time = static_cast<int64_t>(r.U64Le());
    s.wal_level = static_cast<int32_t>(r.U32Le());
    s.wal_log_hints = r.U8() != 0;
    s.max_connections = static_cast<int32_t>(r.U32Le());
    s.max_worker_processes = static_cast<int32_t>(r.U32Le());
    s.max_wal_senders = static_cast<int32_t>(r.U32Le());
    s.max_prepared_xacts = static_cast<int32_t>(r.U32Le());
    s.max_locks_per_xact = static_cast<int32_t>(r.U32Le());
    s.track_commit_timestamp = r.U8() != 0;
    s.data_checksum_version = r.U32Le();
    s.unlogged_lsn = r.U64Le();
    if (!r.ok() || r.remaining() != 0) {
        return Status::Corruption("cluster state of " + std::to_string(bytes.size()) +
                                  " bytes has the wrong length");
    }
    return s;
}

Result<ClusterState> ClusterState::FromControlFile(std::span<const std::byte> control_file,
                                                   Lsn record_end) {
    ZENITH_ASSIGN_OR_RETURN(const ControlFile control, DecodeControlFile(control_file));
    const CheckPointFields& checkpoint = control.check_point_copy;
    ClusterState s;
    s.record_end = record_end;
    s.record_start = control.check_point;
    s.next_xid = checkpoint.next_xid;
    s.next_oid = checkpoint.next_oid;
    s.next_multi = checkpoint.next_multi;
    s.next_multi_offset = checkpoint.next_multi_offset;
    s.oldest_xid = checkpoint.oldest_xid;
    s.oldest_xid_db = checkpoint.oldest_xid_db;
    s.oldest_multi = checkpoint.oldest_multi;
    s.oldest_multi_db = checkpoint.oldest_multi_db;
    s.oldest_commit_ts_xid = checkpoint.oldest_commit_ts_xid;
    s.newest_commit_ts_xid = checkpoint.newest_commit_ts_xid;
    s.full_page_writes = checkpoint.full_page_writes;
    s.checkpoint_time = checkpoint.time;
    s.newest_commit_time = s.newest_time = checkpoint.time * kMicrosPerSecond;
    s.wal_level = control.wal_level;
    s.wal_log_hints = control.wal_log_hints;
    s.max_connections = control.max_connections;
    s.max_worker_processes = control.max_worker_processes;
    s.max_wal_senders = control.max_wal_senders;
    s.max_prepared_xacts = control.max_prepared_xacts;
    s.max_locks_per_xact = control.max_locks_per_xact;
    s.track_commit_timestamp = control.track_commit_timestamp;
    s.data_checksum_version = control.data_checksum_version;
    s.unlogged_lsn = control.unlogged_lsn;
    return s;
}

// AdvanceNextFullTransactionIdPastXid() of varsup.c: records carry 32 bits, and running
// transactions never span more than one epoch.
void ClusterState::AdvanceNextXid(uint32_t xid) {
    const auto next = static_cast<uint32_t>(next_xid);
    if (xid < kFirstNormalXid || XidPrecedes(xid, next)) {
        return;
    }
    xid++;
    if (xid < kFirstNormalXid) {
        xid = kFirstNormalXid;
    }
    uint64_t epoch = next_xid >> 32;
    if (xid < next) {
        epoch++;
    }
    next_xid = (epoch << 32) | xid;
}

void ClusterState::AdvanceOldestXid(uint32_t xid, Oid db) {
    if (XidPrecedes(oldest_xid, xid)) {
        oldest_xid = xid;
        oldest_xid_db = db;
    }
}

// MultiXactAdvanceNextMXact()
void ClusterState::AdvanceNextMulti(uint32_t multi, uint32_t offset) {
    if (MultiPrecedes(next_multi, multi)) {
        next_multi = multi;
    }
    if (MultiPrecedes(next_multi_offset, offset)) {
        next_multi_offset = offset;
    }
}

void ClusterState::AdvanceOldestMulti(uint32_t multi, Oid db) {
    if (MultiPrecedes(oldest_multi, multi)) {
        oldest_multi = multi;
        oldest_multi_db = db;
    }
}

Status ClusterState::Apply(const DecodedRecord& record) {
    AdvanceNextXid(record.xid);
    ByteReader r(record.main_data);
    switch (record.rmgr) {
        case Rmgr::kXlog:
            ZENITH_RETURN_IF_ERROR(ApplyXlog(record));
            break;
        case Rmgr::kXact:
            ZENITH_RETURN_IF_ERROR(ApplyXact(record));
            break;
        case Rmgr::kMultixact:
            ZENITH_RETURN_IF_ERROR(ApplyMultixact(record));
            break;
        case Rmgr::kClog:
            if (record.rmgr_info() == kClogTruncate) {
                r.Skip(4);
                const uint32_t oldest = r.U32Le();
                const Oid db = r.U32Le();
                if (!r.ok()) {
                    return TooShort(record, "transaction status truncation");
                }
                // Whoever starts here must not look below what was cut off.
                AdvanceOldestXid(oldest, db);
            }
            break;
        case Rmgr::kCommitTs:
            if (record.rmgr_info() == kCommitTsTruncate) {
                r.Skip(4);
                const uint32_t oldest = r.U32Le();
                if (!r.ok()) {
                    return TooShort(record, "commit timestamp truncation");
                }
                if (oldest_commit_ts_xid != 0 && XidPrecedes(oldest_commit_ts_xid, oldest)) {
                    oldest_commit_ts_xid = oldest;
                }
            }
            break;
        case Rmgr::kStandby:
            if (record.rmgr_info() == kStandbyRunningXacts) {
                r.Skip(kRunningXactsNextXidOffset);
                const uint32_t next = r.U32Le();
                if (!r.ok()) {
                    return TooShort(record, "running transactions");
                }
                AdvanceNextXid(next - 1);
            }
            break;
        default:
            break;
    }
    record_start = record.start;
    record_end = record.end;
    return Status::Ok();
}

Status ClusterState::ApplyXlog(const DecodedRecord& record) {
    ByteReader r(record.main_data);
    switch (record.rmgr_info()) {
        case kXlogCheckpointShutdown:
            return ApplyCheckpoint(record, true);
        case kXlogCheckpointOnline:
            return ApplyCheckpoint(record, false);
        case kXlogNextOid: {
            // Not the larger of the two: the counter wraps around (xlog_redo()).
            const Oid next = r.U32Le();
            if (!r.ok()) {
                return TooShort(record, "next OID");
            }
            next_oid = next;
            return Status::Ok();
        }
        case kXlogFpwChange: {
            const bool on = r.U8() != 0;
            if (!r.ok()) {
                return TooShort(record, "full_page_writes change");
            }
            full_page_writes = on;
            return Status::Ok();
        }
        case kXlogParameterChange: {
            const auto connections = static_cast<int32_t>(r.U32Le());
            const auto workers = static_cast<int32_t>(r.U32Le());
            const auto senders = static_cast<int32_t>(r.U32Le());
            const auto prepared = static_cast<int32_t>(r.U32Le());
            const auto locks = static_cast<int32_t>(r.U32Le());
            const auto level = static_cast<int32_t>(r.U32Le());
            const bool log_hints = r.U8() != 0;
            const bool track = r.U8() != 0;
            if (!r.ok()) {
                return TooShort(record, "parameter change");
            }
            max_connections = connections;
            max_worker_processes = workers;
            max_wal_senders = senders;
            max_prepared_xacts = prepared;
            max_locks_per_xact = locks;
            wal_level = level;
            wal_log_hints = log_hints;
            // CommitTsParameterChange(): ActivateCommitTs(), DeactivateCommitTs().
            if (track && !track_commit_timestamp && oldest_commit_ts_xid == 0) {
                oldest_commit_ts_xid = static_cast<uint32_t>(next_xid);
                newest_commit_ts_xid = static_cast<uint32_t>(next_xid);
            } else if (!track && track_commit_timestamp) {
                oldest_commit_ts_xid = 0;
                newest_commit_ts_xid = 0;
            }
            track_commit_timestamp = track;
            return Status::Ok();
        }
        default:
            return Status::Ok();
    }
}

Status ClusterState::ApplyCheckpoint(const DecodedRecord& record, bool shutdown) {
    Result<CheckPointFields> decoded = DecodeCheckPoint(record.main_data);
    if (!decoded.ok()) {
        return decoded.status().WithContext("WAL record at " + record.start.ToString());
    }
    const CheckPointFields& checkpoint = *decoded;
    checkpoint_time = checkpoint.time;
    newest_time = std::max(newest_time, checkpoint_time * kMicrosPerSecond);
    // Also of an online one: a server that starts with another setting says so nowhere else.
    full_page_writes = checkpoint.full_page_writes;
    if (shutdown) {
        // Nothing was running: the counters are exact.
        next_xid = checkpoint.next_xid;
        next_oid = checkpoint.next_oid;
        next_multi = checkpoint.next_multi;
        next_multi_offset = checkpoint.next_multi_offset;
        oldest_xid = checkpoint.oldest_xid;
        oldest_xid_db = checkpoint.oldest_xid_db;
        oldest_multi = checkpoint.oldest_multi;
        oldest_multi_db = checkpoint.oldest_multi_db;
        oldest_commit_ts_xid = checkpoint.oldest_commit_ts_xid;
        newest_commit_ts_xid = checkpoint.newest_commit_ts_xid;
        return Status::Ok();
    }
    // The values are from the checkpoint's beginning, so they are lower bounds. The OID counter is
    // left to XLOG_NEXTOID.
    if (next_xid < checkpoint.next_xid) {
        next_xid = checkpoint.next_xid;
    }
    AdvanceNextMulti(checkpoint.next_multi, checkpoint.next_multi_offset);
    AdvanceOldestMulti(checkpoint.oldest_multi, checkpoint.oldest_multi_db);
    AdvanceOldestXid(checkpoint.oldest_xid, checkpoint.oldest_xid_db);
    if (oldest_commit_ts_xid != 0 && checkpoint.oldest_commit_ts_xid != 0) {
        if (XidPrecedes(oldest_commit_ts_xid, checkpoint.oldest_commit_ts_xid)) {
            oldest_commit_ts_xid = checkpoint.oldest_commit_ts_xid;
        }
        if (XidPrecedes(newest_commit_ts_xid, checkpoint.newest_commit_ts_xid)) {
            newest_commit_ts_xid = checkpoint.newest_commit_ts_xid;
        }
    }
    return Status::Ok();
}

Status ClusterState::ApplyXact(const DecodedRecord& record) {
    ZENITH_ASSIGN_OR_RETURN(const std::optional<int64_t> changed, TransactionChangeTime(record));
    if (changed) {
        newest_commit_time = std::max(newest_commit_time, *changed);
        newest_time = std::max(newest_time, *changed);
    }
    if (IsXactEnd(record)) {
        ZENITH_ASSIGN_OR_RETURN(const XactEnd end, ParseXactEnd(record));
        AdvanceNextXid(end.xid);
        for (size_t i = 0; i < end.subxacts.size(); i++) {
            AdvanceNextXid(end.subxacts[i]);
        }
        newest_time = std::max(newest_time, end.unix_time());
        if (end.committed && track_commit_timestamp) {
            const uint32_t newest =
                end.subxacts.size() > 0 ? end.subxacts[end.subxacts.size() - 1] : end.xid;
            if (XidPrecedes(newest_commit_ts_xid, newest)) {
                newest_commit_ts_xid = newest;
            }
        }
        return Status::Ok();
    }
    switch (record.info & kXactOpMask) {
        case kXactPrepare: {
            ZENITH_ASSIGN_OR_RETURN(const XactPrepare prepare, ParseXactPrepare(record));
            AdvanceNextXid(prepare.xid);
            for (size_t i = 0; i < prepare.subxacts.size(); i++) {
                AdvanceNextXid(prepare.subxacts[i]);
            }
            return Status::Ok();
        }
        case kXactAssignment: {
            ByteReader r(record.main_data);
            AdvanceNextXid(r.U32Le());
            const uint64_t count = r.U32Le();
            const XidList subxacts(r.Bytes(count * 4));
            if (!r.ok()) {
                return TooShort(record, "transaction assignment");
            }
            for (size_t i = 0; i < subxacts.size(); i++) {
                AdvanceNextXid(subxacts[i]);
            }
            return Status::Ok();
        }
        default:
            return Status::Ok();
    }
}

Status ClusterState::ApplyMultixact(const DecodedRecord& record) {
    if (record.rmgr_info() == kMultixactCreateId) {
        ZENITH_ASSIGN_OR_RETURN(const MultiXactCreate create, ParseMultiXactCreate(record));
        AdvanceNextMulti(create.multi + 1, create.offset + create.member_count);
        for (uint32_t i = 0; i < create.member_count; i++) {
            AdvanceNextXid(create.member_xid(i));
        }
    } else if (record.rmgr_info() == kMultixactTruncateId) {
        ByteReader r(record.main_data);
        const Oid db = r.U32Le();
        r.Skip(4);
        const uint32_t oldest = r.U32Le();
        if (!r.ok()) {
            return TooShort(record, "multixact truncation");
        }
        oldest_multi = oldest;
        oldest_multi_db = db;
    }
    return Status::Ok();
}

}  // namespace zenith
