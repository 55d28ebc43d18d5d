// The reader of delta layer files: searches and listings. What happened to databases is read when the
// file is opened, the other blocks when a question needs them.
#include "pageserver/layers/delta_layer_file.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <unordered_map>

#include "pageserver/layers/database_blob.h"
#include "pageserver/layers/delta_layer_block.h"
#include "pageserver/layers/delta_layer_blocks.h"
#include "pageserver/layers/delta_layer_format.h"

namespace zenith {

namespace {

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
    DeltaLayerFileImpl(std::shared_ptr<const DeltaLayerBlocks> blocks,
                       const LayerManifest::Entry& entry, const WalStorage* wal)
        : DeltaLayerFile(blocks->path(), entry), blocks_(std::move(blocks)), wal_(wal) {}

    Status Load(ImageFiles* images);

    Status damage() const override { return Status::Ok(); }
    Lsn oldest_record() const override { return blocks_->oldest_record(); }
    const std::vector<uint64_t>& image_files() const override { return image_numbers_; }
    uint64_t file_bytes() const override { return blocks_->file_bytes(); }
    size_t memory_bytes() const override;
    Status Verify() const override;
    Result<std::unique_ptr<LayerCursor>> NewCursor(
        std::optional<DeltaBlockKind> only) const override {
        return std::make_unique<LayerCursor>(blocks_, only);
    }

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
    Status LoadDatabases();
    Result<PageBuffer> ReadImage(const DeltaEntry& entry, const PageKey& key) const;

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

