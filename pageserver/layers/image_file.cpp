#include "pageserver/layers/image_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>

#include "common/base/byte_reader.h"
#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/delta_layer_format.h"
#include "pageserver/layers/manifest.h"

namespace zenith {

namespace {

constexpr int kCompressionLevel = 1;
constexpr size_t kWriteSize = 1024 * 1024;
constexpr char kTemporary[] = ".tmp";

std::span<const std::byte> BytesOf(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}
std::span<std::byte> WritableBytesOf(std::string* text) {
    return std::as_writable_bytes(std::span(text->data(), text->size()));
}

// The fixed part of a frame.
struct FrameHead {
    uint32_t checksum = 0;
    uint32_t length = 0;
    std::string_view key;
    Lsn lsn;
};
// Requires: kImageFrameHead bytes.
FrameHead ReadFrameHead(std::string_view frame) {
    ByteReader reader(BytesOf(frame));
    FrameHead head;
    head.checksum = reader.U32Le();
    head.length = reader.U32Le();
    head.key = frame.substr(8, kPageKeySize);
    reader.Skip(kPageKeySize);
    head.lsn = Lsn(reader.U64Le());
    return head;
}
uint32_t FrameChecksum(std::string_view frame) { return Crc32c(BytesOf(frame.substr(4))); }

uint32_t ExtendByNumber(uint32_t crc, uint32_t number) {
    std::array<std::byte, 4> bytes;
    std::memcpy(bytes.data(), &number, sizeof number);
    return Crc32cExtend(crc, bytes);
}

// A context takes some 100 kB and 10 us to make: one for each thread that reads images.
ZSTD_DCtx* Decompressor() {
    struct Free {
        void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
    };
    thread_local std::unique_ptr<ZSTD_DCtx, Free> context(ZSTD_createDCtx());
    return context.get();
}

}  // namespace

// ---- reading ------------------------------------------------------------------------------------

ImageFile::ImageFile(std::string path, const TimelineId& timeline, uint64_t number)
    : path_(std::move(path)), timeline_(timeline), number_(number) {}

ImageFile::~ImageFile() {
    if (remove_.load()) {
        unlink(path_.c_str());
    }
}

Status ImageFile::Corrupt(uint64_t offset, const std::string& what) const {
    return Status::Corruption("image file \"" + path_ + "\", offset " + std::to_string(offset) +
                              ": " + what + " (timeline " + timeline_.ToString() + ")");
}

Status ImageFile::CheckEnds(int fd, uint64_t size) const {
    if (size < kImageFileHeaderSize + kImageFileTrailerSize) {
        return Corrupt(0, "file of " + std::to_string(size) + " bytes is too short");
    }
    std::array<std::byte, kImageFileHeaderSize> header;
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd, path_, 0, header));
    ByteReader reader(header);
    if (std::memcmp(reader.Bytes(8).data(), kImageFileMagic, 8) != 0) {
        return Corrupt(0, "not an image file");
    }
    if (Crc32c(std::span(header).first(kImageFileHeaderSize - 4)) !=
        ByteReader(std::span(header).last(4)).U32Le()) {
        return Corrupt(0, "checksum mismatch in the header");
    }
    const uint32_t version = reader.U32Le();
    if (version != kImageFileVersion) {
        return Status::Refused("image file \"" + path_ + "\" has format version " +
                                   std::to_string(version) + ", this release reads version " +
                                   std::to_string(kImageFileVersion),
                               "Use the release of zenith that wrote the repository.");
    }
    const uint32_t page_size = reader.U32Le();
    TimelineId timeline;
    std::memcpy(timeline.bytes.data(), reader.Bytes(timeline.bytes.size()).data(),
                timeline.bytes.size());
    const uint64_t number = reader.U64Le();
    if (page_size != kPageSize || timeline != timeline_ || number != number_) {
        return Corrupt(12, "it is file " + std::to_string(number) + " of timeline " +
                               timeline.ToString() + ", not what its name says");
    }
    std::array<std::byte, kImageFileTrailerSize> trailer;
    const uint64_t offset = size - kImageFileTrailerSize;
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd, path_, offset, trailer));
    ByteReader end(trailer);
    end.Skip(8);
    const uint64_t length = end.U64Le();
    end.Skip(4);
    if (Crc32c(std::span(trailer).first(kImageFileTrailerSize - 4)) != end.U32Le() ||
        length != size) {
        return Corrupt(offset, "checksum mismatch in the trailer");
    }
    return Status::Ok();
}

Result<int> ImageFile::Opened() const {
    if (int fd = open_fd_.load(std::memory_order_acquire); fd >= 0) {
        return fd;
    }
    std::lock_guard lock(mutex_);
    if (!fd_.valid()) {
        ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path_, O_RDONLY));
        struct stat info;
        if (fstat(fd.get(), &info) != 0) {
            return ErrnoStatus("stat file", path_, errno);
        }
        ZENITH_RETURN_IF_ERROR(CheckEnds(fd.get(), static_cast<uint64_t>(info.st_size)));
        file_bytes_ = static_cast<uint64_t>(info.st_size);
        fd_ = std::move(fd);
        open_fd_.store(fd_.get(), std::memory_order_release);
    }
    return fd_.get();
}

