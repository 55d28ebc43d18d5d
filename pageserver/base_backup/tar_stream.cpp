#include "pageserver/base_backup/tar_stream.h"

#include <unistd.h>

#include <algorithm>

namespace zenith {

namespace {

constexpr size_t kBlock = 512;
constexpr size_t kBufferSize = 128 * 1024;
// Numbers are 11 octal digits and a zero.
constexpr uint64_t kLargestNumber = 077777777777ull;

// Offsets in the header block.
constexpr size_t kName = 0;
constexpr size_t kNameSize = 100;
constexpr size_t kMode = 100;
constexpr size_t kUid = 108;
constexpr size_t kGid = 116;
constexpr size_t kSize = 124;
constexpr size_t kMtime = 136;
constexpr size_t kChecksum = 148;
constexpr size_t kType = 156;
constexpr size_t kMagic = 257;
// Old GNU sparse: four pairs of offset and length, a flag that more follow, the file's size.
constexpr size_t kSparse = 386;
constexpr size_t kRealSize = 483;
constexpr size_t kSparseEnd = 495;

// `width` - 1 digits and a zero; higher digits (a user id beyond 2 million) are left out.
void PutOctal(std::string* block, size_t offset, size_t width, uint64_t value) {
    for (size_t i = width - 1; i > 0; i--) {
        (*block)[offset + i - 1] = static_cast<char>('0' + value % 8);
        value /= 8;
    }
    (*block)[offset + width - 1] = '\0';
}

}  // namespace

TarStream::TarStream(BaseBackupSink& sink) : sink_(sink), now_(std::time(nullptr)) {
    buffer_.reserve(kBufferSize + kBlock);
}

Status TarStream::Flush() {
    if (buffer_.empty()) {
        return Status::Ok();
    }
    Status status = sink_.Write(std::as_bytes(std::span(buffer_.data(), buffer_.size())));
    buffer_.clear();
    return status;
}

Status TarStream::Put(std::string_view bytes) {
    while (!bytes.empty()) {
        size_t n = std::min(bytes.size(), kBufferSize - buffer_.size());
        buffer_.append(bytes.substr(0, n));
        bytes.remove_prefix(n);
        if (buffer_.size() == kBufferSize) {
            ZENITH_RETURN_IF_ERROR(Flush());
        }
    }
    return Status::Ok();
}

Status TarStream::PutPadded(std::string_view bytes) {
    ZENITH_RETURN_IF_ERROR(Put(bytes));
    static constexpr char kZeroes[kBlock] = {};
    return Put({kZeroes, (kBlock - bytes.size() % kBlock) % kBlock});
}

Status TarStream::Header(const std::string& path, char type, unsigned mode, uint64_t stored_size,
                         std::string_view sparse_part) {
    if (path.size() >= kNameSize || stored_size > kLargestNumber) {
        return Status::Internal("file \"" + path + "\" does not fit a tar header");
    }
    std::string block(kBlock, '\0');
    block.replace(kName, path.size(), path);
    PutOctal(&block, kMode, 8, mode);
    PutOctal(&block, kUid, 8, geteuid());
    PutOctal(&block, kGid, 8, getegid());
    PutOctal(&block, kSize, 12, stored_size);
    PutOctal(&block, kMtime, 12, static_cast<uint64_t>(now_));
    block[kType] = type;
    block.replace(kMagic, 8, "ustar  \0", 8);
    if (!sparse_part.empty()) {
        block.replace(kSparse, sparse_part.size(), sparse_part);
    }
    // The checksum is taken with its own field as blanks.
    block.replace(kChecksum, 8, 8, ' ');
    unsigned sum = 0;
    for (char c : block) {
        sum += static_cast<unsigned char>(c);
    }
    PutOctal(&block, kChecksum, 7, sum);
    return Put(block);
}

Status TarStream::Directory(const std::string& path) {
    return Header(path + "/", '5', 0700, 0, {});
}

Status TarStream::File(const std::string& path, std::string_view content, unsigned mode) {
    ZENITH_RETURN_IF_ERROR(Header(path, '0', mode, content.size(), {}));
    return PutPadded(content);
}

Status TarStream::SparseFile(const std::string& path, uint64_t size,
                             const std::vector<Region>& regions) {
    if (regions.size() > 3 || size > kLargestNumber) {
        return Status::Internal("sparse file \"" + path + "\" does not fit a tar header");
    }
    // An empty region at the end says where the file ends.
    std::string map(kSparseEnd - kSparse, '\0');
    size_t slot = 0;
    uint64_t stored = 0;
    auto add = [&](uint64_t offset, uint64_t length) {
        PutOctal(&map, slot, 12, offset);
        PutOctal(&map, slot + 12, 12, length);
        slot += 24;
    };
    for (const Region& region : regions) {
        if (region.offset % kBlock != 0 || region.data.size() % kBlock != 0) {
            return Status::Internal("sparse file \"" + path + "\" has an unaligned region");
        }
        add(region.offset, region.data.size());
        stored += region.data.size();
    }
    add(size, 0);
    PutOctal(&map, kRealSize - kSparse, 12, size);
    ZENITH_RETURN_IF_ERROR(Header(path, 'S', 0600, stored, map));
    for (const Region& region : regions) {
        ZENITH_RETURN_IF_ERROR(PutPadded(region.data));
    }
    return Status::Ok();
}

Status TarStream::Finish() {
    // Two blocks of zeroes; padding to a record of 20 blocks is for tapes.
    ZENITH_RETURN_IF_ERROR(Put(std::string(2 * kBlock, '\0')));
    return Flush();
}

}  // namespace zenith
