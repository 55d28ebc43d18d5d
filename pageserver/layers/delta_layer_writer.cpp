// The writer of delta layer files: one pass, in the order of the file.
#include "pageserver/layers/delta_layer_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <span>
#include <utility>

#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/in_memory_layer.h"

namespace zenith {

namespace {

constexpr size_t kWriteSize = 1024 * 1024;
constexpr char kTemporary[] = ".tmp";

std::span<const std::byte> BytesOf(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

DeltaLayerWriter::DeltaLayerWriter(NewLayer layer)
    : layer_(std::move(layer)),
      path_(layer_.directory + "/" + DeltaLayerFileName(layer_.entry)) {}

DeltaLayerWriter::~DeltaLayerWriter() {
    if (finished_) {
        return;
    }
    if (fd_.valid()) {
        unlink((path_ + kTemporary).c_str());
    }
    if (images_finished_) {
        unlink((layer_.directory + "/" + ImageFileName(layer_.entry.number)).c_str());
    }
}

Status DeltaLayerWriter::Open() {
    if (!fd_.valid()) {
        ZENITH_ASSIGN_OR_RETURN(
            fd_, OpenFile(path_ + kTemporary, O_WRONLY | O_CREAT | O_TRUNC));
    }
    return Status::Ok();
}

Result<ImageFileWriter*> DeltaLayerWriter::Images() {
    if (images_ == nullptr) {
        ZENITH_ASSIGN_OR_RETURN(images_,
                                ImageFileWriter::Create(layer_.directory, layer_.timeline,
                                                        layer_.entry.number));
    }
    return images_.get();
}

Status DeltaLayerWriter::Add(DeltaBlockKind kind, const std::string& key, Lsn lsn) {
    ZENITH_RETURN_IF_ERROR(Open());
    const LayerManifest::Entry& range = layer_.entry;
    if (lsn < range.start || lsn > range.end) {
        return Status::Internal("a layer from " + range.start.ToString() + " to " +
                                range.end.ToString() + " has something at " + lsn.ToString());
    }
    const bool same_key = kind == kind_ && key == key_ && any_;
    if (any_ && (kind < kind_ || (kind == kind_ && key < key_) || (same_key && lsn < last_lsn_))) {
        return Status::Internal("layer file \"" + path_ + "\" is written out of order");
    }
    any_ = true;
    if (!same_key && (kind == DeltaBlockKind::kPages || kind == DeltaBlockKind::kFloors)) {
        filter_.Add(PageFilterHash(key));
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
        previous_lsn_ = range.start;
        if (block_.empty()) {
            first_key_ = key;
            first_lsn_ = lsn;
        }
    }
    AppendVarint(&entries_, lsn - previous_lsn_);
    entries_ += entry_body_;
    entry_body_.clear();
    previous_lsn_ = last_lsn_ = lsn;
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
    AppendVarint(&index_, first_lsn_ - layer_.entry.start);
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
    ZENITH_RETURN_IF_ERROR(WriteAllAt(fd_.get(), path_ + kTemporary, offset_, BytesOf(pending_)));
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
    oldest_record_ = std::min(oldest_record_, start);
    return Add(DeltaBlockKind::kPages, EncodeKey(key), end);
}

Status DeltaLayerWriter::Tombstone(const PageKey& key, Lsn end) {
    AppendVarint(&entry_body_, kDeltaPageTombstone);
    return Add(DeltaBlockKind::kPages, EncodeKey(key), end);
}

Status DeltaLayerWriter::Image(const PageKey& key, Lsn end, ConstPageSpan image) {
    ZENITH_ASSIGN_OR_RETURN(ImageFileWriter * images, Images());
    ZENITH_ASSIGN_OR_RETURN(ImagePlace place, images->Add(key, end, image));
    return ImageAt(key, end, place);
}

Status DeltaLayerWriter::ImageFrame(const PageKey& key, Lsn end, std::string_view frame) {
    ZENITH_ASSIGN_OR_RETURN(ImageFileWriter * images, Images());
    ZENITH_ASSIGN_OR_RETURN(ImagePlace place, images->AddFrame(frame));
    return ImageAt(key, end, place);
}

void DeltaLayerWriter::PutImageBody(const ImagePlace& place) {
    auto [file, is_new] = image_files_.try_emplace(place.file, image_files_.size());
    if (is_new) {
        AppendVarint(&image_table_, place.file);
    }
    AppendVarint(&entry_body_, file->second << kDeltaPageWhatBits | kDeltaPageImage);
    AppendVarint(&entry_body_, place.offset);
    AppendVarint(&entry_body_, place.length);
}

Status DeltaLayerWriter::ImageAt(const PageKey& key, Lsn end, const ImagePlace& place) {
    PutImageBody(place);
    return Add(DeltaBlockKind::kPages, EncodeKey(key), end);
}

Status DeltaLayerWriter::Copy(DeltaBlockKind kind, const std::string& key,
                              const DeltaEntry& entry) {
    const bool of_page = kind == DeltaBlockKind::kPages;
    if (of_page && DeltaPageWhat(entry.number) == kDeltaPageImage) {
        PutImageBody(entry.image);
        return Add(kind, key, entry.lsn);
    }
    if (of_page && DeltaPageWhat(entry.number) != kDeltaPageTombstone) {
        oldest_record_ = std::min(oldest_record_, entry.lsn - DeltaPageExtent(entry.number));
    }
    AppendVarint(&entry_body_, entry.number);
    if (kind == DeltaBlockKind::kCuts && entry.number == 1) {
        AppendVarint(&entry_body_, entry.source.spc);
        AppendVarint(&entry_body_, entry.source.db);
    }
    entry_body_ += entry.value;
    return Add(kind, key, entry.lsn);
}

Result<WrittenLayer> DeltaLayerWriter::Finish() {
    ZENITH_RETURN_IF_ERROR(Open());
    EndGroup();
    ZENITH_RETURN_IF_ERROR(EndBlock());
    const std::string filter = filter_.Finish();
    const uint64_t filter_offset = offset_ + pending_.size();
    ZENITH_RETURN_IF_ERROR(Write(filter));
    const std::string index = image_table_ + index_;
    const uint64_t index_offset = offset_ + pending_.size();
    ZENITH_RETURN_IF_ERROR(Write(index));
    ZENITH_RETURN_IF_ERROR(WritePending());

    ByteWriter header;
    header.Text(kDeltaLayerMagic);
    header.U32Le(kDeltaLayerVersion);
    header.U32Le(kPageSize);
    header.U64Le(offset_);
    header.Bytes(std::as_bytes(std::span(layer_.timeline.bytes)));
    header.U64Le(layer_.entry.start.value);
    header.U64Le(layer_.entry.end.value);
    header.U32Le(static_cast<uint32_t>(layer_.entry.number));
    header.U32Le(kDeltaBlockKindCount);
    header.U64Le(oldest_record_.value);
    header.U64Le(blocks_);
    header.U32Le(static_cast<uint32_t>(image_files_.size()));
    header.U32Le(Crc32c(BytesOf(filter)));
    header.U64Le(filter_offset);
    header.U64Le(index_offset);
    header.U32Le(Crc32c(BytesOf(index)));
    header.Zeros(kDeltaLayerHeaderChecksumOffset - header.size());
    header.U32Le(Crc32c(header.bytes()));
    const std::string temporary = path_ + kTemporary;
    ZENITH_RETURN_IF_ERROR(WriteAllAt(fd_.get(), temporary, 0, header.bytes()));
    ZENITH_RETURN_IF_ERROR(FsyncFile(fd_.get(), temporary));

    WrittenLayer written;
    if (images_ != nullptr) {
        ZENITH_RETURN_IF_ERROR(images_->Finish());
        images_finished_ = true;
        written.image_bytes = images_->bytes();
        written.images = images_->images();
    }
    if (rename(temporary.c_str(), path_.c_str()) != 0) {
        return ErrnoStatus("rename file", temporary, errno);
    }
    finished_ = true;
    if (Status status = FsyncDirectory(layer_.directory); !status.ok()) {
        RemoveWritten(layer_);
        return status;
    }
    written.entry = layer_.entry;
    written.file_bytes = offset_;
    written.oldest_record = oldest_record_;
    for (const auto& [number, place] : image_files_) {
        written.image_files.push_back(number);
    }
    return written;
}

void RemoveWritten(const NewLayer& layer) {
    unlink((layer.directory + "/" + DeltaLayerFileName(layer.entry)).c_str());
    unlink((layer.directory + "/" + ImageFileName(layer.entry.number)).c_str());
}

Result<WrittenLayer> WriteDeltaLayerFile(const InMemoryLayer& memory, const NewLayer& layer) {
    DeltaLayerWriter writer(layer);
    ZENITH_RETURN_IF_ERROR(memory.Export(&writer));
    return writer.Finish();
}

}  // namespace zenith
