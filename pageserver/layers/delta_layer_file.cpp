// The reader of delta layer files. The index and what happened to databases are read and checked
// when the file is opened, the other blocks when a question needs them.
#include "pageserver/layers/delta_layer_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <span>
#include <unordered_map>

#include "common/base/byte_reader.h"
#include "common/base/crc32c.h"
#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/database_blob.h"
#include "pageserver/layers/delta_layer_block.h"
#include "pageserver/layers/delta_layer_format.h"

namespace zenith {

namespace {

std::span<std::byte> WritableBytesOf(std::string* text) {
    return std::as_writable_bytes(std::span(text->data(), text->size()));
}
std::span<const std::byte> BytesOf(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

struct ExistenceVersion {
    Lsn lsn;
    bool exists;
};

// The newest element with lsn <= at, or null. The vector is sorted by lsn.
template <typename Version>
const Version* NewestAt(const std::vector<Version>& versions, Lsn at) {
    auto after = std::upper_bound(versions.begin(), versions.end(), at,
                                  [](Lsn l, const Version& v) { return l < v.lsn; });
    return after == versions.begin() ? nullptr : &*(after - 1);
}

class DeltaLayerFileImpl final : public DeltaLayerFile {
  public:
    DeltaLayerFileImpl(std::string path, UniqueFd fd, const TimelineId& timeline,
                       const WalStorage* wal)
        : path_(std::move(path)), fd_(std::move(fd)), timeline_(timeline), wal_(wal) {}

    Status Load();

    Lsn start() const override { return start_; }
    Lsn end() const override { return end_; }
    uint64_t file_bytes() const override { return file_bytes_; }
    size_t memory_bytes() const override;
    Status Verify() const override;

    Result<SearchStep> SearchPage(const PageKey& key, Lsn at, PageHistory* history) const override;
    Result<SearchStep> SearchSize(const RelForkKey& rel, Lsn at,
                                  std::optional<BlockNumber>* blocks) const override;
    Result<SearchStep> SearchBlob(const std::string& key, Lsn at,
                                  std::optional<Timeline::VersionedBlob>* blob) const override;
    Result<SearchStep> SearchDatabase(const DatabaseKey& db, Lsn at, bool* exists) const override;
    Status VisitCuts(
        Lsn at,
        const std::function<void(const DatabaseKey&, const DatabaseCut&)>& visit) const override;
    Status VisitRelations(const DatabaseKey* only, Lsn at,
                          const std::function<void(const RelForkKey&, std::optional<BlockNumber>)>&
                              visit) const override;
    Status VisitDatabases(
        Lsn at, const std::function<void(const DatabaseKey&, bool)>& visit) const override;
    Status VisitBlobs(std::string_view prefix, Lsn at,
                      const std::function<void(const std::string&, Lsn, const std::string*)>& visit)
        const override;
    Status VisitSlruPages(SlruKind kind, Lsn at,
                          const std::function<void(BlockNumber, bool)>& visit) const override;

  private:
    struct BlockPlace {
        uint64_t offset = 0;
        uint64_t key_at = 0;  // in keys_
        Lsn first_lsn;
        uint32_t key_length = 0;
        uint32_t length = 0;
        uint32_t checksum = 0;
    };
    // The blocks of one kind: [begin, end) of blocks_.
    struct KindRange {
        size_t begin = 0;
        size_t end = 0;
    };

    Status Corrupt(uint64_t offset, const std::string& what) const {
        return Status::Corruption("delta layer file \"" + path_ + "\", offset " +
                                  std::to_string(offset) + ": " + what + " (timeline " +
                                  timeline_.ToString() + ", " + start_.ToString() + " to " +
                                  end_.ToString() + ")");
    }
    Status LoadHeader();
    Status LoadIndex(uint64_t block_count, uint32_t checksum);
    Status LoadDatabases();

    std::string_view FirstKey(size_t block) const {
        return std::string_view(keys_).substr(blocks_[block].key_at, blocks_[block].key_length);
    }
    const KindRange& Kind(DeltaBlockKind kind) const {
        return kinds_[static_cast<size_t>(kind) - 1];
    }
    // The number of blocks of the range, counted from its begin, whose first (key, LSN) is not
    // above (key, at).
    size_t BlocksUpTo(const KindRange& range, std::string_view key, Lsn at) const;
    Status ReadBlock(size_t block, std::string* bytes) const;
    Status Damaged(size_t block) const {
        return Corrupt(blocks_[block].offset, "invalid contents of a block");
    }
    Result<PageBuffer> ReadImage(uint64_t place, uint32_t checksum) const;

    // Calls take(entry) for the entries of `key` with LSNs up to `at`, newest first, until it
    // returns false.
    template <typename Take>
    Status ForEntries(DeltaBlockKind kind, std::string_view key, Lsn at, Take&& take) const;
    // Calls take(key, entry) for the newest entry up to `at` of each key that starts with
    // `prefix`.
    template <typename Take>
    Status ForNewest(DeltaBlockKind kind, std::string_view prefix, Lsn at, Take&& take) const;

    const DatabaseCut* NewestCut(const DatabaseKey& db, Lsn at) const;
    // The cut that the key of a blob falls under, if any.
    const DatabaseCut* CutOfBlob(std::string_view key, Lsn at) const;

    const std::string path_;
    const UniqueFd fd_;
    const TimelineId timeline_;
    const WalStorage* const wal_;
    Lsn start_;
    Lsn end_;
    uint64_t file_bytes_ = 0;
    uint64_t image_count_ = 0;
    uint64_t images_offset_ = 0;
    uint64_t index_offset_ = 0;
    std::vector<BlockPlace> blocks_;
    std::string keys_;
    std::array<KindRange, kDeltaBlockKindCount> kinds_;
    std::unordered_map<DatabaseKey, std::vector<DatabaseCut>> cuts_;
    std::unordered_map<DatabaseKey, std::vector<ExistenceVersion>> databases_;
};

// ---- opening ------------------------------------------------------------------------------------

Status DeltaLayerFileImpl::LoadHeader() {
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
    uint32_t header_checksum =
        ByteReader(std::span(header).subspan(kDeltaLayerHeaderChecksumOffset)).U32Le();
    if (Crc32c(std::span(header).first(kDeltaLayerHeaderChecksumOffset)) != header_checksum) {
        return Corrupt(0, "checksum mismatch in the header");
    }
    uint32_t version = reader.U32Le();
    if (version != kDeltaLayerVersion) {
        return Status::Refused("delta layer file \"" + path_ + "\" has format version " +
                                   std::to_string(version) + ", this release reads version " +
                                   std::to_string(kDeltaLayerVersion),
                               "Use the release of zenith that wrote the repository.");
    }
    uint32_t page_size = reader.U32Le();
    uint64_t length = reader.U64Le();
    TimelineId timeline;
    std::memcpy(timeline.bytes.data(), reader.Bytes(timeline.bytes.size()).data(),
                timeline.bytes.size());
    start_ = Lsn(reader.U64Le());
    end_ = Lsn(reader.U64Le());
    uint64_t block_count = reader.U64Le();
    image_count_ = reader.U64Le();
    index_offset_ = reader.U64Le();
    uint32_t index_checksum = reader.U32Le();
    uint32_t kinds = reader.U32Le();
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
    if (end_ <= start_) {
        return Corrupt(40, "invalid LSNs");
    }
    if (index_offset_ < kDeltaLayerHeaderSize || index_offset_ > file_bytes_ ||
        image_count_ > (index_offset_ - kDeltaLayerHeaderSize) / kPageSize) {
        return Corrupt(56, "invalid place of the index or number of images");
    }
    images_offset_ = index_offset_ - image_count_ * kPageSize;
    return LoadIndex(block_count, index_checksum);
}

Status DeltaLayerFileImpl::LoadIndex(uint64_t block_count, uint32_t checksum) {
    std::string index(file_bytes_ - index_offset_, '\0');
    ZENITH_RETURN_IF_ERROR(
        ReadExactAt(fd_.get(), path_, index_offset_, WritableBytesOf(&index)));
    if (Crc32c(BytesOf(index)) != checksum) {
        return Corrupt(index_offset_, "checksum mismatch in the index");
    }
    if (block_count > index.size()) {
        return Corrupt(48, "invalid number of blocks");
    }
    blocks_.reserve(block_count);
    uint64_t offset = kDeltaLayerHeaderSize;
    uint64_t last_kind = 0;
    size_t position = 0;
    while (position < index.size()) {
        const size_t at = position;
        auto number = [&](uint64_t* value) {
            return ReadVarint(index, index.size(), &position, value);
        };
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
            distance > end_ - start_ || length == 0 || length > UINT32_MAX ||
            length > images_offset_ - offset) {
            return Corrupt(index_offset_ + at, "invalid kind or place of a block");
        }
        place.first_lsn = start_ + distance;
        place.offset = offset;
        place.length = static_cast<uint32_t>(length);
        offset += length;
        blocks_.push_back(place);
        KindRange& range = kinds_[kind - 1];
        if (kind != last_kind) {
            range.begin = blocks_.size() - 1;
        } else {
            const size_t before = blocks_.size() - 2;
            int order = FirstKey(before).compare(FirstKey(before + 1));
            if (order > 0 || (order == 0 && place.first_lsn < blocks_[before].first_lsn)) {
                return Corrupt(index_offset_ + at, "a block is out of order");
            }
        }
        range.end = blocks_.size();
        last_kind = kind;
    }
    if (offset != images_offset_ || blocks_.size() != block_count) {
        return Corrupt(48, "the blocks are not those of the index");
    }
    keys_.shrink_to_fit();
    return Status::Ok();
}

Status DeltaLayerFileImpl::LoadDatabases() {
    std::string bytes;
    std::vector<DeltaEntry> entries;
    for (DeltaBlockKind kind : {DeltaBlockKind::kCuts, DeltaBlockKind::kDatabases}) {
        for (size_t i = Kind(kind).begin; i < Kind(kind).end; i++) {
            ZENITH_RETURN_IF_ERROR(ReadBlock(i, &bytes));
            DeltaBlock block(kind, bytes, start_, end_);
            while (block.NextGroup()) {
                const DatabaseKey db = DecodeDatabaseKey(block.key());
                block.Entries(kMaxLsn, &entries);
                for (const DeltaEntry& entry : entries) {
                    if (kind == DeltaBlockKind::kCuts) {
                        cuts_[db].push_back({entry.lsn, entry.number == 1
                                                            ? std::optional(entry.source)
                                                            : std::nullopt});
                    } else {
                        databases_[db].push_back({entry.lsn, entry.number == 1});
                    }
                }
            }
            if (!block.ok()) {
                return Damaged(i);
            }
        }
    }
    // A key's entries may be spread over blocks, which the index alone orders.
    auto ordered = [](const auto& by_database) {
        return std::all_of(by_database.begin(), by_database.end(), [](const auto& element) {
            return std::is_sorted(element.second.begin(), element.second.end(),
                                  [](const auto& a, const auto& b) { return a.lsn < b.lsn; });
        });
    };
    if (!ordered(cuts_) || !ordered(databases_)) {
        return Corrupt(kDeltaLayerHeaderSize, "the fate of a database is out of order");
    }
    return Status::Ok();
}

Status DeltaLayerFileImpl::Load() {
    ZENITH_RETURN_IF_ERROR(LoadHeader());
    return LoadDatabases();
}

size_t DeltaLayerFileImpl::memory_bytes() const {
    size_t bytes = sizeof *this + blocks_.capacity() * sizeof(BlockPlace) + keys_.capacity();
    for (const auto& [db, cuts] : cuts_) {
        bytes += 64 + cuts.capacity() * sizeof(DatabaseCut);
    }
    for (const auto& [db, versions] : databases_) {
        bytes += 64 + versions.capacity() * sizeof(ExistenceVersion);
    }
    return bytes;
}

// ---- blocks -------------------------------------------------------------------------------------

size_t DeltaLayerFileImpl::BlocksUpTo(const KindRange& range, std::string_view key, Lsn at) const {
    size_t low = range.begin;
    size_t high = range.end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = FirstKey(middle).compare(key);
        if (order < 0 || (order == 0 && blocks_[middle].first_lsn <= at)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - range.begin;
}

Status DeltaLayerFileImpl::ReadBlock(size_t block, std::string* bytes) const {
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

Result<PageBuffer> DeltaLayerFileImpl::ReadImage(uint64_t place, uint32_t checksum) const {
    if (place >= image_count_) {
        return Corrupt(images_offset_, "there is no image " + std::to_string(place));
    }
    Result<PageBuffer> image{PageBuffer()};
    const uint64_t offset = images_offset_ + place * kPageSize;
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd_.get(), path_, offset, *image));
    if (Crc32c(*image) != checksum) {
        return Corrupt(offset, "checksum mismatch in an image");
    }
    return image;
}

template <typename Take>
Status DeltaLayerFileImpl::ForEntries(DeltaBlockKind kind, std::string_view key, Lsn at,
                                      Take&& take) const {
    const KindRange& range = Kind(kind);
    size_t i = range.begin + BlocksUpTo(range, key, at);
    std::string bytes;
    std::vector<DeltaEntry> entries;
    while (i > range.begin) {
        i--;
        ZENITH_RETURN_IF_ERROR(ReadBlock(i, &bytes));
        DeltaBlock block(kind, bytes, start_, end_);
        while (block.NextGroup() && key.compare(block.key()) > 0) {
        }
        if (block.ok() && block.key() == key) {
            block.Entries(at, &entries);
        } else {
            entries.clear();
        }
        if (!block.ok()) {
            return Damaged(i);
        }
        while (!entries.empty()) {
            ZENITH_ASSIGN_OR_RETURN(bool more, take(entries.back()));
            if (!more) {
                return Status::Ok();
            }
            entries.pop_back();
        }
        // The block before has entries of the key only when this one begins with it.
        if (FirstKey(i) != key) {
            break;
        }
    }
    return Status::Ok();
}

template <typename Take>
Status DeltaLayerFileImpl::ForNewest(DeltaBlockKind kind, std::string_view prefix, Lsn at,
                                     Take&& take) const {
    const KindRange& range = Kind(kind);
    size_t i = range.begin + BlocksUpTo(range, prefix, Lsn());
    i -= i > range.begin ? 1 : 0;
    std::string bytes;
    std::vector<DeltaEntry> entries;
    // The newest entry so far of the key that may go on in the next block.
    bool pending = false;
    std::string key;
    std::string value;
    DeltaEntry newest;
    for (; i < range.end; i++) {
        if (FirstKey(i).compare(prefix) > 0 && !FirstKey(i).starts_with(prefix)) {
            break;
        }
        // A block of one key alone, of which a later one has a newer entry: a fork that grew block
        // by block has many of them.
        if (i + 1 < range.end && FirstKey(i) == FirstKey(i + 1) &&
            blocks_[i + 1].first_lsn <= at) {
            continue;
        }
        ZENITH_RETURN_IF_ERROR(ReadBlock(i, &bytes));
        DeltaBlock block(kind, bytes, start_, end_);
        while (block.NextGroup()) {
            if (!std::string_view(block.key()).starts_with(prefix)) {
                continue;
            }
            if (pending && key != block.key()) {
                take(key, newest);
                pending = false;
            }
            block.Entries(at, &entries);
            if (!entries.empty()) {
                pending = true;
                key = block.key();
                value = entries.back().value;
                newest = entries.back();
                newest.value = value;
            }
        }
        if (!block.ok()) {
            return Damaged(i);
        }
    }
    if (pending) {
        take(key, newest);
    }
    return Status::Ok();
}

// ---- searches -----------------------------------------------------------------------------------

const DatabaseCut* DeltaLayerFileImpl::NewestCut(const DatabaseKey& db, Lsn at) const {
    auto found = cuts_.find(db);
    return found == cuts_.end() ? nullptr : NewestAt(found->second, at);
}

const DatabaseCut* DeltaLayerFileImpl::CutOfBlob(std::string_view key, Lsn at) const {
    if (cuts_.empty()) {
        return nullptr;
    }
    std::optional<DatabaseBlob> scope = DatabaseBlob::Parse(key);
    return scope ? NewestCut(scope->db, at) : nullptr;
}

Result<SearchStep> DeltaLayerFileImpl::SearchPage(const PageKey& key, Lsn at,
                                                  PageHistory* history) const {
    const DatabaseKey db =
        key.is_slru ? DatabaseKey{} : DatabaseKey{key.node.spc, key.node.db};
    const DatabaseCut* cut = key.is_slru ? nullptr : NewestCut(db, at);
    Lsn low = cut != nullptr ? cut->lsn : Lsn();
    // As in InMemoryLayer: a floor counts when it is not older than the cut.
    bool done = false;
    if (!key.is_slru) {
        ZENITH_RETURN_IF_ERROR(
            ForEntries(DeltaBlockKind::kFloors, EncodeKey(key.relation()), at,
                       [&](const DeltaEntry& floor) -> Result<bool> {
                           if (floor.lsn >= low && floor.number <= key.block) {
                               low = floor.lsn;
                               done = true;
                           }
                           return floor.lsn >= low && !done;
                       }));
    }
    ZENITH_RETURN_IF_ERROR(ForEntries(
        DeltaBlockKind::kPages, EncodeKey(key), at,
        [&](const DeltaEntry& entry) -> Result<bool> {
            if (entry.lsn < low) {
                return false;
            }
            const uint64_t what = entry.number & ((1u << kDeltaPageWhatBits) - 1);
            const uint64_t extent = entry.number >> kDeltaPageWhatBits;
            if (what == kDeltaPageTombstone) {
                done = true;
            } else if (what == kDeltaPageImage) {
                ZENITH_ASSIGN_OR_RETURN(history->base, ReadImage(extent, entry.checksum));
                history->base_lsn = entry.lsn;
                done = true;
            } else {
                history->records.push_back(RecordRef{wal_, entry.lsn - extent, entry.lsn,
                                                     static_cast<uint8_t>(what), db});
                if ((what & kRefWillInit) != 0) {
                    done = true;
                    return false;
                }
                return true;
            }
            return false;
        }));
    if (done) {
        return SearchStep::Done();
    }
    return cut != nullptr ? SearchStep::After(*cut) : SearchStep::Older();
}

Result<SearchStep> DeltaLayerFileImpl::SearchSize(const RelForkKey& rel, Lsn at,
                                                  std::optional<BlockNumber>* blocks) const {
    const DatabaseCut* cut = NewestCut({rel.node.spc, rel.node.db}, at);
    bool done = false;
    ZENITH_RETURN_IF_ERROR(ForEntries(DeltaBlockKind::kSizes, EncodeKey(rel), at,
                                      [&](const DeltaEntry& entry) -> Result<bool> {
                                          if (cut == nullptr || entry.lsn >= cut->lsn) {
                                              done = true;
                                              blocks->reset();
                                              if (entry.number > 0) {
                                                  *blocks =
                                                      static_cast<BlockNumber>(entry.number - 1);
                                              }
                                          }
                                          return false;
                                      }));
    if (done) {
        return SearchStep::Done();
    }
    if (cut == nullptr) {
        return SearchStep::Older();
    }
    blocks->reset();
    return SearchStep::After(*cut);
}

Result<SearchStep> DeltaLayerFileImpl::SearchBlob(
    const std::string& key, Lsn at, std::optional<Timeline::VersionedBlob>* blob) const {
    const DatabaseCut* cut = CutOfBlob(key, at);
    bool done = false;
    ZENITH_RETURN_IF_ERROR(
        ForEntries(DeltaBlockKind::kBlobs, key, at, [&](const DeltaEntry& entry) -> Result<bool> {
            if (cut == nullptr || entry.lsn >= cut->lsn) {
                done = true;
                blob->reset();
                if (entry.number > 0) {
                    *blob = Timeline::VersionedBlob{entry.lsn, std::string(entry.value)};
                }
            }
            return false;
        }));
    if (done) {
        return SearchStep::Done();
    }
    if (cut == nullptr) {
        return SearchStep::Older();
    }
    blob->reset();
    return SearchStep::After(*cut);
}

Result<SearchStep> DeltaLayerFileImpl::SearchDatabase(const DatabaseKey& db, Lsn at,
                                                      bool* exists) const {
    auto found = databases_.find(db);
    if (found != databases_.end()) {
        if (const ExistenceVersion* version = NewestAt(found->second, at)) {
            *exists = version->exists;
            return SearchStep::Done();
        }
    }
    return SearchStep::Older();
}

// ---- listings -----------------------------------------------------------------------------------

Status DeltaLayerFileImpl::VisitCuts(
    Lsn at, const std::function<void(const DatabaseKey&, const DatabaseCut&)>& visit) const {
    for (const auto& [db, cuts] : cuts_) {
        if (const DatabaseCut* cut = NewestAt(cuts, at)) {
            visit(db, *cut);
        }
    }
    return Status::Ok();
}

Status DeltaLayerFileImpl::VisitRelations(
    const DatabaseKey* only, Lsn at,
    const std::function<void(const RelForkKey&, std::optional<BlockNumber>)>& visit) const {
    const std::string prefix = only != nullptr ? EncodeKey(*only) : std::string();
    return ForNewest(DeltaBlockKind::kSizes, prefix, at,
                     [&](const std::string& key, const DeltaEntry& entry) {
                         const RelForkKey rel = DecodeRelationKey(key);
                         const DatabaseCut* cut = NewestCut({rel.node.spc, rel.node.db}, at);
                         if (cut == nullptr || entry.lsn >= cut->lsn) {
                             visit(rel, entry.number > 0
                                            ? std::optional(
                                                  static_cast<BlockNumber>(entry.number - 1))
                                            : std::nullopt);
                         }
                     });
}

Status DeltaLayerFileImpl::VisitDatabases(
    Lsn at, const std::function<void(const DatabaseKey&, bool)>& visit) const {
    for (const auto& [db, versions] : databases_) {
        if (const ExistenceVersion* version = NewestAt(versions, at)) {
            visit(db, version->exists);
        }
    }
    return Status::Ok();
}

Status DeltaLayerFileImpl::VisitBlobs(
    std::string_view prefix, Lsn at,
    const std::function<void(const std::string&, Lsn, const std::string*)>& visit) const {
    return ForNewest(DeltaBlockKind::kBlobs, prefix, at,
                     [&](const std::string& key, const DeltaEntry& entry) {
                         const DatabaseCut* cut = CutOfBlob(key, at);
                         if (cut != nullptr && entry.lsn < cut->lsn) {
                             return;
                         }
                         const std::string value(entry.value);
                         visit(key, entry.lsn, entry.number > 0 ? &value : nullptr);
                     });
}

Status DeltaLayerFileImpl::VisitSlruPages(
    SlruKind kind, Lsn at, const std::function<void(BlockNumber, bool)>& visit) const {
    const std::string prefix = EncodeKey(PageKey::Slru(kind, 0).relation());
    return ForNewest(DeltaBlockKind::kPages, prefix, at,
                     [&](const std::string& key, const DeltaEntry& entry) {
                         const uint64_t what = entry.number & ((1u << kDeltaPageWhatBits) - 1);
                         visit(KeyNumber(key, kRelationKeySize), what != kDeltaPageTombstone);
                     });
}

// ---- checking -----------------------------------------------------------------------------------

Status DeltaLayerFileImpl::Verify() const {
    std::string bytes;
    std::vector<DeltaEntry> entries;
    uint64_t images = 0;
    for (size_t kind = 1; kind <= kDeltaBlockKindCount; kind++) {
        std::string last_key;
        Lsn last_lsn;
        for (size_t i = kinds_[kind - 1].begin; i < kinds_[kind - 1].end; i++) {
            ZENITH_RETURN_IF_ERROR(ReadBlock(i, &bytes));
            DeltaBlock block(static_cast<DeltaBlockKind>(kind), bytes, start_, end_);
            bool first = true;
            while (block.NextGroup()) {
                block.Entries(kMaxLsn, &entries);
                if (entries.empty()) {
                    break;
                }
                const Lsn lsn = entries.front().lsn;
                int order = last_key.compare(block.key());
                if (order > 0 || (order == 0 && lsn < last_lsn) ||
                    (first && (block.key() != FirstKey(i) || lsn != blocks_[i].first_lsn))) {
                    return Corrupt(blocks_[i].offset, "a block is not as the index says");
                }
                first = false;
                last_key = block.key();
                last_lsn = entries.back().lsn;
                if (kind != static_cast<size_t>(DeltaBlockKind::kPages)) {
                    continue;
                }
                for (const DeltaEntry& entry : entries) {
                    if ((entry.number & ((1u << kDeltaPageWhatBits) - 1)) == kDeltaPageImage) {
                        ZENITH_RETURN_IF_ERROR(
                            ReadImage(entry.number >> kDeltaPageWhatBits, entry.checksum)
                                .status());
                        images++;
                    }
                }
            }
            if (!block.ok()) {
                return Damaged(i);
            }
        }
    }
    if (images != image_count_) {
        return Corrupt(images_offset_, "images that belong to no page");
    }
    return Status::Ok();
}

// "0000000000001000-0000000000001100.delta"
bool ParseFileName(std::string_view name, Lsn* start, Lsn* end) {
    constexpr size_t kDigits = 16;
    auto parse = [](std::string_view digits, Lsn* lsn) {
        auto [last, error] =
            std::from_chars(digits.data(), digits.data() + digits.size(), lsn->value, 16);
        return error == std::errc() && last == digits.data() + digits.size();
    };
    return name.size() > 2 * kDigits && parse(name.substr(0, kDigits), start) &&
           parse(name.substr(kDigits + 1, kDigits), end) &&
           name == DeltaLayerFileName(*start, *end);
}

}  // namespace

Result<std::shared_ptr<const DeltaLayerFile>> DeltaLayerFile::Open(const std::string& path,
                                                                   const TimelineId& timeline,
                                                                   const WalStorage* wal) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
    auto layer = std::make_shared<DeltaLayerFileImpl>(path, std::move(fd), timeline, wal);
    ZENITH_RETURN_IF_ERROR(layer->Load());
    return std::shared_ptr<const DeltaLayerFile>(std::move(layer));
}

