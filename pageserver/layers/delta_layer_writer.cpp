// The writer of delta layer files: one pass over a layer in memory, in the order of the file.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/layers/delta_layer_format.h"
#include "pageserver/layers/in_memory_layer.h"
#include "pageserver/layers/layer_sink.h"

namespace zenith {

namespace {

constexpr size_t kWriteSize = 1024 * 1024;

std::span<const std::byte> BytesOf(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

class DeltaLayerWriter final : public LayerSink {
  public:
    DeltaLayerWriter(std::string path, int fd, const TimelineId& timeline, Lsn start, Lsn end)
        : path_(std::move(path)), fd_(fd), timeline_(timeline), start_(start), end_(end) {}

    Status Cut(const DatabaseKey& db, const DatabaseCut& cut) override;
    Status Database(const DatabaseKey& db, Lsn lsn, bool exists) override;
    Status Size(const RelForkKey& rel, Lsn lsn, std::optional<BlockNumber> blocks) override;
    Status Floor(const RelForkKey& rel, Lsn lsn, BlockNumber blocks) override;
    Status Blob(const std::string& key, Lsn lsn, const std::string* value) override;
    Status Record(const PageKey& key, Lsn start, Lsn end, uint8_t ref_flags) override;
    Status Image(const PageKey& key, Lsn end, ConstPageSpan image) override;
    Status Tombstone(const PageKey& key, Lsn end) override;

    // The rest of the file, and the fsync.
    Status Finish();

  private:
    // Makes entry_body_ the next entry of `kind` and `key`.
    Status Add(DeltaBlockKind kind, const std::string& key, Lsn lsn);
    void EndGroup();
    Status EndBlock();
    Status Write(std::string_view bytes);
    Status WritePending();

    const std::string path_;
    const int fd_;
    const TimelineId timeline_;
    const Lsn start_;
    const Lsn end_;

    std::string entry_body_;  // of the entry being added
    DeltaBlockKind kind_ = DeltaBlockKind::kCuts;
    // The group being made.
    std::string key_;
    std::string entries_;
    uint64_t count_ = 0;
    Lsn last_lsn_;
    // The block being made, and the key of the last group in it.
    std::string block_;
    std::string last_key_in_block_;
    std::string first_key_;
    Lsn first_lsn_;

    std::vector<ConstPageSpan> images_;
    std::string index_;
    uint64_t blocks_ = 0;
    std::string pending_;  // not written yet
    uint64_t offset_ = kDeltaLayerHeaderSize;  // where pending_ goes
};

Status DeltaLayerWriter::Add(DeltaBlockKind kind, const std::string& key, Lsn lsn) {
    if (lsn < start_ || lsn > end_) {
        return Status::Internal("a layer from " + start_.ToString() + " to " + end_.ToString() +
                                " has something at " + lsn.ToString());
    }
    if (kind != kind_) {
        EndGroup();
        ZENITH_RETURN_IF_ERROR(EndBlock());
        kind_ = kind;
    } else if (count_ > 0 && key != key_) {
        EndGroup();
    }
    // What the group's own head takes is little more than its key.
    if (block_.size() + (count_ > 0 ? key_.size() + entries_.size() : 0) >= kDeltaLayerBlockSize) {
        EndGroup();
        ZENITH_RETURN_IF_ERROR(EndBlock());
    }
    if (count_ == 0) {
        key_ = key;
        last_lsn_ = start_;
        if (block_.empty()) {
            first_key_ = key;
            first_lsn_ = lsn;
        }
    }
    assert(lsn >= last_lsn_);
    AppendVarint(&entries_, lsn - last_lsn_);
    entries_ += entry_body_;
    entry_body_.clear();
    last_lsn_ = lsn;
    count_++;
    return Status::Ok();
}

void DeltaLayerWriter::EndGroup() {
    if (count_ == 0) {
        return;
    }
    size_t longest = std::min(key_.size(), last_key_in_block_.size());
    size_t shared = static_cast<size_t>(
        std::mismatch(key_.begin(), key_.begin() + static_cast<ptrdiff_t>(longest),
                      last_key_in_block_.begin())
            .first -
        key_.begin());
    AppendVarint(&block_, shared);
    AppendVarint(&block_, key_.size() - shared);
    block_.append(key_, shared);
    AppendVarint(&block_, count_);
    AppendVarint(&block_, entries_.size());
    block_ += entries_;
    last_key_in_block_ = key_;
    entries_.clear();
    count_ = 0;
}

Status DeltaLayerWriter::EndBlock() {
    if (block_.empty()) {
        return Status::Ok();
    }
    AppendVarint(&index_, static_cast<uint64_t>(kind_));
    AppendVarint(&index_, first_key_.size());
    index_ += first_key_;
    AppendVarint(&index_, first_lsn_ - start_);
    AppendVarint(&index_, block_.size());
    ByteWriter checksum;
    checksum.U32Le(Crc32c(BytesOf(block_)));
    index_ += checksum.buffer();
    blocks_++;
    ZENITH_RETURN_IF_ERROR(Write(block_));
    block_.clear();
    last_key_in_block_.clear();
    return Status::Ok();
}

Status DeltaLayerWriter::Write(std::string_view bytes) {
    pending_ += bytes;
    return pending_.size() >= kWriteSize ? WritePending() : Status::Ok();
}

Status DeltaLayerWriter::WritePending() {
    ZENITH_RETURN_IF_ERROR(WriteAllAt(fd_, path_, offset_, BytesOf(pending_)));
    offset_ += pending_.size();
    pending_.clear();
    return Status::Ok();
}

Status DeltaLayerWriter::Cut(const DatabaseKey& db, const DatabaseCut& cut) {
    AppendVarint(&entry_body_, cut.source ? 1 : 0);
    if (cut.source) {
        AppendVarint(&entry_body_, cut.source->spc);
        AppendVarint(&entry_body_, cut.source->db);
    }
    return Add(DeltaBlockKind::kCuts, EncodeKey(db), cut.lsn);
}

Status DeltaLayerWriter::Database(const DatabaseKey& db, Lsn lsn, bool exists) {
    AppendVarint(&entry_body_, exists ? 1 : 0);
    return Add(DeltaBlockKind::kDatabases, EncodeKey(db), lsn);
}

Status DeltaLayerWriter::Size(const RelForkKey& rel, Lsn lsn, std::optional<BlockNumber> blocks) {
    AppendVarint(&entry_body_, blocks ? uint64_t{*blocks} + 1 : 0);
    return Add(DeltaBlockKind::kSizes, EncodeKey(rel), lsn);
}

Status DeltaLayerWriter::Floor(const RelForkKey& rel, Lsn lsn, BlockNumber blocks) {
    AppendVarint(&entry_body_, blocks);
    return Add(DeltaBlockKind::kFloors, EncodeKey(rel), lsn);
}

Status DeltaLayerWriter::Blob(const std::string& key, Lsn lsn, const std::string* value) {
    AppendVarint(&entry_body_, value != nullptr ? value->size() + 1 : 0);
    if (value != nullptr) {
        entry_body_ += *value;
    }
    return Add(DeltaBlockKind::kBlobs, key, lsn);
}

Status DeltaLayerWriter::Record(const PageKey& key, Lsn start, Lsn end, uint8_t ref_flags) {
    AppendVarint(&entry_body_, (end - start) << kDeltaPageWhatBits | ref_flags);
    return Add(DeltaBlockKind::kPages, EncodeKey(key), end);
}

Status DeltaLayerWriter::Image(const PageKey& key, Lsn end, ConstPageSpan image) {
    AppendVarint(&entry_body_, images_.size() << kDeltaPageWhatBits | kDeltaPageImage);
    ByteWriter checksum;
    checksum.U32Le(Crc32c(image));
    entry_body_ += checksum.buffer();
    images_.push_back(image);
    return Add(DeltaBlockKind::kPages, EncodeKey(key), end);
}

Status DeltaLayerWriter::Tombstone(const PageKey& key, Lsn end) {
    AppendVarint(&entry_body_, kDeltaPageTombstone);
    return Add(DeltaBlockKind::kPages, EncodeKey(key), end);
}

Status DeltaLayerWriter::Finish() {
    EndGroup();
    ZENITH_RETURN_IF_ERROR(EndBlock());
    for (ConstPageSpan image : images_) {
        ZENITH_RETURN_IF_ERROR(
            Write({reinterpret_cast<const char*>(image.data()), image.size()}));
    }
    const uint64_t index_offset = offset_ + pending_.size();
    ZENITH_RETURN_IF_ERROR(Write(index_));
    ZENITH_RETURN_IF_ERROR(WritePending());

    ByteWriter header;
    header.Text(kDeltaLayerMagic);
    header.U32Le(kDeltaLayerVersion);
    header.U32Le(kPageSize);
    header.U64Le(offset_);
    header.Bytes(std::as_bytes(std::span(timeline_.bytes)));
    header.U64Le(start_.value);
    header.U64Le(end_.value);
    header.U64Le(blocks_);
    header.U64Le(images_.size());
    header.U64Le(index_offset);
    header.U32Le(Crc32c(BytesOf(index_)));
    header.U32Le(kDeltaBlockKindCount);
    header.Zeros(kDeltaLayerHeaderChecksumOffset - header.size());
    header.U32Le(Crc32c(header.bytes()));
    ZENITH_RETURN_IF_ERROR(WriteAllAt(fd_, path_, 0, header.bytes()));
    return FsyncFile(fd_, path_);
}

Status WriteTo(const std::string& path, const InMemoryLayer& layer, const TimelineId& timeline,
               Lsn start, Lsn end) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC));
    DeltaLayerWriter writer(path, fd.get(), timeline, start, end);
    ZENITH_RETURN_IF_ERROR(layer.Export(&writer));
    return writer.Finish();
}

}  // namespace

std::string DeltaLayerFileName(Lsn start, Lsn end) {
    char name[48];
    std::snprintf(name, sizeof name, "%016llx-%016llx.delta",
                  static_cast<unsigned long long>(start.value),
                  static_cast<unsigned long long>(end.value));
    return name;
}

Status WriteDeltaLayerFile(const InMemoryLayer& layer, const TimelineId& timeline, Lsn start,
                           Lsn end, const std::string& path) {
    const std::string temporary = path + ".tmp";
    Status status = WriteTo(temporary, layer, timeline, start, end);
    if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
        status = ErrnoStatus("rename file", temporary, errno);
    }
    if (!status.ok()) {
        unlink(temporary.c_str());
        return status;
    }
    size_t slash = path.rfind('/');
    return FsyncDirectory(slash == std::string::npos ? "." : path.substr(0, slash + 1));
}

}  // namespace zenith