Result<uint64_t> ImageFile::file_bytes() const {
    ZENITH_RETURN_IF_ERROR(Opened().status());
    return file_bytes_;
}

Status ImageFile::CheckFrame(std::string_view frame, uint64_t offset) const {
    const FrameHead head = ReadFrameHead(frame);
    if (head.checksum != FrameChecksum(frame)) {
        return Corrupt(offset, "checksum mismatch in an image");
    }
    if (head.length != frame.size()) {
        return Corrupt(offset, "an image of another length");
    }
    return Status::Ok();
}

Result<PageBuffer> ImageFile::Unpack(std::string_view frame, uint64_t offset) const {
    Result<PageBuffer> page{PageBuffer()};
    ZSTD_DCtx* decompressor = Decompressor();
    if (decompressor == nullptr) {
        return Status::Internal("no memory to read image file \"" + path_ + "\"");
    }
    const std::string_view packed = frame.substr(kImageFrameHead);
    // Never writes behind the page, whatever the bytes say.
    const size_t size = ZSTD_decompressDCtx(decompressor, page->data(), page->size(),
                                            packed.data(), packed.size());
    if (ZSTD_isError(size) || size != kPageSize) {
        return Corrupt(offset, "an image that is no page");
    }
    return page;
}

Result<std::string> ImageFile::ReadFrame(const ImagePlace& place, const PageKey& key,
                                         Lsn lsn) const {
    ZENITH_ASSIGN_OR_RETURN(const int fd, Opened());
    const uint64_t end = file_bytes_ - kImageFileTrailerSize;
    if (place.file != number_ || place.length < kMinImageFrame || place.length > kMaxImageFrame ||
        place.offset < kImageFileHeaderSize || place.offset > end ||
        place.length > end - place.offset) {
        return Corrupt(place.offset, "no place of an image of " + std::to_string(place.length) +
                                         " bytes");
    }
    std::string frame(place.length, '\0');
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd, path_, place.offset, WritableBytesOf(&frame)));
    ZENITH_RETURN_IF_ERROR(CheckFrame(frame, place.offset));
    const FrameHead head = ReadFrameHead(frame);
    if (head.key != EncodedPageKey(key).page() || head.lsn != lsn) {
        return Corrupt(place.offset, "the image is not of " + key.ToString() + " at " +
                                         lsn.ToString());
    }
    return frame;
}

Result<PageBuffer> ImageFile::Read(const ImagePlace& place, const PageKey& key, Lsn lsn) const {
    ZENITH_ASSIGN_OR_RETURN(std::string frame, ReadFrame(place, key, lsn));
    return Unpack(frame, place.offset);
}

Status ImageFile::ForEach(const Visit& visit) const {
    ZENITH_ASSIGN_OR_RETURN(const int fd, Opened());
    const uint64_t end = file_bytes_ - kImageFileTrailerSize;
    std::string buffer;
    size_t position = 0;  // of the next frame in the buffer
    uint64_t offset = kImageFileHeaderSize;
    uint64_t images = 0;
    uint32_t checksum = kCrc32cInit;
    // Makes at least `bytes` from `offset` on available.
    auto fill = [&](size_t bytes) -> Status {
        if (buffer.size() - position >= bytes) {
            return Status::Ok();
        }
        buffer.erase(0, position);
        position = 0;
        const size_t had = buffer.size();
        buffer.resize(std::min<uint64_t>(kWriteSize, end - offset));
        return ReadExactAt(fd, path_, offset + had,
                           WritableBytesOf(&buffer).subspan(had));
    };
    while (offset < end) {
        if (end - offset < kMinImageFrame) {
            return Corrupt(offset, "half an image");
        }
        ZENITH_RETURN_IF_ERROR(fill(kMinImageFrame));
        const uint32_t length = ReadFrameHead(std::string_view(buffer).substr(position)).length;
        if (length < kMinImageFrame || length > kMaxImageFrame || length > end - offset) {
            return Corrupt(offset, "an image of " + std::to_string(length) + " bytes");
        }
        ZENITH_RETURN_IF_ERROR(fill(length));
        const std::string_view frame = std::string_view(buffer).substr(position, length);
        ZENITH_RETURN_IF_ERROR(CheckFrame(frame, offset));
        ZENITH_ASSIGN_OR_RETURN(PageBuffer page, Unpack(frame, offset));
        const FrameHead head = ReadFrameHead(frame);
        if (static_cast<uint8_t>(head.key[kRelationKeySize - 1]) >= kForkCount) {
            return Corrupt(offset, "an image of no page");
        }
        if (visit) {
            ZENITH_RETURN_IF_ERROR(visit(ImagePlace{number_, offset, length},
                                         DecodePageKey(head.key), head.lsn, page));
        }
        checksum = ExtendByNumber(checksum, head.checksum);
        images++;
        offset += length;
        position += length;
    }
    std::array<std::byte, kImageFileTrailerSize> trailer;
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd, path_, end, trailer));
    ByteReader reader(trailer);
    const uint64_t expected_images = reader.U64Le();
    reader.Skip(8);
    if (images != expected_images || Crc32cFinish(checksum) != reader.U32Le()) {
        return Corrupt(end, "the images are not those of the trailer");
    }
    return Status::Ok();
}

