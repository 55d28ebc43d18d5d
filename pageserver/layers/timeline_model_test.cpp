// Timeline against the model of timeline_model_for_test.h: random records, on random timelines
// (branches, branches of branches), asked at random LSNs.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/layers/fake_imager_for_test.h"
#include "pageserver/layers/fake_snapshot_for_test.h"
#include "pageserver/layers/layer_worker.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/temp_directory_for_test.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/layers/timeline_model_for_test.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {
namespace {

const Lsn kStart(4096);
constexpr DatabaseKey kDatabases[] = {{1663, 5}, {1663, 6}, {1663, 7}, {4444, 5}, {4444, 6}};

PageBuffer Filled(uint8_t fill) {
    PageBuffer page;
    page.fill(static_cast<std::byte>(fill));
    return page;
}

class Runner {
  public:
    struct Options {
        uint32_t flush_one_in = 0;   // batches are followed by a flush, 0: never
        uint32_t retain_one_in = 0;  // ... by garbage collection
        bool images = false;
    };
    Runner(uint32_t seed, Options options) : random_(seed), options_(options) {
        MakeInitial();
        model_.timelines.push_back(ModelTimeline{-1, kStart, {}, kStart, {}, {}, {}});
        ids_.push_back(TimelineId::Random());
        timelines_.push_back(Make(0));
    }

    void Run(int steps) {
        for (int step = 0; step < steps && !::testing::Test::HasFatalFailure(); step++) {
            if (Chance(25) && timelines_.size() < 8) {
                Branch();
            }
            int index = static_cast<int>(Pick(timelines_.size()));
            if (!model_.timelines[index].ends_at) {
                WriteBatch(index);
                if (options_.flush_one_in > 0 && Chance(options_.flush_one_in)) {
                    Flush(index);
                }
            }
            if (options_.retain_one_in > 0 && Chance(options_.retain_one_in)) {
                Retain(index);
            }
            if (options_.flush_one_in > 0 && Chance(20)) {
                Reopen();
            }
            if (Chance(8)) {
                CheckSomewhere();
            }
        }
        for (int i = 0; i < 20; i++) {
            CheckSomewhere();
        }
    }

  private:
    std::unique_ptr<FakeSnapshot> MakeInitial() {
        auto snapshot = std::make_unique<FakeSnapshot>(kStart);
        for (const DatabaseKey& db : {kDatabases[0], kDatabases[3]}) {
            snapshot->AddDatabase(db);
            model_.initial.databases.insert(db);
            for (Oid rel = 1; rel <= 3; rel++) {
                RelForkKey key{{db.spc, db.db, rel}, Fork::kMain};
                snapshot->AddRelation(key, 6);
                model_.initial.relations[key] = 6;
                for (BlockNumber block = 0; block < 6; block += 2) {
                    uint8_t fill = static_cast<uint8_t>(10 * rel + block + 1);
                    snapshot->AddPage(PageKey::Relation(key, block), Filled(fill));
                    model_.initial.pages[PageKey::Relation(key, block)] = {fill, kStart, {}};
                }
            }
            for (const std::string& blob : {RelmapBlobKey(db), ModelState::VersionFile(db)}) {
                snapshot->AddBlob(blob, "initial");
                model_.initial.blobs[blob] = {kStart, "initial"};
            }
        }
        snapshot->AddSlruPage(SlruKind::kXact, 0, Filled(200));
        model_.initial.pages[PageKey::Slru(SlruKind::kXact, 0)] = {200, kStart, {}};
        return snapshot;
    }

