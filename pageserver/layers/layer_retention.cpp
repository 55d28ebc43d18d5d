#include "pageserver/layers/layer_retention.h"

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/database_blob.h"

namespace zenith {

namespace {

constexpr size_t kImageBatch = 128;
constexpr size_t kMaxKeptRecords = 1 << 16;
constexpr std::string_view kTimeBlobPrefix = "time/";

bool StandsForNothing(const DeltaEntry& entry) { return entry.number == 0; }

}  // namespace

RetentionFilter::RetentionFilter(const Layers& inputs, const LayerManifest::Entry& range,
                                 const RewriteRetention& retention,
                                 const std::atomic<bool>* cancel, DeltaLayerWriter* writer)
    : inputs_(inputs),
      range_(range),
      retention_(retention),
      cancel_(cancel),
      writer_(writer),
      base_points_(retention.points) {
    base_points_.push_back(range.end);
}

Status RetentionFilter::Run() {
    ZENITH_RETURN_IF_ERROR(ReadCuts());
    FindPoints();
    ZENITH_ASSIGN_OR_RETURN(
        floor_cursor_, MergedCursor::Open(inputs_, DeltaBlockKind::kFloors, range_.end, cancel_));
    ZENITH_ASSIGN_OR_RETURN(at_floors_, floor_cursor_->NextKey());
    ZENITH_ASSIGN_OR_RETURN(std::unique_ptr<MergedCursor> cursor,
                            MergedCursor::Open(inputs_, std::nullopt, range_.end, cancel_));
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(bool more, cursor->NextKey());
        if (!state_done_ && (!more || cursor->kind() > DeltaBlockKind::kBlobs ||
                             (cursor->kind() == DeltaBlockKind::kBlobs &&
                              cursor->key() > kClusterStateBlobKey))) {
            ZENITH_RETURN_IF_ERROR(ClusterState(nullptr));
        }
        if (!more) {
            break;
        }
        switch (cursor->kind()) {
            case DeltaBlockKind::kCuts:
                ZENITH_RETURN_IF_ERROR(Cuts(cursor.get()));
                break;
            case DeltaBlockKind::kDatabases:
                ZENITH_RETURN_IF_ERROR(Databases(cursor.get()));
                break;
            case DeltaBlockKind::kSizes:
                ZENITH_RETURN_IF_ERROR(Sizes(cursor.get()));
                break;
            case DeltaBlockKind::kFloors:
                ZENITH_RETURN_IF_ERROR(Floors(cursor.get()));
                break;
            case DeltaBlockKind::kBlobs:
                ZENITH_RETURN_IF_ERROR(Blobs(cursor.get()));
                break;
            case DeltaBlockKind::kPages:
                ZENITH_RETURN_IF_ERROR(Pages(cursor.get()));
                break;
        }
    }
    ZENITH_RETURN_IF_ERROR(WriteKept());
    report_.dropped_versions = cursor->page_entries() - std::min(cursor->page_entries(),
                                                                 written_entries_);
    return Status::Ok();
}

// ---- points -------------------------------------------------------------------------------------

Status RetentionFilter::ReadCuts() {
    ZENITH_ASSIGN_OR_RETURN(
        std::unique_ptr<MergedCursor> cursor,
        MergedCursor::Open(inputs_, DeltaBlockKind::kCuts, range_.end, cancel_));
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(bool more, cursor->NextKey());
        if (!more) {
            return Status::Ok();
        }
        const DatabaseKey db = DecodeDatabaseKey(cursor->key());
        for (;;) {
            ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, cursor->NextEntry());
            if (entry == nullptr) {
                break;
            }
            const bool copy = entry->number == 1;
            cuts_[db].push_back({entry->lsn, copy ? std::optional(entry->source) : std::nullopt});
            if (copy) {
                copies_.insert(db);
            }
        }
    }
}

// A copy that a point sees is read from its source as of just before the cut; so that is a point of
// the source, and may make a copy visible that the source itself once was.
void RetentionFilter::FindPoints() {
    std::vector<DatabaseKey> open;
    for (const auto& [db, cuts] : cuts_) {
        open.push_back(db);
    }
    while (!open.empty()) {
        const DatabaseKey db = open.back();
        open.pop_back();
        for (Lsn point : Points(PointsOf(db))) {
            const DatabaseCut* cut = NewestCut(db, point);
            if (cut == nullptr || !cut->source) {
                continue;
            }
            Points& points = points_.try_emplace(*cut->source, base_points_).first->second;
            const Lsn added = cut->lsn - 1;
            auto place = std::lower_bound(points.begin(), points.end(), added);
            if (place == points.end() || *place != added) {
                points.insert(place, added);
                open.push_back(*cut->source);
            }
        }
    }
}

