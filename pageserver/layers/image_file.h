// ImageFile: compressed images of pages in one immutable file, "<number>.images". Layer files refer
// to them by ImagePlace. Format: layer_file_format.md.
//
// Threads  ImageFile and ImageFiles from any thread; ImageFileWriter from one.
// Errors   kCorruption names file, offset and timeline; kRefused: an unknown version.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

inline constexpr char kImageFileMagic[9] = "ZNTHIMGS";
inline constexpr uint32_t kImageFileVersion = 1;
inline constexpr size_t kImageFileHeaderSize = 64;
inline constexpr size_t kImageFileTrailerSize = 24;
inline constexpr size_t kImageFrameHead = 33;  // before the compressed page
inline constexpr size_t kMinImageFrame = kImageFrameHead + 1;
inline constexpr size_t kMaxImageFrame = kImageFrameHead + kPageSize + 512;

// Where an image is: a frame of `length` bytes at `offset` of image file `file`.
struct ImagePlace {
    uint64_t file = 0;
    uint64_t offset = 0;
    uint32_t length = 0;
    bool operator==(const ImagePlace&) const = default;
};

class ImageFile {
  public:
    // Does no I/O: the file is opened, and its header checked, by the first read.
    ImageFile(std::string path, const TimelineId& timeline, uint64_t number);
    // Removes the file if RemoveWhenUnused() was called.
    ~ImageFile();
    ImageFile(const ImageFile&) = delete;
    ImageFile& operator=(const ImageFile&) = delete;

    uint64_t number() const { return number_; }
    const std::string& path() const { return path_; }
    Result<uint64_t> file_bytes() const;

    // The image at `place`, which must be that of `key` as of `lsn`.
    Result<PageBuffer> Read(const ImagePlace& place, const PageKey& key, Lsn lsn) const;
    // The frame's bytes, checked but for the page in it; they are valid in any image file of the
    // timeline.
    Result<std::string> ReadFrame(const ImagePlace& place, const PageKey& key, Lsn lsn) const;
    // Reads every byte, in the order of the file; `visit` may be null, and stops what it fails.
    using Visit = std::function<Status(const ImagePlace&, const PageKey&, Lsn, ConstPageSpan)>;
    Status ForEach(const Visit& visit) const;
    Status Verify() const { return ForEach(nullptr); }

    // The file goes with this object: nothing refers to it any more but readers that began before.
    void RemoveWhenUnused() const { remove_ = true; }

  private:
    Status Corrupt(uint64_t offset, const std::string& what) const;
    Result<int> Opened() const;
    // Header and trailer.
    Status CheckEnds(int fd, uint64_t size) const;
    // Requires: kMinImageFrame bytes.
    Status CheckFrame(std::string_view frame, uint64_t offset) const;
    Result<PageBuffer> Unpack(std::string_view frame, uint64_t offset) const;

    const std::string path_;
    const TimelineId timeline_;
    const uint64_t number_;
    mutable std::atomic<bool> remove_{false};
    mutable std::mutex mutex_;
    mutable UniqueFd fd_;             // set once, under mutex_
    mutable std::atomic<int> open_fd_{-1};  // the same, once it is good
    mutable uint64_t file_bytes_ = 0;
};

// The image files of one timeline. The layers that use a file share it; it closes with the last.
class ImageFiles {
  public:
    ImageFiles(std::string directory, const TimelineId& timeline)
        : directory_(std::move(directory)), timeline_(timeline) {}

    std::shared_ptr<const ImageFile> Get(uint64_t number);

  private:
    const std::string directory_;
    const TimelineId timeline_;
    std::mutex mutex_;
    std::map<uint64_t, std::weak_ptr<const ImageFile>> files_;  // guarded by mutex_
};

// Writes one. The file appears under its name, durable, with Finish(); without it, not at all.
class ImageFileWriter {
  public:
    static Result<std::unique_ptr<ImageFileWriter>> Create(const std::string& directory,
                                                           const TimelineId& timeline,
                                                           uint64_t number);
    ~ImageFileWriter();
    ImageFileWriter(const ImageFileWriter&) = delete;
    ImageFileWriter& operator=(const ImageFileWriter&) = delete;

    Result<ImagePlace> Add(const PageKey& key, Lsn lsn, ConstPageSpan page);
    // A frame of another image file.
    Result<ImagePlace> AddFrame(std::string_view frame);
    // Trailer, fsync, rename. The directory is the caller's to fsync.
    Status Finish();

    uint64_t bytes() const { return offset_ + pending_.size(); }
    uint64_t images() const { return images_; }

  private:
    ImageFileWriter(std::string path, UniqueFd fd, const TimelineId& timeline, uint64_t number);
    Status WritePending();

    const std::string path_;  // without ".tmp"
    UniqueFd fd_;
    const uint64_t number_;
    bool finished_ = false;
    std::string pending_;
    uint64_t offset_ = 0;  // where pending_ goes
    uint64_t images_ = 0;
    uint32_t checksum_;  // of the frames' checksums
    struct Compressor;
    std::unique_ptr<Compressor> compressor_;
};

}  // namespace zenith
