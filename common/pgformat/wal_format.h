// The WAL of PostgreSQL 15: sizes, flags, resource manager numbers.
// Source: access/xlog_internal.h, access/xlogrecord.h, access/rmgrlist.h.
// pg_headers_check.cpp proves each number against the installed server headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/base/lsn.h"

namespace zenith {

inline constexpr uint64_t kWalSegmentSize = 16ull * 1024 * 1024;
inline constexpr uint64_t kWalPageSize = 8192;  // XLOG_BLCKSZ
inline constexpr uint16_t kWalPageMagic = 0xD110;
inline constexpr uint32_t kWalTimelineId = 1;  // PostgreSQL's own timeline number; always 1 here

// XLogPageHeaderData.xlp_info
inline constexpr uint16_t kWalPageFirstIsContRecord = 0x0001;
inline constexpr uint16_t kWalPageLongHeader = 0x0002;
inline constexpr uint16_t kWalPageFirstIsOverwriteContRecord = 0x0008;

inline constexpr size_t kWalShortHeaderSize = 24;
inline constexpr size_t kWalLongHeaderSize = 40;
inline constexpr size_t kWalRecordHeaderSize = 24;

// XLogRecordBlockHeader.fork_flags
inline constexpr uint8_t kBlockForkMask = 0x0F;
inline constexpr uint8_t kBlockHasImage = 0x10;
inline constexpr uint8_t kBlockHasData = 0x20;
inline constexpr uint8_t kBlockWillInit = 0x40;
inline constexpr uint8_t kBlockSameRel = 0x80;
// XLogRecordBlockImageHeader.bimg_info
inline constexpr uint8_t kImageHasHole = 0x01;
inline constexpr uint8_t kImageApply = 0x02;
inline constexpr uint8_t kImageCompressPglz = 0x04;
inline constexpr uint8_t kImageCompressLz4 = 0x08;
inline constexpr uint8_t kImageCompressZstd = 0x10;
// Special block ids
inline constexpr uint8_t kBlockIdDataShort = 255;
inline constexpr uint8_t kBlockIdDataLong = 254;
inline constexpr uint8_t kBlockIdOrigin = 253;
inline constexpr uint8_t kBlockIdToplevelXid = 252;
inline constexpr int kMaxBlockId = 32;

inline constexpr uint8_t kInfoRmgrMask = 0xF0;  // ~XLR_INFO_MASK

enum class Rmgr : uint8_t {
    kXlog = 0,
    kXact = 1,
    kSmgr = 2,
    kClog = 3,
    kDbase = 4,
    kTblspc = 5,
    kMultixact = 6,
    kRelmap = 7,
    kStandby = 8,
    kHeap2 = 9,
    kHeap = 10,
    kBtree = 11,
    kHash = 12,
    kGin = 13,
    kGist = 14,
    kSeq = 15,
    kSpgist = 16,
    kBrin = 17,
    kCommitTs = 18,
    kReplorigin = 19,
    kGeneric = 20,
    kLogicalMsg = 21,
};

// Bytes of page header at the page that starts at `page_start`.
inline size_t WalPageHeaderSize(Lsn page_start) {
    return page_start.value % kWalSegmentSize == 0 ? kWalLongHeaderSize : kWalShortHeaderSize;
}
// Whether nobody has written the page of WAL that begins `page`: its xlp_magic is zero.
inline bool IsUnwrittenWalPage(std::string_view page) { return page[0] == '\0' && page[1] == '\0'; }
// Where a record that may start at `lsn` (8-byte aligned) really starts: past a page header when
// `lsn` is a page boundary.
inline Lsn WalRecordStartAt(Lsn lsn) {
    return lsn.value % kWalPageSize == 0 ? lsn + WalPageHeaderSize(lsn) : lsn;
}
inline uint64_t MaxAlign(uint64_t n) { return (n + 7) & ~7ull; }

}  // namespace zenith
