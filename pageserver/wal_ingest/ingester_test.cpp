#include "pageserver/wal_ingest/ingester.h"

#include "common/base/crc32c.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/wal_ingest/ingest_test_util.h"

namespace zenith {
namespace {

const RelFileNode kNode{1663, 5, 16384};
const RelForkKey kMainFork{kNode, Fork::kMain};
const RelForkKey kVmFork{kNode, Fork::kVm};
const RelForkKey kFsmFork{kNode, Fork::kFsm};

TEST_F(IngestTest, BlockReferences) {
    WalRecordSpec spec = PlainRecord(Rmgr::kBtree, 0x30, "x");
    spec.blocks = {{.id = 0, .rel = kMainFork, .block = 7, .data = "d"},
                   {.id = 1, .rel = kMainFork, .block = 9, .will_init = true},
                   {.id = 2, .rel = kMainFork, .block = 1, .image = PageBuffer{}},
                   {.id = 3, .rel = kMainFork, .block = 2, .image = PageBuffer{},
                    .apply_image = false}};
    EXPECT_EQ((Changes{"put 1663/5/16384 7 flags 0", "put 1663/5/16384 9 flags 1",
                       "put 1663/5/16384 1 flags 1", "put 1663/5/16384 2 flags 0"}),
              Ingest(spec));
    EXPECT_EQ(placed_.start, timeline_.record_start);
    EXPECT_EQ(placed_.end, timeline_.record_end);
}

TEST_F(IngestTest, BlocksThatRedoLeavesAlone) {
    WalRecordSpec hint = PlainRecord(Rmgr::kXlog, kXlogFpiForHint, "");
    hint.blocks = {{.id = 0, .rel = kMainFork, .block = 7},
                   {.id = 1, .rel = kMainFork, .block = 8, .image = PageBuffer{}}};
    EXPECT_EQ((Changes{"put 1663/5/16384 8 flags 1"}), Ingest(hint));

    for (uint8_t info : {kHashMovePageContents, kHashSqueezePage, kHashDelete}) {
        WalRecordSpec hash = PlainRecord(Rmgr::kHash, info, "x");
        hash.blocks = {{.id = 0, .rel = kMainFork, .block = 1},
                       {.id = 1, .rel = kMainFork, .block = 2, .data = "d"}};
        EXPECT_EQ((Changes{"put 1663/5/16384 2 flags 0"}), Ingest(hash));
    }
}

TEST_F(IngestTest, CustomResourceManagers) {
    WalRecordSpec custom = PlainRecord(static_cast<Rmgr>(130), 0, "x", 1234);
    EXPECT_EQ(Changes{}, Ingest(custom));
    EXPECT_EQ(1235u, state().next_xid);
    custom.blocks = {{.id = 0, .rel = kMainFork, .block = 1}};
    const Status status = TryIngest(custom);
    EXPECT_EQ(StatusCode::kRefused, status.code());
    EXPECT_NE(std::string::npos, status.message().find("resource manager 130"));
    EXPECT_NE(std::string::npos, status.message().find(placed_.start.ToString()));
    EXPECT_FALSE(status.hint().empty());
}

TEST_F(IngestTest, CommitTouchesEachStatusPageOnce) {
    XactSpec commit{.xid = 32766, .subxacts = {32767, 32768, 32769, 65536}};
    EXPECT_EQ((Changes{"put pg_xact 0 flags 2", "put pg_xact 1 flags 2", "put pg_xact 2 flags 2"}),
              Ingest(commit.Record()));
    EXPECT_EQ(65537u, state().next_xid);
    EXPECT_EQ(Changes{"put pg_xact 0 flags 2"},
              Ingest(XactSpec{.info = kXactAbort, .xid = 1001}.Record()));
}

TEST_F(IngestTest, RelationsDroppedAtCommitAndAbort) {
    XactSpec spec{.xid = 1000, .dropped = {kNode, {1664, 0, 1262}}};
    EXPECT_EQ((Changes{"put pg_xact 0 flags 2", "drop relation 1663/5/16384",
                       "drop relation 1664/0/1262"}),
              Ingest(spec.Record()));
    spec.info = kXactAbort;
    EXPECT_EQ(3u, Ingest(spec.Record()).size());
    spec.info = kXactCommitPrepared;
    spec.prepared_xid = 900;
    EXPECT_EQ((Changes{"put pg_xact 0 flags 2", "drop relation 1663/5/16384",
                       "drop relation 1664/0/1262", "drop blob twophase/00000384"}),
              Ingest(spec.Record()));
}

TEST_F(IngestTest, CommitTimestampsOnlyWhenTracked) {
    EXPECT_EQ(Changes{"put pg_xact 0 flags 2"}, Ingest(XactSpec{.xid = 1000}.Record()));
    // max_connections ... wal_level, wal_log_hints, track_commit_timestamp
    const std::string settings = Words({1, 2, 3, 4, 5, 1});
    const std::string on = settings + std::string("\0\1\0\0", 4);
    const std::string off = settings + std::string("\0\0\0\0", 4);
    EXPECT_EQ(Changes{"image pg_commit_ts 1"},
              Ingest(PlainRecord(Rmgr::kXlog, kXlogParameterChange, on)));
    EXPECT_TRUE(state().track_commit_timestamp);
    EXPECT_EQ(1001u, state().oldest_commit_ts_xid);
    EXPECT_EQ((Changes{"put pg_xact 0 flags 2", "put pg_commit_ts 1 flags 2",
                       "put pg_commit_ts 2 flags 2"}),
              Ingest(XactSpec{.xid = 1637, .subxacts = {1638}}.Record()));
    EXPECT_EQ(1638u, state().newest_commit_ts_xid);
    EXPECT_EQ(Changes{"put pg_xact 0 flags 2"},
              Ingest(XactSpec{.info = kXactAbort, .xid = 1640}.Record()));
    EXPECT_EQ((Changes{"drop pg_commit_ts 1", "drop pg_commit_ts 2"}),
              Ingest(PlainRecord(Rmgr::kXlog, kXlogParameterChange, off)));
    EXPECT_EQ(0u, state().oldest_commit_ts_xid);
}

TEST_F(IngestTest, TwoPhaseStateFile) {
    ByteWriter body;
    body.U32Le(kTwoPhaseMagic);
    body.U32Le(72 + 8 + 8 + 4);
    body.U32Le(1000);
    body.Zeros(16);
    body.U32Le(2);  // subtransactions
    body.Zeros(22);
    body.U16Le(4);  // length of the name
    body.U64Le(0);
    body.U64Le(0);
    body.Text(std::string("gid\0\0\0\0\0", 8));
    body.U32Le(1001);
    body.U32Le(1002);
    const std::string main_data = body.buffer();
    ASSERT_EQ(88u, main_data.size());
    EXPECT_EQ(Changes{"blob twophase/000003E8"},
              Ingest(PlainRecord(Rmgr::kXact, kXactPrepare, main_data, 1000)));
    const std::string file = timeline_.blobs["twophase/000003E8"];
    ASSERT_EQ(main_data.size() + 4, file.size());
    EXPECT_EQ(main_data, file.substr(0, main_data.size()));
    uint32_t crc;
    std::memcpy(&crc, file.data() + main_data.size(), 4);
    EXPECT_EQ(Crc32c(std::as_bytes(std::span(main_data))), crc);
    EXPECT_EQ(1003u, state().next_xid);

    EXPECT_EQ(StatusCode::kCorruption,
              TryIngest(PlainRecord(Rmgr::kXact, kXactPrepare, main_data + "x", 1000)).code());
    timeline_.TakeChanges();
    EXPECT_EQ((Changes{"put pg_xact 0 flags 2", "drop blob twophase/000003E8"}),
              Ingest(XactSpec{.info = kXactAbortPrepared, .xid = 0, .prepared_xid = 1000}
                         .Record()));
}

TEST_F(IngestTest, TransactionStatusPagesComeAndGo) {
    for (uint32_t page : {0u, 1u, 31u, 32u, 63u, 64u}) {
        EXPECT_EQ(Changes{"put pg_xact " + std::to_string(page) + " flags 3"},
                  Ingest(PlainRecord(Rmgr::kClog, kClogZeroPage, Words({page}))));
    }
    // Page 40 is needed: segment 0 (pages 0 to 31) goes, segment 1 stays whole.
    EXPECT_EQ((Changes{"drop pg_xact 0", "drop pg_xact 1", "drop pg_xact 31"}),
              Ingest(PlainRecord(Rmgr::kClog, kClogTruncate, Words({40, 40 * 32768, 5}))));
    EXPECT_EQ(40u * 32768, state().oldest_xid);
    EXPECT_EQ(5u, state().oldest_xid_db);
    // A cutoff behind the newest page is wraparound: nothing happens.
    EXPECT_EQ(Changes{},
              Ingest(PlainRecord(Rmgr::kClog, kClogTruncate, Words({100, 100 * 32768, 5}))));
}

TEST_F(IngestTest, TransactionStatusTruncationRoundTheWrap) {
    const uint32_t last = (1u << 17) - 1;  // the page before 2^32
    for (uint32_t page : {last - 40, last - 31, last, 0u, 1u}) {
        Ingest(PlainRecord(Rmgr::kClog, kClogZeroPage, Words({page})));
    }
    EXPECT_EQ((Changes{"drop pg_xact " + std::to_string(last - 40)}),
              Ingest(PlainRecord(Rmgr::kClog, kClogTruncate, Words({last, last * 32768, 5}))));
    EXPECT_EQ((Changes{"drop pg_xact " + std::to_string(last - 31),
                       "drop pg_xact " + std::to_string(last)}),
              Ingest(PlainRecord(Rmgr::kClog, kClogTruncate, Words({1, 32768, 5}))));
}

TEST_F(IngestTest, CommitTimestampPages) {
    for (uint32_t page : {0u, 32u}) {
        EXPECT_EQ(Changes{"put pg_commit_ts " + std::to_string(page) + " flags 3"},
                  Ingest(PlainRecord(Rmgr::kCommitTs, kCommitTsZeroPage, Words({page}))));
    }
    EXPECT_EQ(Changes{"drop pg_commit_ts 0"},
              Ingest(PlainRecord(Rmgr::kCommitTs, kCommitTsTruncate, Words({33, 33 * 819}))));
}

std::string MultiBody(uint32_t multi, uint32_t offset, uint32_t members) {
    std::string body = Words({multi, offset, members});
    for (uint32_t i = 0; i < members; i++) {
        body += Words({900 + i, i % 6});
    }
    return body;
}

TEST_F(IngestTest, MultixactWritesTheNextOffsetToo) {
    EXPECT_EQ((Changes{"put pg_multixact/offsets 0 flags 2", "put pg_multixact/members 0 flags 2"}),
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactCreateId, MultiBody(1, 1, 2))));
    EXPECT_EQ(2u, state().next_multi);
    EXPECT_EQ(3u, state().next_multi_offset);

