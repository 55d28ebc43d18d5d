// What a collection leaves and refuses, and what happens around one: branches, deletions, computes
// that come and go, housekeeping.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/base/posix_file.h"
#include "pageserver/layers/fake_imager_for_test.h"
#include "pageserver/timelines/timeline_manager_for_test.h"

namespace zenith {
namespace {

// An imager that can be made to wait: whatever needs an image (a flush, a collection) stays open.
class GatedImager final : public PageImager {
  public:
    ~GatedImager() override { Open(); }

    void Close() {
        std::lock_guard lock(mutex_);
        closed_ = true;
        reached_ = false;
    }
    // Until somebody waits at the closed gate.
    bool WaitUntilReached() {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return reached_; });
    }
    void Open() {
        std::lock_guard lock(mutex_);
        closed_ = false;
        changed_.notify_all();
    }
    std::vector<Result<std::optional<PageBuffer>>> Images(Timeline& timeline,
                                                          std::span<const Wanted> wanted) override {
        {
            std::unique_lock lock(mutex_);
            reached_ = closed_;
            changed_.notify_all();
            changed_.wait(lock, [&] { return !closed_; });
        }
        return images_.Images(timeline, wanted);
    }

  private:
    FakeImager images_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool closed_ = false;
    bool reached_ = false;
};

class GarbageCollectionTest : public TimelineManagerTest {
  protected:
    void SetUp() override {
        options_.imager = &imager_;
        TimelineManagerTest::SetUp();
        ASSERT_TRUE(repository_.WriteBranch("main", root_).ok());
        // Everything before the tip has expired.
        ASSERT_TRUE(manager_->SetRetention({0, 0}).ok());
    }
    void TearDown() override {
        imager_.Open();
        manager_.reset();
    }

    // A record that needs what the page was before.
    static Lsn Change(WalBuilder* builder, BlockNumber block, size_t bytes = 100) {
        WalRecordSpec spec;
        spec.rmgr = Rmgr::kHeap;
        spec.xid = 1000;
        spec.main_data = std::string(3, '\0');  // XLOG_HEAP_INSERT
        spec.blocks.push_back(
            {.id = 0, .rel = kRelation, .block = block, .data = std::string(bytes, 'c')});
        return builder->Append(spec).end;
    }
    // A WAL record with nothing for the pages.
    static void Fill(WalBuilder* builder, size_t bytes) {
        WalRecordSpec spec;
        spec.rmgr = Rmgr::kLogicalMsg;
        spec.main_data.assign(bytes, 'm');
        builder->Append(spec);
    }
    // A compute at `connstr` on `id` that makes `blocks` blocks more, and changes block 0 with each
    // of them. Returns the ends of the records, two for each block.
    std::vector<Lsn> Write(const TimelineId& id, const std::string& connstr, BlockNumber from,
                           BlockNumber blocks) {
        RunCompute(id, connstr);
        WalBuilder builder = BuilderAt(id);
        std::vector<Lsn> ends;
        for (BlockNumber block = from; block < from + blocks; block++) {
            ends.push_back(Extend(&builder, block).end);
            ends.push_back(Change(&builder, 0));
        }
        Deliver(id, connstr, builder);
        computes_.SetFlush([tip = builder.position()] { return Result<Lsn>(tip); });
        return ends;
    }
    void Kill(const std::string& connstr, Lsn at) {
        computes_.SetLiveness(connstr, ComputeLiveness::kGone);
        computes_.At(connstr).SetConnectError(Status::Unavailable("connection refused"));
        computes_.At(connstr).BreakOnceAt(at);
    }
    std::function<Status(const TimelineFile&)> Name(const std::string& name) {
        return [this, name](const TimelineFile& file) {
            return repository_.WriteBranch(name, file.id);
        };
    }
    std::function<Status()> Unname(const std::string& name) {
        return [this, name] { return repository_.RemoveBranch(name); };
    }
    std::function<Status(const TimelinePoint&)> Tag(const std::string& name) {
        return [this, name](const TimelinePoint& point) {
            return repository_.WriteTag(name, point);
        };
    }
    TimelineId Branch(const TimelinePoint& point, const std::string& name) {
        auto file = manager_->CreateTimeline(point, Name(name));
        EXPECT_TRUE(file.ok()) << file.status().message();
        return file.ok() ? file->id : TimelineId();
    }
    // What the page is made of, as a number.
    uint64_t PageAt(const TimelineId& id, BlockNumber block, Lsn at) {
        auto timeline = manager_->Get(id);
        EXPECT_TRUE(timeline.ok()) << timeline.status().message();
        auto page = (*timeline)->CollectPage(PageKey::Relation(kRelation, block), at);
        EXPECT_TRUE(page.ok()) << page.status().message();
        return page.ok() ? FoldPage(*page) : 0;
    }
    std::future<Result<GarbageReport>> CollectMeanwhile(const TimelineId& id) {
        return std::async(std::launch::async,
                          [this, id] { return manager_->CollectGarbage(id, false); });
    }
    // Where only the outcome can be seen: what housekeeping does it does at some time.
    template <typename Condition>
    static bool Eventually(Condition condition) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > deadline) {
                return false;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return true;
    }
    // `what` is refused as something before the history, with `oldest` named.
    static void ExpectGone(const Status& what, Lsn oldest) {
        EXPECT_EQ(what.code(), StatusCode::kNotFound) << what.message();
        EXPECT_NE(what.message().find(oldest.ToString()), std::string::npos) << what.message();
        EXPECT_FALSE(what.hint().empty());
    }

    GatedImager imager_;
};

