#include "pageserver/testing/wal_builder.h"

#include <algorithm>
#include <cassert>

#include "common/base/crc32c.h"
#include "common/pgformat/record_types.h"

namespace zenith {

namespace {
constexpr size_t kCrcOffset = 20;

std::span<const std::byte> AsBytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

void WriteBlockHeader(const WalBlockSpec& block, ByteWriter* headers, ByteWriter* payload) {
    uint8_t flags = static_cast<uint8_t>(block.rel.fork);
    flags |= block.image ? kBlockHasImage : 0;
    flags |= block.data.empty() ? 0 : kBlockHasData;
    flags |= block.will_init ? kBlockWillInit : 0;
    flags |= block.same_rel ? kBlockSameRel : 0;
    headers->U8(static_cast<uint8_t>(block.id));
    headers->U8(flags);
    headers->U16Le(static_cast<uint16_t>(block.data.size()));
    if (block.image) {
        headers->U16Le(static_cast<uint16_t>(kPageSize - block.hole_length));
        headers->U16Le(block.hole_offset);
        headers->U8((block.hole_length > 0 ? kImageHasHole : 0) |
                    (block.apply_image ? kImageApply : 0));
        std::span<const std::byte> page(*block.image);
        payload->Bytes(page.first(block.hole_offset));
        payload->Bytes(page.subspan(block.hole_offset + block.hole_length));
    }
    if (!block.same_rel) {
        headers->U32Le(block.rel.node.spc);
        headers->U32Le(block.rel.node.db);
        headers->U32Le(block.rel.node.rel);
    }
    headers->U32Le(block.block);
    payload->Text(block.data);
}
}  // namespace

void SealWalRecord(std::string* record) {
    uint32_t crc = Crc32cExtend(kCrc32cInit,
                                AsBytes(std::string_view(*record).substr(kWalRecordHeaderSize)));
    crc = Crc32cFinish(Crc32cExtend(crc, AsBytes(std::string_view(*record).substr(0, kCrcOffset))));
    record->replace(kCrcOffset, 4, reinterpret_cast<const char*>(&crc), 4);
}

std::string EncodeWalRecord(const WalRecordSpec& spec, Lsn prev) {
    ByteWriter headers;
    ByteWriter payload;
    for (const WalBlockSpec& block : spec.blocks) {
        WriteBlockHeader(block, &headers, &payload);
    }
    if (spec.origin != 0) {
        headers.U8(kBlockIdOrigin);
        headers.U16Le(spec.origin);
    }
    if (spec.toplevel_xid != 0) {
        headers.U8(kBlockIdToplevelXid);
        headers.U32Le(spec.toplevel_xid);
    }
    if (spec.main_data.size() > 255) {
        headers.U8(kBlockIdDataLong);
        headers.U32Le(static_cast<uint32_t>(spec.main_data.size()));
    } else if (!spec.main_data.empty()) {
        headers.U8(kBlockIdDataShort);
        headers.U8(static_cast<uint8_t>(spec.main_data.size()));
    }
    payload.Text(spec.main_data);

    ByteWriter record;
    record.U32Le(static_cast<uint32_t>(kWalRecordHeaderSize + headers.size() + payload.size()));
    record.U32Le(spec.xid);
    record.U64Le(prev.value);
    record.U8(spec.info);
    record.U8(static_cast<uint8_t>(spec.rmgr));
    record.Zeros(6);
    record.Text(headers.buffer());
    record.Text(payload.buffer());
    std::string bytes = record.Take();
    SealWalRecord(&bytes);
    return bytes;
}

WalBuilder::WalBuilder(Lsn start, uint64_t system_identifier, Lsn prev)
    : start_(start), system_identifier_(system_identifier), prev_(prev) {}

void WalBuilder::StartPage(uint16_t flags, uint32_t remaining) {
    const bool segment_start = WalPageHeaderSize(position()) == kWalLongHeaderSize;
    ByteWriter header;
    header.U16Le(kWalPageMagic);
    header.U16Le(flags | (segment_start ? kWalPageLongHeader : 0));
    header.U32Le(kWalTimelineId);
    header.U64Le(position().value);
    header.U32Le(remaining);
    header.Zeros(4);
    if (segment_start) {
        header.U64Le(system_identifier_);
        header.U32Le(kWalSegmentSize);
        header.U32Le(kWalPageSize);
    }
    stream_ += header.buffer();
}

void WalBuilder::Write(std::string_view record, size_t limit) {
    size_t done = 0;
    while (done < limit) {
        if (position().value % kWalPageSize == 0) {
            StartPage(done > 0 ? kWalPageFirstIsContRecord : 0,
                      done > 0 ? static_cast<uint32_t>(record.size() - done) : 0);
        }
        const uint64_t left = kWalPageSize - position().value % kWalPageSize;
        const size_t n = std::min<uint64_t>(left, limit - done);
        stream_.append(record.substr(done, n));
        done += n;
    }
}

WalBuilder::Placed WalBuilder::AppendEncoded(std::string record) {
    Placed placed;
    placed.start = WalRecordStartAt(position());
    Write(record, record.size());
    stream_.append(MaxAlign(position().value) - position().value, '\0');
    placed.end = position();
    placed.bytes = std::move(record);
    prev_ = placed.start;
    return placed;
}

WalBuilder::Placed WalBuilder::Append(const WalRecordSpec& spec) {
    return AppendEncoded(EncodeWalRecord(spec, prev_));
}

WalBuilder::Placed WalBuilder::AppendSwitch() {
    WalRecordSpec spec;
    spec.info = kXlogSwitch;
    Placed placed = Append(spec);
    const uint64_t in_segment = placed.end.value % kWalSegmentSize;
    if (in_segment != 0) {
        AppendZeros(kWalSegmentSize - in_segment);
    }
    placed.end = position();
    return placed;
}

void WalBuilder::AppendTorn(const WalRecordSpec& spec, size_t keep) {
    const std::string record = EncodeWalRecord(spec, prev_);
    Write(record, std::min(keep, record.size()));
}

WalBuilder::Placed WalBuilder::AppendOverwritten(const WalRecordSpec& abandoned) {
    const Lsn abandoned_start = WalRecordStartAt(position());
    const std::string record = EncodeWalRecord(abandoned, prev_);
    const size_t keep = kWalPageSize - abandoned_start.value % kWalPageSize;
    assert(record.size() > keep);
    Write(record, keep);
    StartPage(kWalPageFirstIsOverwriteContRecord, 0);
    WalRecordSpec overwrite;
    overwrite.info = kXlogOverwriteContRecord;
    ByteWriter body;
    body.U64Le(abandoned_start.value);
    body.U64Le(0);
    overwrite.main_data = body.Take();
    return Append(overwrite);
}

WalBuilder::Placed WalBuilder::FillTo(Lsn end) {
    // Payload bytes of the stream between here and `end`, without page headers.
    uint64_t space = 0;
    for (Lsn at = WalRecordStartAt(position()); at < end;) {
        const Lsn page_end(at.value / kWalPageSize * kWalPageSize + kWalPageSize);
        space += std::min(page_end, end) - at;
        at = WalRecordStartAt(page_end);
    }
    WalRecordSpec spec;
    spec.info = kXlogNoop;
    // Header, then "short" (2 bytes) or "long" (5 bytes) main data header.
    assert(space >= kWalRecordHeaderSize + 2 + 1);
    const uint64_t body = space - kWalRecordHeaderSize;
    spec.main_data = std::string(body - 2 <= 255 ? body - 2 : body - 5, 'f');
    Placed placed = Append(spec);
    assert(placed.end == end);
    return placed;
}

}  // namespace zenith
