#include "pageserver/layers/floor_index.h"

#include <gtest/gtest.h>

#include <random>

namespace zenith {
namespace {

std::optional<Lsn> SlowNewest(const std::vector<std::pair<Lsn, BlockNumber>>& floors, Lsn at,
                              BlockNumber block) {
    std::optional<Lsn> newest;
    for (const auto& [lsn, blocks] : floors) {
        if (lsn <= at && blocks <= block) {
            newest = lsn;
        }
    }
    return newest;
}

TEST(FloorIndex, AgreesWithAScan) {
    // Three shapes: random, growing (the long way down), falling.
    for (int shape = 0; shape < 3; shape++) {
        std::mt19937 random(shape);
        FloorIndex index;
        std::vector<std::pair<Lsn, BlockNumber>> floors;
        Lsn lsn(100);
        for (uint32_t i = 0; i < 400; i++) {
            lsn = lsn + random() % 3 * 8;
            BlockNumber blocks = shape == 0 ? random() % 50 : shape == 1 ? i : 400 - i;
            index.Add(lsn, blocks);
            floors.emplace_back(lsn, blocks);
            for (int q = 0; q < 20; q++) {
                Lsn at(random() % (lsn.value + 20));
                BlockNumber block = random() % 420;
                ASSERT_EQ(index.Newest(at, block), SlowNewest(floors, at, block));
            }
        }
    }
}

TEST(FloorIndex, EmptyAndBlockZero) {
    FloorIndex index;
    EXPECT_EQ(index.Newest(kMaxLsn, 0), std::nullopt);
    index.Add(Lsn(8), 1);
    EXPECT_EQ(index.Newest(kMaxLsn, 0), std::nullopt);
    EXPECT_EQ(index.Newest(kMaxLsn, 1), Lsn(8));
    EXPECT_EQ(index.Newest(Lsn(7), 1), std::nullopt);
    index.Add(Lsn(16), 0);
    EXPECT_EQ(index.Newest(kMaxLsn, 0), Lsn(16));
}

}  // namespace
}  // namespace zenith