TEST_F(GarbageCollectionTest, KeepsThePointsThatAreReferredTo) {
    std::vector<Lsn> ends = Write(root_, "port=1", 0, 8);
    const TimelineId child = Branch({root_, ends[4]}, "child");
    ASSERT_TRUE(manager_->PinPoint({root_, ends[7]}, Tag("v1")).ok());
    Kill("port=1", ends.back());
    const Lsn compute_start = ends.back();
    const std::vector<Lsn> later = Write(root_, "port=2", 8, 8);
    ends.insert(ends.end(), later.begin(), later.end());
    const Lsn tip = ends.back();

    const std::set<Lsn> kept = {ends[4], ends[7], compute_start, tip};
    std::vector<uint64_t> pages;
    for (Lsn end : ends) {
        pages.push_back(PageAt(root_, 0, end));
    }
    const uint32_t next_xid = manager_->StateAt(root_, ends[7])->next_xid;

    auto promised = manager_->CollectGarbage(root_, /*dry_run=*/true);
    ASSERT_TRUE(promised.ok()) << promised.status().message();
    for (size_t i = 0; i < ends.size(); i++) {
        EXPECT_EQ(PageAt(root_, 0, ends[i]), pages[i]) << "a dry run has removed something";
    }
    auto done = manager_->CollectGarbage(root_, false);
    ASSERT_TRUE(done.ok()) << done.status().message();
    EXPECT_FALSE(done->removed);
    EXPECT_EQ(done->retention.readable_from, tip);
    EXPECT_GT(done->retention.dropped_versions, 0u);
    EXPECT_EQ(promised->retention.readable_from, done->retention.readable_from);
    EXPECT_EQ(promised->retention.removed_bytes, done->retention.removed_bytes);
    EXPECT_EQ(promised->retention.written_bytes, done->retention.written_bytes);
    EXPECT_EQ(promised->retention.dropped_versions, done->retention.dropped_versions);

    // The second time after a restart.
    for (int i = 0; i < 2; i++) {
        auto timeline = manager_->Get(root_);
        ASSERT_TRUE(timeline.ok());
        for (size_t j = 0; j < ends.size(); j++) {
            SCOPED_TRACE("record " + std::to_string(j) + ", round " + std::to_string(i));
            if (kept.contains(ends[j])) {
                EXPECT_TRUE((*timeline)->CheckReadable(ends[j]).ok());
                EXPECT_EQ(SizeAt(root_, ends[j]), j / 2 + 1);
                continue;
            }
            ExpectGone((*timeline)->CheckReadable(ends[j]), tip);
            ExpectGone(manager_->CreateTimeline({root_, ends[j]}, Name("late")).status(), tip);
            ExpectGone(manager_->PinPoint({root_, ends[j]}, Tag("late")).status(), tip);
            ExpectGone(manager_->PinPoint({child, ends[j]}).status(),
                       j < 4 ? tip : manager_->StateAt(child, std::nullopt)->record_end);
            ExpectGone(manager_->HoldLsn(root_, ends[j], 0).status(), tip);
        }
        EXPECT_EQ(SizeAt(child, kMaxLsn), 3u);
        EXPECT_EQ(manager_->StateAt(root_, ends[7])->next_xid, next_xid);
        // Of a point a branch can still be made.
        const std::string name = "again" + std::to_string(i);
        EXPECT_EQ(SizeAt(Branch({root_, ends[7]}, name), kMaxLsn), 4u);
        EXPECT_EQ(repository_.ListBranches()->count("late"), 0u);
        EXPECT_EQ(repository_.ListTags()->count("late"), 0u);
        timeline = Status::NotFound("closed");
        Open();
    }

    // A point goes with what referred to it: the compute, and the tag with the branches.
    ASSERT_TRUE(manager_->ReleasePoint({root_, ends[7]}, [&] {
        return repository_.RemoveTag("v1");
    }).ok());
    for (const char* name : {"again0", "again1"}) {
        ASSERT_TRUE(manager_->DeleteTimeline(**repository_.FindBranch(name), Unname(name)).ok());
    }
    Kill("port=2", tip);
    ASSERT_TRUE(manager_->CollectGarbage(root_, false).ok());
    auto timeline = manager_->Get(root_);
    EXPECT_FALSE((*timeline)->CheckReadable(ends[7]).ok());
    EXPECT_FALSE((*timeline)->CheckReadable(compute_start).ok());
    EXPECT_TRUE((*timeline)->CheckReadable(ends[4]).ok());
    EXPECT_EQ(SizeAt(child, kMaxLsn), 3u);
}