    const std::shared_ptr<const DeltaLayerBlocks> blocks_;
    const WalStorage* const wal_;
    std::vector<uint64_t> image_numbers_;                      // ascending
    std::vector<std::shared_ptr<const ImageFile>> image_files_;  // as entries count them
    std::unordered_map<DatabaseKey, std::vector<DatabaseCut>> cuts_;
    std::unordered_map<DatabaseKey, std::vector<ExistenceVersion>> databases_;
};

// ---- opening ------------------------------------------------------------------------------------

Status DeltaLayerFileImpl::LoadDatabases() {
    std::string bytes;
    std::vector<DeltaEntry> entries;
    for (DeltaBlockKind kind : {DeltaBlockKind::kCuts, DeltaBlockKind::kDatabases}) {
        for (size_t i = blocks_->Kind(kind).begin; i < blocks_->Kind(kind).end; i++) {
            ZENITH_RETURN_IF_ERROR(blocks_->ReadBlock(i, &bytes));
            DeltaBlock block(kind, bytes, start(), end());
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
                return blocks_->Damaged(i);
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
        return blocks_->Corrupt(kDeltaLayerHeaderSize, "the fate of a database is out of order");
    }
    return Status::Ok();
}

Status DeltaLayerFileImpl::Load(ImageFiles* images) {
    for (uint64_t number : blocks_->image_table()) {
        image_files_.push_back(images->Get(number));
        image_numbers_.push_back(number);
    }
    std::sort(image_numbers_.begin(), image_numbers_.end());
    return LoadDatabases();
}

size_t DeltaLayerFileImpl::memory_bytes() const {
    size_t bytes = sizeof *this + blocks_->memory_bytes();
    for (const auto& [db, cuts] : cuts_) {
        bytes += 64 + cuts.capacity() * sizeof(DatabaseCut);
    }
    for (const auto& [db, versions] : databases_) {
        bytes += 64 + versions.capacity() * sizeof(ExistenceVersion);
    }
    return bytes;
}

Result<PageBuffer> DeltaLayerFileImpl::ReadImage(const DeltaEntry& entry,
                                                 const PageKey& key) const {
    if (entry.image.file >= image_files_.size()) {
        return blocks_->Corrupt(0, "an entry refers to image file " +
                                       std::to_string(entry.image.file) + " of " +
                                       std::to_string(image_files_.size()));
    }
    const ImageFile& file = *image_files_[entry.image.file];
    return file.Read({file.number(), entry.image.offset, entry.image.length}, key, entry.lsn);
}

// ---- blocks -------------------------------------------------------------------------------------

template <typename Take>
Status DeltaLayerFileImpl::ForEntries(DeltaBlockKind kind, std::string_view key, Lsn at,
                                      Take&& take) const {
    const DeltaLayerBlocks::KindRange& range = blocks_->Kind(kind);
    size_t i = range.begin + blocks_->BlocksUpTo(range, key, at);
    std::string bytes;
    std::vector<DeltaEntry> entries;
    while (i > range.begin) {
        i--;
        ZENITH_RETURN_IF_ERROR(blocks_->ReadBlock(i, &bytes));
        DeltaBlock block(kind, bytes, start(), end());
        while (block.NextGroup() && key.compare(block.key()) > 0) {
        }
        if (block.ok() && block.key() == key) {
            block.Entries(at, &entries);
        } else {
            entries.clear();
        }
        if (!block.ok()) {
            return blocks_->Damaged(i);
        }
        while (!entries.empty()) {
            ZENITH_ASSIGN_OR_RETURN(bool more, take(entries.back()));
            if (!more) {
                return Status::Ok();
            }
            entries.pop_back();
        }
        // The block before has entries of the key only when this one begins with it.
        if (blocks_->FirstKey(i) != key) {
            break;
        }
    }
    return Status::Ok();
}

template <typename Take>
Status DeltaLayerFileImpl::ForNewest(DeltaBlockKind kind, std::string_view prefix, Lsn at,
                                     Take&& take) const {
    const DeltaLayerBlocks::KindRange& range = blocks_->Kind(kind);
    size_t i = range.begin + blocks_->BlocksUpTo(range, prefix, Lsn());
    i -= i > range.begin ? 1 : 0;
    std::string bytes;
    std::vector<DeltaEntry> entries;
    // The newest entry so far of the key that may go on in the next block.
    bool pending = false;
    std::string key;
    std::string value;
    DeltaEntry newest;
    for (; i < range.end; i++) {
        if (blocks_->FirstKey(i).compare(prefix) > 0 && !blocks_->FirstKey(i).starts_with(prefix)) {
            break;
        }
        // A block of one key alone, of which a later one has a newer entry: a fork that grew block
        // by block has many of them.
        if (i + 1 < range.end && blocks_->FirstKey(i) == blocks_->FirstKey(i + 1) &&
            blocks_->FirstLsn(i + 1) <= at) {
            continue;
        }
        ZENITH_RETURN_IF_ERROR(blocks_->ReadBlock(i, &bytes));
        DeltaBlock block(kind, bytes, start(), end());
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
            return blocks_->Damaged(i);
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
    const DatabaseKey db = key.is_slru ? DatabaseKey{} : DatabaseKey{key.node.spc, key.node.db};
    const DatabaseCut* cut = key.is_slru || cuts_.empty() ? nullptr : NewestCut(db, at);
    const EncodedPageKey encoded(key);
    const PageFilter& filter = blocks_->filter();
    const bool has_page = filter.MayHave(PageFilterHash(encoded.page()));
    const bool has_floors = !key.is_slru && filter.MayHave(PageFilterHash(encoded.relation()));
    Lsn low = cut != nullptr ? cut->lsn : Lsn();
    // As in InMemoryLayer: a floor counts when it is not older than the cut.
    bool done = false;
    if (has_floors) {
        ZENITH_RETURN_IF_ERROR(
            ForEntries(DeltaBlockKind::kFloors, encoded.relation(), at,
                       [&](const DeltaEntry& floor) -> Result<bool> {
                           if (floor.lsn >= low && floor.number <= key.block) {
                               low = floor.lsn;
                               done = true;
                           }
                           return floor.lsn >= low && !done;
                       }));
    }
    auto take = [&](const DeltaEntry& entry) -> Result<bool> {
        if (entry.lsn < low) {
            return false;
        }
        const uint64_t what = DeltaPageWhat(entry.number);
        if (what == kDeltaPageTombstone) {
            done = true;
            return false;
        }
        if (what == kDeltaPageImage) {
            if (history->PassesOver(entry.lsn)) {
                return true;
            }
            history->base_is_image = true;
            if (!history->skip_base) {
                ZENITH_ASSIGN_OR_RETURN(history->base, ReadImage(entry, key));
            }
            history->base_lsn = entry.lsn;
            done = true;
            return false;
        }
        history->records.push_back(RecordRef{wal_, entry.lsn - DeltaPageExtent(entry.number),
                                             entry.lsn, static_cast<uint8_t>(what), db});
        if ((what & kRefWillInit) != 0 || entry.lsn == history->known) {
            done = true;
            return false;
        }
        return true;
    };
    if (has_page) {
        ZENITH_RETURN_IF_ERROR(ForEntries(DeltaBlockKind::kPages, encoded.page(), at, take));
    }
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
                         visit(KeyNumber(key, kRelationKeySize),
                               DeltaPageWhat(entry.number) != kDeltaPageTombstone);
                     });
}

// ---- checking -----------------------------------------------------------------------------------

Status DeltaLayerFileImpl::Verify() const {
    LayerCursor cursor(blocks_);
    Lsn oldest = kMaxLsn;
    std::vector<bool> used(image_files_.size());
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(bool more, cursor.NextKey());
        if (!more) {
            break;
        }
        for (;;) {
            ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, cursor.NextEntry());
            if (entry == nullptr) {
                break;
            }
            const bool of_page = cursor.kind() == DeltaBlockKind::kPages;
            if ((of_page || cursor.kind() == DeltaBlockKind::kFloors) &&
                !blocks_->filter().MayHave(PageFilterHash(cursor.key()))) {
                return blocks_->Corrupt(88, "the filter denies a key");
            }
            if (!of_page) {
                continue;
            }
            const uint64_t what = DeltaPageWhat(entry->number);
            if (what == kDeltaPageImage) {
                const auto& table = blocks_->image_table();
                const auto file = std::find(table.begin(), table.end(), entry->image.file) -
                                  table.begin();
                used[static_cast<size_t>(file)] = true;
                ZENITH_RETURN_IF_ERROR(
                    image_files_[static_cast<size_t>(file)]
                        ->Read(entry->image, DecodePageKey(cursor.key()), entry->lsn)
                        .status());
            } else if (what != kDeltaPageTombstone) {
                oldest = std::min(oldest, entry->lsn - DeltaPageExtent(entry->number));
            }
        }
    }
    if (oldest != blocks_->oldest_record()) {
        return blocks_->Corrupt(64, "the oldest record is not that of the entries");
    }
    if (std::find(used.begin(), used.end(), false) != used.end()) {
        return blocks_->Corrupt(80, "an image file that no entry refers to");
    }
    return Status::Ok();
}

