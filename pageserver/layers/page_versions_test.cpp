#include "pageserver/layers/page_versions.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace zenith {
namespace {

TEST(PageVersion, KeepsItsKindApart) {
    PageVersion record = PageVersion::Record(Lsn(0x7'0000'0008), Lsn(0x7'0000'0100), 3);
    EXPECT_TRUE(record.is_record() && !record.is_image() && !record.is_tombstone());
    EXPECT_EQ(record.start(), Lsn(0x7'0000'0008));
    EXPECT_EQ(record.end(), Lsn(0x7'0000'0100));
    EXPECT_EQ(record.ref_flags(), 3);
    PageVersion image = PageVersion::Image(Lsn(16), 123456);
    EXPECT_TRUE(!image.is_record() && image.is_image() && !image.is_tombstone());
    EXPECT_EQ(image.image_index(), 123456u);
    PageVersion tombstone = PageVersion::Tombstone(Lsn(16));
    EXPECT_TRUE(!tombstone.is_record() && !tombstone.is_image() && tombstone.is_tombstone());
}

TEST(BlockMap, AgreesWithAMap) {
    BlockMap blocks;
    std::map<BlockNumber, std::vector<PageVersion>> expected;
    std::mt19937 random(1);
    Lsn lsn(8);
    for (int i = 0; i < 20000; i++) {
        // Dense, sparse and extreme block numbers.
        BlockNumber block = i % 3 == 0   ? random() % 64
                            : i % 3 == 1 ? random() % 5000 * 131072
                                         : 0xFFFFFFFE - random() % 1000;
        PageVersion version = PageVersion::Record(lsn, lsn + 8, random() % 4);
        lsn = lsn + 8;
        blocks.Append(block, version);
        blocks.Append(block, version);  // the same again changes nothing
        expected[block].push_back(version);
    }
    size_t seen = 0;
    for (const auto& [block, versions] : expected) {
        auto found = blocks.Find(block);
        ASSERT_EQ(std::vector<PageVersion>(found.begin(), found.end()), versions);
    }
    blocks.ForEach([&](BlockNumber block, std::span<const PageVersion> versions) {
        seen++;
        ASSERT_EQ(versions.size(), expected.at(block).size());
    });
    EXPECT_EQ(seen, expected.size());
    EXPECT_TRUE(blocks.Find(77777).empty());
    EXPECT_GT(blocks.memory_bytes(), expected.size() * 24);
    BlockMap moved = std::move(blocks);
    EXPECT_EQ(moved.Find(expected.begin()->first).size(), expected.begin()->second.size());
}

TEST(BlockMap, EmptyFindsNothing) {
    BlockMap blocks;
    EXPECT_TRUE(blocks.Find(0).empty());
}

}  // namespace
}  // namespace zenith