// It once failed with "the WAL receiver is being stopped".
TEST_F(GarbageCollectionTest, ComputeIsReplacedWhileItsHistoryIsFlushed) {
    options_.replay_bytes = 500;
    Open();
    const std::vector<Lsn> ends = Write(root_, "port=1", 0, 10);
    imager_.Close();
    auto collected = CollectMeanwhile(root_);
    ASSERT_TRUE(imager_.WaitUntilReached());  // in the flush that the receiver was asked for
    Kill("port=1", ends.back());
    auto grant = std::async(std::launch::async, [&] { return manager_->GrantWriter(root_); });
    ASSERT_TRUE(computes_.WaitForStop("port=1"));
    imager_.Open();
    auto report = collected.get();
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->retention.readable_from, ends.back());
    auto granted = grant.get();
    ASSERT_TRUE(granted.ok()) << granted.status().message();
    EXPECT_EQ(granted->state.record_end, ends.back());
    EXPECT_EQ(SizeAt(root_, kMaxLsn), 10u);
}

TEST_F(GarbageCollectionTest, WhatIsBeingRemovedGetsNoName) {
    const std::vector<Lsn> ends = Write(root_, "port=1", 0, 8);
    const Lsn tip = ends.back();
    const TimelineId child = Branch({root_, ends[4]}, "child");
    const std::vector<uint64_t> pages = {PageAt(root_, 0, ends[4]), PageAt(root_, 0, tip)};
    imager_.Close();
    auto collected = CollectMeanwhile(root_);
    ASSERT_TRUE(imager_.WaitUntilReached());
    // Readers see everything until it is done.
    EXPECT_TRUE((*manager_->Get(root_))->CheckReadable(ends[3]).ok());
    ExpectGone(manager_->CreateTimeline({root_, ends[3]}, Name("late")).status(), tip);
    ExpectGone(manager_->PinPoint({root_, ends[5]}, Tag("late")).status(), tip);
    ExpectGone(manager_->HoldLsn(root_, ends[6], 0).status(), tip);
    ExpectGone(manager_->CreateTimeline({child, ends[3]}, Name("late")).status(), tip);
    const TimelineId sibling = Branch({root_, ends[4]}, "sibling");
    EXPECT_TRUE(manager_->PinPoint({root_, ends[4]}, Tag("v1")).ok());
    const TimelineId newest = Branch({root_, tip}, "newest");
    imager_.Open();
    auto report = collected.get();
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->retention.readable_from, tip);
    EXPECT_EQ(repository_.ListBranches()->count("late"), 0u);
    EXPECT_EQ(repository_.ListTags()->count("late"), 0u);
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(SizeAt(sibling, kMaxLsn), 3u);
        EXPECT_EQ(SizeAt(newest, kMaxLsn), 8u);
        EXPECT_TRUE(manager_->PinPoint({root_, ends[4]}).ok());
        Open();
    }
    // And the next collection keeps them as well.
    Kill("port=1", tip);
    ASSERT_TRUE(manager_->CollectGarbage(root_, false).ok());
    EXPECT_EQ(SizeAt(newest, kMaxLsn), 8u);
    EXPECT_EQ(SizeAt(sibling, kMaxLsn), 3u);
}