Result<std::vector<std::shared_ptr<const DeltaLayerFile>>> OpenDeltaLayers(
    const std::string& directory, const TimelineId& timeline, Lsn timeline_start,
    const WalStorage* wal) {
    std::vector<std::shared_ptr<const DeltaLayerFile>> layers;
    if (!FileExists(directory)) {
        return layers;
    }
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(directory));
    std::sort(names.begin(), names.end());
    Lsn expected = timeline_start;
    for (const std::string& name : names) {
        const std::string path = directory + "/" + name;
        if (name.ends_with(".tmp")) {
            ZENITH_RETURN_IF_ERROR(RemoveFile(path));
            continue;
        }
        Lsn start;
        Lsn end;
        if (!ParseFileName(name, &start, &end)) {
            spdlog::warn("layers: unknown file \"{}\"", path);
            continue;
        }
        ZENITH_ASSIGN_OR_RETURN(std::shared_ptr<const DeltaLayerFile> layer,
                                DeltaLayerFile::Open(path, timeline, wal));
        if (layer->start() != start || layer->end() != end) {
            return Status::Corruption("delta layer file \"" + path + "\", offset 40: it is from " +
                                      layer->start().ToString() + " to " +
                                      layer->end().ToString() + ", not what its name says");
        }
        if (start != expected) {
            return Status::Corruption(
                "delta layer file \"" + path + "\" of timeline " + timeline.ToString() +
                " starts at " + start.ToString() + " instead of " + expected.ToString() +
                (start < expected ? ": layers overlap" : ": a layer is missing"));
        }
        expected = end;
        layers.push_back(std::move(layer));
    }
    return layers;
}

}  // namespace zenith
