// ClusterState: the part of a cluster's state that pg_control and its checkpoint carry, kept exact
// record by record, so that a base backup at any LSN can synthesize the checkpoint of that LSN.
//
// Source: catalog/pg_control.h (CheckPoint), xlog_redo(), and what StartupXLOG() needs. Plain
// value; serialized with a version number as blob "cluster_state" (layers/blob_keys.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/pgformat/relation_key.h"
#include "pageserver/wal_decoder/decoded_record.h"

namespace zenith {

struct ClusterState {
    // Position: the end and the start of the last record applied (record_start is the xl_prev of
    // whatever comes next).
    Lsn record_end;
    Lsn record_start;

    uint64_t next_xid = 0;  // full transaction id: epoch << 32 | xid
    Oid next_oid = 0;
    uint32_t next_multi = 0;
    uint32_t next_multi_offset = 0;
    uint32_t oldest_xid = 0;
    Oid oldest_xid_db = 0;
    uint32_t oldest_multi = 0;
    Oid oldest_multi_db = 0;
    uint32_t oldest_commit_ts_xid = 0;
    uint32_t newest_commit_ts_xid = 0;
    bool full_page_writes = true;
    int64_t checkpoint_time = 0;  // pg_time_t of the newest checkpoint

    // Microseconds since 1970; they only grow from record to record, whatever the clock did, and so
    // tell where in the WAL a time is (time_lookup.h). A cluster's first is its initial checkpoint's.
    int64_t newest_commit_time = 0;  // of all so far that TransactionChangeTime() tells
    int64_t newest_time = 0;         // of these, of aborts and of checkpoints

    // Mirror of the settings in pg_control (XLOG_PARAMETER_CHANGE).
    int32_t wal_level = 1;
    bool wal_log_hints = false;
    int32_t max_connections = 100;
    int32_t max_worker_processes = 8;
    int32_t max_wal_senders = 10;
    int32_t max_prepared_xacts = 0;
    int32_t max_locks_per_xact = 64;
    bool track_commit_timestamp = false;
    uint32_t data_checksum_version = 0;
    uint64_t unlogged_lsn = 1000;

    std::string Serialize() const;
    static Result<ClusterState> Parse(std::string_view bytes);

    // The state at the end of the shutdown checkpoint that `control_file` (the bytes of
    // global/pg_control) points to; `record_end` is the end of that checkpoint's record.
    static Result<ClusterState> FromControlFile(std::span<const std::byte> control_file,
                                                Lsn record_end);

    // Applies one record: every field above is exact afterwards: what recovery up to here would
    // write into the next shutdown checkpoint. Errors: kCorruption for main data too short for its
    // type, naming the LSN.
    Status Apply(const DecodedRecord& record);

  private:
    Status ApplyXlog(const DecodedRecord& record);
    Status ApplyCheckpoint(const DecodedRecord& record, bool shutdown);
    Status ApplyXact(const DecodedRecord& record);
    Status ApplyMultixact(const DecodedRecord& record);
    void AdvanceNextXid(uint32_t xid);
    void AdvanceOldestXid(uint32_t xid, Oid db);
    void AdvanceNextMulti(uint32_t multi, uint32_t offset);
    void AdvanceOldestMulti(uint32_t multi, Oid db);
};

}  // namespace zenith
