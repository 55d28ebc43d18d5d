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
            history->base = *images_[version.image_index()];
            history->base_lsn = version.end();
            return true;
        }
        history->records.push_back(
            RecordRef{wal_, version.start(), version.end(), version.ref_flags(), db});
        if ((version.ref_flags() & kRefWillInit) != 0) {
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

InMemoryLayer::RelationHistory& InMemoryLayer::RelationForWriting(const RelForkKey& rel) {
    if (last_written_ != nullptr && last_written_key_ == rel) {
        return *last_written_;
    }
    auto [it, is_new] = relations_.try_emplace(rel);
    if (is_new && rel.node.db != 0) {
        it->second.database = &databases_[{rel.node.spc, rel.node.db}];
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
    PutVersion(&RelationForWriting(rel).sizes,
               SizeVersion{lsn, blocks.value_or(0), blocks.has_value()});
}

void InMemoryLayer::AddFloor(const RelForkKey& rel, Lsn lsn, BlockNumber blocks) {
    RelationForWriting(rel).floors.Add(lsn, blocks);
}

void InMemoryLayer::AddVersion(const PageKey& key, PageVersion version) {
    if (!key.is_slru) {
        RelationForWriting(key.relation()).pages.Append(key.block, version);
        return;
    }
    size_t index = static_cast<size_t>(key.slru_kind()) - static_cast<size_t>(SlruKind::kXact);
    assert(index < slru_.size());
    std::vector<PageVersion>& versions = slru_[index][key.block];
    if (versions.empty() || versions.back() != version) {
        versions.push_back(version);
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
}

void InMemoryLayer::AddTombstone(const PageKey& key, Lsn end) {
    AddVersion(key, PageVersion::Tombstone(end));
}

void InMemoryLayer::CutDatabase(const DatabaseKey& db, const DatabaseCut& cut) {
    DatabaseHistory& history = databases_[db];
    assert(history.cuts.empty() || history.cuts.back().lsn <= cut.lsn);
    history.cuts.push_back(cut);
}

void InMemoryLayer::SetDatabaseExists(const DatabaseKey& db, Lsn lsn, bool exists) {
    DatabaseHistory& history = databases_[db];
    PutVersion(&history.existence, ExistenceVersion{lsn, exists});
    history.tip_exists = exists;
}

std::optional<bool> InMemoryLayer::GetTipDatabaseExists(const DatabaseKey& db) {
    return databases_[db].tip_exists;
}

void InMemoryLayer::RememberDatabaseExists(const DatabaseKey& db, bool exists) {
    databases_[db].tip_exists = exists;
}

void InMemoryLayer::SetBlob(const std::string& key, Lsn lsn, std::optional<std::string> value) {
    blob_bytes_ += sizeof(BlobVersion) + (value ? value->size() : 0);
    PutVersion(&blobs_[key], BlobVersion{lsn, std::move(value)});
}

size_t InMemoryLayer::memory_bytes() const {
    size_t bytes = blob_bytes_ + images_.size() * sizeof(PageBuffer);
    for (const auto& [rel, relation] : relations_) {
        bytes += sizeof(rel) + sizeof(relation) + 2 * sizeof(void*) +
                 relation.pages.memory_bytes() + relation.floors.memory_bytes() +
                 relation.sizes.capacity() * sizeof(SizeVersion);
    }
    for (const SlruPages& pages : slru_) {
        for (const auto& [block, versions] : pages) {
            bytes +=
                6 * sizeof(void*) + sizeof(versions) + versions.capacity() * sizeof(PageVersion);
        }
    }
    return bytes;
}

}  // namespace zenith