    // A current server zeroes the next page before the last multixact of a page.
    EXPECT_EQ((Changes{"put pg_multixact/offsets 1 flags 3"}),
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactZeroOffPage, Words({1}))));
    EXPECT_EQ((Changes{"put pg_multixact/offsets 0 flags 2", "put pg_multixact/offsets 1 flags 2",
                       "put pg_multixact/members 1 flags 2"}),
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactCreateId, MultiBody(2047, 1700, 2))));
}

// "MultiXact %u has invalid next offset": WAL of an older minor version.
TEST_F(IngestTest, MultixactOfAnOlderServerInitializesTheNextPage) {
    EXPECT_EQ((Changes{"put pg_multixact/offsets 1 flags 3"}),
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactZeroOffPage, Words({1}))));
    EXPECT_EQ((Changes{"put pg_multixact/offsets 1 flags 2", "put pg_multixact/offsets 2 flags 3",
                       "put pg_multixact/members 1 flags 2"}),
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactCreateId, MultiBody(4095, 1700, 2))));
    // Its own ZERO_OFF_PAGE comes late and must not wipe the offset: ignored, but only once.
    EXPECT_EQ(Changes{},
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactZeroOffPage, Words({2}))));
    EXPECT_EQ((Changes{"put pg_multixact/offsets 2 flags 3"}),
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactZeroOffPage, Words({2}))));
}