    std::string Directory(int index) const {
        return directory_.path() + "/" + ids_[index].ToString();
    }
    // Timeline `index` over its files.
    std::shared_ptr<Timeline> Make(int index) {
        const std::string directory = Directory(index);
        const std::string wal_directory = directory + "/wal";
        EXPECT_TRUE(EnsureDirectory(directory).ok());
        EXPECT_TRUE(EnsureDirectory(wal_directory).ok());
        // Nobody reads a record here, but a flush syncs the segment.
        EXPECT_TRUE(ReplaceFileAtomically(wal_directory + "/" + WalSegmentName(0), "").ok());
        const ModelTimeline& model = model_.timelines[index];
        std::shared_ptr<Timeline> parent = model.parent < 0 ? nullptr : timelines_[model.parent];
        auto wal = std::make_unique<WalStorage>(wal_directory, model.start,
                                                parent != nullptr ? &parent->wal() : nullptr);
        TimelineLayers layers;
        layers.directory = directory + "/layers";
        layers.options.worker = &worker_;
        layers.options.imager = options_.images ? &imager_ : nullptr;
        layers.options.replay_bytes = kReplayBytes;
        auto opened = OpenDeltaLayers(layers.directory, ids_[index], model.start, wal.get());
        EXPECT_TRUE(opened.ok()) << opened.status().message();
        for (const auto& file : opened->files) {
            Status status = file->Verify();
            EXPECT_TRUE(status.ok()) << status.message();
        }
        layers.opened = *std::move(opened);
        return MakeTimeline(ids_[index], model.start, parent,
                            parent == nullptr ? MakeInitial() : nullptr, std::move(wal), layers);
    }

    void Flush(int index) {
        model_.timelines[index].flushed = model_.End(index);
        timelines_[index]->Flush();
        if (Chance(2)) {
            Status status = timelines_[index]->WaitForFlush();
            ASSERT_TRUE(status.ok()) << status.message();
        }
    }

    // Garbage collection at a random LSN; keeps branch points and a few others.
    void Retain(int index) {
        ModelTimeline& model = model_.timelines[index];
        Timeline::Retention retention;
        std::set<Lsn> points;
        for (const ModelTimeline& other : model_.timelines) {
            // A branch may have been made before its parent begins: it needs the ancestor there.
            Lsn at = other.start;
            for (int i = other.parent; i >= 0; i = model_.timelines[i].parent) {
                if (i == index) {
                    points.insert(at);
                }
                at = std::min(at, model_.timelines[i].start);
            }
        }
        retention.ends_at_horizon = Chance(6) && !points.empty();
        if (retention.ends_at_horizon) {
            retention.horizon = *points.rbegin();
        } else {
            retention.horizon = std::min(AnyLsn(index), model_.End(index));
            for (int i = 0; i < 2; i++) {
                Lsn tag = AnyLsn(index);
                if (tag <= model_.End(index) && model_.Readable(index, tag)) {
                    points.insert(tag);
                }
            }
        }
        retention.horizon = std::max(retention.horizon, model.start);
        retention.points.assign(points.begin(), points.end());
        Status flushed = timelines_[index]->WaitForFlush();
        ASSERT_TRUE(flushed.ok()) << flushed.message();
        worker_.WaitUntilIdle();
        retention.dry_run = true;
        // The first one also starts a merge that was waiting.
        ASSERT_TRUE(timelines_[index]->ApplyRetention(retention).ok());
        worker_.WaitUntilIdle();
        auto promised = timelines_[index]->ApplyRetention(retention);
        ASSERT_TRUE(promised.ok()) << promised.status().message();
        worker_.WaitUntilIdle();
        retention.dry_run = false;
        auto report = timelines_[index]->ApplyRetention(retention);
        ASSERT_TRUE(report.ok()) << report.status().message();
        EXPECT_EQ(report->removed_bytes, promised->removed_bytes);
        EXPECT_EQ(report->written_bytes, promised->written_bytes);
        EXPECT_EQ(report->dropped_versions, promised->dropped_versions);
        EXPECT_EQ(report->readable_from, promised->readable_from);

        EXPECT_EQ(timelines_[index]->readable_from(), report->readable_from);
        if (!retention.ends_at_horizon) {
            EXPECT_GE(report->readable_from, model.readable_from);
            EXPECT_LE(report->readable_from, std::max(retention.horizon, model.readable_from));
        }
        model.readable_from = report->readable_from;
        model.points.clear();
        for (Lsn point : points) {
            if (point < model.readable_from) {
                model.points.insert(point);
            }
        }
        if (retention.ends_at_horizon) {
            EXPECT_EQ(report->readable_from, retention.horizon);
            EXPECT_EQ(timelines_[index]->last_record_end(), retention.horizon);
            model.ends_at = retention.horizon;
            std::erase_if(model.records,
                          [&](const ModelRecord& r) { return r.end > retention.horizon; });
        }
        CheckSomewhere(index);
    }

