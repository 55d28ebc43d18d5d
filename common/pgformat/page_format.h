// Sizes and page layout of PostgreSQL 15 as Debian builds it. pg_headers_check.cpp proves each
// number against the installed server headers. Source: pg_config.h, storage/bufpage.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "common/base/lsn.h"

namespace zenith {

inline constexpr size_t kPageSize = 8192;                  // BLCKSZ
inline constexpr uint32_t kRelationSegmentBlocks = 131072; // RELSEG_SIZE
inline constexpr uint32_t kSlruPagesPerSegment = 32;       // SLRU_PAGES_PER_SEGMENT
inline constexpr uint32_t kDefaultTablespaceOid = 1663;
inline constexpr uint32_t kGlobalTablespaceOid = 1664;
inline constexpr char kTablespaceVersionDirectory[] = "PG_15_202209061";
inline constexpr uint32_t kPgControlVersion = 1300;
inline constexpr uint32_t kCatalogVersion = 202209061;

inline constexpr size_t kPageHeaderSize = 24;              // SizeOfPageHeaderData
inline constexpr size_t kPageChecksumOffset = 8;           // pd_checksum, 2 bytes

using PageBuffer = std::array<std::byte, kPageSize>;
using PageSpan = std::span<std::byte, kPageSize>;
using ConstPageSpan = std::span<const std::byte, kPageSize>;

// pd_lsn is stored as two 32-bit halves, high one first.
inline Lsn PageLsn(ConstPageSpan page) {
    uint32_t high;
    uint32_t low;
    std::memcpy(&high, page.data(), 4);
    std::memcpy(&low, page.data() + 4, 4);
    return Lsn((static_cast<uint64_t>(high) << 32) | low);
}
inline void SetPageLsn(PageSpan page, Lsn lsn) {
    uint32_t high = static_cast<uint32_t>(lsn.value >> 32);
    uint32_t low = static_cast<uint32_t>(lsn.value);
    std::memcpy(page.data(), &high, 4);
    std::memcpy(page.data() + 4, &low, 4);
}
// PageIsNew(): pd_upper is zero.
inline bool PageIsNew(ConstPageSpan page) {
    uint16_t upper;
    std::memcpy(&upper, page.data() + 14, 2);
    return upper == 0;
}
inline bool PageIsAllZero(ConstPageSpan page) {
    for (size_t i = 0; i < kPageSize; i += 8) {
        uint64_t word;
        std::memcpy(&word, page.data() + i, 8);
        if (word != 0) {
            return false;
        }
    }
    return true;
}

// Visibility map: 2 bits for each heap block after the page header (access/visibilitymap.c).
inline constexpr uint32_t kHeapBlocksPerVmPage = (kPageSize - kPageHeaderSize) * 4;

}  // namespace zenith
