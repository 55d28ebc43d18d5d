// pg_control, the checkpoint record and a replication slot's state file, as bytes.
//
// Source: catalog/pg_control.h, access/xlogrecord.h, replication/slot.c of PostgreSQL 15.
// Plain values and pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/lsn.h"
#include "common/base/result.h"

namespace zenith {

// CheckPoint of catalog/pg_control.h, field by field (88 bytes on disk).
struct CheckPointFields {
    Lsn redo;
    uint32_t this_timeline = 1;
    uint32_t prev_timeline = 1;
    bool full_page_writes = false;
    uint64_t next_xid = 0;
    uint32_t next_oid = 0;
    uint32_t next_multi = 0;
    uint32_t next_multi_offset = 0;
    uint32_t oldest_xid = 0;
    uint32_t oldest_xid_db = 0;
    uint32_t oldest_multi = 0;
    uint32_t oldest_multi_db = 0;
    int64_t time = 0;
    uint32_t oldest_commit_ts_xid = 0;
    uint32_t newest_commit_ts_xid = 0;
    uint32_t oldest_active_xid = 0;
};
inline constexpr size_t kCheckPointSize = 88;
std::string EncodeCheckPoint(const CheckPointFields& fields);
Result<CheckPointFields> DecodeCheckPoint(std::span<const std::byte> bytes);

// ControlFileData, what we read and set; the rest are constants of the build.
struct ControlFile {
    uint64_t system_identifier = 0;
    uint32_t state = 1;  // DBState; DB_SHUTDOWNED = 1
    int64_t time = 0;
    Lsn check_point;
    CheckPointFields check_point_copy;
    uint64_t unlogged_lsn = 1000;
    int32_t wal_level = 1;
    bool wal_log_hints = false;
    int32_t max_connections = 100;
    int32_t max_worker_processes = 8;
    int32_t max_wal_senders = 10;
    int32_t max_prepared_xacts = 0;
    int32_t max_locks_per_xact = 64;
    bool track_commit_timestamp = false;
    uint32_t data_checksum_version = 0;
    std::string mock_authentication_nonce;  // 32 bytes
};
// 8192 bytes with a valid CRC.
std::string EncodeControlFile(const ControlFile& control);
// kCorruption: wrong length, version or CRC, or a build constant that is not ours.
Result<ControlFile> DecodeControlFile(std::span<const std::byte> bytes);

// The WAL of a synthesized XLOG_CHECKPOINT_SHUTDOWN record that begins at `at` (the end of the last
// record; may be a page or segment boundary).
struct CheckpointWal {
    Lsn record_start;  // WalRecordStartAt(at): also the checkpoint's redo pointer
    Lsn record_end;
    // Whole 16 MB segments, zero except for the pages the record touches and each segment's first
    // page header: first segment number and contents (1, or 2 when the record straddles segments).
    uint64_t first_segment = 0;
    std::vector<std::string> segments;
};
// `prev`: start of the record before. `fields.redo` is set by this function. `page_prefix`: the
// real bytes of the page that holds `at`, from the page's start up to `at` (empty at a boundary).
CheckpointWal SynthesizeCheckpointWal(Lsn at, Lsn prev, uint64_t system_identifier,
                                      CheckPointFields fields,
                                      std::span<const std::byte> page_prefix);

// pg_replslot/<name>/state of a physical slot that keeps WAL from `restart_lsn` on.
std::string EncodePhysicalSlotState(const std::string& name, Lsn restart_lsn);
// From where on a slot needs WAL, given the bytes of its state file; 0/0: it does not.
// kCorruption when they are no such file.
Result<Lsn> SlotRestartLsn(std::string_view state);
// The state file of the same slot after its WAL was lost: PostgreSQL refuses to read from it.
// Requires: SlotRestartLsn(state) is OK.
std::string InvalidatedSlotState(std::string state);

}  // namespace zenith