TEST_F(IngestTest, MultixactAfterARestartLooksWhetherThePageExists) {
    Ingest(PlainRecord(Rmgr::kMultixact, kMultixactZeroOffPage, Words({1})));
    Restart();
    EXPECT_EQ((Changes{"put pg_multixact/offsets 0 flags 2", "put pg_multixact/offsets 1 flags 2",
                       "put pg_multixact/members 0 flags 2"}),
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactCreateId, MultiBody(2047, 5, 2))));
}

TEST_F(IngestTest, MultixactMembersOverPagesAndTheWrap) {
    const std::string last = std::to_string(MultiMembersPage(0xFFFFFFFF));
    EXPECT_EQ((Changes{"put pg_multixact/offsets 0 flags 2",
                       "put pg_multixact/members " + last + " flags 2",
                       "put pg_multixact/members 0 flags 2"}),
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactCreateId,
                                 MultiBody(9, 0xFFFFFFFE, 4))));
    EXPECT_EQ((Changes{"put pg_multixact/offsets 0 flags 2", "put pg_multixact/members 0 flags 2",
                       "put pg_multixact/members 1 flags 2", "put pg_multixact/members 2 flags 2"}),
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactCreateId, MultiBody(10, 1, 3300))));
}

TEST_F(IngestTest, MultixactTruncation) {
    for (uint32_t page : {0u, 31u, 32u, 64u}) {
        Ingest(PlainRecord(Rmgr::kMultixact, kMultixactZeroOffPage, Words({page})));
        Ingest(PlainRecord(Rmgr::kMultixact, kMultixactZeroMemPage, Words({page})));
    }
    // Members of segments 0 and 1 (pages 0 to 63), offsets of segment 0.
    EXPECT_EQ((Changes{"drop pg_multixact/members 0", "drop pg_multixact/members 31",
                       "drop pg_multixact/members 32", "drop pg_multixact/offsets 0",
                       "drop pg_multixact/offsets 31"}),
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactTruncateId,
                                 Words({5, 1, 33 * 2048, 1, 65 * 1636}))));
    EXPECT_EQ(33u * 2048, state().oldest_multi);
    EXPECT_EQ(5u, state().oldest_multi_db);
}