// ---- a file that cannot be opened ---------------------------------------------------------------

class DamagedLayerFile final : public DeltaLayerFile {
  public:
    DamagedLayerFile(const LayerManifest::Entry& entry, Status damage)
        : DeltaLayerFile("", entry), damage_(std::move(damage)) {}

    Status damage() const override { return damage_; }
    Lsn oldest_record() const override { return start(); }
    const std::vector<uint64_t>& image_files() const override { return image_files_; }
    size_t memory_bytes() const override { return sizeof *this; }
    uint64_t file_bytes() const override { return 0; }
    Status Verify() const override { return damage_; }
    Result<std::unique_ptr<LayerCursor>> NewCursor(
        std::optional<DeltaBlockKind>) const override {
        return damage_;
    }

    Result<SearchStep> SearchPage(const PageKey&, Lsn, PageHistory*) const override {
        return damage_;
    }
    Result<SearchStep> SearchSize(const RelForkKey&, Lsn,
                                  std::optional<BlockNumber>*) const override {
        return damage_;
    }
    Result<SearchStep> SearchBlob(const std::string&, Lsn,
                                  std::optional<Timeline::VersionedBlob>*) const override {
        return damage_;
    }
    Result<SearchStep> SearchDatabase(const DatabaseKey&, Lsn, bool*) const override {
        return damage_;
    }
    Status VisitCuts(
        Lsn, const std::function<void(const DatabaseKey&, const DatabaseCut&)>&) const override {
        return damage_;
    }
    Status VisitRelations(
        const DatabaseKey*, Lsn,
        const std::function<void(const RelForkKey&, std::optional<BlockNumber>)>&) const override {
        return damage_;
    }
    Status VisitDatabases(Lsn,
                          const std::function<void(const DatabaseKey&, bool)>&) const override {
        return damage_;
    }
    Status VisitBlobs(std::string_view, Lsn,
                      const std::function<void(const std::string&, Lsn, const std::string*)>&)
        const override {
        return damage_;
    }
    Status VisitSlruPages(SlruKind, Lsn,
                          const std::function<void(BlockNumber, bool)>&) const override {
        return damage_;
    }

  private:
    const Status damage_;
    const std::vector<uint64_t> image_files_;
};

}  // namespace

DeltaLayerFile::~DeltaLayerFile() {
    if (remove_.load() && !path_.empty()) {
        unlink(path_.c_str());
    }
}

std::shared_ptr<const DeltaLayerFile> DeltaLayerFile::Damaged(const LayerManifest::Entry& entry,
                                                              Status damage) {
    return std::make_shared<DamagedLayerFile>(entry, std::move(damage));
}

Result<std::shared_ptr<const DeltaLayerFile>> DeltaLayerFile::Open(
    const std::string& directory, const TimelineId& timeline, const LayerManifest::Entry& entry,
    const WalStorage* wal, const std::shared_ptr<ImageFiles>& images) {
    ZENITH_ASSIGN_OR_RETURN(std::shared_ptr<const DeltaLayerBlocks> blocks,
                            DeltaLayerBlocks::Open(directory + "/" + DeltaLayerFileName(entry),
                                                   timeline, entry));
    auto layer = std::make_shared<DeltaLayerFileImpl>(std::move(blocks), entry, wal);
    ZENITH_RETURN_IF_ERROR(layer->Load(images.get()));
    return std::shared_ptr<const DeltaLayerFile>(std::move(layer));
}

}  // namespace zenith