    // As after a restart: what is in no file comes again.
    void Reopen() {
        for (std::shared_ptr<Timeline>& timeline : timelines_) {
            timeline->WaitForFlush().Ignore("a failure shows in what is read");
        }
        timelines_.clear();
        for (int index = 0; index < static_cast<int>(model_.timelines.size()); index++) {
            timelines_.push_back(Make(index));
            Timeline& timeline = *timelines_.back();
            const Lsn end = timeline.last_record_end();
            timeline.BeginRecords();
            for (const ModelRecord& record : model_.timelines[index].records) {
                if (record.end > end) {
                    PlayRecord(timeline, record);
                }
            }
            timeline.CommitRecords();
            ASSERT_EQ(timeline.last_record_end(), model_.End(index));
        }
    }

    uint32_t Pick(size_t n) { return static_cast<uint32_t>(random_() % n); }
    bool Chance(uint32_t one_in) { return Pick(one_in) == 0; }

    DatabaseKey AnyDatabase() { return kDatabases[Pick(std::size(kDatabases))]; }
    RelForkKey AnyRelation() {
        if (Chance(8)) {
            return {{kGlobalTablespaceOid, 0, 1 + Pick(2)}, Fork::kMain};
        }
        DatabaseKey db = AnyDatabase();
        return {{db.spc, db.db, 1 + Pick(4)}, Chance(4) ? Fork::kVm : Fork::kMain};
    }
    PageKey AnyPage() {
        if (Chance(5)) {
            return PageKey::Slru(Chance(2) ? SlruKind::kXact : SlruKind::kMultiMembers, Pick(4));
        }
        return PageKey::Relation(AnyRelation(), Chance(10) ? Pick(1000) : Pick(9));
    }
    std::string AnyBlob() {
        switch (Pick(5)) {
            case 0:
                return RelmapBlobKey(AnyDatabase());
            case 1:
                return ModelState::VersionFile(AnyDatabase());
            case 2:
                return TwoPhaseBlobKey(Pick(3));
            case 3:
                // Retention puts one of its own at every point.
                return options_.retain_one_in > 0 ? TwoPhaseBlobKey(7) : kClusterStateBlobKey;
            default:
                return RelmapBlobKey({kGlobalTablespaceOid, 0});
        }
    }

    // What a record ends comes before what it makes, as Timeline asks for.
    std::vector<Op> AnyOps() {
        std::vector<Op> ops;
        if (Chance(12)) {
            std::set<DatabaseKey> used;
            for (uint32_t i = 0; i <= Pick(2); i++) {
                Op op{static_cast<Op::Kind>(Op::kCreateDatabase + Pick(3))};
                op.db = AnyDatabase();
                op.source = AnyDatabase();
                bool senseless = op.kind == Op::kCloneDatabase && op.db == op.source;
                if (used.insert(op.db).second && !senseless) {
                    ops.push_back(op);
                }
            }
        }
        if (Chance(60)) {
            ops.push_back(Op{Op::kDropTablespace, {4444, 0}});
        }
        for (int i = 0; Chance(5) && i < 3; i++) {
            Op op{Chance(3) ? Op::kDropRelation : Op::kTruncate};
            op.page = PageKey::Relation(AnyRelation(), Pick(8));
            ops.push_back(op);
        }
        for (uint32_t i = Pick(5); i > 0; i--) {
            Op op{Op::kPut};
            op.page = AnyPage();
            op.value = static_cast<uint8_t>(Pick(3) == 0 ? Pick(4) : Pick(2) * 2);
            if (Chance(10) && op.page.is_slru) {
                op.kind = Op::kImage;
            } else if (Chance(6)) {
                op.kind = op.page.is_slru ? Op::kDropPage : Op::kCreateRelation;
            }
            ops.push_back(op);
            if (Chance(8)) {
                ops.push_back(op);
            }
        }
        if (Chance(3)) {
            Op op{Chance(3) ? Op::kDropBlob : Op::kPutBlob};
            op.key = AnyBlob();
            op.value = static_cast<uint8_t>(Pick(250));
            ops.push_back(op);
        }
        return ops;
    }

