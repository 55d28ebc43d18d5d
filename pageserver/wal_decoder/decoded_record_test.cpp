#include "pageserver/wal_decoder/decoded_record.h"

#include <gtest/gtest.h>

#include <random>

#include "common/pgformat/record_types.h"
#include "pageserver/testing/wal_builder.h"
#include "pageserver/wal_decoder/multixact_record.h"
#include "pageserver/wal_decoder/xact_record.h"

namespace zenith {
namespace {

std::span<const std::byte> AsBytes(const std::string& s) { return std::as_bytes(std::span(s)); }

std::string Text(std::span<const std::byte> bytes) {
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

PageBuffer FilledPage() {
    PageBuffer page;
    for (size_t i = 0; i < page.size(); i++) {
        page[i] = static_cast<std::byte>(i * 7 + 1);
    }
    std::fill(page.begin() + 100, page.begin() + 8000, std::byte{0});
    return page;
}

TEST(DecodeRecord, AllParts) {
    const RelForkKey rel{{1663, 5, 16384}, Fork::kMain};
    const RelForkKey vm{{1663, 5, 16384}, Fork::kVm};
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kHeap;
    spec.info = 0x80;
    spec.xid = 77;
    spec.origin = 9;
    spec.toplevel_xid = 70;
    spec.main_data = std::string(300, 'm');
    WalBlockSpec block0{.id = 0, .rel = rel, .block = 11, .will_init = true, .data = "abc"};
    WalBlockSpec block2{.id = 2, .rel = vm, .block = 0, .same_rel = true, .image = FilledPage(),
                        .hole_offset = 100, .hole_length = 7900};
    WalBlockSpec block3{.id = 3, .rel = vm, .block = 1, .data = "xy", .image = FilledPage(),
                        .apply_image = false};
    spec.blocks = {block0, block2, block3};
    const std::string bytes = EncodeWalRecord(spec, Lsn(0x88));

    DecodedRecord record;
    // A second decode into the same object must not see the first.
    for (int i = 0; i < 2; i++) {
        ASSERT_TRUE(DecodeRecord(Lsn(0x100), Lsn(0x200), AsBytes(bytes), &record).ok());
    }
    EXPECT_EQ(Lsn(0x100), record.start);
    EXPECT_EQ(Lsn(0x200), record.end);
    EXPECT_EQ(bytes.size(), record.total_length);
    EXPECT_EQ(77u, record.xid);
    EXPECT_EQ(Lsn(0x88), record.prev);
    EXPECT_EQ(0x80, record.rmgr_info());
    EXPECT_EQ(Rmgr::kHeap, record.rmgr);
    EXPECT_EQ(9, record.origin);
    EXPECT_EQ(70u, record.toplevel_xid);
    EXPECT_EQ(spec.main_data, Text(record.main_data));
    EXPECT_EQ(3, record.max_block_id);
    EXPECT_TRUE(record.blocks[0].in_use);
    EXPECT_TRUE(record.blocks[0].will_init());
    EXPECT_EQ(rel, record.blocks[0].rel);
    EXPECT_EQ(11u, record.blocks[0].block);
    EXPECT_EQ("abc", Text(record.blocks[0].data));
    EXPECT_FALSE(record.blocks[1].in_use);
    EXPECT_EQ(vm, record.blocks[2].rel);
    EXPECT_TRUE(record.blocks[2].apply_image);
    EXPECT_EQ(vm, record.blocks[3].rel);
    EXPECT_FALSE(record.blocks[3].apply_image);
    EXPECT_EQ("xy", Text(record.blocks[3].data));

    PageBuffer page;
    ASSERT_TRUE(RestoreUncompressedImage(record, record.blocks[2], page).ok());
    PageBuffer expected = FilledPage();
    SetPageLsn(expected, Lsn(0x200));
    EXPECT_EQ(expected, page);
    ASSERT_TRUE(RestoreUncompressedImage(record, record.blocks[3], page).ok());
    EXPECT_EQ(expected, page);
    EXPECT_EQ(StatusCode::kInvalidArgument,
              RestoreUncompressedImage(record, record.blocks[0], page).code());
}

TEST(DecodeRecord, ZeroImageKeepsNoLsn) {
    WalRecordSpec spec;
    spec.info = kXlogFpi;
    spec.blocks = {{.rel = {{1663, 5, 1}, Fork::kMain}, .image = PageBuffer{}}};
    const std::string bytes = EncodeWalRecord(spec, Lsn(0x88));
    DecodedRecord record;
    ASSERT_TRUE(DecodeRecord(Lsn(0x100), Lsn(0x200), AsBytes(bytes), &record).ok());
    PageBuffer page = FilledPage();
    ASSERT_TRUE(RestoreUncompressedImage(record, record.blocks[0], page).ok());
    EXPECT_TRUE(PageIsAllZero(page));
}

TEST(DecodeRecord, LengthsMustAddUp) {
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kHeap;
    spec.blocks = {{.rel = {{1663, 5, 1}, Fork::kMain}, .data = "data"}};
    spec.main_data = "main";
    const std::string good = EncodeWalRecord(spec, Lsn(0x88));
    DecodedRecord record;
    ASSERT_TRUE(DecodeRecord(Lsn(8), Lsn(16), AsBytes(good), &record).ok());
    for (size_t cut = 0; cut < good.size(); cut++) {
        std::string bad = good.substr(0, cut);
        EXPECT_FALSE(DecodeRecord(Lsn(8), Lsn(16), AsBytes(bad), &record).ok()) << cut;
        if (cut >= 4) {
            const uint32_t length = static_cast<uint32_t>(cut);
            std::memcpy(bad.data(), &length, 4);
            const Status status = DecodeRecord(Lsn(8), Lsn(16), AsBytes(bad), &record);
            // Two cuts make another valid record: the bare header, and the one where what is left
            // after the block header has the length of the block's data.
            const size_t block_only = kWalRecordHeaderSize + 20 + 4;
            EXPECT_EQ(cut == kWalRecordHeaderSize || cut == block_only, status.ok()) << cut;
        }
    }
    // A fork that does not exist.
    std::string bad = good;
    bad[kWalRecordHeaderSize + 1] |= 0x07;
    EXPECT_EQ(StatusCode::kCorruption,
              DecodeRecord(Lsn(8), Lsn(16), AsBytes(bad), &record).code());
}

TEST(DecodeRecord, RandomChangesNeverCrash) {
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kHeap;
    spec.blocks = {{.id = 0, .rel = {{1663, 5, 1}, Fork::kMain}, .data = "data"},
                   {.id = 1, .rel = {{1663, 5, 1}, Fork::kMain}, .same_rel = true,
                    .image = FilledPage(), .hole_offset = 100, .hole_length = 7900}};
    spec.main_data = std::string(30, 'm');
    const std::string good = EncodeWalRecord(spec, Lsn(0x88));
    std::mt19937 random(3);
    DecodedRecord record;
    PageBuffer page;
    for (int round = 0; round < 50000; round++) {
        std::string bad = good;
        for (int i = 0; i < 3; i++) {
            bad[4 + random() % 100] = static_cast<char>(random());
        }
        if (DecodeRecord(Lsn(8), Lsn(16), AsBytes(bad), &record).ok()) {
            for (int i = 0; i <= record.max_block_id; i++) {
                RestoreUncompressedImage(record, record.blocks[i], page).Ignore("no crash");
            }
            if (IsXactEnd(record)) {
                ParseXactEnd(record).status().Ignore("no crash");
            }
            ParseXactPrepare(record).status().Ignore("no crash");
            ParseMultiXactCreate(record).status().Ignore("no crash");
        }
    }
}

TEST(XactRecord, CommitWithEverything) {
    ByteWriter body;
    body.U64Le(1000);  // xact_time
    body.U32Le(kXinfoHasDbInfo | kXinfoHasSubxacts | kXinfoHasRelFileNodes | kXinfoHasInvals |
               kXinfoHasTwoPhase | kXinfoHasOrigin | kXinfoHasGid | kXinfoHasDroppedStats);
    body.U32Le(5);
    body.U32Le(1663);
    body.U32Le(2);  // subxacts
    body.U32Le(101);
    body.U32Le(102);
    body.U32Le(1);  // relations
    body.U32Le(1663);
    body.U32Le(5);
    body.U32Le(16384);
    body.U32Le(1);  // dropped stats
    body.Zeros(kDroppedStatsItemSize);
    body.U32Le(2);  // invalidation messages
    body.Zeros(2 * kInvalidationMessageSize);
    body.U32Le(100);  // two-phase xid
    body.CString("gid");
    body.U64Le(0xABC);  // origin, unaligned
    body.U64Le(2000);
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kXact;
    spec.info = kXactCommitPrepared | kXactHasInfo;
    spec.xid = 0;
    spec.main_data = body.Take();
    const std::string bytes = EncodeWalRecord(spec, Lsn(0x88));
    DecodedRecord record;
    ASSERT_TRUE(DecodeRecord(Lsn(8), Lsn(16), AsBytes(bytes), &record).ok());
    ASSERT_TRUE(IsXactEnd(record));
    Result<XactEnd> end = ParseXactEnd(record);
    ASSERT_TRUE(end.ok());
    EXPECT_TRUE(end->committed);
    EXPECT_TRUE(end->prepared);
    EXPECT_EQ(100u, end->xid);
    ASSERT_EQ(2u, end->subxacts.size());
    EXPECT_EQ(102u, end->subxacts[1]);
    ASSERT_EQ(1u, end->dropped_relations.size());
    EXPECT_EQ((RelFileNode{1663, 5, 16384}), end->dropped_relations[0]);
    EXPECT_TRUE(end->has_origin);
    EXPECT_EQ(Lsn(0xABC), end->origin_lsn);
    EXPECT_EQ(2000, end->commit_time());

    spec.main_data.resize(spec.main_data.size() - 1);
    const std::string short_bytes = EncodeWalRecord(spec, Lsn(0x88));
    ASSERT_TRUE(DecodeRecord(Lsn(8), Lsn(16), AsBytes(short_bytes), &record).ok());
    EXPECT_EQ(StatusCode::kCorruption, ParseXactEnd(record).status().code());
}

TEST(XactRecord, PlainAbort) {
    ByteWriter body;
    body.U64Le(1000);
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kXact;
    spec.info = kXactAbort;
    spec.xid = 55;
    spec.main_data = body.Take();
    const std::string bytes = EncodeWalRecord(spec, Lsn(0x88));
    DecodedRecord record;
    ASSERT_TRUE(DecodeRecord(Lsn(8), Lsn(16), AsBytes(bytes), &record).ok());
    Result<XactEnd> end = ParseXactEnd(record);
    ASSERT_TRUE(end.ok());
    EXPECT_EQ(XidStatus::kAborted, end->status());
    EXPECT_EQ(55u, end->xid);
    EXPECT_EQ(0u, end->subxacts.size());
}

}  // namespace
}  // namespace zenith
