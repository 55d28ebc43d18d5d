#include "pageserver/wal_ingest/cluster_state.h"

#include <stdlib.h>

#include "common/base/posix_file.h"
#include "common/pgformat/control_file.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/wal_ingest/ingest_test_util.h"

namespace zenith {
namespace {

class ClusterStateTest : public testing::Test {
  protected:
    void Apply(const WalRecordSpec& spec) {
        placed_ = wal_.Append(spec);
        ASSERT_TRUE(DecodeRecord(placed_.start, placed_.end,
                                 std::as_bytes(std::span(placed_.bytes)), &record_)
                        .ok());
        const Status status = state_.Apply(record_);
        ASSERT_TRUE(status.ok()) << status.message();
    }
    // A record that carries `xid` and nothing else.
    void ApplyXid(uint32_t xid) { Apply(PlainRecord(Rmgr::kLogicalMsg, 0, "x", xid)); }

    WalBuilder wal_{Lsn(0x1000100), 1};
    WalBuilder::Placed placed_;
    DecodedRecord record_;
    ClusterState state_;
};

TEST_F(ClusterStateTest, SerializedFormComesBack) {
    ClusterState s;
    s.record_end = Lsn(0x123456789A);
    s.record_start = Lsn(0x1234567800);
    s.next_xid = 0x500000007;
    s.next_oid = 24576;
    s.next_multi = 5;
    s.next_multi_offset = 11;
    s.oldest_xid = 727;
    s.oldest_xid_db = 1;
    s.oldest_multi = 1;
    s.oldest_multi_db = 4;
    s.oldest_commit_ts_xid = 9;
    s.newest_commit_ts_xid = 10;
    s.full_page_writes = false;
    s.checkpoint_time = -5;
    s.newest_commit_time = 77;
    s.newest_time = 78;
    s.wal_level = 2;
    s.wal_log_hints = true;
    s.max_connections = 200;
    s.max_worker_processes = 9;
    s.max_wal_senders = 11;
    s.max_prepared_xacts = 7;
    s.max_locks_per_xact = 65;
    s.track_commit_timestamp = true;
    s.data_checksum_version = 1;
    s.unlogged_lsn = 1001;
    const std::string bytes = s.Serialize();
    Result<ClusterState> back = ClusterState::Parse(bytes);
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(bytes, back->Serialize());
    EXPECT_EQ(Lsn(0x123456789A), back->record_end);
    EXPECT_EQ(0x500000007u, back->next_xid);
    EXPECT_EQ(-5, back->checkpoint_time);
    EXPECT_EQ(77, back->newest_commit_time);
    EXPECT_EQ(78, back->newest_time);
    EXPECT_EQ(1001u, back->unlogged_lsn);
    EXPECT_TRUE(back->track_commit_timestamp);

    for (size_t cut = 0; cut < bytes.size(); cut++) {
        EXPECT_FALSE(ClusterState::Parse(bytes.substr(0, cut)).ok());
    }
    EXPECT_FALSE(ClusterState::Parse(bytes + "x").ok());
    std::string newer = bytes;
    newer[0]++;
    EXPECT_EQ(StatusCode::kCorruption, ClusterState::Parse(newer).status().code());
}

TEST_F(ClusterStateTest, NextXidGoesRoundTheEpoch) {
    state_.next_xid = 1000;
    ApplyXid(0);
    EXPECT_EQ(1000u, state_.next_xid);
    ApplyXid(999);
    EXPECT_EQ(1000u, state_.next_xid);
    ApplyXid(1000);
    EXPECT_EQ(1001u, state_.next_xid);
    EXPECT_EQ(placed_.start, state_.record_start);
    EXPECT_EQ(placed_.end, state_.record_end);

    // A cluster that began at two billion; an old transaction never moves it.
    state_.next_xid = 0x80000000;
    ApplyXid(0x80000005);
    EXPECT_EQ(0x80000006u, state_.next_xid);
    ApplyXid(0x10000000);
    EXPECT_EQ(0x80000006u, state_.next_xid);

    state_.next_xid = 0x1FFFFFFFE;
    ApplyXid(0xFFFFFFFE);
    EXPECT_EQ(0x1FFFFFFFFu, state_.next_xid);
    ApplyXid(0xFFFFFFFF);
    EXPECT_EQ(0x200000003u, state_.next_xid);  // the permanent ids are skipped
    ApplyXid(0xFFFFFFF0);
    EXPECT_EQ(0x200000003u, state_.next_xid);
    state_.next_xid = 0x2FFFFFFF0;
    ApplyXid(5);
    EXPECT_EQ(0x300000006u, state_.next_xid);
}

TEST_F(ClusterStateTest, NextXidFromEveryPlaceThatNamesOne) {
    state_.next_xid = 1000;
    Apply(XactSpec{.xid = 1001, .subxacts = {1005, 1004}}.Record());
    EXPECT_EQ(1006u, state_.next_xid);
    Apply(XactSpec{.info = kXactCommitPrepared, .prepared_xid = 1010}.Record());
    EXPECT_EQ(1011u, state_.next_xid);
    Apply(PlainRecord(Rmgr::kXact, kXactAssignment, Words({1012, 2, 1013, 1014})));
    EXPECT_EQ(1015u, state_.next_xid);
    Apply(PlainRecord(Rmgr::kMultixact, kMultixactCreateId, Words({1, 1, 2, 1020, 0, 1019, 0})));
    EXPECT_EQ(1021u, state_.next_xid);
    Apply(PlainRecord(Rmgr::kStandby, kStandbyRunningXacts, Words({0, 0, 0, 1030, 1025, 1029})));
    EXPECT_EQ(1030u, state_.next_xid);
}

CheckPointFields SomeCheckpoint() {
    CheckPointFields checkpoint;
    checkpoint.redo = Lsn(0x1000028);
    checkpoint.full_page_writes = false;
    checkpoint.next_xid = 0x100000500;
    checkpoint.next_oid = 30000;
    checkpoint.next_multi = 50;
    checkpoint.next_multi_offset = 60;
    checkpoint.oldest_xid = 800;
    checkpoint.oldest_xid_db = 5;
    checkpoint.oldest_multi = 20;
    checkpoint.oldest_multi_db = 6;
    checkpoint.time = 777;
    checkpoint.oldest_commit_ts_xid = 900;
    checkpoint.newest_commit_ts_xid = 950;
    return checkpoint;
}

TEST_F(ClusterStateTest, ShutdownCheckpointReplaces) {
    state_.next_xid = 0x100000900;
    state_.next_oid = 40000;
    state_.next_multi = 70;
    state_.oldest_xid = 1000;
    state_.oldest_commit_ts_xid = 0;
    Apply(PlainRecord(Rmgr::kXlog, kXlogCheckpointShutdown, EncodeCheckPoint(SomeCheckpoint())));
    EXPECT_EQ(0x100000500u, state_.next_xid);
    EXPECT_EQ(30000u, state_.next_oid);
    EXPECT_EQ(50u, state_.next_multi);
    EXPECT_EQ(60u, state_.next_multi_offset);
    EXPECT_EQ(800u, state_.oldest_xid);
    EXPECT_EQ(5u, state_.oldest_xid_db);
    EXPECT_EQ(20u, state_.oldest_multi);
    EXPECT_EQ(6u, state_.oldest_multi_db);
    EXPECT_EQ(777, state_.checkpoint_time);
    EXPECT_EQ(900u, state_.oldest_commit_ts_xid);
    EXPECT_EQ(950u, state_.newest_commit_ts_xid);
    EXPECT_FALSE(state_.full_page_writes);
}

TEST_F(ClusterStateTest, OnlineCheckpointOnlyRaises) {
    state_.next_xid = 0x100000900;
    state_.next_oid = 40000;
    state_.next_multi = 40;
    state_.next_multi_offset = 70;
    state_.oldest_xid = 1000;
    state_.oldest_xid_db = 1;
    state_.oldest_multi = 10;
    state_.oldest_commit_ts_xid = 850;
    state_.newest_commit_ts_xid = 990;
    Apply(PlainRecord(Rmgr::kXlog, kXlogCheckpointOnline, EncodeCheckPoint(SomeCheckpoint())));
    EXPECT_EQ(0x100000900u, state_.next_xid);
    EXPECT_EQ(40000u, state_.next_oid);
    EXPECT_EQ(50u, state_.next_multi);
    EXPECT_EQ(70u, state_.next_multi_offset);
    EXPECT_EQ(1000u, state_.oldest_xid);
    EXPECT_EQ(1u, state_.oldest_xid_db);
    EXPECT_EQ(20u, state_.oldest_multi);
    EXPECT_EQ(6u, state_.oldest_multi_db);
    EXPECT_EQ(900u, state_.oldest_commit_ts_xid);
    EXPECT_EQ(990u, state_.newest_commit_ts_xid);
    EXPECT_FALSE(state_.full_page_writes);
}

TEST_F(ClusterStateTest, OidsSettingsAndFullPageWrites) {
    Apply(PlainRecord(Rmgr::kXlog, kXlogNextOid, Words({24576})));
    EXPECT_EQ(24576u, state_.next_oid);
    Apply(PlainRecord(Rmgr::kXlog, kXlogNextOid, Words({16384})));  // the counter went round
    EXPECT_EQ(16384u, state_.next_oid);
    Apply(PlainRecord(Rmgr::kXlog, kXlogFpwChange, std::string(1, '\0')));
    EXPECT_FALSE(state_.full_page_writes);
    state_.next_xid = 1000;
    Apply(PlainRecord(Rmgr::kXlog, kXlogParameterChange,
                      Words({101, 9, 12, 3, 65, 2}) + std::string("\1\1\0\0", 4)));
    EXPECT_EQ(101, state_.max_connections);
    EXPECT_EQ(9, state_.max_worker_processes);
    EXPECT_EQ(12, state_.max_wal_senders);
    EXPECT_EQ(3, state_.max_prepared_xacts);
    EXPECT_EQ(65, state_.max_locks_per_xact);
    EXPECT_EQ(2, state_.wal_level);
    EXPECT_TRUE(state_.wal_log_hints);
    EXPECT_TRUE(state_.track_commit_timestamp);
    EXPECT_EQ(1000u, state_.oldest_commit_ts_xid);
    Apply(XactSpec{.xid = 1500, .subxacts = {1501, 1502}}.Record());
    EXPECT_EQ(1502u, state_.newest_commit_ts_xid);
    Apply(PlainRecord(Rmgr::kCommitTs, kCommitTsTruncate, Words({1, 1200})));
    EXPECT_EQ(1200u, state_.oldest_commit_ts_xid);
}

TEST_F(ClusterStateTest, MultixactCountersWrap) {
    state_.next_multi = 0xFFFFFFFF;
    state_.next_multi_offset = 0xFFFFFFFF;
    state_.next_xid = 1000;
    Apply(PlainRecord(Rmgr::kMultixact, kMultixactCreateId,
                      Words({0xFFFFFFFF, 0xFFFFFFFF, 2, 900, 0, 901, 0})));
    EXPECT_EQ(0u, state_.next_multi);  // as the server's own counter; it skips 0 when it counts on
    EXPECT_EQ(1u, state_.next_multi_offset);
}

TEST_F(ClusterStateTest, ShortRecordsAreCorruption) {
    struct Case {
        Rmgr rmgr;
        uint8_t info;
    };
    for (const Case& c :
         {Case{Rmgr::kXlog, kXlogCheckpointShutdown}, Case{Rmgr::kXlog, kXlogNextOid},
          Case{Rmgr::kXlog, kXlogParameterChange}, Case{Rmgr::kXact, kXactCommit},
          Case{Rmgr::kXact, kXactPrepare}, Case{Rmgr::kXact, kXactAssignment},
          Case{Rmgr::kMultixact, kMultixactCreateId}, Case{Rmgr::kMultixact, kMultixactTruncateId},
          Case{Rmgr::kClog, kClogTruncate}, Case{Rmgr::kStandby, kStandbyRunningXacts}}) {
        placed_ = wal_.Append(PlainRecord(c.rmgr, c.info, "xyz"));
        ASSERT_TRUE(DecodeRecord(placed_.start, placed_.end,
                                 std::as_bytes(std::span(placed_.bytes)), &record_)
                        .ok());
        const Status status = state_.Apply(record_);
        EXPECT_EQ(StatusCode::kCorruption, status.code());
        EXPECT_NE(std::string::npos, status.message().find(placed_.start.ToString()));
    }
}

class ClusterStateAtTest : public testing::Test {
  protected:
    void SetUp() override {
        char path[] = "/tmp/zenith_state_XXXXXX";
        ASSERT_NE(nullptr, mkdtemp(path));
        directory_ = path;
    }
    void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