TEST_F(IngestTest, MultixactMembersTruncationRoundTheWrap) {
    const uint32_t last = MultiMembersPage(0xFFFFFFFF);
    for (uint32_t page : {last - 100, last, 0u, 40u}) {
        Ingest(PlainRecord(Rmgr::kMultixact, kMultixactZeroMemPage, Words({page})));
    }
    EXPECT_EQ((Changes{"drop pg_multixact/members 0",
                       "drop pg_multixact/members " + std::to_string(last)}),
              Ingest(PlainRecord(Rmgr::kMultixact, kMultixactTruncateId,
                                 Words({5, 1, 2, 0xFFFFFFFF, 33 * 1636}))));
}

TEST_F(IngestTest, SlruHistoryIsCutByImages) {
    size_t images = 0;
    for (uint32_t i = 0; i < 3 * 512; i++) {
        for (const std::string& change : Ingest(XactSpec{.xid = 1000 + i}.Record())) {
            images += change == "image pg_xact 0";
        }
        EXPECT_LE(timeline_.pages[PageKey::Slru(SlruKind::kXact, 0)].records.size(), 511u);
    }
    EXPECT_EQ(3u, images);
    const PageBuffer& page = *timeline_.pages[PageKey::Slru(SlruKind::kXact, 0)].base;
    EXPECT_EQ(std::byte{0}, page[249]);
    for (size_t byte = 250; byte < 250 + 3 * 128; byte++) {
        EXPECT_EQ(std::byte{0x55}, page[byte]);  // four committed transactions
    }
}