TEST_F(GarbageCollectionTest, TimelineIsDeletedWhileItIsCollected) {
    const TimelineId branch = Branch({root_, std::nullopt}, "branch");
    const std::vector<Lsn> ends = Write(branch, "port=1", 0, 8);
    Kill("port=1", ends.back());
    imager_.Close();
    auto collected = CollectMeanwhile(branch);
    ASSERT_TRUE(imager_.WaitUntilReached());
    Status deleted = manager_->DeleteTimeline(branch, Unname("branch"));
    EXPECT_TRUE(deleted.ok()) << deleted.message();
    EXPECT_FALSE(FileExists(repository_.TimelineDirectory(branch)));
    imager_.Open();
    auto report = collected.get();
    EXPECT_EQ(report.status().code(), StatusCode::kNotFound);
    EXPECT_NE(report.status().message().find("has been deleted"), std::string::npos)
        << report.status().message();
    // Nothing of it has come back.
    EXPECT_EQ(*repository_.ListTimelines(), std::vector<TimelineId>{root_});
    EXPECT_EQ(ListDirectory(cluster_.repository_path() + "/timelines")->size(), 1u);
    EXPECT_EQ(manager_->CollectGarbage(branch, false).status().code(), StatusCode::kNotFound);
    EXPECT_EQ(manager_->Get(branch).status().code(), StatusCode::kNotFound);
}

// A deleted branch keeps what its child needs, and nothing behind.
TEST_F(GarbageCollectionTest, DeletedParentEndsAtItsLastChild) {
    const TimelineId parent = Branch({root_, std::nullopt}, "parent");
    const std::vector<Lsn> ends = Write(parent, "port=1", 0, 8);
    const TimelineId child = Branch({parent, ends[9]}, "child");
    const uint64_t page = PageAt(child, 0, kMaxLsn);
    EXPECT_NE(page, PageAt(parent, 0, kMaxLsn));
    Kill("port=1", ends.back());
    const uint64_t term = Grant(parent);  // to one that does not call until it is too late
    ASSERT_TRUE(manager_->DeleteTimeline(parent, Unname("parent")).ok());
    // While it ends, nothing else of it can be had, not even its tip.
    imager_.Close();
    auto collected = CollectMeanwhile(parent);
    ASSERT_TRUE(imager_.WaitUntilReached());
    ExpectGone(manager_->CreateTimeline({parent, std::nullopt}, Name("late")).status(), ends[9]);
    ExpectGone(manager_->CreateTimeline({parent, ends[8]}, Name("late")).status(), ends[9]);
    imager_.Open();
    auto report = collected.get();
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->retention.readable_from, ends[9]);
    for (int i = 0; i < 2; i++) {
        SCOPED_TRACE(i);
        EXPECT_EQ(SizeAt(child, kMaxLsn), 5u);
        EXPECT_EQ(manager_->StateAt(child, std::nullopt)->record_end, ends[9]);
        EXPECT_EQ((*manager_->Get(parent))->last_record_end(), ends[9]);
        EXPECT_EQ(InfoOf(parent).ingest_error, "");
        ExpectGone(manager_->PinPoint({parent, ends[8]}).status(), ends[9]);
        EXPECT_EQ(manager_->PinPoint({parent, ends[10]}).status().code(), StatusCode::kNotFound);
        EXPECT_EQ(manager_->GrantWriter(parent).status().code(), StatusCode::kRefused)
            << manager_->GrantWriter(parent).status().message();
        EXPECT_EQ(manager_->CallMeMaybe(parent, term, "port=3").code(), StatusCode::kRefused);
        // Again, and nothing is left to do.
        auto again = manager_->CollectGarbage(parent, false);
        ASSERT_TRUE(again.ok()) << again.status().message();
        EXPECT_EQ(again->retention.removed_bytes, 0u);
        Open();
    }
    // The child goes on with a history of its own.
    const std::vector<Lsn> on_child = Write(child, "port=2", 5, 2);
    EXPECT_EQ(SizeAt(child, kMaxLsn), 7u);
    Kill("port=2", on_child.back());
    Open();
    EXPECT_EQ(SizeAt(child, kMaxLsn), 7u);
    EXPECT_EQ(SizeAt(child, ends[9]), 5u);
    // With the child the parent goes.
    ASSERT_TRUE(manager_->DeleteTimeline(child, Unname("child")).ok());
    EXPECT_EQ(*repository_.ListTimelines(), std::vector<TimelineId>{root_});
}

