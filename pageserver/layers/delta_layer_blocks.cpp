#include "pageserver/layers/delta_layer_blocks.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "common/base/byte_reader.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"

namespace zenith {

namespace {

std::span<std::byte> WritableBytesOf(std::string* text) {
    return std::as_writable_bytes(std::span(text->data(), text->size()));
}
std::span<const std::byte> BytesOf(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

Result<std::shared_ptr<const DeltaLayerBlocks>> DeltaLayerBlocks::Open(
    const std::string& path, const TimelineId& timeline, const LayerManifest::Entry& entry) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
    std::shared_ptr<DeltaLayerBlocks> blocks(
        new DeltaLayerBlocks(path, std::move(fd), timeline, entry));
    ZENITH_RETURN_IF_ERROR(blocks->LoadHeader());
    return std::shared_ptr<const DeltaLayerBlocks>(std::move(blocks));
}

Status DeltaLayerBlocks::Corrupt(uint64_t offset, const std::string& what) const {
    return Status::Corruption("delta layer file \"" + path_ + "\", offset " +
                              std::to_string(offset) + ": " + what + " (timeline " +
                              timeline_.ToString() + ", " + start().ToString() + " to " +
                              end().ToString() + ")");
}

Status DeltaLayerBlocks::LoadHeader() {
    struct stat info;
    if (fstat(fd_.get(), &info) != 0) {
        return ErrnoStatus("stat file", path_, errno);
    }
    file_bytes_ = static_cast<uint64_t>(info.st_size);
    if (file_bytes_ < kDeltaLayerHeaderSize) {
        return Corrupt(0, "file of " + std::to_string(file_bytes_) + " bytes is too short");
    }
    std::array<std::byte, kDeltaLayerHeaderSize> header;
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd_.get(), path_, 0, header));
    ByteReader reader(header);
    if (std::memcmp(reader.Bytes(8).data(), kDeltaLayerMagic, 8) != 0) {
        return Corrupt(0, "not a delta layer file");
    }
    const uint32_t header_checksum =
        ByteReader(std::span(header).subspan(kDeltaLayerHeaderChecksumOffset)).U32Le();
    if (Crc32c(std::span(header).first(kDeltaLayerHeaderChecksumOffset)) != header_checksum) {
        return Corrupt(0, "checksum mismatch in the header");
    }
    const uint32_t version = reader.U32Le();
    if (version != kDeltaLayerVersion) {
        return Status::Refused("delta layer file \"" + path_ + "\" has format version " +
                                   std::to_string(version) + ", this release reads version " +
                                   std::to_string(kDeltaLayerVersion),
                               "Use the release of zenith that wrote the repository.");
    }
    const uint32_t page_size = reader.U32Le();
    const uint64_t length = reader.U64Le();
    TimelineId timeline;
    std::memcpy(timeline.bytes.data(), reader.Bytes(timeline.bytes.size()).data(),
                timeline.bytes.size());
    const LayerManifest::Entry place{Lsn(reader.U64Le()), Lsn(reader.U64Le()), reader.U32Le()};
    const uint32_t kinds = reader.U32Le();
    oldest_record_ = Lsn(reader.U64Le());
    const uint64_t block_count = reader.U64Le();
    const uint64_t image_file_count = reader.U32Le();
    const uint32_t filter_checksum = reader.U32Le();
    filter_offset_ = reader.U64Le();
    index_offset_ = reader.U64Le();
    const uint32_t index_checksum = reader.U32Le();
    if (page_size != kPageSize || kinds != kDeltaBlockKindCount) {
        return Corrupt(12, "page size " + std::to_string(page_size) + " or " +
                               std::to_string(kinds) + " kinds of blocks");
    }
    if (length != file_bytes_) {
        return Corrupt(16, "file has " + std::to_string(file_bytes_) + " bytes instead of " +
                               std::to_string(length));
    }
    if (timeline != timeline_) {
        return Corrupt(24, "file of timeline " + timeline.ToString());
    }
    if (place != entry_ || place.end <= place.start) {
        return Corrupt(40, "it is file " + std::to_string(place.number) + " from " +
                               place.start.ToString() + " to " + place.end.ToString() +
                               ", not what its name says");
    }
    if (filter_offset_ < kDeltaLayerHeaderSize || index_offset_ < filter_offset_ ||
        index_offset_ > file_bytes_) {
        return Corrupt(88, "invalid place of the filter or the index");
    }
    ZENITH_RETURN_IF_ERROR(LoadFilter(index_offset_ - filter_offset_, filter_checksum));
    return LoadIndex(block_count, image_file_count, index_checksum);
}

Status DeltaLayerBlocks::LoadFilter(uint64_t length, uint32_t checksum) {
    if (length % kFilterLineSize != 0) {
        return Corrupt(88, "invalid length of the filter");
    }
    std::string bytes(length, '\0');
    ZENITH_RETURN_IF_ERROR(
        ReadExactAt(fd_.get(), path_, filter_offset_, WritableBytesOf(&bytes)));
    if (Crc32c(BytesOf(bytes)) != checksum) {
        return Corrupt(filter_offset_, "checksum mismatch in the filter");
    }
    filter_ = PageFilter(std::move(bytes));
    return Status::Ok();
}