const RetentionFilter::Points& RetentionFilter::PointsOf(const DatabaseKey& db) const {
    auto found = points_.find(db);
    return found == points_.end() ? base_points_ : found->second;
}

const DatabaseCut* RetentionFilter::NewestCut(const DatabaseKey& db, Lsn at) const {
    auto found = cuts_.find(db);
    if (found == cuts_.end()) {
        return nullptr;
    }
    auto after = std::upper_bound(found->second.begin(), found->second.end(), at,
                                  [](Lsn l, const DatabaseCut& cut) { return l < cut.lsn; });
    return after == found->second.begin() ? nullptr : &*(after - 1);
}

bool RetentionFilter::Visible(const DatabaseKey& db, Lsn lsn, Lsn end) const {
    const Points& points = PointsOf(db);
    // What is cut off at the first point stays cut off.
    auto point = std::lower_bound(points.begin(), points.end(), lsn);
    if (point == points.end() || *point >= end) {
        return false;
    }
    const DatabaseCut* cut = NewestCut(db, *point);
    return cut == nullptr || cut->lsn <= lsn;
}

Result<bool> RetentionFilter::NothingBelow(const DatabaseKey& db,
                                           const Result<bool>& below) const {
    if (!below.ok()) {
        return below.status();
    }
    return !*below && !copies_.contains(db);
}

// ---- all but pages ------------------------------------------------------------------------------

Status RetentionFilter::Cuts(MergedCursor* cursor) {
    const DatabaseKey db = DecodeDatabaseKey(cursor->key());
    const Points& points = PointsOf(db);
    Result<bool> below = true;
    if (retention_.below != nullptr) {
        below = retention_.below->MayHaveDatabase(db);
    }
    ZENITH_ASSIGN_OR_RETURN(const bool nothing_below, NothingBelow(db, below));
    const DatabaseCut* last = nullptr;
    for (Lsn point : points) {
        const DatabaseCut* cut = NewestCut(db, point);
        // A drop hides what is older; for these points there is nothing older.
        const bool hides = cut != nullptr && (cut->source || !nothing_below ||
                                              points.front() < cut->lsn);
        if (hides && cut != last && writer_ != nullptr) {
            ZENITH_RETURN_IF_ERROR(writer_->Cut(db, *cut));
        }
        last = cut;
    }
    return Status::Ok();
}

template <typename Gone, typename Emit>
Result<uint64_t> RetentionFilter::Values(MergedCursor* cursor, const DatabaseKey& db,
                                         bool droppable, Gone&& gone, Emit&& emit) {
    uint64_t emitted = 0;
    std::optional<DeltaEntry> newest;
    std::string value;
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, cursor->NextEntry());
        const Lsn end = entry != nullptr ? entry->lsn : kMaxLsn;
        if (newest && Visible(db, newest->lsn, end) &&
            !(droppable && emitted == 0 && gone(*newest))) {
            newest->value = value;
            if (writer_ != nullptr) {
                ZENITH_RETURN_IF_ERROR(emit(*newest));
            }
            emitted++;
        }
        if (entry == nullptr) {
            return emitted;
        }
        newest = *entry;
        value = entry->value;
    }
}

Status RetentionFilter::Databases(MergedCursor* cursor) {
    const DatabaseKey db = DecodeDatabaseKey(cursor->key());
    bool below = true;
    if (retention_.below != nullptr) {
        ZENITH_ASSIGN_OR_RETURN(below, retention_.below->MayHaveDatabase(db));
    }
    // Cuts do not count for the existence of a database, and it is not copied: any other database
    // has the right points.
    return Values(cursor, DatabaseKey{}, !below, StandsForNothing,
                  [&](const DeltaEntry& entry) {
                      return writer_->Database(db, entry.lsn, entry.number == 1);
                  })
        .status();
}

