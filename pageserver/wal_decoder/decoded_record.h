// DecodedRecord: one WAL record taken apart: header, block references, main data.
//
// All spans point into the record's own bytes (xl_tot_len bytes without page headers), which the
// caller keeps alive. Source of the format: access/xlogrecord.h, DecodeXLogRecord() of
// xlogreader.c.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"
#include "common/pgformat/wal_format.h"

namespace zenith {

struct DecodedBlock {
    bool in_use = false;
    RelForkKey rel;
    BlockNumber block = 0;
    uint8_t fork_flags = 0;  // kBlockHasImage ... as stored
    std::span<const std::byte> data;
    // Full-page image; has_image is false when there is none.
    bool has_image = false;
    bool apply_image = false;
    uint8_t image_info = 0;  // kImageHasHole ...
    uint16_t hole_offset = 0;
    uint16_t hole_length = 0;
    std::span<const std::byte> image;
    bool will_init() const { return (fork_flags & kBlockWillInit) != 0; }
    bool image_compressed() const {
        return (image_info & (kImageCompressPglz | kImageCompressLz4 | kImageCompressZstd)) != 0;
    }
};

struct DecodedRecord {
    Lsn start;
    Lsn end;
    uint32_t total_length = 0;
    uint32_t xid = 0;
    Lsn prev;
    uint8_t info = 0;
    Rmgr rmgr = Rmgr::kXlog;
    int max_block_id = -1;
    std::array<DecodedBlock, kMaxBlockId + 1> blocks;
    std::span<const std::byte> main_data;
    uint16_t origin = 0;         // 0: none
    uint32_t toplevel_xid = 0;   // 0: none

    uint8_t rmgr_info() const { return info & kInfoRmgrMask; }
};

// Takes a record apart. `bytes` is the whole record (xl_tot_len bytes, page headers removed).
// Every length is checked; kCorruption names the LSN and what is wrong. Does not check the CRC:
// the record assembler did. *out is overwritten and may be reused between calls.
Status DecodeRecord(Lsn start, Lsn end, std::span<const std::byte> bytes, DecodedRecord* out);

// Rebuilds the page of an uncompressed full-page image with its LSN set to the record's end (an
// all-zero image stays all zero). kInvalidArgument when the image is compressed or absent.
Status RestoreUncompressedImage(const DecodedRecord& record, const DecodedBlock& block,
                                PageSpan page);

}  // namespace zenith
