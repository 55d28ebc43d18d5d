#include "common/pgformat/control_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "common/base/byte_reader.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"

namespace zenith {
namespace {

std::span<const std::byte> Bytes(const std::string& s) {
    return std::as_bytes(std::span(s.data(), s.size()));
}

CheckPointFields SampleCheckPoint() {
    CheckPointFields f;
    f.redo = Lsn(0x1A2B3C4D8ull);
    f.full_page_writes = true;
    f.next_xid = (7ull << 32) | 123456;
    f.next_oid = 24576;
    f.next_multi = 17;
    f.next_multi_offset = 99;
    f.oldest_xid = 722;
    f.oldest_xid_db = 1;
    f.oldest_multi = 3;
    f.oldest_multi_db = 5;
    f.time = 1700000000;
    f.oldest_commit_ts_xid = 700;
    f.newest_commit_ts_xid = 123455;
    f.oldest_active_xid = 0;
    return f;
}

ControlFile SampleControlFile() {
    ControlFile c;
    c.system_identifier = 7300000000000000123ull;
    c.time = 1700000001;
    c.check_point = Lsn(0x1A2B3C4D8ull);
    c.check_point_copy = SampleCheckPoint();
    c.unlogged_lsn = 1234;
    c.wal_log_hints = true;
    c.max_connections = 50;
    c.max_worker_processes = 9;
    c.max_wal_senders = 11;
    c.max_prepared_xacts = 12;
    c.max_locks_per_xact = 65;
    c.track_commit_timestamp = true;
    c.mock_authentication_nonce = std::string(32, '\x5A');
    return c;
}

TEST(ControlFile, CheckPointRoundTrip) {
    std::string bytes = EncodeCheckPoint(SampleCheckPoint());
    ASSERT_EQ(bytes.size(), kCheckPointSize);
    auto decoded = DecodeCheckPoint(Bytes(bytes));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(EncodeCheckPoint(*decoded), bytes);
    EXPECT_EQ(decoded->next_xid, (7ull << 32) | 123456);
    EXPECT_EQ(decoded->newest_commit_ts_xid, 123455u);
    EXPECT_FALSE(DecodeCheckPoint(Bytes(bytes.substr(1))).ok());
}

TEST(ControlFile, RoundTrip) {
    std::string bytes = EncodeControlFile(SampleControlFile());
    ASSERT_EQ(bytes.size(), 8192u);
    auto decoded = DecodeControlFile(Bytes(bytes));
    ASSERT_TRUE(decoded.ok()) << decoded.status().message();
    EXPECT_EQ(EncodeControlFile(*decoded), bytes);
    EXPECT_EQ(decoded->system_identifier, 7300000000000000123ull);
    EXPECT_EQ(decoded->max_connections, 50);
    EXPECT_EQ(decoded->max_locks_per_xact, 65);
    EXPECT_TRUE(decoded->track_commit_timestamp);
}

TEST(ControlFile, RefusesDamage) {
    const std::string good = EncodeControlFile(SampleControlFile());
    for (size_t offset : {0, 8, 12, 16, 40, 128, 176, 204, 208, 228, 252, 288, 291}) {
        std::string bad = good;
        bad[offset] = static_cast<char>(bad[offset] ^ 0x10);
        auto decoded = DecodeControlFile(Bytes(bad));
        ASSERT_FALSE(decoded.ok()) << "offset " << offset;
        EXPECT_EQ(decoded.status().code(), StatusCode::kCorruption);
    }
    EXPECT_FALSE(DecodeControlFile(Bytes(good.substr(0, 296))).ok());
}

// A build constant that is not ours, under a valid CRC.
TEST(ControlFile, RefusesForeignBuild) {
    std::string bytes = EncodeControlFile(SampleControlFile());
    uint32_t segment_size = 64 * 1024 * 1024;
    std::memcpy(bytes.data() + 228, &segment_size, 4);
    uint32_t crc = Crc32c(Bytes(bytes).first(288));
    std::memcpy(bytes.data() + 288, &crc, 4);
    auto decoded = DecodeControlFile(Bytes(bytes));
    ASSERT_FALSE(decoded.ok());
    EXPECT_NE(decoded.status().message().find("xlog_seg_size"), std::string::npos);
}

// PostgreSQL's own tool reads what we write.
TEST(ControlFile, PgControldataAgrees) {
    const char* tool = "/usr/lib/postgresql/15/bin/pg_controldata";
    if (access(tool, X_OK) != 0) {
        GTEST_SKIP() << tool << " is not installed";
    }
    char directory[] = "/tmp/zenith_control_XXXXXX";
    ASSERT_NE(mkdtemp(directory), nullptr);
    std::string base = directory;
    ASSERT_TRUE(EnsureDirectory(base + "/global").ok());
    ASSERT_TRUE(ReplaceFileAtomically(base + "/global/pg_control",
                                      EncodeControlFile(SampleControlFile()))
                    .ok());
    FILE* pipe = popen(("LC_ALL=C TZ=UTC " + std::string(tool) + " " + base + " 2>&1").c_str(),
                       "r");
    ASSERT_NE(pipe, nullptr);
    std::string output;
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
        output.append(buffer, n);
    }
    EXPECT_EQ(pclose(pipe), 0);
    // Without the column of blanks between name and value.
    std::string text;
    for (char c : output) {
        if (c != ' ' || (!text.empty() && text.back() != ' ')) {
            text.push_back(c);
        }
    }
    EXPECT_EQ(text.find("WARNING"), std::string::npos) << output;
    for (const char* line :
         {"Database system identifier: 7300000000000000123", "Database cluster state: shut down\n",
          "Latest checkpoint location: 1/A2B3C4D8", "Latest checkpoint's REDO location: 1/A2B3C4D8",
          "Latest checkpoint's full_page_writes: on", "Latest checkpoint's NextXID: 7:123456",
          "Latest checkpoint's NextOID: 24576", "Latest checkpoint's NextMultiXactId: 17",
          "Latest checkpoint's NextMultiOffset: 99", "Latest checkpoint's oldestXID: 722",
          "Latest checkpoint's oldestXID's DB: 1", "Latest checkpoint's oldestActiveXID: 0",
          "Latest checkpoint's oldestMultiXid: 3", "Latest checkpoint's oldestMulti's DB: 5",
          "Latest checkpoint's oldestCommitTsXid:700",
          "Latest checkpoint's newestCommitTsXid:123455",
          "Fake LSN counter for unlogged rels: 0/4D2", "Minimum recovery ending location: 0/0",
          "End-of-backup record required: no", "wal_level setting: replica",
          "wal_log_hints setting: on", "max_connections setting: 50",
          "max_worker_processes setting: 9", "max_wal_senders setting: 11",
          "max_prepared_xacts setting: 12", "max_locks_per_xact setting: 65",
          "track_commit_timestamp setting: on", "Bytes per WAL segment: 16777216",
          "Data page checksum version: 0"}) {
        EXPECT_NE(text.find(line), std::string::npos) << "missing: " << line << "\n" << text;
    }
    EXPECT_TRUE(RemoveTree(base).ok());
}

// ---- the synthesized checkpoint ----------------------------------------------------------------

struct Alignment {
    const char* name;
    uint64_t at;
    uint64_t start;
    uint64_t end;
    size_t segments;
};

constexpr uint64_t kSeg = 5 * kWalSegmentSize;  // a segment to stand in
constexpr uint64_t kNext = kSeg + kWalSegmentSize;
constexpr uint64_t kPage = kSeg + 7 * kWalPageSize;

const Alignment kAlignments[] = {
    {"mid_page", kPage + 1000, kPage + 1000, kPage + 1120, 1},
    {"page_boundary", kPage, kPage + 24, kPage + 144, 1},
    {"segment_boundary", kSeg, kSeg + 40, kSeg + 160, 1},
    {"first_page_of_segment", kSeg + 2000, kSeg + 2000, kSeg + 2120, 1},
    {"eight_left_in_page", kPage + 8184, kPage + 8184, kPage + 8192 + 24 + 112, 1},
    {"eight_left_in_segment", kNext - 8, kNext - 8, kNext + 40 + 112, 2},
    {"straddling_page", kPage + 8192 - 64, kPage + 8192 - 64, kPage + 8192 + 24 + 56, 1},
    {"straddling_segment", kNext - 64, kNext - 64, kNext + 40 + 56, 2},
    {"two_bytes_on_next_page", kPage + 8192 - 112, kPage + 8192 - 112, kPage + 8192 + 24 + 8, 1},
    {"ends_at_page_end", kPage + 8192 - 120, kPage + 8192 - 120, kPage + 8192, 1},
    {"ends_at_segment_end", kNext - 120, kNext - 120, kNext, 1},
};

class CheckpointWalTest : public testing::TestWithParam<Alignment> {};

constexpr uint64_t kSystemIdentifier = 7300000000000000123ull;
const Lsn kPrev(kSeg - 256);

uint64_t HeaderSizeAt(uint64_t page) { return page % kWalSegmentSize == 0 ? 40 : 24; }

// The header of the page at `page`: flags and rem_len; checks everything else.
void CheckPageHeader(const CheckpointWal& wal, uint64_t page, uint16_t* info, uint32_t* rem_len) {
    size_t index = page / kWalSegmentSize - wal.first_segment;
    ASSERT_LT(index, wal.segments.size());
    ByteReader in(Bytes(wal.segments[index]).subspan(page % kWalSegmentSize));
    EXPECT_EQ(in.U16Le(), kWalPageMagic);
    *info = in.U16Le();
    EXPECT_EQ(in.U32Le(), 1u);
    EXPECT_EQ(in.U64Le(), page);
    *rem_len = in.U32Le();
    EXPECT_EQ(in.U32Le(), 0u);
    EXPECT_EQ((*info & kWalPageLongHeader) != 0, page % kWalSegmentSize == 0);
    if (page % kWalSegmentSize == 0) {
        EXPECT_EQ(in.U64Le(), kSystemIdentifier);
        EXPECT_EQ(in.U32Le(), kWalSegmentSize);
        EXPECT_EQ(in.U32Le(), kWalPageSize);
    }
}

// The rules of xlogreader.c, followed by hand.
void CheckDecodes(const CheckpointWal& wal, const Alignment& a) {
    EXPECT_EQ(wal.record_start.value, a.start);
    EXPECT_EQ(wal.record_end.value, a.end);
    EXPECT_EQ(wal.first_segment, WalSegmentNumber(Lsn(a.at)));
    ASSERT_EQ(wal.segments.size(), a.segments);
    for (const std::string& segment : wal.segments) {
        ASSERT_EQ(segment.size(), kWalSegmentSize);
    }
    uint16_t info;
    uint32_t rem_len;
    for (size_t i = 0; i < wal.segments.size(); i++) {
        CheckPageHeader(wal, (wal.first_segment + i) * kWalSegmentSize, &info, &rem_len);
    }

    std::string record;
    uint64_t position = a.start;
    uint64_t page = position - position % kWalPageSize;
    CheckPageHeader(wal, page, &info, &rem_len);
    if (position == page + HeaderSizeAt(page)) {
        EXPECT_EQ(info & kWalPageFirstIsContRecord, 0);
        EXPECT_EQ(rem_len, 0u);
    }
    while (record.size() < 114) {
        uint64_t page_end = position - position % kWalPageSize + kWalPageSize;
        size_t n = std::min<uint64_t>(114 - record.size(), page_end - position);
        const std::string& segment = wal.segments.at(position / kWalSegmentSize -
                                                     wal.first_segment);
        record.append(segment, position % kWalSegmentSize, n);
        position += n;
        if (record.size() < 114) {
            CheckPageHeader(wal, page_end, &info, &rem_len);
            EXPECT_NE(info & kWalPageFirstIsContRecord, 0);
            EXPECT_EQ(rem_len, 114 - record.size());
            position = page_end + HeaderSizeAt(page_end);
        }
    }
    EXPECT_EQ((position + 7) / 8 * 8, a.end);

    ByteReader in(Bytes(record));
    EXPECT_EQ(in.U32Le(), 114u);
    EXPECT_EQ(in.U32Le(), 0u);
    EXPECT_EQ(in.U64Le(), kPrev.value);
    EXPECT_EQ(in.U8(), 0);  // XLOG_CHECKPOINT_SHUTDOWN
    EXPECT_EQ(in.U8(), 0);  // RM_XLOG_ID
    EXPECT_EQ(in.U16Le(), 0);
    uint32_t crc = Crc32cExtend(kCrc32cInit, Bytes(record).subspan(24));
    EXPECT_EQ(in.U32Le(), Crc32cFinish(Crc32cExtend(crc, Bytes(record).first(20))));
    EXPECT_EQ(in.U8(), 255);
    EXPECT_EQ(in.U8(), kCheckPointSize);
    auto checkpoint = DecodeCheckPoint(in.Bytes(kCheckPointSize));
    ASSERT_TRUE(checkpoint.ok());
    EXPECT_EQ(checkpoint->redo.value, a.start);
    EXPECT_EQ(checkpoint->next_oid, 24576u);
    EXPECT_EQ(in.remaining(), 0u);
}

TEST_P(CheckpointWalTest, WithoutPrefix) {
    const Alignment& a = GetParam();
    CheckpointWal wal =
        SynthesizeCheckpointWal(Lsn(a.at), kPrev, kSystemIdentifier, SampleCheckPoint(), {});
    CheckDecodes(wal, a);
    // A reader that looks for the first record of the page finds this one.
    uint64_t page = a.start - a.start % kWalPageSize;
    uint16_t info;
    uint32_t rem_len;
    CheckPageHeader(wal, page, &info, &rem_len);
    EXPECT_EQ(page + HeaderSizeAt(page) + (rem_len + 7) / 8 * 8, a.start);
}

TEST_P(CheckpointWalTest, WithRealPrefix) {
    const Alignment& a = GetParam();
    uint64_t page = a.at - a.at % kWalPageSize;
    CheckpointWal empty =
        SynthesizeCheckpointWal(Lsn(a.at), kPrev, kSystemIdentifier, SampleCheckPoint(), {});
    std::string prefix = empty.segments[0].substr(page % kWalSegmentSize, a.at - page);
    for (size_t i = HeaderSizeAt(page); i < prefix.size(); i++) {
        prefix[i] = static_cast<char>('a' + i % 26);
    }
    CheckpointWal wal = SynthesizeCheckpointWal(Lsn(a.at), kPrev, kSystemIdentifier,
                                                SampleCheckPoint(), Bytes(prefix));
    CheckDecodes(wal, a);
    EXPECT_EQ(wal.segments[0].compare(page % kWalSegmentSize, prefix.size(), prefix), 0);
}

INSTANTIATE_TEST_SUITE_P(Alignments, CheckpointWalTest, testing::ValuesIn(kAlignments),
                         [](const auto& info) { return info.param.name; });

// SLOT_MAGIC, SLOT_VERSION and the layout that ReplicationSlotOnDisk has on x86-64.
TEST(SlotState, Layout) {
    std::string state = EncodePhysicalSlotState("zenith", Lsn(0x1234567890ull));
    ASSERT_EQ(state.size(), 200u);
    ByteReader in(Bytes(state));
    EXPECT_EQ(in.U32Le(), 0x1051CA1u);
    EXPECT_EQ(in.U32Le(), Crc32c(Bytes(state).subspan(8)));
    EXPECT_EQ(in.U32Le(), 2u);
    EXPECT_EQ(in.U32Le(), 184u);
    EXPECT_STREQ(state.data() + 16, "zenith");
    uint64_t restart_lsn;
    std::memcpy(&restart_lsn, state.data() + 16 + 80, 8);
    EXPECT_EQ(restart_lsn, 0x1234567890ull);
}

TEST(SlotState, RestartLsnAndInvalidation) {
    const std::string state = EncodePhysicalSlotState("zenith", Lsn(0x1234567890ull));
    ASSERT_TRUE(SlotRestartLsn(state).ok());
    EXPECT_EQ(*SlotRestartLsn(state), Lsn(0x1234567890ull));
    const std::string lost = InvalidatedSlotState(state);
    ASSERT_TRUE(SlotRestartLsn(lost).ok());
    EXPECT_EQ(*SlotRestartLsn(lost), Lsn(0));
    EXPECT_EQ(lost.substr(16, 80), state.substr(16, 80));
    EXPECT_EQ(lost.substr(104, 8), state.substr(96, 8)) << "invalidated_at";
    EXPECT_EQ(lost.substr(112), state.substr(112));
}

TEST(SlotState, DamagedStates) {
    const std::string state = EncodePhysicalSlotState("zenith", Lsn(0x1234567890ull));
    for (size_t size = 0; size < state.size(); size++) {
        EXPECT_EQ(SlotRestartLsn(state.substr(0, size)).status().code(), StatusCode::kCorruption);
    }
    for (size_t i = 0; i < state.size(); i++) {
        std::string damaged = state;
        damaged[i] ^= 0x10;
        EXPECT_FALSE(SlotRestartLsn(damaged).ok()) << i;
    }
    EXPECT_FALSE(SlotRestartLsn(state + "x").ok());
}

}  // namespace
}  // namespace zenith
