#include "pageserver/reconstruct/page_cache.h"

#include <gtest/gtest.h>

namespace zenith {
namespace {

PageBuffer Filled(int value) {
    PageBuffer page;
    page.fill(static_cast<std::byte>(value));
    return page;
}

PageKey Block(BlockNumber block) {
    return PageKey::Relation({{1663, 5, 100}, Fork::kMain}, block);
}

TEST(PageCacheTest, FindsTheNewestVersionInARange) {
    PageCache cache(1 << 20);
    TimelineId main = TimelineId::Random();
    TimelineId other = TimelineId::Random();
    cache.Put(main, Block(1), Lsn(100), Filled(1));
    cache.Put(main, Block(1), Lsn(200), Filled(2));
    cache.Put(main, Block(2), Lsn(150), Filled(3));
    cache.Put(other, Block(1), Lsn(180), Filled(4));

    struct Case {
        TimelineId timeline;
        BlockNumber block;
        uint64_t from;
        uint64_t to;
        int expected;  // 0: nothing
    };
    for (const Case& c : std::vector<Case>{{main, 1, 1, 300, 2},
                                           {main, 1, 1, 200, 2},
                                           {main, 1, 1, 199, 1},
                                           {main, 1, 100, 100, 1},
                                           {main, 1, 101, 199, 0},
                                           {main, 1, 1, 99, 0},
                                           {main, 2, 1, 300, 3},
                                           {main, 3, 1, 300, 0},
                                           {other, 1, 1, 300, 4},
                                           {other, 2, 1, 300, 0}}) {
        auto found = cache.FindNewest(c.timeline, Block(c.block), Lsn(c.from), Lsn(c.to));
        ASSERT_EQ(found.has_value(), c.expected != 0) << c.block << " " << c.from << " " << c.to;
        if (found.has_value()) {
            EXPECT_EQ(found->page, Filled(c.expected));
        }
    }
}

TEST(PageCacheTest, LeastRecentlyUsedLeaveFirst) {
    constexpr size_t kCapacity = 10 * (kPageSize + 512);
    PageCache cache(kCapacity);
    TimelineId id = TimelineId::Random();
    for (BlockNumber block = 0; block < 100; ++block) {
        cache.Put(id, Block(block), Lsn(8), Filled(static_cast<int>(block)));
        // Block 0 stays because it is asked for all the time.
        auto kept = cache.FindNewest(id, Block(0), Lsn(1), Lsn(10));
        ASSERT_TRUE(kept.has_value());
        EXPECT_EQ(kept->page, Filled(0));
        EXPECT_LE(cache.bytes(), kCapacity);
    }
    EXPECT_TRUE(cache.FindNewest(id, Block(99), Lsn(1), Lsn(10)).has_value());
    EXPECT_FALSE(cache.FindNewest(id, Block(50), Lsn(1), Lsn(10)).has_value());
}

TEST(PageCacheTest, WithoutRoomKeepsNothing) {
    PageCache cache(100);
    cache.Put(TimelineId(), Block(1), Lsn(8), Filled(1));
    EXPECT_EQ(cache.bytes(), 0u);
    EXPECT_FALSE(cache.FindNewest(TimelineId(), Block(1), Lsn(1), Lsn(10)).has_value());
}

}  // namespace
}  // namespace zenith
