#include "pageserver/layers/layer_rewriter.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "common/base/posix_file.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/database_blob.h"
#include "pageserver/layers/in_memory_layer.h"
#include "pageserver/layers/temp_directory_for_test.h"
#include "pageserver/testing/fake_timeline.h"

namespace zenith {
namespace {

const Lsn kStart(0x1000);

TimelineId Id() { return *TimelineId::Parse("000102030405060708090a0b0c0d0e0f"); }

// Newest first.
using Stack = std::vector<const Layer*>;

// What TimelineImpl does with a stack of layers, in short; null when nothing knows.
template <typename Search>
SearchStep SearchStack(const Stack& stack, Search&& search) {
    for (const Layer* layer : stack) {
        Result<SearchStep> step = search(*layer);
        EXPECT_TRUE(step.ok()) << step.status().message();
        if (!step.ok() || step->next != SearchStep::Next::kOlder) {
            return step.ok() ? *step : SearchStep::Done();
        }
    }
    return SearchStep::Done();
}

uint64_t Mix(uint64_t a, uint64_t b) {
    a = (a ^ b) * 0x9E3779B97F4A7C15ull;
    return a ^ a >> 31;
}

// A page's contents, for these tests: a number that depends on all that made it.
PageBuffer PageOf(uint64_t number) {
    PageBuffer page{};
    for (size_t i = 0; i < 4; i++) {
        std::memcpy(page.data() + 2000 * i, &number, sizeof number);
    }
    return page;
}
uint64_t NumberOf(const PageBuffer& page) {
    uint64_t number;
    std::memcpy(&number, page.data(), sizeof number);
    EXPECT_EQ(page, PageOf(number));
    return number;
}

// nullopt: the page does not exist.
std::optional<uint64_t> ReadPage(const Stack& stack, PageKey key, Lsn at) {
    PageHistory history;
    for (;;) {
        SearchStep step = SearchStack(stack, [&](const Layer& layer) {
            return layer.SearchPage(key, at, &history);
        });
        if (step.next != SearchStep::Next::kSource) {
            break;
        }
        key.node.spc = step.source.spc;
        key.node.db = step.source.db;
        at = step.at;
    }
    if (!history.exists()) {
        return std::nullopt;
    }
    uint64_t number = history.base ? NumberOf(*history.base) : 0;
    for (size_t i = history.records.size(); i-- > 0;) {
        const RecordRef& record = history.records[i];
        if ((record.flags & kRefWillInit) != 0) {
            number = 0;
        }
        number = Mix(Mix(Mix(number, record.start.value), record.end.value), record.database.db);
    }
    return number;
}

std::optional<BlockNumber> ReadSize(const Stack& stack, RelForkKey rel, Lsn at) {
    for (;;) {
        std::optional<BlockNumber> blocks;
        SearchStep step = SearchStack(
            stack, [&](const Layer& layer) { return layer.SearchSize(rel, at, &blocks); });
        if (step.next != SearchStep::Next::kSource) {
            return blocks;
        }
        rel.node.spc = step.source.spc;
        rel.node.db = step.source.db;
        at = step.at;
    }
}

std::optional<std::string> ReadBlob(const Stack& stack, std::string key, Lsn at) {
    for (;;) {
        std::optional<Timeline::VersionedBlob> blob;
        SearchStep step = SearchStack(
            stack, [&](const Layer& layer) { return layer.SearchBlob(key, at, &blob); });
        if (step.next != SearchStep::Next::kSource) {
            return blob ? std::optional(blob->value) : std::nullopt;
        }
        key = DatabaseBlob::Parse(key)->In(step.source).Key();
        at = step.at;
    }
}

bool ReadDatabase(const Stack& stack, const DatabaseKey& db, Lsn at) {
    bool exists = false;
    SearchStack(stack, [&](const Layer& layer) { return layer.SearchDatabase(db, at, &exists); });
    return exists;
}

std::set<BlockNumber> ListSlru(const Stack& stack, SlruKind kind, Lsn at) {
    std::set<BlockNumber> pages;
    for (size_t i = stack.size(); i-- > 0;) {
        EXPECT_TRUE(stack[i]
                        ->VisitSlruPages(kind, at,
                                         [&](BlockNumber block, bool exists) {
                                             if (exists) {
                                                 pages.insert(block);
                                             } else {
                                                 pages.erase(block);
                                             }
                                         })
                        .ok());
    }
    return pages;
}

// Random history in layers, twice: in memory, all of it, for good (the model), and in files that are
// merged and lose what is not retained.
class History {
  public:
    History(uint32_t seed, const std::string& directory)
        : random_(seed), directory_(directory), images_(std::make_shared<ImageFiles>(directory, Id())) {
        readable_from_ = kStart;
        if (Pick(2) == 0) {
            // Something below: the parent's layer.
            below_ = std::make_unique<InMemoryLayer>(nullptr);
            model_.push_back(std::move(below_));
            lsn_ = Lsn(0x100);
            for (int i = 0; i < 60; i++) {
                Change();
            }
            has_below_ = true;
        }
        lsn_ = kStart;
        layer_start_ = kStart;
        model_.push_back(std::make_unique<InMemoryLayer>(nullptr));
    }