    static void PlayRecord(Timeline& timeline, const ModelRecord& record) {
        timeline.StartRecord(record.start, record.end);
        for (const Op& op : record.ops) {
            Play(timeline, op);
        }
    }
    static void Play(Timeline& timeline, const Op& op) {
        switch (op.kind) {
            case Op::kCreateDatabase:
                return timeline.CreateDatabase(op.db);
            case Op::kCloneDatabase:
                return timeline.CloneDatabase(op.db, op.source);
            case Op::kDropDatabase:
                return timeline.DropDatabase(op.db);
            case Op::kDropTablespace:
                return timeline.DropBlob(TablespaceBlobKey(op.db.spc));
            case Op::kTruncate:
                return timeline.TruncateRelation(op.page.relation(), op.page.block);
            case Op::kDropRelation:
                return timeline.DropRelation(op.page.node);
            case Op::kCreateRelation:
                return timeline.CreateRelation(op.page.relation());
            case Op::kPut:
                return timeline.PutRecord(op.page, op.value);
            case Op::kImage:
                return timeline.PutImage(op.page, Filled(op.value));
            case Op::kDropPage:
                return timeline.DropPage(op.page);
            case Op::kPutBlob:
                return timeline.PutBlob(op.key, "v" + std::to_string(op.value));
            case Op::kDropBlob:
                return timeline.DropBlob(op.key);
        }
    }

    void WriteBatch(int index) {
        Timeline& timeline = *timelines_[index];
        timeline.BeginRecords();
        for (uint32_t n = 1 + Pick(4); n > 0; n--) {
            ModelRecord record;
            record.start = model_.End(index) + 8 * Pick(3);
            record.end = record.start + 8 + 8 * Pick(4);
            record.ops = AnyOps();
            PlayRecord(timeline, record);
            model_.timelines[index].records.push_back(record);
            if (Chance(10)) {
                CheckAsWriter(index);
            }
        }
        timeline.CommitRecords();
        EXPECT_EQ(timeline.last_record_end(), model_.End(index));
    }

    void Branch() {
        int parent = static_cast<int>(Pick(timelines_.size()));
        Lsn at = Chance(3) ? model_.End(parent) : AnyLsn(parent);
        at = std::min(at, model_.End(parent));
        at.value -= at.value % 8;
        if (!model_.Readable(parent, at)) {
            return;
        }
        model_.timelines.push_back(ModelTimeline{parent, at, {}, at, {}, {}, {}});
        ids_.push_back(TimelineId::Random());
        timelines_.push_back(Make(static_cast<int>(ids_.size()) - 1));
    }

    Lsn AnyLsn(int timeline) { return kStart + Pick(model_.End(timeline) - kStart + 40); }

    void CheckPage(const PageKey& key, const ModelState& state, const Result<PageHistory>& actual) {
        SCOPED_TRACE(key.ToString());
        ASSERT_TRUE(actual.ok()) << actual.status().message();
        auto found = state.pages.find(key);
        if (found == state.pages.end()) {
            EXPECT_FALSE(actual->exists());
            return;
        }
        const ModelPage& expected = found->second;
        if (options_.images) {
            EXPECT_EQ(FoldPage(*actual), FoldPage(AsHistory(expected)));
            return;
        }
        CheckHistory(expected, actual);
    }

    // Without the images that layers made the history is the model's own, unless retention has
    // removed records; there, as with a limit, what it leads to is the same.
    void CheckFromWal(const PageKey& key, const ModelState& state, Timeline& timeline, Lsn at) {
        auto found = state.pages.find(key);
        const Result<PageHistory> whole = timeline.CollectPageFromWal(key, at, SIZE_MAX);
        CheckPage(key, state, whole);
        if (key.is_slru || !whole.ok() || found == state.pages.end()) {
            return;
        }
        if (!whole->base_is_image) {
            CheckHistory(found->second, whole);
        } else {
            EXPECT_GT(options_.retain_one_in, 0u);
        }
        const size_t limit = 1 + Pick(8);
        const Result<PageHistory> some = timeline.CollectPageFromWal(key, at, limit);
        CheckPage(key, state, some);
        if (some.ok() && some->base_is_image && !whole->base_is_image) {
            EXPECT_GE(some->records.size(), limit);
        }
    }