Status RetentionFilter::Sizes(MergedCursor* cursor) {
    const RelForkKey rel = DecodeRelationKey(cursor->key());
    const DatabaseKey db{rel.node.spc, rel.node.db};
    Result<bool> below = true;
    if (retention_.below != nullptr) {
        below = retention_.below->MayHaveRelation(rel);
    }
    ZENITH_ASSIGN_OR_RETURN(const bool droppable, NothingBelow(db, below));
    ZENITH_ASSIGN_OR_RETURN(
        const uint64_t emitted,
        Values(cursor, db, droppable, StandsForNothing, [&](const DeltaEntry& entry) {
            return writer_->Size(rel, entry.lsn,
                                 entry.number > 0
                                     ? std::optional(static_cast<BlockNumber>(entry.number - 1))
                                     : std::nullopt);
        }));
    if (emitted == 0 && droppable) {
        vanished_.insert(rel);
    }
    return Status::Ok();
}

Status RetentionFilter::Floors(MergedCursor* cursor) {
    const RelForkKey rel = DecodeRelationKey(cursor->key());
    if (vanished_.contains(rel)) {
        return Status::Ok();
    }
    const DatabaseKey db{rel.node.spc, rel.node.db};
    const Points& points = PointsOf(db);
    Result<bool> below = true;
    if (retention_.below != nullptr) {
        below = retention_.below->MayHaveRelation(rel);
    }
    ZENITH_ASSIGN_OR_RETURN(const bool nothing_below, NothingBelow(db, below));
    // Those that count at the next point: of the older ones only such as cut off fewer blocks.
    std::vector<std::pair<Lsn, BlockNumber>> floors;
    auto point = points.begin();
    auto write = [&]() -> Status {
        if (point != points.end()) {
            const DatabaseCut* cut = NewestCut(db, *point);
            for (const auto& [lsn, blocks] : floors) {
                const bool hides = !nothing_below || points.front() < lsn;
                if (hides && (cut == nullptr || cut->lsn <= lsn) && writer_ != nullptr) {
                    ZENITH_RETURN_IF_ERROR(writer_->Floor(rel, lsn, blocks));
                }
            }
        }
        floors.clear();
        return Status::Ok();
    };
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, cursor->NextEntry());
        if (entry == nullptr) {
            return write();
        }
        if (point != points.end() && *point < entry->lsn) {
            ZENITH_RETURN_IF_ERROR(write());
            point = std::lower_bound(points.begin(), points.end(), entry->lsn);
        }
        const BlockNumber blocks = static_cast<BlockNumber>(entry->number);
        while (!floors.empty() && floors.back().second >= blocks) {
            floors.pop_back();
        }
        floors.emplace_back(entry->lsn, blocks);
    }
}

Status RetentionFilter::Blobs(MergedCursor* cursor) {
    const std::string key = cursor->key();
    if (key == kClusterStateBlobKey) {
        return ClusterState(cursor);
    }
    auto emit = [&](const DeltaEntry& entry) -> Status {
        // The time index is for where every LSN can be read.
        if (key.starts_with(kTimeBlobPrefix) && entry.lsn < range_.end) {
            return Status::Ok();
        }
        const std::string value(entry.value);
        return writer_->Blob(key, entry.lsn, entry.number > 0 ? &value : nullptr);
    };
    std::optional<DatabaseBlob> scope = DatabaseBlob::Parse(key);
    const DatabaseKey db = scope ? scope->db : DatabaseKey{};
    Result<bool> below = true;
    if (retention_.below != nullptr) {
        below = retention_.below->MayHaveBlob(key);
    }
    ZENITH_ASSIGN_OR_RETURN(const bool droppable, NothingBelow(db, below));
    return Values(cursor, db, droppable, StandsForNothing, emit).status();
}

