#include "pageserver/base_backup/compute_wal.h"

#include <set>
#include <span>
#include <string>
#include <vector>

#include "common/base/byte_writer.h"
#include "common/base/result.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {

namespace {

constexpr size_t kPageAddressOffset = 8;  // xlp_pageaddr

std::string SegmentPath(uint64_t number) { return "pg_wal/" + WalSegmentName(number); }

// The first `size` bytes of a segment, whole pages. A first page that nobody has written gets the
// header that the checkpoint's own segment has.
Result<std::string> ReadSegment(Timeline& timeline, uint64_t number, uint64_t size,
                                const CheckpointWal& checkpoint) {
    const Lsn begin = WalSegmentStart(number);
    std::string segment(size, '\0');
    ZENITH_RETURN_IF_ERROR(timeline.wal().Read(
        begin, std::as_writable_bytes(std::span(segment.data(), segment.size()))));
    if (size > 0 && IsUnwrittenWalPage(segment)) {
        ByteWriter address;
        address.U64Le(begin.value);
        segment.replace(0, kWalLongHeaderSize, checkpoint.segments[0].substr(0, kWalLongHeaderSize));
        segment.replace(kPageAddressOffset, 8, address.Take());
    }
    return segment;
}

// The pages of segment `number` that the checkpoint's record touches, as offsets, and its first one.
std::set<uint64_t> CheckpointPages(uint64_t number, Lsn at, const CheckpointWal& checkpoint) {
    std::set<uint64_t> offsets = {0};
    for (Lsn page = at - at.value % kWalPageSize; page < checkpoint.record_end;
         page = page + kWalPageSize) {
        if (WalSegmentNumber(page) == number) {
            offsets.insert(page.value % kWalSegmentSize);
        }
    }
    return offsets;
}

}  // namespace

Status WriteComputeWal(Timeline& timeline, Lsn at, const CheckpointWal& checkpoint,
                       std::optional<Lsn> wal_from, TarStream& tar) {
    if (wal_from) {
        for (uint64_t number = WalSegmentNumber(*wal_from); number < checkpoint.first_segment;
             number++) {
            ZENITH_ASSIGN_OR_RETURN(std::string segment,
                                    ReadSegment(timeline, number, kWalSegmentSize, checkpoint));
            ZENITH_RETURN_IF_ERROR(tar.File(SegmentPath(number), segment));
        }
    }
    for (size_t i = 0; i < checkpoint.segments.size(); i++) {
        const uint64_t number = checkpoint.first_segment + i;
        std::set<uint64_t> offsets = CheckpointPages(number, at, checkpoint);
        std::string before;  // owns what the first region shows
        std::vector<TarStream::Region> regions;
        if (number == checkpoint.first_segment) {
            // The page on which the record begins has what is before it.
            const uint64_t size = at.value % kWalSegmentSize / kWalPageSize * kWalPageSize;
            Result<std::string> read = ReadSegment(timeline, number, size, checkpoint);
            if (read.ok()) {
                before = *std::move(read);
            } else if (read.status().code() != StatusCode::kNotFound || wal_from) {
                return read.status();
            }
        }
        if (!before.empty()) {
            regions.push_back({0, before});
            offsets.erase(offsets.begin(), offsets.lower_bound(before.size()));
        }
        for (uint64_t offset : offsets) {
            regions.push_back(
                {offset, std::string_view(checkpoint.segments[i]).substr(offset, kWalPageSize)});
        }
        ZENITH_RETURN_IF_ERROR(tar.SparseFile(SegmentPath(number), kWalSegmentSize, regions));
    }
    return Status::Ok();
}

}  // namespace zenith