    uint32_t Pick(size_t n) { return static_cast<uint32_t>(random_() % n); }

    Stack Model() const {
        Stack stack;
        for (size_t i = model_.size(); i-- > 0;) {
            stack.push_back(model_[i].get());
        }
        return stack;
    }
    Stack Files() const {
        Stack stack;
        for (size_t i = files_.size(); i-- > 0;) {
            stack.push_back(files_[i].get());
        }
        if (has_below_) {
            stack.push_back(model_[0].get());
        }
        return stack;
    }

    void Write(int changes) {
        for (int i = 0; i < changes; i++) {
            Change();
        }
        model_.back()->SetBlob(kClusterStateBlobKey, lsn_, "state " + lsn_.ToString());
        const NewLayer layer = New(layer_start_, lsn_);
        auto written = WriteDeltaLayerFile(*model_.back(), layer);
        ASSERT_TRUE(written.ok()) << written.status().message();
        files_.push_back(Open(layer.entry));
        layer_start_ = lsn_;
        model_.push_back(std::make_unique<InMemoryLayer>(nullptr));
    }

    void Merge() {
        if (files_.size() < 2) {
            return;
        }
        const size_t first = Pick(files_.size() - 1);
        const size_t count = 2 + Pick(files_.size() - first - 1);
        Layers inputs(files_.begin() + static_cast<ptrdiff_t>(first),
                      files_.begin() + static_cast<ptrdiff_t>(first + count));
        const NewLayer layer = New(inputs.front()->start(), inputs.back()->end());
        auto merged = RewriteLayers(inputs, layer, nullptr);
        ASSERT_TRUE(merged.ok()) << merged.status().message();
        EXPECT_EQ(merged->layer.image_bytes, 0u);
        Lsn oldest = kMaxLsn;
        for (const auto& input : inputs) {
            oldest = std::min(oldest, input->oldest_record());
        }
        EXPECT_EQ(merged->layer.oldest_record, oldest);
        files_.erase(files_.begin() + static_cast<ptrdiff_t>(first),
                     files_.begin() + static_cast<ptrdiff_t>(first + count));
        files_.insert(files_.begin() + static_cast<ptrdiff_t>(first), Open(layer.entry));
    }

    // Some of the points so far, and others up to the end of some layer; or exactly to an LSN.
    void Collect(bool ends);

    void Compare();

  private:
    using Layers = std::vector<std::shared_ptr<const DeltaLayerFile>>;

    class Imager : public PageImager {
      public:
        explicit Imager(History* history) : history_(history) {}
        std::vector<Result<std::optional<PageBuffer>>> Images(
            Timeline&, std::span<const Wanted> wanted) override {
            std::vector<Result<std::optional<PageBuffer>>> images;
            for (const Wanted& page : wanted) {
                std::optional<uint64_t> number = ReadPage(history_->Files(), page.key, page.at);
                EXPECT_TRUE(number) << page.key.ToString() << " " << page.at.ToString();
                if (history_->Pick(100) < history_->imager_failures_) {
                    images.push_back(Status::Unavailable("no redo today"));
                } else if (!number) {
                    images.push_back(std::optional<PageBuffer>());
                } else {
                    images.push_back(std::optional(PageOf(*number)));
                }
            }
            return images;
        }

      private:
        History* history_;
    };