TEST_F(IngestTest, SlruImageGoesOnFromTheIndex) {
    // The tip is not in memory: its base comes from the timeline.
    PageBuffer base{};
    base[0] = std::byte{0x55};
    timeline_.pages[PageKey::Slru(SlruKind::kXact, 0)].base = base;
    for (uint32_t i = 0; i < 512; i++) {
        Ingest(XactSpec{.xid = 1000 + i}.Record());
    }
    EXPECT_EQ(std::byte{0x55}, (*timeline_.pages[PageKey::Slru(SlruKind::kXact, 0)].base)[0]);
}

TEST_F(IngestTest, FileCreation) {
    EXPECT_EQ(Changes{"create 1663/5/16384_init"},
              Ingest(PlainRecord(Rmgr::kSmgr, kSmgrCreate, Words({1663, 5, 16384, 3}))));
    EXPECT_EQ(StatusCode::kCorruption,
              TryIngest(PlainRecord(Rmgr::kSmgr, kSmgrCreate, Words({1663, 5, 16384, 4}))).code());
}

TEST_F(IngestTest, RecordThatFailsHalfWayIsAbandoned) {
    Ingest(PlainRecord(Rmgr::kSmgr, kSmgrCreate, Words({1663, 5, 16384, 0})));
    const Lsn good = timeline_.last_record_end();
    EXPECT_EQ(good, state().record_end);
    // The second of the two tablespaces is missing.
    EXPECT_EQ(StatusCode::kCorruption,
              TryIngest(PlainRecord(Rmgr::kDbase, kDbaseDrop, Words({20, 2, 1663}))).code());
    EXPECT_EQ(good, timeline_.last_record_end());
    EXPECT_EQ(good, state().record_end);
    EXPECT_EQ("abandon", timeline_.TakeChanges().back());
}

TEST_F(IngestTest, TruncationCutsTheMaps) {
    const uint32_t per_page = kHeapBlocksPerVmPage;
    timeline_.relations[kMainFork] = 3 * per_page;
    timeline_.relations[kVmFork] = 3;
    timeline_.relations[kFsmFork] = 3 + 3 * per_page / kFsmSlotsPerPage;
    auto truncate = [](uint32_t blocks, uint32_t flags) {
        return PlainRecord(Rmgr::kSmgr, kSmgrTruncate, Words({blocks, 1663, 5, 16384, flags}));
    };
    // In the middle of a map page: it stays, its tail is cleared.
    EXPECT_EQ((Changes{"create 1663/5/16384",
                       "truncate 1663/5/16384 " + std::to_string(per_page + 9),
                       "truncate 1663/5/16384_fsm 11", "put 1663/5/16384_fsm 10 flags 2",
                       "truncate 1663/5/16384_vm 2", "put 1663/5/16384_vm 1 flags 2"}),
              Ingest(truncate(per_page + 9, 7)));
    // At a map page's border: the page goes.
    EXPECT_EQ((Changes{"create 1663/5/16384", "truncate 1663/5/16384 " + std::to_string(per_page),
                       "truncate 1663/5/16384_vm 1"}),
              Ingest(truncate(per_page, 1 | 2)));
    // The maps end before the cut: nothing to do.
    EXPECT_EQ((Changes{"create 1663/5/16384"}), Ingest(truncate(2 * per_page, 2 | 4)));
    // To nothing.
    EXPECT_EQ((Changes{"create 1663/5/16384", "truncate 1663/5/16384 0",
                       "truncate 1663/5/16384_fsm 2", "truncate 1663/5/16384_vm 0"}),
              Ingest(truncate(0, 7)));
    // Maps that do not exist.
    timeline_.relations.erase(kVmFork);
    timeline_.relations.erase(kFsmFork);
    EXPECT_EQ((Changes{"create 1663/5/16384", "truncate 1663/5/16384 0"}), Ingest(truncate(0, 7)));
}