    std::string directory_;
};

TEST_F(ClusterStateAtTest, EveryPositionOfATimeline) {
    // Begins shortly before a segment border and goes well past it.
    const Lsn start(2 * kWalSegmentSize - 20000);
    WalStorage storage(directory_, start, nullptr);
    FakeTimeline timeline;
    timeline.storage = &storage;
    timeline.start = start;
    ClusterState state;
    state.record_end = start;
    state.record_start = start - 128;
    state.next_xid = 1000;
    // What the snapshot's pg_control would say comes from a blob of the timeline's start.
    timeline.blobs[kClusterStateBlobKey] = state.Serialize();
    timeline.blob_lsns[kClusterStateBlobKey] = start;

    WalBuilder wal(start, 99, state.record_start);
    std::vector<WalBuilder::Placed> placed;
    for (uint32_t i = 0; i < 60; i++) {
        placed.push_back(
            wal.Append(PlainRecord(Rmgr::kLogicalMsg, 0, std::string(i * 37, 'x'), 1000 + i)));
    }
    ASSERT_TRUE(storage.Append(start, wal.bytes()).ok());
    timeline.record_end = wal.position();

    for (uint32_t i = 0; i < placed.size(); i++) {
        for (uint64_t behind : {0u, 1u, 7u}) {
            Result<ClusterState> at = ClusterStateAt(timeline, placed[i].end + behind, 99);
            ASSERT_TRUE(at.ok()) << at.status().message();
            EXPECT_EQ(placed[i].end, at->record_end);
            EXPECT_EQ(placed[i].start, at->record_start);
            EXPECT_EQ(1001u + i, at->next_xid);
        }
    }
    // Before the first record, and behind the last: what is there.
    EXPECT_EQ(start, ClusterStateAt(timeline, start + 8, 99)->record_end);
    Result<ClusterState> tip = ClusterStateAt(timeline, wal.position() + 1000000, 99);
    ASSERT_TRUE(tip.ok()) << tip.status().message();
    EXPECT_EQ(wal.position(), tip->record_end);

    // Damage in the ingested part is said, not passed over.
    const std::byte garbage[64] = {};
    ASSERT_TRUE(storage.Append(placed[30].start, garbage).ok());
    EXPECT_EQ(StatusCode::kCorruption,
              ClusterStateAt(timeline, placed[40].end, 99).status().code());
    EXPECT_TRUE(ClusterStateAt(timeline, placed[20].end, 99).ok());
}

TEST_F(ClusterStateAtTest, StartsFromTheSnapshotsControlFile) {
    const Lsn start(kWalSegmentSize + 0x100);
    WalStorage storage(directory_, start, nullptr);
    FakeTimeline timeline;
    timeline.storage = &storage;
    timeline.start = start;
    EXPECT_EQ(StatusCode::kNotFound, ClusterStateAt(timeline, start, 99).status().code());

    ControlFile control;
    control.system_identifier = 99;
    control.check_point = start - 120;
    control.check_point_copy.next_xid = 733;
    control.check_point_copy.next_oid = 13000;
    control.max_connections = 42;
    control.mock_authentication_nonce = std::string(32, 'n');
    timeline.blobs[std::string(kFileBlobPrefix) + "global/pg_control"] = EncodeControlFile(control);
    Result<ClusterState> state = ClusterStateAt(timeline, start, 99);
    ASSERT_TRUE(state.ok()) << state.status().message();
    EXPECT_EQ(start, state->record_end);
    EXPECT_EQ(start - 120, state->record_start);
    EXPECT_EQ(733u, state->next_xid);
    EXPECT_EQ(13000u, state->next_oid);
    EXPECT_EQ(42, state->max_connections);
    EXPECT_EQ(StatusCode::kNotFound, ClusterStateAt(timeline, start - 8, 99).status().code());
}

}  // namespace
}  // namespace zenith
