#include "common/pgformat/page_checksum.h"

#include <cstddef>
#include <cstring>

namespace zenith {

namespace {

constexpr size_t kLanes = 32;
constexpr size_t kRows = kPageSize / (kLanes * sizeof(uint32_t));
constexpr size_t kClosingRows = 2;
constexpr uint32_t kFnvPrime = 16777619;

// Where each lane starts. They are part of the format.
constexpr uint32_t kLaneSeeds[kLanes] = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756};

// One row of 32 words into the 32 lanes: independent of each other, for the vectorizer.
inline void Mix(uint32_t (&lanes)[kLanes], const uint32_t (&row)[kLanes]) {
    for (size_t i = 0; i < kLanes; i++) {
        uint32_t mixed = lanes[i] ^ row[i];
        lanes[i] = (mixed * kFnvPrime) ^ (mixed >> 17);
    }
}

}  // namespace

uint16_t PageChecksum(ConstPageSpan page, BlockNumber block) {
    uint32_t lanes[kLanes];
    std::memcpy(lanes, kLaneSeeds, sizeof lanes);
    uint32_t row[kLanes];
    for (size_t i = 0; i < kRows; i++) {
        std::memcpy(row, page.data() + i * sizeof row, sizeof row);
        if (i == 0) {
            // The field itself counts as zero.
            std::memset(reinterpret_cast<char*>(row) + kPageChecksumOffset, 0, sizeof(uint16_t));
        }
        Mix(lanes, row);
    }
    std::memset(row, 0, sizeof row);
    for (size_t i = 0; i < kClosingRows; i++) {
        Mix(lanes, row);
    }
    uint32_t sum = block;
    for (uint32_t lane : lanes) {
        sum ^= lane;
    }
    return static_cast<uint16_t>(sum % 65535 + 1);
}

void SetPageChecksum(PageSpan page, BlockNumber block) {
    if (PageIsNew(page)) {
        return;
    }
    uint16_t checksum = PageChecksum(page, block);
    std::memcpy(page.data() + kPageChecksumOffset, &checksum, sizeof checksum);
}

}  // namespace zenith