    void CheckHistory(const ModelPage& expected, const Result<PageHistory>& actual) {
        ASSERT_EQ(actual->base.has_value(), expected.base.has_value());
        if (expected.base) {
            EXPECT_EQ(*actual->base, Filled(*expected.base));
            EXPECT_EQ(actual->base_lsn, expected.base_lsn);
        } else {
            EXPECT_FALSE(actual->base_lsn.valid());
        }
        ASSERT_EQ(actual->records.size(), expected.records.size());
        for (size_t i = 0; i < expected.records.size(); i++) {
            const RecordRef& ref = actual->records[i];
            const ModelRef& model = expected.records[i];
            EXPECT_EQ(ref.wal, &timelines_[model.timeline]->wal());
            EXPECT_EQ(ref.start, model.start);
            EXPECT_EQ(ref.end, model.end);
            EXPECT_EQ(ref.flags, model.flags);
            EXPECT_EQ(ref.database, model.database);
        }
    }

    PageHistory AsHistory(const ModelPage& page) const {
        PageHistory history;
        if (page.base) {
            history.base = Filled(*page.base);
        }
        for (const ModelRef& ref : page.records) {
            history.records.push_back({&timelines_[ref.timeline]->wal(), ref.start, ref.end,
                                       ref.flags, ref.database});
        }
        return history;
    }
    // What a flush has seen is no long chain.
    void CheckReplay(const PageHistory& history) const {
        if (history.records.empty()) {
            return;
        }
        const RecordRef& last = history.records.back();
        uint64_t bytes = 0;
        for (const RecordRef& ref : history.records) {
            bytes += ref.end - ref.start;
        }
        for (size_t i = 0; i < timelines_.size(); i++) {
            if (last.wal == &timelines_[i]->wal() && last.end <= model_.timelines[i].flushed) {
                EXPECT_LE(bytes, kReplayBytes + kLongestRecord);
            }
        }
    }

    static std::vector<BlockNumber> SlruPages(const ModelState& state, SlruKind kind) {
        std::vector<BlockNumber> pages;
        for (const auto& [key, page] : state.pages) {
            if (key.is_slru && key.slru_kind() == kind) {
                pages.push_back(key.block);
            }
        }
        return pages;
    }

    void CheckAsWriter(int index) {
        ModelState state = model_.At(index, kMaxLsn);
        Timeline& timeline = *timelines_[index];
        for (int i = 0; i < 10; i++) {
            PageKey key = AnyPage();
            CheckPage(key, state, timeline.WriterCollectPage(key));
            RelForkKey rel = AnyRelation();
            auto found = state.relations.find(rel);
            auto size = timeline.WriterRelationSize(rel);
            ASSERT_TRUE(size.ok());
            EXPECT_EQ(*size,
                      found == state.relations.end() ? std::nullopt : std::optional(found->second));
        }
        EXPECT_EQ(*timeline.WriterListSlruPages(SlruKind::kXact),
                  SlruPages(state, SlruKind::kXact));
    }