Status DeltaLayerBlocks::LoadIndex(uint64_t block_count, uint64_t image_file_count,
                                   uint32_t checksum) {
    std::string index(file_bytes_ - index_offset_, '\0');
    ZENITH_RETURN_IF_ERROR(
        ReadExactAt(fd_.get(), path_, index_offset_, WritableBytesOf(&index)));
    if (Crc32c(BytesOf(index)) != checksum) {
        return Corrupt(index_offset_, "checksum mismatch in the index");
    }
    if (block_count > index.size() || image_file_count > index.size()) {
        return Corrupt(72, "invalid number of blocks or image files");
    }
    size_t position = 0;
    auto number = [&](uint64_t* value) {
        return ReadVarint(index, index.size(), &position, value);
    };
    for (uint64_t i = 0; i < image_file_count; i++) {
        uint64_t file;
        if (!number(&file) || file == 0 || file > kMaxFileNumber ||
            std::find(image_table_.begin(), image_table_.end(), file) != image_table_.end()) {
            return Corrupt(index_offset_, "invalid table of image files");
        }
        image_table_.push_back(file);
    }
    blocks_.reserve(block_count);
    uint64_t offset = kDeltaLayerHeaderSize;
    uint64_t last_kind = 0;
    while (position < index.size()) {
        const size_t at = position;
        BlockPlace place;
        uint64_t kind;
        uint64_t key_length;
        uint64_t distance;
        uint64_t length;
        if (!number(&kind) || !number(&key_length) || key_length > index.size() - position) {
            return Corrupt(index_offset_ + at, "invalid index");
        }
        place.key_at = keys_.size();
        place.key_length = static_cast<uint32_t>(key_length);
        keys_.append(index, position, key_length);
        position += key_length;
        if (!number(&distance) || !number(&length) ||
            index.size() - position < sizeof place.checksum) {
            return Corrupt(index_offset_ + at, "invalid index");
        }
        std::memcpy(&place.checksum, index.data() + position, sizeof place.checksum);
        position += sizeof place.checksum;
        if (kind == 0 || kind > kDeltaBlockKindCount || kind < last_kind ||
            distance > end() - start() || length == 0 || length > UINT32_MAX ||
            length > filter_offset_ - offset) {
            return Corrupt(index_offset_ + at, "invalid kind or place of a block");
        }
        place.first_lsn = start() + distance;
        place.offset = offset;
        place.length = static_cast<uint32_t>(length);
        offset += length;
        blocks_.push_back(place);
        KindRange& range = kinds_[kind - 1];
        if (kind != last_kind) {
            range.begin = blocks_.size() - 1;
        } else {
            const size_t before = blocks_.size() - 2;
            const int order = FirstKey(before).compare(FirstKey(before + 1));
            if (order > 0 || (order == 0 && place.first_lsn < blocks_[before].first_lsn)) {
                return Corrupt(index_offset_ + at, "a block is out of order");
            }
        }
        range.end = blocks_.size();
        last_kind = kind;
    }
    if (offset != filter_offset_ || blocks_.size() != block_count) {
        return Corrupt(72, "the blocks are not those of the index");
    }
    keys_.shrink_to_fit();
    return Status::Ok();
}

size_t DeltaLayerBlocks::memory_bytes() const {
    return sizeof *this + blocks_.capacity() * sizeof(BlockPlace) + keys_.capacity() +
           filter_.memory_bytes() + image_table_.capacity() * sizeof(uint64_t);
}

DeltaBlockKind DeltaLayerBlocks::KindOf(size_t block) const {
    size_t kind = 1;
    while (kind < kDeltaBlockKindCount && block >= kinds_[kind - 1].end) {
        kind++;
    }
    return static_cast<DeltaBlockKind>(kind);
}

size_t DeltaLayerBlocks::BlocksUpTo(const KindRange& range, std::string_view key, Lsn at) const {
    size_t low = range.begin;
    size_t high = range.end;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = FirstKey(middle).compare(key);
        if (order < 0 || (order == 0 && blocks_[middle].first_lsn <= at)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - range.begin;
}

Status DeltaLayerBlocks::ReadBlock(size_t block, std::string* bytes) const {
    const BlockPlace& place = blocks_[block];
    bytes->resize(place.length);
    ZENITH_RETURN_IF_ERROR(
        ReadExactAt(fd_.get(), path_, place.offset, WritableBytesOf(bytes))
            .WithContext("timeline " + timeline_.ToString()));
    if (Crc32c(BytesOf(*bytes)) != place.checksum) {
        return Corrupt(place.offset, "checksum mismatch in a block");
    }
    return Status::Ok();
}

}  // namespace zenith