std::shared_ptr<const ImageFile> ImageFiles::Get(uint64_t number) {
    std::lock_guard lock(mutex_);
    std::weak_ptr<const ImageFile>& known = files_[number];
    std::shared_ptr<const ImageFile> file = known.lock();
    if (file == nullptr) {
        file = std::make_shared<ImageFile>(directory_ + "/" + ImageFileName(number), timeline_,
                                           number);
        known = file;
    }
    return file;
}

// ---- writing ------------------------------------------------------------------------------------

struct ImageFileWriter::Compressor {
    struct Free {
        void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
    };
    std::unique_ptr<ZSTD_CCtx, Free> context{ZSTD_createCCtx()};
};

ImageFileWriter::ImageFileWriter(std::string path, UniqueFd fd, const TimelineId& timeline,
                                 uint64_t number)
    : path_(std::move(path)),
      fd_(std::move(fd)),
      number_(number),
      checksum_(kCrc32cInit),
      compressor_(std::make_unique<Compressor>()) {
    ByteWriter header;
    header.Text(kImageFileMagic);
    header.U32Le(kImageFileVersion);
    header.U32Le(kPageSize);
    header.Bytes(std::as_bytes(std::span(timeline.bytes)));
    header.U64Le(number);
    header.Zeros(kImageFileHeaderSize - 4 - header.size());
    header.U32Le(Crc32c(header.bytes()));
    pending_ = header.Take();
}

ImageFileWriter::~ImageFileWriter() {
    if (!finished_) {
        unlink((path_ + kTemporary).c_str());
    }
}

Result<std::unique_ptr<ImageFileWriter>> ImageFileWriter::Create(const std::string& directory,
                                                                 const TimelineId& timeline,
                                                                 uint64_t number) {
    std::string path = directory + "/" + ImageFileName(number);
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd,
                            OpenFile(path + kTemporary, O_WRONLY | O_CREAT | O_TRUNC));
    return std::unique_ptr<ImageFileWriter>(
        new ImageFileWriter(std::move(path), std::move(fd), timeline, number));
}

Result<ImagePlace> ImageFileWriter::Add(const PageKey& key, Lsn lsn, ConstPageSpan page) {
    if (compressor_->context == nullptr) {
        return Status::Internal("no memory to write image file \"" + path_ + "\"");
    }
    std::string frame(kMaxImageFrame, '\0');
    const size_t packed = ZSTD_compressCCtx(compressor_->context.get(),
                                            frame.data() + kImageFrameHead,
                                            frame.size() - kImageFrameHead, page.data(),
                                            page.size(), kCompressionLevel);
    if (ZSTD_isError(packed)) {
        return Status::Internal("could not compress " + key.ToString() + " for image file \"" +
                                path_ + "\": " + ZSTD_getErrorName(packed));
    }
    frame.resize(kImageFrameHead + packed);
    ByteWriter head;
    head.U32Le(0);
    head.U32Le(static_cast<uint32_t>(frame.size()));
    head.Text(EncodedPageKey(key).page());
    head.U64Le(lsn.value);
    frame.replace(0, kImageFrameHead, head.buffer());
    head.PatchU32Le(0, FrameChecksum(frame));
    frame.replace(0, kImageFrameHead, head.buffer());
    return AddFrame(frame);
}

Result<ImagePlace> ImageFileWriter::AddFrame(std::string_view frame) {
    const ImagePlace place{number_, offset_ + pending_.size(),
                           static_cast<uint32_t>(frame.size())};
    pending_ += frame;
    checksum_ = ExtendByNumber(checksum_, ReadFrameHead(frame).checksum);
    images_++;
    if (pending_.size() >= kWriteSize) {
        ZENITH_RETURN_IF_ERROR(WritePending());
    }
    return place;
}

Status ImageFileWriter::WritePending() {
    ZENITH_RETURN_IF_ERROR(
        WriteAllAt(fd_.get(), path_ + kTemporary, offset_, BytesOf(pending_)));
    offset_ += pending_.size();
    pending_.clear();
    return Status::Ok();
}

Status ImageFileWriter::Finish() {
    ByteWriter trailer;
    trailer.U64Le(images_);
    trailer.U64Le(bytes() + kImageFileTrailerSize);
    trailer.U32Le(Crc32cFinish(checksum_));
    trailer.U32Le(Crc32c(trailer.bytes()));
    pending_ += trailer.buffer();
    ZENITH_RETURN_IF_ERROR(WritePending());
    const std::string temporary = path_ + kTemporary;
    ZENITH_RETURN_IF_ERROR(FsyncFile(fd_.get(), temporary));
    if (rename(temporary.c_str(), path_.c_str()) != 0) {
        return ErrnoStatus("rename file", temporary, errno);
    }
    finished_ = true;
    return Status::Ok();
}

}  // namespace zenith