class HousekeepingTest : public GarbageCollectionTest {
  protected:
    void SetUp() override {
        GarbageCollectionTest::SetUp();
        RepoConfig config = *repository_.ReadConfig();
        config.gc_period_seconds = 1;
        ASSERT_TRUE(repository_.WriteConfig(config).ok());
        Open();
    }
    void Start() { manager_->StartHousekeeping(); }
    // From the next manager on all timelines share so much memory.
    LayerMemory& LimitMemory(size_t bytes) {
        memory_ = std::make_unique<LayerMemory>(bytes);
        options_.memory = memory_.get();
        return *memory_;
    }
    // A timeline that has lost its name.
    bool IsRemoved(const TimelineId& id) {
        return Eventually([&] { return !FileExists(repository_.TimelineDirectory(id)); });
    }
    // Until housekeeping has gone through everything once more: what it begins with is removing
    // such timelines, so the second one goes after the end of the round that removed the first.
    bool FinishRound() {
        for (int i = 0; i < 2; i++) {
            auto file = manager_->CreateTimeline({root_, std::nullopt});
            if (!file.ok() || !IsRemoved(file->id)) {
                return false;
            }
        }
        return true;
    }

    std::unique_ptr<LayerMemory> memory_;  // TearDown() of the manager comes first
};

TEST_F(HousekeepingTest, RemovesWhatHasNoNameAndNoChildren) {
    auto lone = manager_->CreateTimeline({root_, std::nullopt});
    ASSERT_TRUE(lone.ok());
    auto parent = manager_->CreateTimeline({root_, std::nullopt});
    ASSERT_TRUE(parent.ok());
    const TimelineId child = Branch({parent->id, std::nullopt}, "child");
    Start();
    EXPECT_TRUE(IsRemoved(lone->id));
    ASSERT_TRUE(FinishRound());
    std::vector<TimelineId> left = {root_, parent->id, child};
    std::sort(left.begin(), left.end());
    EXPECT_EQ(*repository_.ListTimelines(), left);
}

// By itself it collects only where that frees more than it writes.
TEST_F(HousekeepingTest, CollectsWhatHasExpired) {
    Start();
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    Extend(&builder, 0);
    Change(&builder, 0);
    const Lsn early = builder.position();
    for (int i = 0; i < 4; i++) {
        Fill(&builder, 1 << 20);
    }
    computes_.SetFlush([&] { return Result<Lsn>(builder.position()); });
    computes_.At("port=1").SetPieceSize(1 << 20);
    Deliver(root_, "port=1", builder);
    ASSERT_TRUE(FinishRound());
    EXPECT_EQ((*manager_->Get(root_))->readable_from(), cluster_.end());
    EXPECT_EQ(SizeAt(root_, early), 1u);

    for (int i = 0; i < 14; i++) {
        Fill(&builder, 1 << 20);
    }
    Extend(&builder, 1);
    Deliver(root_, "port=1", builder);
    ASSERT_TRUE(Eventually([&] { return InfoOf(root_).readable_from > early; }));
    EXPECT_EQ(InfoOf(root_).readable_from, builder.position());
    EXPECT_EQ(SizeAt(root_, kMaxLsn), 2u);
    EXPECT_FALSE((*manager_->Get(root_))->CheckReadable(early).ok());
}

