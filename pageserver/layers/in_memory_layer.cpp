#include "pageserver/layers/in_memory_layer.h"

#include <algorithm>
#include <cassert>

#include "pageserver/layers/database_blob.h"

namespace zenith {

namespace {

// The newest element with lsn <= at, or null. The vector is sorted by lsn.
template <typename Version>
const Version* NewestAt(const std::vector<Version>& versions, Lsn at) {
    auto after = std::upper_bound(versions.begin(), versions.end(), at,
                                  [](Lsn l, const Version& v) { return l < v.lsn; });
    return after == versions.begin() ? nullptr : &*(after - 1);
}

// Puts `version` last; it takes the place of one from the same record.
template <typename Version>
void PutVersion(std::vector<Version>* versions, Version version) {
    if (!versions->empty() && versions->back().lsn == version.lsn) {
        versions->back() = std::move(version);
    } else {
        assert(versions->empty() || versions->back().lsn < version.lsn);
        versions->push_back(std::move(version));
    }
}

// Memory of a container that grew, in bytes; it never shrinks.
template <typename Container, typename Change>
size_t Growth(const Container& container, Change&& change) {
    const size_t before = container.memory_bytes();
    change();
    return container.memory_bytes() - before;
}
template <typename Element, typename Change>
size_t Growth(const std::vector<Element>& vector, Change&& change) {
    const size_t before = vector.capacity();
    change();
    return (vector.capacity() - before) * sizeof(Element);
}

// Nodes of the standard containers: links, hash, and what the allocator adds.
constexpr size_t kHashNodeBytes = 4 * sizeof(void*);
constexpr size_t kTreeNodeBytes = 6 * sizeof(void*);

// "Since the cut" includes what the cutting record itself put.
bool IsCutOff(Lsn lsn, const DatabaseCut* cut) {
    return cut != nullptr && lsn < cut->lsn;
}

}  // namespace

// ---- reading ------------------------------------------------------------------------------------

const DatabaseCut* InMemoryLayer::DatabaseHistory::NewestCut(Lsn at) const {
    return NewestAt(cuts, at);
}

const DatabaseCut* InMemoryLayer::NewestCut(const DatabaseKey& db, Lsn at) const {
    auto found = databases_.find(db);
    return found == databases_.end() ? nullptr : found->second.NewestCut(at);
}

const InMemoryLayer::SizeVersion* InMemoryLayer::NewestSize(const RelationHistory& relation,
                                                            Lsn at) {
    return NewestAt(relation.sizes, at);
}

const InMemoryLayer::SlruPages& InMemoryLayer::Slru(SlruKind kind) const {
    size_t index = static_cast<size_t>(kind) - static_cast<size_t>(SlruKind::kXact);
    assert(index < slru_.size());
    return slru_[index];
}

bool InMemoryLayer::CollectVersions(std::span<const PageVersion> versions, Lsn low, Lsn at,
                                    const DatabaseKey& db, PageHistory* history) const {
    auto after = std::upper_bound(versions.begin(), versions.end(), at,
                                  [](Lsn l, const PageVersion& v) { return l < v.end(); });
    while (after != versions.begin()) {
        const PageVersion& version = *--after;
        if (version.end() < low) {
            return false;
        }
        if (version.is_tombstone()) {
            return true;
        }
        if (version.is_image()) {
            if (history->PassesOver(version.end())) {
                continue;
            }
            history->base_is_image = true;
            if (!history->skip_base) {
                history->base = *images_[version.image_index()];
            }
            history->base_lsn = version.end();
            return true;
        }
        history->records.push_back(
            RecordRef{wal_, version.start(), version.end(), version.ref_flags(), db});
        if ((version.ref_flags() & kRefWillInit) != 0 || version.end() == history->known) {
            return true;
        }
    }
    return false;
}

Result<SearchStep> InMemoryLayer::SearchPage(const PageKey& key, Lsn at,
                                             PageHistory* history) const {
    if (key.is_slru) {
        const SlruPages& pages = Slru(key.slru_kind());
        auto found = pages.find(key.block);
        bool done = found != pages.end() &&
                    CollectVersions(found->second, Lsn(), at, DatabaseKey{}, history);
        return done ? SearchStep::Done() : SearchStep::Older();
    }
    const DatabaseKey db{key.node.spc, key.node.db};
    auto found = relations_.find(key.relation());
    if (found == relations_.end()) {
        const DatabaseCut* cut = NewestCut(db, at);
        return cut != nullptr ? SearchStep::After(*cut) : SearchStep::Older();
    }
    const RelationHistory& relation = found->second;
    const DatabaseCut* cut =
        relation.database != nullptr ? relation.database->NewestCut(at) : nullptr;
    Lsn low = cut != nullptr ? cut->lsn : Lsn();
    // The floor counts when it is not older than the cut: what a clone brought is cut off by a
    // later truncation only.
    std::optional<Lsn> floor = relation.floors.Newest(at, key.block);
    bool floor_counts = floor && *floor >= low;
    if (floor_counts) {
        low = *floor;
    }
    if (CollectVersions(relation.pages.Find(key.block), low, at, db, history) || floor_counts) {
        return SearchStep::Done();
    }
    return cut != nullptr ? SearchStep::After(*cut) : SearchStep::Older();
}

Result<SearchStep> InMemoryLayer::SearchSize(const RelForkKey& rel, Lsn at,
                                             std::optional<BlockNumber>* blocks) const {
    const DatabaseCut* cut = nullptr;
    auto found = relations_.find(rel);
    if (found == relations_.end()) {
        cut = NewestCut({rel.node.spc, rel.node.db}, at);
    } else {
        const RelationHistory& relation = found->second;
        cut = relation.database != nullptr ? relation.database->NewestCut(at) : nullptr;
        const SizeVersion* size = NewestSize(relation, at);
        if (size != nullptr && !IsCutOff(size->lsn, cut)) {
            if (size->exists) {
                *blocks = size->blocks;
            } else {
                blocks->reset();
            }
            return SearchStep::Done();
        }
    }
    if (cut == nullptr) {
        return SearchStep::Older();
    }
    blocks->reset();
    return SearchStep::After(*cut);
}

Result<SearchStep> InMemoryLayer::SearchBlob(const std::string& key, Lsn at,
                                             std::optional<Timeline::VersionedBlob>* blob) const {
    const DatabaseCut* cut = nullptr;
    if (std::optional<DatabaseBlob> scope = DatabaseBlob::Parse(key)) {
        cut = NewestCut(scope->db, at);
    }
    auto found = blobs_.find(key);
    if (found != blobs_.end()) {
        const BlobVersion* version = NewestAt(found->second, at);
        if (version != nullptr && !IsCutOff(version->lsn, cut)) {
            if (version->value) {
                *blob = Timeline::VersionedBlob{version->lsn, *version->value};
            } else {
                blob->reset();
            }
            return SearchStep::Done();
        }
    }
    if (cut == nullptr) {
        return SearchStep::Older();
    }
    blob->reset();
    return SearchStep::After(*cut);
}

Result<SearchStep> InMemoryLayer::SearchDatabase(const DatabaseKey& db, Lsn at,
                                                 bool* exists) const {
    auto found = databases_.find(db);
    if (found != databases_.end()) {
        if (const ExistenceVersion* version = NewestAt(found->second.existence, at)) {
            *exists = version->exists;
            return SearchStep::Done();
        }
    }
    return SearchStep::Older();
}

Status InMemoryLayer::VisitCuts(
    Lsn at, const std::function<void(const DatabaseKey&, const DatabaseCut&)>& visit) const {
    for (const auto& [db, history] : databases_) {
        if (const DatabaseCut* cut = history.NewestCut(at)) {
            visit(db, *cut);
        }
    }
    return Status::Ok();
}

Status InMemoryLayer::VisitRelations(
    const DatabaseKey* only, Lsn at,
    const std::function<void(const RelForkKey&, std::optional<BlockNumber>)>& visit) const {
    for (const auto& [rel, relation] : relations_) {
        if (only != nullptr && *only != DatabaseKey{rel.node.spc, rel.node.db}) {
            continue;
        }
        const DatabaseCut* cut =
            relation.database != nullptr ? relation.database->NewestCut(at) : nullptr;
        const SizeVersion* size = NewestSize(relation, at);
        if (size != nullptr && !IsCutOff(size->lsn, cut)) {
            visit(rel, size->exists ? std::optional(size->blocks) : std::nullopt);
        }
    }
    return Status::Ok();
}

Status InMemoryLayer::VisitDatabases(
    Lsn at, const std::function<void(const DatabaseKey&, bool)>& visit) const {
    for (const auto& [db, history] : databases_) {
        if (const ExistenceVersion* version = NewestAt(history.existence, at)) {
            visit(db, version->exists);
        }
    }
    return Status::Ok();
}

Status InMemoryLayer::VisitBlobs(
    std::string_view prefix, Lsn at,
    const std::function<void(const std::string&, Lsn, const std::string*)>& visit) const {
    for (auto it = blobs_.lower_bound(prefix); it != blobs_.end(); ++it) {
        const auto& [key, versions] = *it;
        if (!key.starts_with(prefix)) {
            break;
        }
        const BlobVersion* version = NewestAt(versions, at);
        if (version == nullptr) {
            continue;
        }
        std::optional<DatabaseBlob> scope = DatabaseBlob::Parse(key);
        if (scope && IsCutOff(version->lsn, NewestCut(scope->db, at))) {
            continue;
        }
        visit(key, version->lsn, version->value ? &*version->value : nullptr);
    }
    return Status::Ok();
}

Status InMemoryLayer::VisitSlruPages(SlruKind kind, Lsn at,
                                     const std::function<void(BlockNumber, bool)>& visit) const {
    for (const auto& [block, versions] : Slru(kind)) {
        auto after = std::upper_bound(versions.begin(), versions.end(), at,
                                      [](Lsn l, const PageVersion& v) { return l < v.end(); });
        if (after != versions.begin()) {
            visit(block, !(after - 1)->is_tombstone());
        }
    }
    return Status::Ok();
}

// ---- writing ------------------------------------------------------------------------------------

InMemoryLayer::~InMemoryLayer() {
    if (charged_bytes_ > 0) {
        memory_->used_bytes -= charged_bytes_;
        memory_->layers--;
    }
}

void InMemoryLayer::ChargeMemory() {
    if (memory_ == nullptr || bytes_ == charged_bytes_) {
        return;
    }
    if (charged_bytes_ == 0) {
        memory_->layers++;
    }
    memory_->used_bytes += bytes_ - charged_bytes_;
    charged_bytes_ = bytes_;
}

InMemoryLayer::DatabaseHistory& InMemoryLayer::DatabaseForWriting(const DatabaseKey& db) {
    auto [it, is_new] = databases_.try_emplace(db);
    if (is_new) {
        bytes_ += kHashNodeBytes + sizeof *it;
    }
    return it->second;
}

InMemoryLayer::RelationHistory& InMemoryLayer::RelationForWriting(const RelForkKey& rel) {
    if (last_written_ != nullptr && last_written_key_ == rel) {
        return *last_written_;
    }
    auto [it, is_new] = relations_.try_emplace(rel);
    if (is_new) {
        bytes_ += kHashNodeBytes + sizeof *it;
        if (rel.node.db != 0) {
            it->second.database = &DatabaseForWriting({rel.node.spc, rel.node.db});
        }
    }
    last_written_key_ = rel;
    last_written_ = &it->second;
    return it->second;
}

InMemoryLayer::TipSize InMemoryLayer::GetTipSize(const RelForkKey& rel) {
    const RelationHistory& relation = RelationForWriting(rel);
    if (relation.database != nullptr && relation.database->cuts.size() != relation.tip_cuts) {
        return TipSize{};
    }
    return relation.tip;
}

void InMemoryLayer::RememberSize(const RelForkKey& rel, std::optional<BlockNumber> blocks) {
    RelationHistory& relation = RelationForWriting(rel);
    relation.tip = blocks ? TipSize{Known::kExists, *blocks} : TipSize{Known::kAbsent, 0};
    relation.tip_cuts = relation.database != nullptr ? relation.database->cuts.size() : 0;
}

void InMemoryLayer::SetSize(const RelForkKey& rel, Lsn lsn, std::optional<BlockNumber> blocks) {
    RememberSize(rel, blocks);
    std::vector<SizeVersion>& sizes = RelationForWriting(rel).sizes;
    bytes_ += Growth(sizes, [&] {
        PutVersion(&sizes, SizeVersion{lsn, blocks.value_or(0), blocks.has_value()});
    });
}

void InMemoryLayer::AddFloor(const RelForkKey& rel, Lsn lsn, BlockNumber blocks) {
    FloorIndex& floors = RelationForWriting(rel).floors;
    bytes_ += Growth(floors, [&] { floors.Add(lsn, blocks); });
}

void InMemoryLayer::AddVersion(const PageKey& key, PageVersion version) {
    if (!key.is_slru) {
        BlockMap& pages = RelationForWriting(key.relation()).pages;
        bytes_ += Growth(pages, [&] { pages.Append(key.block, version); });
        return;
    }
    size_t index = static_cast<size_t>(key.slru_kind()) - static_cast<size_t>(SlruKind::kXact);
    assert(index < slru_.size());
    auto [it, is_new] = slru_[index].try_emplace(key.block);
    std::vector<PageVersion>& versions = it->second;
    if (is_new) {
        bytes_ += kTreeNodeBytes + sizeof *it;
    }
    if (versions.empty() || versions.back() != version) {
        bytes_ += Growth(versions, [&] { versions.push_back(version); });
    }
}

void InMemoryLayer::AddRecord(const PageKey& key, Lsn start, Lsn end, uint8_t ref_flags) {
    AddVersion(key, PageVersion::Record(start, end, ref_flags));
}

void InMemoryLayer::AddImage(const PageKey& key, Lsn end, ConstPageSpan image) {
    auto copy = std::make_unique<PageBuffer>();
    std::copy(image.begin(), image.end(), copy->begin());
    AddVersion(key, PageVersion::Image(end, images_.size()));
    images_.push_back(std::move(copy));
    bytes_ += sizeof(PageBuffer) + sizeof images_[0];
}

void InMemoryLayer::AddTombstone(const PageKey& key, Lsn end) {
    AddVersion(key, PageVersion::Tombstone(end));
}

void InMemoryLayer::CutDatabase(const DatabaseKey& db, const DatabaseCut& cut) {
    DatabaseHistory& history = DatabaseForWriting(db);
    assert(history.cuts.empty() || history.cuts.back().lsn <= cut.lsn);
    bytes_ += Growth(history.cuts, [&] { history.cuts.push_back(cut); });
}

void InMemoryLayer::SetDatabaseExists(const DatabaseKey& db, Lsn lsn, bool exists) {
    DatabaseHistory& history = DatabaseForWriting(db);
    bytes_ += Growth(history.existence,
                     [&] { PutVersion(&history.existence, ExistenceVersion{lsn, exists}); });
    history.tip_exists = exists;
}

std::optional<bool> InMemoryLayer::GetTipDatabaseExists(const DatabaseKey& db) {
    return DatabaseForWriting(db).tip_exists;
}

void InMemoryLayer::RememberDatabaseExists(const DatabaseKey& db, bool exists) {
    DatabaseForWriting(db).tip_exists = exists;
}

void InMemoryLayer::SetBlob(const std::string& key, Lsn lsn, std::optional<std::string> value) {
    auto [it, is_new] = blobs_.try_emplace(key);
    if (is_new) {
        bytes_ += kTreeNodeBytes + sizeof *it + key.size();
    }
    bytes_ += value ? value->size() : 0;
    std::vector<BlobVersion>& versions = it->second;
    bytes_ += Growth(versions, [&] { PutVersion(&versions, BlobVersion{lsn, std::move(value)}); });
}

}  // namespace zenith