Status RetentionFilter::ClusterState(MergedCursor* cursor) {
    state_done_ = true;
    const std::string key = kClusterStateBlobKey;
    auto write = [&](Lsn lsn, const std::string* value) {
        return writer_ != nullptr ? writer_->Blob(key, lsn, value) : Status::Ok();
    };
    if (retention_.state_at == nullptr) {
        return cursor == nullptr
                   ? Status::Ok()
                   : Values(cursor, DatabaseKey{}, false, StandsForNothing,
                            [&](const DeltaEntry& entry) {
                                const std::string value(entry.value);
                                return write(entry.lsn, entry.number > 0 ? &value : nullptr);
                            })
                         .status();
    }
    auto point = base_points_.begin();
    // The points up to `limit` that the inputs do not have.
    auto make = [&](Lsn limit) -> Status {
        for (; point != base_points_.end() && *point < limit; ++point) {
            // The state at the start is the parent's.
            if (*point > range_.start && writer_ != nullptr) {
                ZENITH_ASSIGN_OR_RETURN(const std::string value, retention_.state_at(*point));
                ZENITH_RETURN_IF_ERROR(write(*point, &value));
            }
        }
        return Status::Ok();
    };
    while (cursor != nullptr) {
        ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, cursor->NextEntry());
        if (entry == nullptr) {
            break;
        }
        ZENITH_RETURN_IF_ERROR(make(entry->lsn));
        if (point != base_points_.end() && *point == entry->lsn) {
            const std::string value(entry->value);
            ZENITH_RETURN_IF_ERROR(write(entry->lsn, entry->number > 0 ? &value : nullptr));
            ++point;
        }
    }
    return make(kMaxLsn);
}

// ---- pages --------------------------------------------------------------------------------------

Status RetentionFilter::LoadFloors(const std::string& relation_key) {
    if (floors_of_ == relation_key) {
        return Status::Ok();
    }
    floors_of_ = relation_key;
    floors_ = FloorIndex();
    while (at_floors_ && floor_cursor_->key() < relation_key) {
        ZENITH_ASSIGN_OR_RETURN(at_floors_, floor_cursor_->NextKey());
    }
    while (at_floors_ && floor_cursor_->key() == relation_key) {
        ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, floor_cursor_->NextEntry());
        if (entry == nullptr) {
            ZENITH_ASSIGN_OR_RETURN(at_floors_, floor_cursor_->NextKey());
            break;
        }
        floors_.Add(entry->lsn, static_cast<BlockNumber>(entry->number));
    }
    return Status::Ok();
}

Status RetentionFilter::Pages(MergedCursor* cursor) {
    const PageKey key = DecodePageKey(cursor->key());
    if (!key.is_slru && vanished_.contains(key.relation())) {
        return Status::Ok();
    }
    const DatabaseKey db = key.is_slru ? DatabaseKey{} : DatabaseKey{key.node.spc, key.node.db};
    const Points& points = PointsOf(db);
    ZENITH_RETURN_IF_ERROR(LoadFloors(cursor->key().substr(0, kRelationKeySize)));
    // Something in (lsn, at] ended the version of `lsn`, other than a newer version.
    auto cut_off = [&](Lsn lsn, Lsn at) {
        if (std::optional<Lsn> floor = floors_.Newest(at, key.block); floor && *floor > lsn) {
            return true;
        }
        const DatabaseCut* cut = NewestCut(db, at);
        return cut != nullptr && cut->lsn > lsn;
    };
    kept_any_ = false;
    std::optional<Version> version;
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, cursor->NextEntry());
        const Lsn end = entry != nullptr ? entry->lsn : kMaxLsn;
        if (version && end > version->lsn) {
            auto point = std::lower_bound(points.begin(), points.end(), version->lsn);
            if (point != points.end() && *point < end && !cut_off(version->lsn, *point)) {
                ZENITH_RETURN_IF_ERROR(Keep(key, *version, *point));
            }
            if (entry != nullptr && cut_off(version->lsn, end)) {
                version.reset();
            }
        }
        if (entry == nullptr) {
            return Status::Ok();
        }
        const uint64_t what = DeltaPageWhat(entry->number);
        const bool is_record = what < kDeltaPageTombstone;
        if (!version || !is_record || (what & kRefWillInit) != 0) {
            version.emplace();
            version->base_lsn = entry->lsn;
        }
        version->lsn = entry->lsn;
        if (is_record) {
            version->records.push_back({entry->lsn, entry->number});
        } else if (what == kDeltaPageImage) {
            version->image = entry->image;
        } else {
            version->tombstone = true;
        }
    }
}