    class Below : public HistoryBelow {
      public:
        explicit Below(const Layer* layer) : layer_(layer) {}
        Result<bool> MayHaveDatabase(const DatabaseKey& db) const override {
            bool known = false;
            if (layer_ != nullptr) {
                EXPECT_TRUE(layer_->VisitCuts(kMaxLsn, [&](const DatabaseKey& cut_db,
                                                           const DatabaseCut&) {
                    known = known || cut_db == db;
                }).ok());
                EXPECT_TRUE(layer_->VisitRelations(&db, kMaxLsn, [&](const RelForkKey&, auto) {
                    known = true;
                }).ok());
            }
            bool exists;
            return known || (layer_ != nullptr && layer_->SearchDatabase(db, kMaxLsn, &exists)
                                                          ->next != SearchStep::Next::kOlder);
        }
        Result<bool> MayHaveRelation(const RelForkKey& rel) const override {
            std::optional<BlockNumber> blocks;
            return layer_ != nullptr && layer_->SearchSize(rel, kMaxLsn, &blocks)->next !=
                                            SearchStep::Next::kOlder;
        }
        Result<bool> MayHaveSlruPage(SlruKind kind, BlockNumber block) const override {
            PageHistory history;
            return layer_ != nullptr &&
                   (layer_->SearchPage(PageKey::Slru(kind, block), kMaxLsn, &history)->next !=
                        SearchStep::Next::kOlder ||
                    history.exists());
        }
        Result<bool> MayHaveBlob(const std::string& key) const override {
            std::optional<Timeline::VersionedBlob> blob;
            return layer_ != nullptr && layer_->SearchBlob(key, kMaxLsn, &blob)->next !=
                                            SearchStep::Next::kOlder;
        }

      private:
        const Layer* layer_;
    };

    NewLayer New(Lsn start, Lsn end) {
        return NewLayer{directory_, Id(), {start, end, next_number_++}};
    }
    std::shared_ptr<const DeltaLayerFile> Open(const LayerManifest::Entry& entry) {
        auto file = DeltaLayerFile::Open(directory_, Id(), entry, nullptr, images_);
        EXPECT_TRUE(file.ok()) << file.status().message();
        Status status = (*file)->Verify();
        EXPECT_TRUE(status.ok()) << status.message();
        return *file;
    }

    DatabaseKey AnyDatabase() { return {1663, 1 + Pick(5)}; }
    RelForkKey AnyRelation() {
        if (Pick(8) == 0) {
            return {{1664, 0, 100 + Pick(2)}, Fork::kMain};
        }
        return {{1663, AnyDatabase().db, 100 + Pick(4)}, static_cast<Fork>(Pick(2))};
    }
    std::string AnyBlob() {
        switch (Pick(4)) {
            case 0:
                return RelmapBlobKey(AnyDatabase());
            case 1:
                return DatabaseBlob{AnyDatabase(), "PG_VERSION"}.Key();
            case 2:
                return "zebra/" + std::to_string(Pick(3));
            default:
                return TwoPhaseBlobKey(Pick(4));
        }
    }

    // One record: what it ends comes before what it puts.
    void Change() {
        InMemoryLayer& layer = *model_.back();
        const Lsn start = lsn_ + 8 * Pick(2);
        lsn_ = start + 8 + 8 * Pick(6);
        auto size = [&](const RelForkKey& rel) { return ReadSize(Model(), rel, kMaxLsn); };
        switch (Pick(30)) {
            case 0: {
                const DatabaseKey db = AnyDatabase();
                layer.CutDatabase(db, {lsn_, std::nullopt});
                layer.SetDatabaseExists(db, lsn_, false);
                break;
            }
            case 1:
            case 2: {
                const DatabaseKey db = AnyDatabase();
                const DatabaseKey source = AnyDatabase();
                if (db != source) {
                    layer.CutDatabase(db, {lsn_, source});
                    layer.SetDatabaseExists(db, lsn_, true);
                }
                break;
            }
            case 3:
            case 4:
            case 5: {
                const RelForkKey rel = AnyRelation();
                const std::optional<BlockNumber> blocks = size(rel);
                if (blocks && *blocks > 0) {
                    const BlockNumber left = Pick(*blocks);
                    layer.AddFloor(rel, lsn_, left);
                    layer.SetSize(rel, lsn_, left);
                }
                break;
            }
            case 6:
            case 7: {
                const RelForkKey rel = AnyRelation();
                if (size(rel)) {
                    layer.AddFloor(rel, lsn_, 0);
                    layer.SetSize(rel, lsn_, std::nullopt);
                }
                break;
            }
            case 8:
            case 9:
                layer.SetBlob(AnyBlob(), lsn_,
                              Pick(4) == 0 ? std::nullopt
                                           : std::optional("value " + lsn_.ToString()));
                if (Pick(3) == 0) {
                    layer.SetBlob("time/00" + lsn_.ToString(), lsn_, "x");
                }
                break;
            case 10:
                layer.AddTombstone(PageKey::Slru(kSlruKinds[Pick(2)], Pick(4)), lsn_);
                break;
            default:
                break;
        }
        for (uint32_t pages = Pick(3); pages > 0; pages--) {
            PageKey key = PageKey::Slru(kSlruKinds[Pick(2)], Pick(4));
            if (Pick(6) > 0) {
                const RelForkKey rel = AnyRelation();
                const std::optional<BlockNumber> blocks = size(rel);
                key = PageKey::Relation(rel, Pick(blocks.value_or(0) + 2));
                if (!blocks || *blocks <= key.block) {
                    if (!blocks && rel.node.db != 0 &&
                        !ReadDatabase(Model(), {rel.node.spc, rel.node.db}, kMaxLsn)) {
                        layer.SetDatabaseExists({rel.node.spc, rel.node.db}, lsn_, true);
                    }
                    layer.SetSize(rel, lsn_, key.block + 1);
                }
            }
            const uint32_t how = Pick(20);
            if (how > 0) {
                layer.AddRecord(key, start, lsn_, static_cast<uint8_t>(Pick(6) == 0 ? 1 : 0));
            }
            if (how <= 1) {
                layer.AddImage(key, lsn_, PageOf(random_()));
            }
        }
    }

