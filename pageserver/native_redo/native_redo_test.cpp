#include "pageserver/native_redo/native_redo.h"

#include <gtest/gtest.h>

#include "common/base/byte_writer.h"
#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/native_redo/page_bytes.h"
#include "pageserver/testing/wal_builder.h"

namespace zenith {
namespace {

// Keeps the bytes a DecodedRecord points into.
struct Built {
    std::string bytes;
    DecodedRecord record;
};

std::unique_ptr<Built> Build(Rmgr rmgr, uint8_t info, uint32_t xid, std::string main_data,
                             uint16_t origin = 0) {
    WalRecordSpec spec;
    spec.rmgr = rmgr;
    spec.info = info;
    spec.xid = xid;
    spec.main_data = std::move(main_data);
    spec.origin = origin;
    auto built = std::make_unique<Built>();
    built->bytes = EncodeWalRecord(spec, Lsn(0x88));
    EXPECT_TRUE(DecodeRecord(Lsn(0x100), Lsn(0x200),
                             std::as_bytes(std::span(built->bytes)), &built->record)
                    .ok());
    return built;
}

std::unique_ptr<Built> XactRecord(uint8_t info, uint32_t xid, std::vector<uint32_t> subxacts,
                                  int64_t time = 0, uint16_t origin = 0) {
    ByteWriter body;
    body.U64Le(static_cast<uint64_t>(time));
    if (!subxacts.empty()) {
        info |= kXactHasInfo;
        body.U32Le(kXinfoHasSubxacts);
        body.U32Le(static_cast<uint32_t>(subxacts.size()));
        for (uint32_t subxact : subxacts) {
            body.U32Le(subxact);
        }
    }
    return Build(Rmgr::kXact, info, xid, body.Take(), origin);
}

std::string Page4(BlockNumber page) {
    ByteWriter body;
    body.U32Le(page);
    return body.Take();
}

int StatusOf(const PageBuffer& page, uint32_t xid) {
    return (LoadAt<uint8_t>(page, xid % kXidsPerClogPage / 4) >> (xid % 4 * 2)) & 3;
}

TEST(ClogRedo, CommitAndAbortOnTheirPages) {
    PageBuffer first{};
    PageBuffer second{};
    const uint32_t border = kXidsPerClogPage;
    auto commit = XactRecord(kXactCommit, border - 2, {border - 1, border, border + 5});
    ASSERT_TRUE(ApplyNative(commit->record, PageKey::Slru(SlruKind::kXact, 0), first).ok());
    ASSERT_TRUE(ApplyNative(commit->record, PageKey::Slru(SlruKind::kXact, 1), second).ok());
    EXPECT_EQ(0, StatusOf(first, border - 3));
    EXPECT_EQ(1, StatusOf(first, border - 2));
    EXPECT_EQ(1, StatusOf(first, border - 1));
    EXPECT_EQ(1, StatusOf(second, border));
    EXPECT_EQ(0, StatusOf(second, border + 1));
    EXPECT_EQ(1, StatusOf(second, border + 5));
    // Replacing a status keeps the neighbours'.
    auto abort = XactRecord(kXactAbort, border - 1, {});
    ASSERT_TRUE(ApplyNative(abort->record, PageKey::Slru(SlruKind::kXact, 0), first).ok());
    EXPECT_EQ(1, StatusOf(first, border - 2));
    EXPECT_EQ(2, StatusOf(first, border - 1));
    // A page it does not touch, and the wrong area.
    EXPECT_EQ(StatusCode::kCorruption,
              ApplyNative(commit->record, PageKey::Slru(SlruKind::kXact, 2), first).code());
    EXPECT_EQ(StatusCode::kCorruption,
              ApplyNative(commit->record, PageKey::Slru(SlruKind::kMultiMembers, 0), first).code());
}

TEST(ClogRedo, PreparedTransactionsUseTheirOwnXid) {
    ByteWriter body;
    body.U64Le(0);
    body.U32Le(kXinfoHasTwoPhase);
    body.U32Le(700);
    auto record = Build(Rmgr::kXact, kXactAbortPrepared | kXactHasInfo, 900, body.Take());
    PageBuffer page{};
    ASSERT_TRUE(ApplyNative(record->record, PageKey::Slru(SlruKind::kXact, 0), page).ok());
    EXPECT_EQ(2, StatusOf(page, 700));
    EXPECT_EQ(0, StatusOf(page, 900));
}

TEST(SlruRedo, ZeroPageOfEveryArea) {
    struct Case {
        Rmgr rmgr;
        uint8_t info;
        SlruKind kind;
    };
    for (const Case& c : {Case{Rmgr::kClog, kClogZeroPage, SlruKind::kXact},
                          Case{Rmgr::kCommitTs, kCommitTsZeroPage, SlruKind::kCommitTs},
                          Case{Rmgr::kMultixact, kMultixactZeroOffPage, SlruKind::kMultiOffsets},
                          Case{Rmgr::kMultixact, kMultixactZeroMemPage, SlruKind::kMultiMembers}}) {
        auto record = Build(c.rmgr, c.info, 0, Page4(7));
        PageBuffer page;
        page.fill(std::byte{0xFF});
        EXPECT_FALSE(ApplyNative(record->record, PageKey::Slru(c.kind, 8), page).ok());
        ASSERT_TRUE(ApplyNative(record->record, PageKey::Slru(c.kind, 7), page).ok());
        EXPECT_TRUE(PageIsAllZero(page));
    }
}

TEST(CommitTsRedo, TimeAndOrigin) {
    PageBuffer page{};
    const uint32_t xid = 819 * 3 + 5;
    auto commit = XactRecord(kXactCommit, xid, {xid + 1, xid + 819}, 0x1122334455667788, 0xABCD);
    const PageKey key = PageKey::Slru(SlruKind::kCommitTs, 3);
    ASSERT_TRUE(ApplyNative(commit->record, key, page).ok());
    for (size_t entry : {5u, 6u}) {
        EXPECT_EQ(0x1122334455667788, LoadAt<int64_t>(page, entry * 10));
        EXPECT_EQ(0xABCD, LoadAt<uint16_t>(page, entry * 10 + 8));
    }
    EXPECT_EQ(0, LoadAt<int64_t>(page, 70));
    PageBuffer next{};
    ASSERT_TRUE(
        ApplyNative(commit->record, PageKey::Slru(SlruKind::kCommitTs, 4), next).ok());
    EXPECT_EQ(0x1122334455667788, LoadAt<int64_t>(next, 50));
    auto abort = XactRecord(kXactAbort, xid, {});
    EXPECT_FALSE(ApplyNative(abort->record, key, page).ok());
}

std::unique_ptr<Built> MultiRecord(uint32_t multi, uint32_t offset,
                                   std::vector<std::pair<uint32_t, uint32_t>> members) {
    ByteWriter body;
    body.U32Le(multi);
    body.U32Le(offset);
    body.U32Le(static_cast<uint32_t>(members.size()));
    for (auto [xid, status] : members) {
        body.U32Le(xid);
        body.U32Le(status);
    }
    return Build(Rmgr::kMultixact, kMultixactCreateId, 0, body.Take());
}

TEST(MultixactRedo, SetsItsOwnAndTheNextOffset) {
    PageBuffer page{};
    auto record = MultiRecord(10, 100, {{1000, 0}, {1001, 5}, {1002, 3}});
    ASSERT_TRUE(ApplyNative(record->record, PageKey::Slru(SlruKind::kMultiOffsets, 0), page).ok());
    EXPECT_EQ(100u, LoadAt<uint32_t>(page, 40));
    EXPECT_EQ(103u, LoadAt<uint32_t>(page, 44));

    // The last multixact of a page: the next offset is the first entry of the next page.
    auto last = MultiRecord(2047, 500, {{1000, 0}});
    PageBuffer second{};
    ASSERT_TRUE(ApplyNative(last->record, PageKey::Slru(SlruKind::kMultiOffsets, 0), page).ok());
    ASSERT_TRUE(ApplyNative(last->record, PageKey::Slru(SlruKind::kMultiOffsets, 1), second).ok());
    EXPECT_EQ(500u, LoadAt<uint32_t>(page, 2047 * 4));
    EXPECT_EQ(501u, LoadAt<uint32_t>(second, 0));
    EXPECT_FALSE(ApplyNative(last->record, PageKey::Slru(SlruKind::kMultiOffsets, 2), page).ok());

    // Both wrap: multixact 0 does not exist, offset 0 means "not set".
    auto wrap = MultiRecord(0xFFFFFFFF, 0xFFFFFFFE, {{1000, 0}, {1001, 1}});
    PageBuffer first{};
    PageBuffer highest{};
    ASSERT_TRUE(ApplyNative(wrap->record, PageKey::Slru(SlruKind::kMultiOffsets, 0), first).ok());
    ASSERT_TRUE(ApplyNative(wrap->record,
                            PageKey::Slru(SlruKind::kMultiOffsets, MultiOffsetsPage(0xFFFFFFFF)),
                            highest)
                    .ok());
    EXPECT_EQ(1u, LoadAt<uint32_t>(first, 4));
    EXPECT_EQ(0xFFFFFFFEu, LoadAt<uint32_t>(highest, 2047 * 4));
}

TEST(MultixactRedo, MembersOverPagesAndTheWrap) {
    // 1636 members to a page; three before the border, two after.
    std::vector<std::pair<uint32_t, uint32_t>> members;
    for (uint32_t i = 0; i < 5; i++) {
        members.push_back({2000 + i, i});
    }
    auto record = MultiRecord(10, 1633, members);
    PageBuffer first{};
    PageBuffer second{};
    ASSERT_TRUE(ApplyNative(record->record, PageKey::Slru(SlruKind::kMultiMembers, 0), first).ok());
    ASSERT_TRUE(
        ApplyNative(record->record, PageKey::Slru(SlruKind::kMultiMembers, 1), second).ok());
    // Offset 1633 is the second member of the last group, which begins at 408 * 20.
    EXPECT_EQ(0u, LoadAt<uint32_t>(first, 408 * 20 + 4));
    EXPECT_EQ(2000u, LoadAt<uint32_t>(first, 408 * 20 + 8));
    EXPECT_EQ(2002u, LoadAt<uint32_t>(first, 408 * 20 + 16));
    EXPECT_EQ(2, LoadAt<uint8_t>(first, 408 * 20 + 3));
    EXPECT_EQ(2003u, LoadAt<uint32_t>(second, 4));
    EXPECT_EQ(2004u, LoadAt<uint32_t>(second, 8));
    EXPECT_EQ(3, LoadAt<uint8_t>(second, 0));
    EXPECT_EQ(4, LoadAt<uint8_t>(second, 1));

    auto wrap = MultiRecord(11, 0xFFFFFFFF, {{3000, 1}, {3001, 2}});
    PageBuffer last{};
    PageBuffer zero{};
    ASSERT_TRUE(ApplyNative(wrap->record,
                            PageKey::Slru(SlruKind::kMultiMembers, MultiMembersPage(0xFFFFFFFF)),
                            last)
                    .ok());
    ASSERT_TRUE(ApplyNative(wrap->record, PageKey::Slru(SlruKind::kMultiMembers, 0), zero).ok());
    EXPECT_EQ(3000u, LoadAt<uint32_t>(last, MemberXidByte(0xFFFFFFFF)));
    EXPECT_EQ(3001u, LoadAt<uint32_t>(zero, 4));
}

std::unique_ptr<Built> TruncateRecord(const RelFileNode& node, BlockNumber blocks) {
    ByteWriter body;
    body.U32Le(blocks);
    body.U32Le(node.spc);
    body.U32Le(node.db);
    body.U32Le(node.rel);
    body.U32Le(7);
    return Build(Rmgr::kSmgr, kSmgrTruncate, 0, body.Take());
}

TEST(TruncateRedo, VisibilityMapTail) {
    const RelFileNode node{1663, 5, 16384};
    const BlockNumber blocks = kHeapBlocksPerVmPage + 4 * 10 + 3;
    auto record = TruncateRecord(node, blocks);
    PageBuffer page;
    page.fill(std::byte{0xFF});
    ASSERT_TRUE(
        ApplyNative(record->record, PageKey::Relation({node, Fork::kVm}, 1), page).ok());
    EXPECT_EQ(0xFF, LoadAt<uint8_t>(page, 0));  // the header stays
    EXPECT_EQ(0xFF, LoadAt<uint8_t>(page, 24 + 9));
    EXPECT_EQ(0x3F, LoadAt<uint8_t>(page, 24 + 10));  // three blocks of two bits
    EXPECT_EQ(0x00, LoadAt<uint8_t>(page, 24 + 11));
    EXPECT_EQ(0x00, LoadAt<uint8_t>(page, 8191));
    EXPECT_FALSE(
        ApplyNative(record->record, PageKey::Relation({node, Fork::kVm}, 0), page).ok());
    EXPECT_FALSE(
        ApplyNative(record->record, PageKey::Relation({node, Fork::kMain}, 1), page).ok());
    EXPECT_FALSE(
        ApplyNative(record->record, PageKey::Relation({{1663, 5, 1}, Fork::kVm}, 1), page).ok());
}

TEST(TruncateRedo, VisibilityMapLastByteOfThePage) {
    const RelFileNode node{1663, 5, 16384};
    auto record = TruncateRecord(node, kHeapBlocksPerVmPage - 1);
    PageBuffer page;
    page.fill(std::byte{0xFF});
    ASSERT_TRUE(
        ApplyNative(record->record, PageKey::Relation({node, Fork::kVm}, 0), page).ok());
    EXPECT_EQ(0x3F, LoadAt<uint8_t>(page, 8191));
    EXPECT_EQ(0xFF, LoadAt<uint8_t>(page, 8190));
}

TEST(TruncateRedo, FreeSpaceMapTail) {
    const RelFileNode node{1663, 5, 16384};
    // Leaf page 0 is physical block 2, below the root and the middle page.
    auto record = TruncateRecord(node, 100);
    PageBuffer page{};
    const size_t leaves = kFsmNodesOffset + kFsmNonLeafNodesPerPage;
    StoreAt<uint8_t>(page, leaves + 99, 50);
    StoreAt<uint8_t>(page, leaves + 100, 200);
    StoreAt<uint8_t>(page, leaves + kFsmSlotsPerPage - 1, 220);
    StoreAt<uint8_t>(page, kFsmNodesOffset, 220);
    ASSERT_TRUE(
        ApplyNative(record->record, PageKey::Relation({node, Fork::kFsm}, 2), page).ok());
    EXPECT_EQ(50, LoadAt<uint8_t>(page, leaves + 99));
    EXPECT_EQ(0, LoadAt<uint8_t>(page, leaves + 100));
    EXPECT_EQ(0, LoadAt<uint8_t>(page, leaves + kFsmSlotsPerPage - 1));
    EXPECT_EQ(50, LoadAt<uint8_t>(page, kFsmNodesOffset));  // the root follows
    EXPECT_FALSE(
        ApplyNative(record->record, PageKey::Relation({node, Fork::kFsm}, 0), page).ok());
}

TEST(SlruFormat, FsmLeafBlocks) {
    EXPECT_EQ(2u, FsmLeafBlock(0));
    EXPECT_EQ(3u, FsmLeafBlock(1));
    // Behind 4069 leaves comes the next middle page.
    EXPECT_EQ(2u + kFsmSlotsPerPage + 1, FsmLeafBlock(kFsmSlotsPerPage));
}

TEST(SlruFormat, PagesPrecedeRoundTheWrap) {
    for (SlruKind kind : {SlruKind::kXact, SlruKind::kMultiOffsets}) {
        const uint64_t per_page =
            kind == SlruKind::kXact ? kXidsPerClogPage : kMultisPerOffsetsPage;
        const auto last = static_cast<BlockNumber>((1ull << 32) / per_page - 1);
        EXPECT_TRUE(SlruPagePrecedes(kind, 0, 1));
        EXPECT_FALSE(SlruPagePrecedes(kind, 1, 1));
        EXPECT_FALSE(SlruPagePrecedes(kind, 2, 1));
        EXPECT_TRUE(SlruPagePrecedes(kind, last, 0));
        EXPECT_FALSE(SlruPagePrecedes(kind, 0, last));
        // Half the space away neither is safely older.
        EXPECT_FALSE(SlruPagePrecedes(kind, 0, last / 2 + 1));
        EXPECT_TRUE(SlruPagePrecedes(kind, 0, last / 2));
        // A segment goes only when its last page is older too.
        EXPECT_FALSE(SlruMayDeleteSegmentOf(kind, 0, 31));
        EXPECT_TRUE(SlruMayDeleteSegmentOf(kind, 0, 32));
        EXPECT_TRUE(SlruMayDeleteSegmentOf(kind, 31, 32));
        EXPECT_FALSE(SlruMayDeleteSegmentOf(kind, 32, 32));
    }
}

}  // namespace
}  // namespace zenith
