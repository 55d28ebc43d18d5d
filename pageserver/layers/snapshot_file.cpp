// The reader of snapshot files. Everything but the pages is read and checked when the file is
// opened; the index takes 8 bytes of memory for a stored page.
#include "pageserver/layers/snapshot_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "common/base/byte_reader.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/snapshot_format.h"

namespace zenith {

namespace {

struct SlotRange {
    uint64_t first = 0;
    uint64_t count = 0;
};

struct SectionPlace {
    uint64_t offset = 0;
    uint64_t length = 0;
    uint32_t checksum = 0;
};

class SnapshotFileImpl final : public SnapshotFile {
  public:
    SnapshotFileImpl(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

    Status Load();

    Lsn lsn() const override { return lsn_; }
    uint64_t system_identifier() const override { return system_identifier_; }
    Result<std::optional<PageBuffer>> ReadPage(const PageKey& key) const override;
    std::optional<BlockNumber> RelationSize(const RelForkKey& rel) const override;
    const std::vector<RelationEntry>& relations() const override { return relations_; }
    std::vector<BlockNumber> SlruPages(SlruKind kind) const override;
    const std::vector<DatabaseKey>& databases() const override { return databases_; }
    const std::map<std::string, std::string>& blobs() const override { return blobs_; }

  private:
    using Sections = std::array<SectionPlace, kSnapshotSectionCount>;

    Status Corrupt(uint64_t offset, const std::string& what) const {
        return Status::Corruption("snapshot file \"" + path_ + "\", offset " +
                                  std::to_string(offset) + ": " + what);
    }
    Status LoadHeader(uint64_t file_size, Sections* sections);
    Result<std::string> ReadSection(const SectionPlace& place) const;
    Status LoadRelations(const SectionPlace& place);
    Status LoadPageTable(const SectionPlace& place);
    Status LoadDatabases(const SectionPlace& place);
    Status LoadBlobs(const SectionPlace& place);
    Status LoadSlrus(const SectionPlace& place);
    // The page numbers of a range of slots: ascending, below `limit`.
    Status CheckSlots(const SlotRange& range, uint64_t limit) const;
    const RelationEntry* FindRelation(const RelForkKey& rel) const;
    const SlotRange& SlruSlots(SlruKind kind) const {
        return slrus_[static_cast<size_t>(kind) % slrus_.size()];
    }

    const std::string path_;
    const UniqueFd fd_;
    Lsn lsn_;
    uint64_t system_identifier_ = 0;
    uint64_t page_count_ = 0;
    std::vector<RelationEntry> relations_;                    // ascending
    std::vector<SlotRange> relation_slots_;                   // parallel to relations_
    std::array<SlotRange, std::size(kSlruKinds) + 1> slrus_;  // by SlruKind
    std::vector<uint32_t> slot_blocks_;
    std::vector<uint32_t> slot_checksums_;
    std::vector<DatabaseKey> databases_;
    std::map<std::string, std::string> blobs_;
    uint64_t page_table_offset_ = 0;
};

Status SnapshotFileImpl::Load() {
    struct stat info;
    if (fstat(fd_.get(), &info) != 0) {
        return ErrnoStatus("stat file", path_, errno);
    }
    Sections sections;
    ZENITH_RETURN_IF_ERROR(LoadHeader(static_cast<uint64_t>(info.st_size), &sections));
    // The page table first: the others refer to its slots.
    ZENITH_RETURN_IF_ERROR(LoadPageTable(sections[1]));
    ZENITH_RETURN_IF_ERROR(LoadRelations(sections[0]));
    ZENITH_RETURN_IF_ERROR(LoadDatabases(sections[2]));
    ZENITH_RETURN_IF_ERROR(LoadBlobs(sections[3]));
    return LoadSlrus(sections[4]);
}

Status SnapshotFileImpl::LoadHeader(uint64_t file_size, Sections* sections) {
    if (file_size < kSnapshotHeaderSize) {
        return Corrupt(0, "file of " + std::to_string(file_size) + " bytes is too short");
    }
    std::array<std::byte, kSnapshotHeaderSize> header;
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd_.get(), path_, 0, header));
    ByteReader reader(header);
    std::span<const std::byte> magic = reader.Bytes(8);
    if (std::memcmp(magic.data(), kSnapshotMagic, 8) != 0) {
        return Corrupt(0, "not a snapshot file");
    }
    uint32_t checksum =
        ByteReader(std::span(header).subspan(kSnapshotHeaderChecksumOffset)).U32Le();
    if (Crc32c(std::span(header).first(kSnapshotHeaderChecksumOffset)) != checksum) {
        return Corrupt(0, "checksum mismatch in the header");
    }
    uint32_t version = reader.U32Le();
    if (version != kSnapshotVersion) {
        return Status::Refused("snapshot file \"" + path_ + "\" has format version " +
                                   std::to_string(version) + ", this release reads version " +
                                   std::to_string(kSnapshotVersion),
                               "Use the release of zenith that wrote the repository.");
    }
    uint32_t page_size = reader.U32Le();
    uint64_t length = reader.U64Le();
    lsn_ = Lsn(reader.U64Le());
    system_identifier_ = reader.U64Le();
    uint32_t catalog_version = reader.U32Le();
    uint32_t section_count = reader.U32Le();
    page_count_ = reader.U64Le();
    if (page_size != kPageSize || catalog_version != kCatalogVersion) {
        return Corrupt(12, "page size " + std::to_string(page_size) + " or catalog version " +
                               std::to_string(catalog_version) + " is not PostgreSQL 15's");
    }
    if (length != file_size) {
        return Corrupt(16, "file has " + std::to_string(file_size) + " bytes instead of " +
                               std::to_string(length));
    }
    if (section_count != kSnapshotSectionCount || page_count_ > file_size / kPageSize) {
        return Corrupt(44, "invalid number of sections or pages");
    }
    uint64_t expected_offset = SnapshotPageOffset(page_count_);
    for (size_t i = 0; i < kSnapshotSectionCount; i++) {
        SectionPlace& place = (*sections)[i];
        size_t at = reader.offset();
        uint32_t number = reader.U32Le();
        place.checksum = reader.U32Le();
        place.offset = reader.U64Le();
        place.length = reader.U64Le();
        if (number != i + 1 || place.offset != expected_offset || place.offset > file_size ||
            place.length > file_size - place.offset) {
            return Corrupt(at, "invalid place of section " + std::to_string(i + 1));
        }
        expected_offset += place.length;
    }
    if (expected_offset != file_size) {
        return Corrupt(expected_offset, "bytes after the last section");
    }
    return Status::Ok();
}

Result<std::string> SnapshotFileImpl::ReadSection(const SectionPlace& place) const {
    std::string bytes(place.length, '\0');
    ZENITH_RETURN_IF_ERROR(
        ReadExactAt(fd_.get(), path_, place.offset, std::as_writable_bytes(std::span(bytes))));
    if (Crc32c(std::as_bytes(std::span(bytes))) != place.checksum) {
        return Corrupt(place.offset, "checksum mismatch in a section of " +
                                         std::to_string(place.length) + " bytes");
    }
    return bytes;
}

Status SnapshotFileImpl::LoadPageTable(const SectionPlace& place) {
    page_table_offset_ = place.offset;
    if (place.length != page_count_ * kSnapshotPageEntrySize) {
        return Corrupt(place.offset, "page table is not as long as the number of pages asks for");
    }
    ZENITH_ASSIGN_OR_RETURN(std::string bytes, ReadSection(place));
    ByteReader reader(std::as_bytes(std::span(bytes)));
    slot_blocks_.resize(page_count_);
    slot_checksums_.resize(page_count_);
    for (uint64_t i = 0; i < page_count_; i++) {
        slot_blocks_[i] = reader.U32Le();
        slot_checksums_[i] = reader.U32Le();
    }
    return Status::Ok();
}

Status SnapshotFileImpl::CheckSlots(const SlotRange& range, uint64_t limit) const {
    for (uint64_t i = range.first; i < range.first + range.count; i++) {
        if (slot_blocks_[i] >= limit ||
            (i > range.first && slot_blocks_[i - 1] >= slot_blocks_[i])) {
            return Corrupt(page_table_offset_ + i * kSnapshotPageEntrySize,
                           "block " + std::to_string(slot_blocks_[i]) + " is out of order");
        }
    }
    return Status::Ok();
}

Status SnapshotFileImpl::LoadRelations(const SectionPlace& place) {
    if (place.length % kSnapshotRelationEntrySize != 0) {
        return Corrupt(place.offset, "relations section ends inside an entry");
    }
    ZENITH_ASSIGN_OR_RETURN(std::string bytes, ReadSection(place));
    ByteReader reader(std::as_bytes(std::span(bytes)));
    uint64_t next_slot = 0;
    while (reader.remaining() > 0) {
        uint64_t at = place.offset + reader.offset();
        RelationEntry entry;
        entry.rel.node.spc = reader.U32Le();
        entry.rel.node.db = reader.U32Le();
        entry.rel.node.rel = reader.U32Le();
        uint32_t fork = reader.U32Le();
        entry.blocks = reader.U32Le();
        SlotRange slots;
        slots.count = reader.U32Le();
        slots.first = reader.U64Le();
        if (fork >= kForkCount || entry.blocks == 0xFFFFFFFF) {
            return Corrupt(at, "invalid fork or size of a relation");
        }
        entry.rel.fork = static_cast<Fork>(fork);
        if (!relations_.empty() && !(relations_.back().rel < entry.rel)) {
            return Corrupt(at, "relation " + entry.rel.ToString() + " is out of order");
        }
        if (slots.first != next_slot || slots.count > page_count_ - next_slot) {
            return Corrupt(at, "invalid pages of relation " + entry.rel.ToString());
        }
        ZENITH_RETURN_IF_ERROR(CheckSlots(slots, entry.blocks));
        next_slot += slots.count;
        relations_.push_back(entry);
        relation_slots_.push_back(slots);
    }
    // The SLRU pages come next.
    slrus_[0].first = next_slot;
    return Status::Ok();
}

Status SnapshotFileImpl::LoadDatabases(const SectionPlace& place) {
    if (place.length % kSnapshotDatabaseEntrySize != 0) {
        return Corrupt(place.offset, "databases section ends inside an entry");
    }
    ZENITH_ASSIGN_OR_RETURN(std::string bytes, ReadSection(place));
    ByteReader reader(std::as_bytes(std::span(bytes)));
    while (reader.remaining() > 0) {
        uint64_t at = place.offset + reader.offset();
        DatabaseKey db;
        db.spc = reader.U32Le();
        db.db = reader.U32Le();
        if (db.db == 0 || (!databases_.empty() && !(databases_.back() < db))) {
            return Corrupt(at, "database " + std::to_string(db.db) + " is out of order");
        }
        databases_.push_back(db);
    }
    return Status::Ok();
}

Status SnapshotFileImpl::LoadBlobs(const SectionPlace& place) {
    ZENITH_ASSIGN_OR_RETURN(std::string bytes, ReadSection(place));
    ByteReader reader(std::as_bytes(std::span(bytes)));
    while (reader.remaining() > 0) {
        uint64_t at = place.offset + reader.offset();
        uint32_t key_length = reader.U32Le();
        uint32_t value_length = reader.U32Le();
        std::span<const std::byte> key = reader.Bytes(key_length);
        std::span<const std::byte> value = reader.Bytes(value_length);
        if (!reader.ok() || key.empty()) {
            return Corrupt(at, "invalid length of a blob");
        }
        std::string key_text(reinterpret_cast<const char*>(key.data()), key.size());
        if (!blobs_.empty() && blobs_.rbegin()->first >= key_text) {
            return Corrupt(at, "a blob is out of order");
        }
        blobs_.emplace_hint(blobs_.end(), std::move(key_text),
                            std::string(reinterpret_cast<const char*>(value.data()), value.size()));
    }
    return Status::Ok();
}

Status SnapshotFileImpl::LoadSlrus(const SectionPlace& place) {
    if (place.length % kSnapshotSlruEntrySize != 0) {
        return Corrupt(place.offset, "slru section ends inside an entry");
    }
    ZENITH_ASSIGN_OR_RETURN(std::string bytes, ReadSection(place));
    ByteReader reader(std::as_bytes(std::span(bytes)));
    uint64_t next_slot = slrus_[0].first;
    uint32_t last_kind = 0;
    while (reader.remaining() > 0) {
        uint64_t at = place.offset + reader.offset();
        uint32_t kind = reader.U32Le();
        uint32_t zero = reader.U32Le();
        SlotRange slots;
        slots.count = reader.U64Le();
        slots.first = reader.U64Le();
        if (kind <= last_kind || kind >= slrus_.size() || zero != 0 || slots.first != next_slot ||
            slots.count > page_count_ - next_slot) {
            return Corrupt(at, "invalid slru entry");
        }
        ZENITH_RETURN_IF_ERROR(CheckSlots(slots, uint64_t{UINT32_MAX} + 1));
        slrus_[kind] = slots;
        next_slot += slots.count;
        last_kind = kind;
    }
    if (next_slot != page_count_) {
        return Corrupt(place.offset, "pages that belong to nothing");
    }
    return Status::Ok();
}

const RelationEntry* SnapshotFileImpl::FindRelation(const RelForkKey& rel) const {
    auto found =
        std::lower_bound(relations_.begin(), relations_.end(), rel,
                         [](const RelationEntry& e, const RelForkKey& r) { return e.rel < r; });
    return found != relations_.end() && found->rel == rel ? &*found : nullptr;
}

std::optional<BlockNumber> SnapshotFileImpl::RelationSize(const RelForkKey& rel) const {
    const RelationEntry* entry = FindRelation(rel);
    return entry != nullptr ? std::optional(entry->blocks) : std::nullopt;
}

std::vector<BlockNumber> SnapshotFileImpl::SlruPages(SlruKind kind) const {
    const SlotRange& slots = SlruSlots(kind);
    auto begin = slot_blocks_.begin() + static_cast<ptrdiff_t>(slots.first);
    return {begin, begin + static_cast<ptrdiff_t>(slots.count)};
}

Result<std::optional<PageBuffer>> SnapshotFileImpl::ReadPage(const PageKey& key) const {
    SlotRange slots;
    if (key.is_slru) {
        slots = SlruSlots(key.slru_kind());
    } else if (const RelationEntry* entry = FindRelation(key.relation())) {
        slots = relation_slots_[static_cast<size_t>(entry - relations_.data())];
    }
    auto begin = slot_blocks_.begin() + static_cast<ptrdiff_t>(slots.first);
    auto end = begin + static_cast<ptrdiff_t>(slots.count);
    auto found = std::lower_bound(begin, end, key.block);
    Result<std::optional<PageBuffer>> page{std::optional<PageBuffer>()};
    if (found == end || *found != key.block) {
        return page;
    }
    uint64_t slot = static_cast<uint64_t>(found - slot_blocks_.begin());
    page->emplace();
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd_.get(), path_, SnapshotPageOffset(slot), page->value()));
    if (Crc32c(page->value()) != slot_checksums_[slot]) {
        return Corrupt(SnapshotPageOffset(slot), "checksum mismatch in " + key.ToString());
    }
    return page;
}

}  // namespace

Result<std::unique_ptr<SnapshotFile>> SnapshotFile::Open(const std::string& path) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
    auto snapshot = std::make_unique<SnapshotFileImpl>(path, std::move(fd));
    ZENITH_RETURN_IF_ERROR(snapshot->Load());
    return std::unique_ptr<SnapshotFile>(std::move(snapshot));
}

}  // namespace zenith