WalRecordSpec HeapRecord(Rmgr rmgr, uint8_t info, size_t flags_offset, uint8_t flags,
                         std::vector<BlockNumber> blocks) {
    std::string body(12, '\0');
    body[flags_offset] = static_cast<char>(flags);
    WalRecordSpec spec = PlainRecord(rmgr, info, body);
    for (size_t i = 0; i < blocks.size(); i++) {
        spec.blocks.push_back({.id = static_cast<int>(i), .rel = kMainFork, .block = blocks[i]});
    }
    return spec;
}

TEST_F(IngestTest, ImplicitVisibilityMapClears) {
    struct Case {
        Rmgr rmgr;
        uint8_t info;
        size_t offset;
        uint8_t flags;
        bool clears;
    };
    const Case cases[] = {
        {Rmgr::kHeap, kHeapInsert, 2, 1, true},
        {Rmgr::kHeap, kHeapInsert | 0x80, 2, 1, true},
        {Rmgr::kHeap, kHeapInsert, 2, 0xFE, false},
        {Rmgr::kHeap, kHeapDelete, 7, 1, true},
        {Rmgr::kHeap, kHeapDelete, 7, 0, false},
        {Rmgr::kHeap, kHeapHotUpdate, 7, 1, true},
        {Rmgr::kHeap, kHeapUpdate, 7, 2, true},
        {Rmgr::kHeap, kHeapUpdate, 7, 3, true},
        {Rmgr::kHeap, kHeapUpdate, 7, 0xFC, false},
        {Rmgr::kHeap, kHeapLock, 7, 1, true},
        {Rmgr::kHeap, kHeapInplace, 7, 0xFF, false},
        {Rmgr::kHeap, kHeapConfirm, 2, 0xFF, false},
        {Rmgr::kHeap2, kHeap2MultiInsert, 0, 1, true},
        {Rmgr::kHeap2, kHeap2MultiInsert, 0, 0x20, false},
        {Rmgr::kHeap2, kHeap2LockUpdated, 7, 1, true},
        {Rmgr::kHeap2, kHeap2Visible, 4, 1, false},
    };
    timeline_.relations[kVmFork] = 1;
    for (const Case& c : cases) {
        const Changes changes = Ingest(HeapRecord(c.rmgr, c.info, c.offset, c.flags, {100}));
        Changes expected{"put 1663/5/16384 100 flags 0"};
        if (c.clears) {
            expected.push_back("put 1663/5/16384_vm 0 flags 0");
        }
        EXPECT_EQ(expected, changes) << static_cast<int>(c.rmgr) << " " << static_cast<int>(c.info);
    }
}