Status RetentionFilter::Keep(const PageKey& key, const Version& version, Lsn seen_at) {
    if (version.tombstone && version.records.empty() && !kept_any_ &&
        retention_.below != nullptr && key.is_slru) {
        ZENITH_ASSIGN_OR_RETURN(bool below,
                                retention_.below->MayHaveSlruPage(key.slru_kind(), key.block));
        if (!below) {
            return Status::Ok();
        }
    }
    kept_any_ = true;
    kept_.push_back({key, version, seen_at});
    wanted_images_ += version.wants_image() ? 1 : 0;
    kept_records_ += 1 + version.records.size();
    if (wanted_images_ >= kImageBatch || kept_records_ >= kMaxKeptRecords) {
        return WriteKept();
    }
    return Status::Ok();
}

Status RetentionFilter::WriteKept() {
    std::vector<Result<std::optional<PageBuffer>>> images;
    if (writer_ != nullptr && retention_.imager != nullptr && wanted_images_ > 0) {
        std::vector<PageImager::Wanted> wanted;
        for (const KeptVersion& kept : kept_) {
            if (kept.version.wants_image()) {
                wanted.push_back({kept.key, kept.seen_at});
            }
        }
        images = retention_.imager->Images(*retention_.timeline, wanted);
    }
    size_t next_image = 0;
    for (const KeptVersion& kept : kept_) {
        const Version& version = kept.version;
        if (!version.wants_image()) {
            if (version.image) {
                ZENITH_RETURN_IF_ERROR(WriteImage(kept.key, version.lsn, *version.image));
            } else if (writer_ != nullptr) {
                ZENITH_RETURN_IF_ERROR(writer_->Tombstone(kept.key, version.lsn));
            }
            written_entries_++;
        } else if (next_image < images.size() && images[next_image].ok() &&
                   images[next_image]->has_value()) {
            ZENITH_RETURN_IF_ERROR(
                writer_->Image(kept.key, version.lsn, **images[next_image]));
            next_image++;
            written_entries_++;
            report_.made_images++;
        } else {
            if (writer_ != nullptr && retention_.imager != nullptr) {
                if (report_.failed_images == 0) {
                    spdlog::warn("layers: no image of {} as of {}, its records stay: {}",
                                 kept.key.ToString(), version.lsn.ToString(),
                                 next_image < images.size() && !images[next_image].ok()
                                     ? images[next_image].status().message()
                                     : "it is said not to exist");
                }
                report_.failed_images++;
            }
            next_image++;
            ZENITH_RETURN_IF_ERROR(WriteRecords(kept));
        }
        written_key_ = kept.key;
        written_lsn_ = version.lsn;
    }
    kept_.clear();
    wanted_images_ = 0;
    kept_records_ = 0;
    return Status::Ok();
}

Status RetentionFilter::WriteRecords(const KeptVersion& kept) {
    const Version& version = kept.version;
    // An older version of the page may have been written, from which this one goes on.
    const Lsn written = written_key_ == kept.key ? written_lsn_ : Lsn();
    if (version.base_lsn > written && (version.image || version.tombstone)) {
        if (version.image) {
            ZENITH_RETURN_IF_ERROR(WriteImage(kept.key, version.base_lsn, *version.image));
        } else if (writer_ != nullptr) {
            ZENITH_RETURN_IF_ERROR(writer_->Tombstone(kept.key, version.base_lsn));
        }
        written_entries_++;
    }
    for (const Record& record : version.records) {
        if (record.lsn <= written) {
            continue;
        }
        if (writer_ != nullptr) {
            ZENITH_RETURN_IF_ERROR(
                writer_->Record(kept.key, record.lsn - DeltaPageExtent(record.number), record.lsn,
                                static_cast<uint8_t>(DeltaPageWhat(record.number))));
        }
        written_entries_++;
    }
    return Status::Ok();
}

Status RetentionFilter::WriteImage(const PageKey& key, Lsn lsn, const ImagePlace& place) {
    image_use_[place.file] += place.length;
    if (writer_ == nullptr) {
        return Status::Ok();
    }
    if (copy_from_.contains(place.file)) {
        Result<std::string> frame =
            retention_.images->Get(place.file)->ReadFrame(place, key, lsn);
        if (frame.ok()) {
            report_.copied_images++;
            return writer_->ImageFrame(key, lsn, *frame);
        }
        // Damage stays where it is, for the reads that need this page to tell.
        spdlog::warn("layers: {}; the image is not copied", frame.status().message());
    }
    return writer_->ImageAt(key, lsn, place);
}

}  // namespace zenith
