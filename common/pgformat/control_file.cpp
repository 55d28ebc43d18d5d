#include "common/pgformat/control_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <initializer_list>

#include "common/base/byte_reader.h"
#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"

namespace zenith {

namespace {

constexpr size_t kControlFileSize = 8192;   // PG_CONTROL_FILE_SIZE
constexpr size_t kControlCrcOffset = 288;   // offsetof(ControlFileData, crc)
constexpr size_t kNonceSize = 32;           // MOCK_AUTH_NONCE_LEN
constexpr double kFloatFormat = 1234567.0;  // FLOATFORMAT_VALUE

// What ReadControlFile() of xlog.c compares with the build: maxAlign to loblksize.
constexpr uint32_t kMaxAlignOf = 8;
constexpr uint32_t kNameDataLen = 64;
constexpr uint32_t kIndexMaxKeys = 32;
constexpr uint32_t kToastMaxChunkSize = 1996;
constexpr uint32_t kLargeObjectBlockSize = 2048;

// A checkpoint record: header, 0xFF (short main data), its length, the CheckPoint.
constexpr uint32_t kCheckpointRecordLength = kWalRecordHeaderSize + 2 + kCheckPointSize;
static_assert(kCheckpointRecordLength == 114);

void AppendCheckPoint(const CheckPointFields& f, ByteWriter* out) {
    size_t begin = out->size();
    out->U64Le(f.redo.value);
    out->U32Le(f.this_timeline);
    out->U32Le(f.prev_timeline);
    out->U8(f.full_page_writes ? 1 : 0);
    out->Zeros(7);
    out->U64Le(f.next_xid);
    out->U32Le(f.next_oid);
    out->U32Le(f.next_multi);
    out->U32Le(f.next_multi_offset);
    out->U32Le(f.oldest_xid);
    out->U32Le(f.oldest_xid_db);
    out->U32Le(f.oldest_multi);
    out->U32Le(f.oldest_multi_db);
    out->Zeros(4);
    out->U64Le(static_cast<uint64_t>(f.time));
    out->U32Le(f.oldest_commit_ts_xid);
    out->U32Le(f.newest_commit_ts_xid);
    out->U32Le(f.oldest_active_xid);
    out->Zeros(4);
    if (out->size() - begin != kCheckPointSize) {
        __builtin_trap();  // the layout above is wrong
    }
}

CheckPointFields TakeCheckPoint(ByteReader* in) {
    CheckPointFields f;
    f.redo = Lsn(in->U64Le());
    f.this_timeline = in->U32Le();
    f.prev_timeline = in->U32Le();
    f.full_page_writes = in->U8() != 0;
    in->Skip(7);
    f.next_xid = in->U64Le();
    f.next_oid = in->U32Le();
    f.next_multi = in->U32Le();
    f.next_multi_offset = in->U32Le();
    f.oldest_xid = in->U32Le();
    f.oldest_xid_db = in->U32Le();
    f.oldest_multi = in->U32Le();
    f.oldest_multi_db = in->U32Le();
    in->Skip(4);
    f.time = static_cast<int64_t>(in->U64Le());
    f.oldest_commit_ts_xid = in->U32Le();
    f.newest_commit_ts_xid = in->U32Le();
    f.oldest_active_xid = in->U32Le();
    in->Skip(4);
    return f;
}

// The page header of access/xlog_internal.h for the page that starts at `page`.
std::string WalPageHeader(Lsn page, uint16_t info, uint32_t rem_len, uint64_t system_identifier) {
    bool long_header = page.value % kWalSegmentSize == 0;
    ByteWriter out;
    out.U16Le(kWalPageMagic);
    out.U16Le(static_cast<uint16_t>(info | (long_header ? kWalPageLongHeader : 0)));
    out.U32Le(kWalTimelineId);
    out.U64Le(page.value);
    out.U32Le(rem_len);
    out.Zeros(4);
    if (long_header) {
        out.U64Le(system_identifier);
        out.U32Le(static_cast<uint32_t>(kWalSegmentSize));
        out.U32Le(static_cast<uint32_t>(kWalPageSize));
    }
    return out.Take();
}

std::string ShutdownCheckpointRecord(Lsn prev, const CheckPointFields& fields) {
    ByteWriter payload;
    payload.U8(kBlockIdDataShort);
    payload.U8(static_cast<uint8_t>(kCheckPointSize));
    AppendCheckPoint(fields, &payload);

    ByteWriter record;
    record.U32Le(kCheckpointRecordLength);
    record.U32Le(0);  // xl_xid
    record.U64Le(prev.value);
    record.U8(0);  // xl_info: XLOG_CHECKPOINT_SHUTDOWN
    record.U8(static_cast<uint8_t>(Rmgr::kXlog));
    record.Zeros(2);
    // The CRC covers what follows the header first, then the header up to the CRC itself.
    uint32_t crc = Crc32cExtend(kCrc32cInit, payload.bytes());
    crc = Crc32cFinish(Crc32cExtend(crc, record.bytes()));
    record.U32Le(crc);
    record.Bytes(payload.bytes());
    return record.Take();
}

}  // namespace

std::string EncodeCheckPoint(const CheckPointFields& fields) {
    ByteWriter out;
    AppendCheckPoint(fields, &out);
    return out.Take();
}

Result<CheckPointFields> DecodeCheckPoint(std::span<const std::byte> bytes) {
    if (bytes.size() != kCheckPointSize) {
        return Status::Corruption("checkpoint data has " + std::to_string(bytes.size()) +
                                  " bytes instead of " + std::to_string(kCheckPointSize));
    }
    ByteReader in(bytes);
    return TakeCheckPoint(&in);
}

std::string EncodeControlFile(const ControlFile& c) {
    ByteWriter out;
    out.U64Le(c.system_identifier);
    out.U32Le(kPgControlVersion);
    out.U32Le(kCatalogVersion);
    out.U32Le(c.state);
    out.Zeros(4);
    out.U64Le(static_cast<uint64_t>(c.time));
    out.U64Le(c.check_point.value);
    AppendCheckPoint(c.check_point_copy, &out);
    out.U64Le(c.unlogged_lsn);
    out.U64Le(0);  // minRecoveryPoint
    out.U32Le(0);  // minRecoveryPointTLI
    out.Zeros(4);
    out.U64Le(0);  // backupStartPoint
    out.U64Le(0);  // backupEndPoint
    out.U8(0);     // backupEndRequired
    out.Zeros(3);
    out.U32Le(static_cast<uint32_t>(c.wal_level));
    out.U8(c.wal_log_hints ? 1 : 0);
    out.Zeros(3);
    out.U32Le(static_cast<uint32_t>(c.max_connections));
    out.U32Le(static_cast<uint32_t>(c.max_worker_processes));
    out.U32Le(static_cast<uint32_t>(c.max_wal_senders));
    out.U32Le(static_cast<uint32_t>(c.max_prepared_xacts));
    out.U32Le(static_cast<uint32_t>(c.max_locks_per_xact));
    out.U8(c.track_commit_timestamp ? 1 : 0);
    out.Zeros(3);
    out.U32Le(kMaxAlignOf);
    out.U64Le(std::bit_cast<uint64_t>(kFloatFormat));
    out.U32Le(kPageSize);
    out.U32Le(kRelationSegmentBlocks);
    out.U32Le(static_cast<uint32_t>(kWalPageSize));
    out.U32Le(static_cast<uint32_t>(kWalSegmentSize));
    out.U32Le(kNameDataLen);
    out.U32Le(kIndexMaxKeys);
    out.U32Le(kToastMaxChunkSize);
    out.U32Le(kLargeObjectBlockSize);
    out.U8(1);  // float8ByVal
    out.Zeros(3);
    out.U32Le(c.data_checksum_version);
    std::string nonce = c.mock_authentication_nonce;
    nonce.resize(kNonceSize, '\0');
    out.Text(nonce);
    if (out.size() != kControlCrcOffset) {
        __builtin_trap();  // the layout above is wrong
    }
    out.U32Le(Crc32c(out.bytes()));
    out.Zeros(kControlFileSize - out.size());
    return out.Take();
}

Result<ControlFile> DecodeControlFile(std::span<const std::byte> bytes) {
    if (bytes.size() != kControlFileSize) {
        return Status::Corruption("control file has " + std::to_string(bytes.size()) +
                                  " bytes instead of " + std::to_string(kControlFileSize));
    }
    ByteReader in(bytes);
    ControlFile c;
    c.system_identifier = in.U64Le();
    uint32_t version = in.U32Le();
    uint32_t catalog = in.U32Le();
    if (version != kPgControlVersion || catalog != kCatalogVersion) {
        return Status::Corruption(
            "control file has version " + std::to_string(version) + ", catalog version " +
                std::to_string(catalog) + " instead of " + std::to_string(kPgControlVersion) +
                ", " + std::to_string(kCatalogVersion),
            "Use a cluster that was made by PostgreSQL 15's initdb.");
    }
    uint32_t stored_crc;
    std::memcpy(&stored_crc, bytes.data() + kControlCrcOffset, sizeof stored_crc);
    if (stored_crc != Crc32c(bytes.first(kControlCrcOffset))) {
        return Status::Corruption("control file has a wrong checksum");
    }
    c.state = in.U32Le();
    in.Skip(4);
    c.time = static_cast<int64_t>(in.U64Le());
    c.check_point = Lsn(in.U64Le());
    c.check_point_copy = TakeCheckPoint(&in);
    c.unlogged_lsn = in.U64Le();
    in.Skip(8 + 4 + 4 + 8 + 8 + 1 + 3);  // minRecoveryPoint ... backupEndRequired
    c.wal_level = static_cast<int32_t>(in.U32Le());
    c.wal_log_hints = in.U8() != 0;
    in.Skip(3);
    c.max_connections = static_cast<int32_t>(in.U32Le());
    c.max_worker_processes = static_cast<int32_t>(in.U32Le());
    c.max_wal_senders = static_cast<int32_t>(in.U32Le());
    c.max_prepared_xacts = static_cast<int32_t>(in.U32Le());
    c.max_locks_per_xact = static_cast<int32_t>(in.U32Le());
    c.track_commit_timestamp = in.U8() != 0;
    in.Skip(3);

    struct BuildConstant {
        const char* name;
        uint32_t expected;
    };
    auto check = [&in](std::initializer_list<BuildConstant> constants) -> Status {
        for (const BuildConstant& constant : constants) {
            uint32_t found = in.U32Le();
            if (found != constant.expected) {
                return Status::Corruption(std::string("control file has ") + constant.name + " " +
                                          std::to_string(found) + " instead of " +
                                          std::to_string(constant.expected));
            }
        }
        return Status::Ok();
    };
    ZENITH_RETURN_IF_ERROR(check({{"maxAlign", kMaxAlignOf}}));
    if (in.U64Le() != std::bit_cast<uint64_t>(kFloatFormat)) {
        return Status::Corruption("control file has a foreign floating-point format");
    }
    ZENITH_RETURN_IF_ERROR(check({{"blcksz", kPageSize},
                                  {"relseg_size", kRelationSegmentBlocks},
                                  {"xlog_blcksz", static_cast<uint32_t>(kWalPageSize)},
                                  {"xlog_seg_size", static_cast<uint32_t>(kWalSegmentSize)},
                                  {"nameDataLen", kNameDataLen},
                                  {"indexMaxKeys", kIndexMaxKeys},
                                  {"toast_max_chunk_size", kToastMaxChunkSize},
                                  {"loblksize", kLargeObjectBlockSize}}));
    if (in.U8() != 1) {
        return Status::Corruption("control file has float8ByVal false");
    }
    in.Skip(3);
    c.data_checksum_version = in.U32Le();
    std::span<const std::byte> nonce = in.Bytes(kNonceSize);
    c.mock_authentication_nonce.assign(reinterpret_cast<const char*>(nonce.data()), nonce.size());
    return c;
}

CheckpointWal SynthesizeCheckpointWal(Lsn at, Lsn prev, uint64_t system_identifier,
                                      CheckPointFields fields,
                                      std::span<const std::byte> page_prefix) {
    CheckpointWal wal;
    wal.record_start = WalRecordStartAt(at);
    wal.first_segment = WalSegmentNumber(at);
    fields.redo = wal.record_start;
    const std::string record = ShutdownCheckpointRecord(prev, fields);

    auto segment_at = [&wal](Lsn lsn) -> std::string& {
        size_t index = WalSegmentNumber(lsn) - wal.first_segment;
        while (wal.segments.size() <= index) {
            wal.segments.emplace_back(kWalSegmentSize, '\0');
        }
        return wal.segments[index];
    };
    auto put = [&segment_at](Lsn lsn, std::string_view data) {
        segment_at(lsn).replace(lsn.value % kWalSegmentSize, data.size(), data);
    };

    Lsn page = at - at.value % kWalPageSize;
    Lsn segment_start = WalSegmentStart(wal.first_segment);
    // A reader checks the first page header of a segment whatever page it wants.
    put(segment_start, WalPageHeader(segment_start, 0, 0, system_identifier));
    if (page != at && page_prefix.size() == at - page) {
        put(page, {reinterpret_cast<const char*>(page_prefix.data()), page_prefix.size()});
    } else {
        // The bytes between the header and the record, if any, count as the rest of a record that
        // began earlier, so that a reader looking for the page's first record finds this one.
        uint32_t skipped = 0;
        uint16_t info = 0;
        if (at.value % kWalPageSize > WalPageHeaderSize(page)) {
            skipped = static_cast<uint32_t>(at - page - WalPageHeaderSize(page));
            info = kWalPageFirstIsContRecord;
        }
        put(page, WalPageHeader(page, info, skipped, system_identifier));
    }

    Lsn position = wal.record_start;
    std::string_view rest = record;
    while (true) {
        Lsn page_end = position - position.value % kWalPageSize + kWalPageSize;
        size_t n = std::min<size_t>(rest.size(), page_end - position);
        put(position, rest.substr(0, n));
        rest.remove_prefix(n);
        position = position + n;
        if (rest.empty()) {
            break;
        }
        put(page_end, WalPageHeader(page_end, kWalPageFirstIsContRecord,
                                    static_cast<uint32_t>(rest.size()), system_identifier));
        position = page_end + WalPageHeaderSize(page_end);
    }
    wal.record_end = Lsn(MaxAlign(position.value));
    return wal;
}

namespace {

// ReplicationSlotOnDisk: magic, checksum of the rest, version, length, and the data.
constexpr size_t kNameSize = 64;  // NameData
constexpr uint32_t kSlotMagic = 0x1051CA1;
constexpr uint32_t kSlotVersion = 2;
constexpr uint32_t kSlotDataSize = 184;  // sizeof(ReplicationSlotPersistentData)
constexpr size_t kSlotChecksumOffset = 4;
constexpr size_t kSlotCoveredOffset = 8;
constexpr size_t kSlotDataOffset = 16;
constexpr size_t kSlotRestartOffset = kSlotDataOffset + kNameSize + 16;
constexpr size_t kSlotInvalidatedOffset = kSlotRestartOffset + 8;

}  // namespace

Result<Lsn> SlotRestartLsn(std::string_view state) {
    const auto bytes = std::as_bytes(std::span(state.data(), state.size()));
    ByteReader reader(bytes);
    const uint32_t magic = reader.U32Le();
    const uint32_t checksum = reader.U32Le();
    const uint32_t version = reader.U32Le();
    const uint32_t length = reader.U32Le();
    if (!reader.ok() || magic != kSlotMagic || version != kSlotVersion ||
        length != kSlotDataSize || reader.remaining() != length ||
        Crc32c(bytes.subspan(kSlotCoveredOffset)) != checksum) {
        return Status::Corruption("state file of a replication slot is damaged");
    }
    ByteReader data(bytes.subspan(kSlotRestartOffset));
    return Lsn(data.U64Le());
}

std::string InvalidatedSlotState(std::string state) {
    state.replace(kSlotInvalidatedOffset, 8, state.substr(kSlotRestartOffset, 8));
    state.replace(kSlotRestartOffset, 8, std::string(8, '\0'));
    ByteWriter checksum;
    checksum.U32Le(Crc32c(
        std::as_bytes(std::span(state.data(), state.size())).subspan(kSlotCoveredOffset)));
    state.replace(kSlotChecksumOffset, 4, checksum.Take());
    return state;
}

std::string EncodePhysicalSlotState(const std::string& name, Lsn restart_lsn) {
    ByteWriter covered;  // what the checksum covers
    covered.U32Le(kSlotVersion);
    covered.U32Le(kSlotDataSize);
    size_t begin = covered.size();
    std::string padded = name.substr(0, kNameSize - 1);
    padded.resize(kNameSize, '\0');
    covered.Text(padded);
    covered.U32Le(0);  // database: none, a physical slot
    covered.U32Le(0);  // RS_PERSISTENT
    covered.U32Le(0);  // xmin
    covered.U32Le(0);  // catalog_xmin
    covered.U64Le(restart_lsn.value);
    covered.U64Le(0);            // invalidated_at
    covered.U64Le(0);            // confirmed_flush
    covered.U64Le(0);            // two_phase_at
    covered.U8(0);               // two_phase
    covered.Zeros(kNameSize);    // plugin
    covered.Zeros(kSlotDataSize - (covered.size() - begin));

    ByteWriter out;
    out.U32Le(kSlotMagic);
    out.U32Le(Crc32c(covered.bytes()));
    out.Bytes(covered.bytes());
    return out.Take();
}

}  // namespace zenith