TEST_F(IngestTest, UpdateOverTwoMapPages) {
    const BlockNumber per_page = kHeapBlocksPerVmPage;
    timeline_.relations[kVmFork] = 2;
    // Block 0 is the new page, block 1 the old one.
    EXPECT_EQ((Changes{"put 1663/5/16384 32672 flags 0", "put 1663/5/16384 5 flags 0",
                       "put 1663/5/16384_vm 1 flags 0", "put 1663/5/16384_vm 0 flags 0"}),
              Ingest(HeapRecord(Rmgr::kHeap, kHeapUpdate, 7, 3, {per_page, 5})));
    // Only the old one's bit.
    EXPECT_EQ((Changes{"put 1663/5/16384 32672 flags 0", "put 1663/5/16384 5 flags 0",
                       "put 1663/5/16384_vm 0 flags 0"}),
              Ingest(HeapRecord(Rmgr::kHeap, kHeapUpdate, 7, 1, {per_page, 5})));
    // Both on one map page: one reference.
    EXPECT_EQ((Changes{"put 1663/5/16384 4 flags 0", "put 1663/5/16384 5 flags 0",
                       "put 1663/5/16384_vm 0 flags 0"}),
              Ingest(HeapRecord(Rmgr::kHeap, kHeapUpdate, 7, 3, {4, 5})));
    // A map that is too short, and none.
    EXPECT_EQ((Changes{"put 1663/5/16384 65344 flags 0"}),
              Ingest(HeapRecord(Rmgr::kHeap, kHeapInsert, 2, 1, {2 * per_page})));
    timeline_.relations.erase(kVmFork);
    EXPECT_EQ((Changes{"put 1663/5/16384 5 flags 0"}),
              Ingest(HeapRecord(Rmgr::kHeap, kHeapInsert, 2, 1, {5})));
    EXPECT_EQ(StatusCode::kCorruption,
              TryIngest(PlainRecord(Rmgr::kHeap, kHeapDelete, "1234567")).code());
}

TEST_F(IngestTest, DatabasesAndTablespaces) {
    EXPECT_EQ(Changes{"create database 1663/20"},
              Ingest(PlainRecord(Rmgr::kDbase, kDbaseCreateWalLog, Words({20, 1663}))));
    EXPECT_EQ(Changes{"clone database 16390/21 from 1663/20"},
              Ingest(PlainRecord(Rmgr::kDbase, kDbaseCreateFileCopy,
                                 Words({21, 16390, 20, 1663}))));
    EXPECT_EQ((Changes{"drop database 1663/20", "drop database 16390/20"}),
              Ingest(PlainRecord(Rmgr::kDbase, kDbaseDrop, Words({20, 2, 1663, 16390}))));
    EXPECT_EQ(StatusCode::kCorruption,
              TryIngest(PlainRecord(Rmgr::kDbase, kDbaseDrop, Words({20, 3, 1663}))).code());
    timeline_.TakeChanges();

    EXPECT_EQ(Changes{"blob tablespace/16390"},
              Ingest(PlainRecord(Rmgr::kTblspc, kTblspcCreate,
                                 Words({16390}) + std::string("/srv/space\0", 11))));
    EXPECT_EQ("/srv/space", timeline_.blobs["tablespace/16390"]);
    Ingest(PlainRecord(Rmgr::kTblspc, kTblspcCreate, Words({16391}) + std::string(1, '\0')));
    EXPECT_EQ("", timeline_.blobs["tablespace/16391"]);
    EXPECT_EQ(Changes{"drop blob tablespace/16390"},
              Ingest(PlainRecord(Rmgr::kTblspc, kTblspcDrop, Words({16390}))));
}

TEST_F(IngestTest, RelationMap) {
    std::string map(512, '\7');
    EXPECT_EQ(Changes{"blob relmap/1664/0"},
              Ingest(PlainRecord(Rmgr::kRelmap, kRelmapUpdate, Words({0, 1664, 512}) + map)));
    const std::string& file = timeline_.blobs["relmap/1664/0"];
    ASSERT_EQ(512u, file.size());
    uint32_t word;
    std::memcpy(&word, file.data(), 4);
    EXPECT_EQ(kRelmapFileMagic, word);
    EXPECT_EQ(map.substr(4, 500), file.substr(4, 500));
    std::memcpy(&word, file.data() + 504, 4);
    EXPECT_EQ(Crc32c(std::as_bytes(std::span(file.data(), 504))), word);
    EXPECT_EQ(StatusCode::kCorruption,
              TryIngest(PlainRecord(Rmgr::kRelmap, kRelmapUpdate, Words({0, 1664, 511}) + map))
                  .code());
}