    void CheckSomewhere(int index = -1) {
        if (index < 0) {
            index = static_cast<int>(Pick(timelines_.size()));
        }
        if (options_.images) {
            // While a file is being written there are no images yet.
            for (const auto& timeline : timelines_) {
                ASSERT_TRUE(timeline->WaitForFlush().ok());
            }
        }
        Lsn at = Chance(5) ? kMaxLsn : AnyLsn(index);
        const std::set<Lsn>& points = model_.timelines[index].points;
        if (!points.empty() && Chance(2)) {
            at = *std::next(points.begin(), Pick(points.size()));
        }
        SCOPED_TRACE("timeline " + std::to_string(index) + " at " + at.ToString());
        Timeline& timeline = *timelines_[index];
        if (!model_.Readable(index, at)) {
            for (const Status& status :
                 {timeline.CheckReadable(at), timeline.CollectPage(AnyPage(), at).status(),
                  timeline.RelationSize(AnyRelation(), at).status(),
                  timeline.ListRelations(at).status(), timeline.ListDatabases(at).status(),
                  timeline.ListBlobs("", at).status(),
                  timeline.ListSlruPages(SlruKind::kXact, at).status()}) {
                EXPECT_EQ(status.code(), StatusCode::kNotFound) << status.message();
            }
            return;
        }
        EXPECT_TRUE(timeline.CheckReadable(at).ok());
        ModelState state = model_.At(index, at);

        std::map<RelForkKey, BlockNumber> relations;
        auto listed = timeline.ListRelations(at);
        ASSERT_TRUE(listed.ok());
        for (const RelationEntry& entry : *listed) {
            EXPECT_TRUE(relations.emplace(entry.rel, entry.blocks).second);
        }
        EXPECT_EQ(relations, state.relations);
        for (const auto& [rel, blocks] : state.relations) {
            EXPECT_EQ(*timeline.RelationSize(rel, at), blocks) << rel.ToString();
        }
        EXPECT_EQ(*timeline.ListDatabases(at),
                  std::vector<DatabaseKey>(state.databases.begin(), state.databases.end()));
        for (SlruKind kind : kSlruKinds) {
            EXPECT_EQ(*timeline.ListSlruPages(kind, at), SlruPages(state, kind));
        }
        for (const std::string& prefix :
             {std::string(""), std::string("relmap/"), std::string("file/base/"),
              std::string("file/pg_tblspc/4444/"), std::string("file/base/6/PG_V"),
              std::string("twophase/"), std::string("none")}) {
            std::map<std::string, std::string> expected;
            for (const auto& [key, version] : state.blobs) {
                if (key.starts_with(prefix)) {
                    expected[key] = version.second;
                }
            }
            EXPECT_EQ(*timeline.ListBlobs(prefix, at), expected) << prefix;
        }
        for (int i = 0; i < 10; i++) {
            std::string key = AnyBlob();
            auto found = state.blobs.find(key);
            auto blob = timeline.GetVersionedBlob(key, at);
            ASSERT_TRUE(blob.ok());
            ASSERT_EQ(blob->has_value(), found != state.blobs.end()) << key;
            if (blob->has_value()) {
                EXPECT_EQ((*blob)->lsn, found->second.first) << key;
                EXPECT_EQ((*blob)->value, found->second.second) << key;
            }
        }
        for (const auto& [key, page] : state.pages) {
            auto history = timeline.CollectPage(key, at);
            CheckPage(key, state, history);
            if (options_.images && history.ok()) {
                CheckReplay(*history);
            }
            CheckFromWal(key, state, timeline, at);
        }
        for (int i = 0; i < 30; i++) {
            PageKey key = AnyPage();
            CheckPage(key, state, timeline.CollectPage(key, at));
            CheckFromWal(key, state, timeline, at);
            RelForkKey rel = AnyRelation();
            auto found = state.relations.find(rel);
            EXPECT_EQ(*timeline.RelationSize(rel, at),
                      found == state.relations.end() ? std::nullopt : std::optional(found->second));
        }
    }

    static constexpr uint64_t kReplayBytes = 100;
    static constexpr uint64_t kLongestRecord = 32;

    std::mt19937 random_;
    const Options options_;
    TempDirectory directory_{TempDirectory::kMemory};
    FakeImager imager_;
    LayerWorker worker_;
    Model model_;
    std::vector<TimelineId> ids_;
    std::vector<std::shared_ptr<Timeline>> timelines_;
};

void RunSeeds(uint32_t first, uint32_t count, int steps,
              const std::function<Runner::Options(uint32_t seed)>& options) {
    spdlog::set_level(spdlog::level::warn);
    for (uint32_t seed = first; seed < first + count; seed++) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Runner(seed, options(seed)).Run(steps);
        if (::testing::Test::HasFailure()) {
            return;
        }
    }
}

TEST(TimelineModel, RandomHistoriesAgree) {
    RunSeeds(1, 40, 150, [](uint32_t) { return Runner::Options{}; });
}

TEST(TimelineModel, RandomHistoriesAgreeThroughFlushesAndReopening) {
    RunSeeds(1001, 40, 150, [](uint32_t seed) { return Runner::Options{2 + seed % 9, 0, false}; });
}

TEST(TimelineModel, RandomHistoriesAgreeWithImages) {
    RunSeeds(2001, 40, 200, [](uint32_t seed) { return Runner::Options{1 + seed % 6, 0, true}; });
}

TEST(TimelineModel, RandomHistoriesAgreeThroughRetention) {
    RunSeeds(3001, 60, 250, [](uint32_t seed) {
        return Runner::Options{1 + seed % 6, 4 + seed % 17, seed % 4 != 0};
    });
}

}  // namespace
}  // namespace zenith