    std::mt19937 random_;
    const std::string directory_;
    const std::shared_ptr<ImageFiles> images_;
    bool has_below_ = false;
    std::unique_ptr<InMemoryLayer> below_;
    std::vector<std::unique_ptr<InMemoryLayer>> model_;  // oldest first; the last is open
    Layers files_;                                       // oldest first
    Lsn lsn_ = kStart;
    Lsn layer_start_ = kStart;
    uint64_t next_number_ = 1;
    uint32_t imager_failures_ = 0;
    Lsn readable_from_;
    std::optional<Lsn> ends_;
    std::set<Lsn> points_;
    std::set<Lsn> state_points_;  // cluster_state is exact there
};

void History::Collect(bool ends) {
    const size_t count = 1 + Pick(files_.size());
    Layers inputs(files_.begin(), files_.begin() + static_cast<ptrdiff_t>(count));
    Lsn end = inputs.back()->end();
    if (ends) {
        // Only what is still readable can be where it ends.
        end = std::max(std::max(inputs.back()->start() + 1, readable_from_), end - Pick(400));
    }
    if (end < readable_from_) {
        return;
    }
    std::set<Lsn> points;
    for (Lsn point : points_) {
        if (Pick(3) > 0 && point < end) {
            points.insert(point);
        }
    }
    for (uint32_t i = Pick(5); i > 0; i--) {
        if (end > readable_from_) {
            points.insert(readable_from_ + Pick(end - readable_from_));
        }
    }
    imager_failures_ = Pick(3) == 0 ? 30 : 0;
    Imager imager(this);
    const Below below(has_below_ ? model_[0].get() : nullptr);
    FakeTimeline timeline;
    RewriteRetention retention;
    retention.points.assign(points.begin(), points.end());
    retention.state_at = [](Lsn lsn) -> Result<std::string> { return "state " + lsn.ToString(); };
    const bool with_imager = Pick(6) > 0;
    retention.imager = with_imager ? &imager : nullptr;
    retention.timeline = &timeline;
    retention.below = Pick(3) > 0 ? &below : nullptr;
    retention.images = images_.get();
    const NewLayer layer = New(kStart, end);
    auto rewritten = RewriteLayers(inputs, layer, &retention);
    ASSERT_TRUE(rewritten.ok()) << rewritten.status().message();
    EXPECT_EQ(rewritten->failed_images > 0, rewritten->layer.oldest_record != kMaxLsn &&
                                                with_imager);
    if (with_imager && imager_failures_ == 0) {
        EXPECT_EQ(rewritten->layer.oldest_record, kMaxLsn) << "records stay for no reason";
        // The same bytes once more.
        const NewLayer again{layer.directory, layer.timeline,
                             {kStart, end, next_number_++}};
        auto twice = RewriteLayers(inputs, again, &retention);
        ASSERT_TRUE(twice.ok());
        EXPECT_EQ(twice->layer.file_bytes, rewritten->layer.file_bytes);
        EXPECT_EQ(twice->layer.image_bytes, rewritten->layer.image_bytes);
        EXPECT_EQ(twice->dropped_versions, rewritten->dropped_versions);
        RemoveWritten(again);
    }
    files_.erase(files_.begin(), files_.begin() + static_cast<ptrdiff_t>(count));
    files_.insert(files_.begin(), Open(layer.entry));
    if (ends) {
        files_.resize(1);
        ends_ = end;
    }
    points_ = points;
    state_points_ = points;
    state_points_.insert(end);
    readable_from_ = end;
}

void History::Compare() {
    const Stack model = Model();
    const Stack files = Files();
    std::vector<Lsn> positions(points_.begin(), points_.end());
    const Lsn end = ends_.value_or(layer_start_);
    positions.push_back(readable_from_);
    for (int i = 0; i < 10 && end > readable_from_; i++) {
        positions.push_back(readable_from_ + Pick(end - readable_from_ + 1));
    }
    for (Lsn at : positions) {
        for (Oid db = 0; db <= 5; db++) {
            const DatabaseKey database{db == 0 ? 1664u : 1663u, db};
            EXPECT_EQ(ReadDatabase(model, database, at), ReadDatabase(files, database, at));
            for (Oid rel = 100; rel < 104; rel++) {
                for (int fork = 0; fork < 2; fork++) {
                    const RelForkKey key{{database.spc, db, rel}, static_cast<Fork>(fork)};
                    const std::optional<BlockNumber> blocks = ReadSize(model, key, at);
                    ASSERT_EQ(blocks, ReadSize(files, key, at))
                        << key.ToString() << " at " << at.ToString();
                    for (BlockNumber block = 0; block < blocks.value_or(0); block++) {
                        ASSERT_EQ(ReadPage(model, PageKey::Relation(key, block), at),
                                  ReadPage(files, PageKey::Relation(key, block), at))
                            << block << " of " << key.ToString() << " at " << at.ToString();
                    }
                }
            }
            for (const std::string& key :
                 {RelmapBlobKey(database), DatabaseBlob{database, "PG_VERSION"}.Key(),
                  TwoPhaseBlobKey(db), "zebra/" + std::to_string(db)}) {
                ASSERT_EQ(ReadBlob(model, key, at), ReadBlob(files, key, at)) << key;
            }
        }
        for (SlruKind kind : kSlruKinds) {
            EXPECT_EQ(ListSlru(model, kind, at), ListSlru(files, kind, at)) << at.ToString();
            for (BlockNumber block = 0; block < 4; block++) {
                ASSERT_EQ(ReadPage(model, PageKey::Slru(kind, block), at),
                          ReadPage(files, PageKey::Slru(kind, block), at))
                    << static_cast<int>(kind) << " " << block << " at " << at.ToString();
            }
        }
        if (state_points_.contains(at) && at > kStart) {
            EXPECT_EQ(ReadBlob(files, kClusterStateBlobKey, at), "state " + at.ToString());
        }
    }
    // The time index from readable_from_ on stays, before it goes.
    std::set<std::string> times;
    for (const Layer* layer : files) {
        if (layer == model.back() && has_below_) {
            continue;
        }
        EXPECT_TRUE(layer->VisitBlobs("time/", end, [&](const std::string& key, Lsn lsn, auto) {
            EXPECT_GE(lsn, readable_from_);
            times.insert(key);
        }).ok());
    }
    size_t expected = 0;
    for (size_t i = has_below_ ? 1 : 0; i < model_.size(); i++) {
        EXPECT_TRUE(model_[i]->VisitBlobs("time/", end, [&](const std::string&, Lsn lsn, auto) {
            expected += lsn >= readable_from_ ? 1 : 0;
        }).ok());
    }
    EXPECT_EQ(times.size(), expected);
}

TEST(RewriteLayers, RandomHistoriesReadAsTheModel) {
    for (uint32_t seed = 1; seed <= 10 && !testing::Test::HasFailure(); seed++) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        TempDirectory directory;
        History history(seed, directory.path());
        for (int round = 0; round < 12 && !testing::Test::HasFailure(); round++) {
            history.Write(10 + static_cast<int>(history.Pick(60)));
            if (history.Pick(3) == 0) {
                history.Merge();
            }
            if (history.Pick(3) == 0) {
                history.Collect(false);
            }
            history.Compare();
        }
        if (!testing::Test::HasFailure()) {
            history.Collect(true);
            history.Compare();
        }
    }
}

}  // namespace
}  // namespace zenith