uint64_t OriginPosition(FakeTimeline& timeline, const std::string& node) {
    uint64_t lsn = 0;
    EXPECT_EQ(8u, timeline.blobs["replorigin/" + node].size());
    std::memcpy(&lsn, timeline.blobs["replorigin/" + node].data(), 8);
    return lsn;
}

TEST_F(IngestTest, ReplicationOrigins) {
    XactSpec commit{.xid = 1000, .origin_lsn = 0x500, .origin = 3};
    EXPECT_EQ((Changes{"put pg_xact 0 flags 2", "blob replorigin/3"}), Ingest(commit.Record()));
    EXPECT_EQ(0x500u, OriginPosition(timeline_, "3"));
    commit.origin_lsn = 0x400;  // never goes back by a commit
    EXPECT_EQ(Changes{"put pg_xact 0 flags 2"}, Ingest(commit.Record()));
    commit.origin = 0xFFFF;  // "do not replicate"
    EXPECT_EQ(Changes{"put pg_xact 0 flags 2"}, Ingest(commit.Record()));

    auto set = [](uint64_t lsn, uint16_t node, bool force) {
        ByteWriter body;
        body.U64Le(lsn);
        body.U16Le(node);
        body.U8(force);
        body.Zeros(5);
        return PlainRecord(Rmgr::kReplorigin, kReploriginSet, body.Take());
    };
    Ingest(set(0x300, 3, true));
    EXPECT_EQ(0x300u, OriginPosition(timeline_, "3"));
    // A new ingester knows the position from the timeline.
    Restart();
    EXPECT_EQ(Changes{}, Ingest(set(0x200, 3, false)));
    EXPECT_EQ(Changes{"drop blob replorigin/3"},
              Ingest(PlainRecord(Rmgr::kReplorigin, kReploriginDrop, std::string("\3\0", 2))));
    EXPECT_EQ(Changes{},
              Ingest(PlainRecord(Rmgr::kReplorigin, kReploriginDrop, std::string("\3\0", 2))));
}

TEST_F(IngestTest, RecordsWithoutAnyEffect) {
    EXPECT_EQ(Changes{}, Ingest(PlainRecord(Rmgr::kLogicalMsg, 0, "message")));
    EXPECT_EQ(Changes{}, Ingest(PlainRecord(Rmgr::kStandby, 0, "locks")));
    EXPECT_EQ(Changes{}, Ingest(PlainRecord(Rmgr::kXlog, kXlogNoop, "")));
    EXPECT_EQ(Changes{}, Ingest(PlainRecord(Rmgr::kHeap, kHeapTruncate, "relids")));
    EXPECT_EQ(Changes{}, Ingest(PlainRecord(Rmgr::kXact, kXactInvalidations, "msgs")));
}

TEST_F(IngestTest, SavesItsStateEvery64Kilobytes) {
    Ingest(PlainRecord(Rmgr::kLogicalMsg, 0, "x", 1000));
    EXPECT_EQ(placed_.end, timeline_.blob_lsns["cluster_state"]);
    const Lsn first = placed_.end;
    while (wal_.position() - first < 200 * 1024) {
        const Lsn before = timeline_.blob_lsns["cluster_state"];
        Ingest(PlainRecord(Rmgr::kLogicalMsg, 0, std::string(5000, 'x'), state().next_xid));
        const Lsn after = timeline_.blob_lsns["cluster_state"];
        EXPECT_LT(placed_.end - after, 64u * 1024);
        EXPECT_TRUE(after == before || after - before >= 64 * 1024);
    }
    Result<ClusterState> saved = ClusterState::Parse(timeline_.blobs["cluster_state"]);
    ASSERT_TRUE(saved.ok());
    EXPECT_EQ(timeline_.blob_lsns["cluster_state"], saved->record_end);
}

}  // namespace
}  // namespace zenith
