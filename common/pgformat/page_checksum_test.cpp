#include "common/pgformat/page_checksum.h"

#include <gtest/gtest.h>

namespace zenith {
namespace {

PageBuffer Repeated(std::initializer_list<unsigned> bytes) {
    PageBuffer page;
    for (size_t i = 0; i < kPageSize; i++) {
        page[i] = static_cast<std::byte>(bytes.begin()[i % bytes.size()]);
    }
    return page;
}

// What page_checksum() of pageinspect says of the same pages (its own expected results).
TEST(PageChecksum, AsPostgres) {
    struct Case {
        std::initializer_list<unsigned> bytes;
        int at_0, at_50, at_100;
    };
    for (const Case& c : {Case{{0x01}, 1175, 1225, 1139}, Case{{0x04}, 28338, 28352, 28438},
                          Case{{0xff}, 3612, 3598, 3648},
                          Case{{0xab, 0xcd}, -30781, -30795, -30881},
                          Case{{0xe6, 0xd6}, -16269, -16251, -16305},
                          Case{{0x4a, 0x5e}, -27377, -27391, -27349}}) {
        PageBuffer page = Repeated(c.bytes);
        EXPECT_EQ(static_cast<int16_t>(PageChecksum(page, 0)), c.at_0);
        EXPECT_EQ(static_cast<int16_t>(PageChecksum(page, 50)), c.at_50);
        EXPECT_EQ(static_cast<int16_t>(PageChecksum(page, 100)), c.at_100);
    }
}

TEST(PageChecksum, SetIsIdempotentAndLeavesTheRestAlone) {
    const PageBuffer original = Repeated({0x11, 0x22, 0x33});
    PageBuffer page = original;
    SetPageChecksum(page, 7);
    uint16_t stored;
    std::memcpy(&stored, page.data() + 8, 2);
    EXPECT_EQ(stored, PageChecksum(original, 7));
    EXPECT_EQ(stored, PageChecksum(page, 7));
    EXPECT_NE(stored, PageChecksum(page, 8));
    for (size_t i = 0; i < kPageSize; i++) {
        if (i != 8 && i != 9) {
            ASSERT_EQ(page[i], original[i]) << i;
        }
    }
    page[5000] ^= std::byte{1};
    EXPECT_NE(stored, PageChecksum(page, 7));
}

TEST(PageChecksum, NewPagesHaveNone) {
    PageBuffer page = Repeated({0x11});
    page[14] = page[15] = std::byte{0};  // pd_upper
    const PageBuffer before = page;
    SetPageChecksum(page, 7);
    EXPECT_EQ(page, before);
}

}  // namespace
}  // namespace zenith