// However little has expired, and although another point is kept in its place.
TEST_F(HousekeepingTest, RemovesAPointThatHasLostItsTag) {
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    computes_.SetFlush([&] { return Result<Lsn>(builder.position()); });
    std::vector<Lsn> tagged;
    for (BlockNumber block = 0; block < 4; block += 2) {
        tagged.push_back(Extend(&builder, block).end);
        Extend(&builder, block + 1);
        Deliver(root_, "port=1", builder);
        ASSERT_TRUE(
            manager_->PinPoint({root_, tagged.back()}, Tag("v" + std::to_string(block))).ok());
        if (block == 0) {
            ASSERT_TRUE(manager_->CollectGarbage(root_, false).ok());
        }
    }
    EXPECT_EQ(SizeAt(root_, tagged[0]), 1u);
    Start();
    ASSERT_TRUE(manager_->ReleasePoint({root_, tagged[0]}, [&] {
        return repository_.RemoveTag("v0");
    }).ok());
    auto timeline = manager_->Get(root_);
    EXPECT_TRUE(Eventually([&] { return !(*timeline)->CheckReadable(tagged[0]).ok(); }));
    EXPECT_EQ((*timeline)->readable_from(), builder.position());
    EXPECT_EQ(SizeAt(root_, tagged[1]), 3u);
}

TEST_F(HousekeepingTest, UnloadsIdleTimelinesWhenMemoryIsScarce) {
    LayerMemory& memory = LimitMemory(2);  // anything is too much
    Open();
    const std::vector<Lsn> ends = Write(root_, "port=1", 0, 8);
    const TimelineId child = Branch({root_, ends[7]}, "child");
    Kill("port=1", ends.back());
    Open();
    const uint64_t page = PageAt(child, 0, kMaxLsn);
    EXPECT_TRUE(InfoOf(child).loaded);
    EXPECT_GT(memory.used_bytes.load(), 0u);
    Start();
    // First the child, then its parent, which it had kept.
    EXPECT_TRUE(Eventually([&] { return memory.used_bytes.load() == 0; }));
    EXPECT_FALSE(InfoOf(child).loaded);
    EXPECT_FALSE(InfoOf(root_).loaded);
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(PageAt(child, 0, kMaxLsn), page);
        EXPECT_EQ(SizeAt(child, kMaxLsn), 4u);
        EXPECT_EQ(SizeAt(root_, kMaxLsn), 8u);
        Open();
    }
}

// What somebody uses stays loaded, but what it holds in memory goes to a file.
TEST_F(HousekeepingTest, FlushesUsedTimelinesWhenMemoryIsScarce) {
    LayerMemory& memory = LimitMemory(1 << 20);
    Open();
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    for (BlockNumber block = 0; block < 10000; block++) {
        Extend(&builder, block);
    }
    computes_.At("port=1").SetPieceSize(1 << 20);
    Deliver(root_, "port=1", builder);
    Kill("port=1", builder.position());
    manager_.reset();

    ASSERT_TRUE(RemoveTree(repository_.LayerDirectory(root_)).ok());
    Open();
    auto used = manager_->Get(root_);
    ASSERT_TRUE(used.ok()) << used.status().message();
    EXPECT_GT(memory.used_bytes.load(), size_t{256} << 10);
    EXPECT_FALSE(FileExists(repository_.LayerDirectory(root_)));
    // Three other timelines take what there is, only after this one was loaded.
    memory.used_bytes += 1 << 20;
    memory.layers += 3;
    Start();
    EXPECT_TRUE(Eventually([&] { return memory.used_bytes.load() <= 1 << 20; }));
    EXPECT_EQ(LayersEnd(root_), builder.position());
    EXPECT_TRUE(InfoOf(root_).loaded);
    EXPECT_EQ(SizeAt(root_, kMaxLsn), 10000u);
    memory.used_bytes -= 1 << 20;
    memory.layers -= 3;
}

}  // namespace
}  // namespace zenith
