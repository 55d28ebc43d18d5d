#include "pageserver/wal_decoder/decoded_record.h"

#include <cstring>
#include <string>

#include "common/base/byte_reader.h"

namespace zenith {

namespace {

Status Bad(Lsn start, const std::string& what) {
    return Status::Corruption("WAL record at " + start.ToString() + ": " + what);
}

bool IsCompressed(uint8_t image_info) {
    return (image_info & (kImageCompressPglz | kImageCompressLz4 | kImageCompressZstd)) != 0;
}

struct FragmentLengths {
    std::array<uint16_t, kMaxBlockId + 1> image{};
    std::array<uint16_t, kMaxBlockId + 1> data{};
    uint64_t main_data = 0;
    uint64_t total = 0;
};

// The cross-checks of DecodeXLogRecord(), and that the hole lies inside the page.
Status ReadImageHeader(Lsn start, ByteReader* reader, DecodedBlock* block, uint16_t* length) {
    *length = reader->U16Le();
    block->hole_offset = reader->U16Le();
    block->image_info = reader->U8();
    const bool has_hole = (block->image_info & kImageHasHole) != 0;
    const bool compressed = IsCompressed(block->image_info);
    block->apply_image = (block->image_info & kImageApply) != 0;
    uint32_t hole_length = 0;
    if (compressed) {
        hole_length = has_hole ? reader->U16Le() : 0;
        if (*length >= kPageSize) {
            return Bad(start, "compressed image of " + std::to_string(*length) + " bytes");
        }
    } else {
        if (*length > kPageSize) {
            return Bad(start, "page image of " + std::to_string(*length) + " bytes");
        }
        hole_length = static_cast<uint32_t>(kPageSize - *length);
    }
    const bool hole_fits = has_hole ? block->hole_offset > 0 && hole_length > 0 &&
                                          block->hole_offset + hole_length <= kPageSize
                                    : block->hole_offset == 0 && hole_length == 0;
    if (!hole_fits) {
        return Bad(start, "page image with a hole at " + std::to_string(block->hole_offset) +
                              " of " + std::to_string(hole_length) + " bytes");
    }
    block->hole_length = static_cast<uint16_t>(hole_length);
    return Status::Ok();
}

Status ReadBlockHeader(Lsn start, uint8_t block_id, ByteReader* reader, const RelFileNode** node,
                       DecodedRecord* out, FragmentLengths* lengths) {
    if (block_id <= out->max_block_id) {
        return Bad(start, "block reference " + std::to_string(block_id) + " out of order");
    }
    out->max_block_id = block_id;
    DecodedBlock& block = out->blocks[block_id];
    block.in_use = true;
    block.fork_flags = reader->U8();
    const uint8_t fork = block.fork_flags & kBlockForkMask;
    if (fork >= kForkCount) {
        return Bad(start, "invalid fork number " + std::to_string(fork));
    }
    block.rel.fork = static_cast<Fork>(fork);
    const uint16_t data_length = reader->U16Le();
    if (((block.fork_flags & kBlockHasData) != 0) != (data_length != 0)) {
        return Bad(start, "block data of " + std::to_string(data_length) +
                              " bytes contradicts the block's flags");
    }
    lengths->data[block_id] = data_length;
    lengths->total += data_length;
    if ((block.fork_flags & kBlockHasImage) != 0) {
        block.has_image = true;
        ZENITH_RETURN_IF_ERROR(
            ReadImageHeader(start, reader, &block, &lengths->image[block_id]));
        lengths->total += lengths->image[block_id];
    }
    if ((block.fork_flags & kBlockSameRel) == 0) {
        block.rel.node.spc = reader->U32Le();
        block.rel.node.db = reader->U32Le();
        block.rel.node.rel = reader->U32Le();
    } else if (*node == nullptr) {
        return Bad(start, "block reference to the same relation as none before");
    } else {
        block.rel.node = **node;
    }
    *node = &block.rel.node;
    block.block = reader->U32Le();
    return Status::Ok();
}

}  // namespace

Status DecodeRecord(Lsn start, Lsn end, std::span<const std::byte> bytes, DecodedRecord* out) {
    for (int i = 0; i <= out->max_block_id; i++) {
        out->blocks[i] = DecodedBlock();
    }
    out->max_block_id = -1;
    out->start = start;
    out->end = end;
    out->main_data = {};
    out->origin = 0;
    out->toplevel_xid = 0;

    ByteReader reader(bytes);
    out->total_length = reader.U32Le();
    out->xid = reader.U32Le();
    out->prev = Lsn(reader.U64Le());
    out->info = reader.U8();
    out->rmgr = static_cast<Rmgr>(reader.U8());
    reader.Skip(6);
    if (!reader.ok() || out->total_length != bytes.size()) {
        return Bad(start, "invalid length " + std::to_string(out->total_length) + ", got " +
                              std::to_string(bytes.size()) + " bytes");
    }

    FragmentLengths lengths;
    const RelFileNode* node = nullptr;
    bool main_data_seen = false;
    while (reader.ok() && !main_data_seen && reader.remaining() > lengths.total) {
        const uint8_t id = reader.U8();
        if (id == kBlockIdDataShort || id == kBlockIdDataLong) {
            lengths.main_data = id == kBlockIdDataShort ? reader.U8() : reader.U32Le();
            lengths.total += lengths.main_data;
            main_data_seen = true;  // always the last header
        } else if (id == kBlockIdOrigin) {
            out->origin = reader.U16Le();
        } else if (id == kBlockIdToplevelXid) {
            out->toplevel_xid = reader.U32Le();
        } else if (id <= kMaxBlockId) {
            ZENITH_RETURN_IF_ERROR(ReadBlockHeader(start, id, &reader, &node, out, &lengths));
        } else {
            return Bad(start, "invalid block id " + std::to_string(id));
        }
    }
    if (!reader.ok() || reader.remaining() != lengths.total) {
        return Bad(start, "the lengths of its parts do not add up to its own");
    }

    for (int i = 0; i <= out->max_block_id; i++) {
        DecodedBlock& block = out->blocks[i];
        block.image = reader.Bytes(lengths.image[i]);
        block.data = reader.Bytes(lengths.data[i]);
    }
    out->main_data = reader.Bytes(lengths.main_data);
    return Status::Ok();
}

Status RestoreUncompressedImage(const DecodedRecord& record, const DecodedBlock& block,
                                PageSpan page) {
    if (!block.has_image || block.image_compressed()) {
        return Status::InvalidArgument("WAL record at " + record.start.ToString() +
                                       " has no uncompressed image of block " +
                                       std::to_string(block.block) + " of relation " +
                                       block.rel.ToString());
    }
    if (block.image.size() + block.hole_length != kPageSize ||
        block.hole_offset > block.image.size()) {
        return Bad(record.start, "page image does not fill a page");
    }
    const size_t after_hole = static_cast<size_t>(block.hole_offset) + block.hole_length;
    std::memcpy(page.data(), block.image.data(), block.hole_offset);
    std::memset(page.data() + block.hole_offset, 0, block.hole_length);
    std::memcpy(page.data() + after_hole, block.image.data() + block.hole_offset,
                kPageSize - after_hole);
    // As XLogReadBufferForRedoExtended(): an uninitialized page keeps no LSN.
    if (!PageIsNew(page)) {
        SetPageLsn(page, record.end);
    }
    return Status::Ok();
}

}  // namespace zenith
