// Merging and retention of one timeline and its branch, while it is read and written.
// timeline_model_test.cpp compares everything that can be read; this is about files, memory, and
// readers that are under way.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/fake_imager_for_test.h"
#include "pageserver/layers/layer_worker.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/temp_directory_for_test.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {
namespace {

const Lsn kStart(kWalSegmentSize + 0x1000);
const RelForkKey kRelation{{1663, 5, 16384}, Fork::kMain};
constexpr uint64_t kRecord = 64;

PageKey Page(BlockNumber block) {
    return PageKey::Relation(kRelation, block);
}

class TimelineRetention : public testing::Test {
  protected:
    void SetUp() override {
        spdlog::set_level(spdlog::level::warn);
        ASSERT_TRUE(EnsureDirectory(wal_directory()).ok());
        Open();
    }
    void TearDown() override {
        branch_ = nullptr;
        timeline_ = nullptr;
    }
    std::shared_ptr<Timeline> Make(const TimelineId& id, const std::string& directory, Lsn start,
                                   std::shared_ptr<Timeline> parent) {
        auto wal = std::make_unique<WalStorage>(directory + "/wal", start,
                                                parent != nullptr ? &parent->wal() : nullptr);
        TimelineLayers layers;
        layers.directory = directory + "/layers";
        layers.options.imager = &imager_;
        layers.options.worker = &worker_;
        layers.options.memory = memory_;
        layers.options.replay_bytes = replay_bytes_;
        layers.options.limits = limits_;
        auto opened = OpenDeltaLayers(layers.directory, id, start, wal.get());
        EXPECT_TRUE(opened.ok()) << opened.status().message();
        layers.opened = *std::move(opened);
        return MakeTimeline(id, start, std::move(parent), nullptr, std::move(wal), layers);
    }
    void Open() {
        timeline_ = nullptr;
        timeline_ = Make(id_, directory_.path(), kStart, nullptr);
    }
    std::string wal_directory() const { return directory_.path() + "/wal"; }
    std::string layer_directory() const { return directory_.path() + "/layers"; }
    size_t Count(bool (*is)(const std::string&), const std::string& directory) const {
        size_t count = 0;
        if (auto names = ListDirectory(directory); names.ok()) {
            for (const std::string& name : *names) {
                count += is(name) ? 1 : 0;
            }
        }
        return count;
    }
    size_t LayerFiles() const {
        return Count([](const std::string& name) { return name.ends_with(".delta"); },
                     layer_directory());
    }
    size_t ImageFiles() const {
        return Count([](const std::string& name) { return name.ends_with(".images"); },
                     layer_directory());
    }
    size_t Segments() const {
        return Count([](const std::string& name) { return name.size() == 24; }, wal_directory());
    }
    // `count` records, `step` apart, of blocks that go round; their segments are there.
    void Write(Timeline& timeline, int count, BlockNumber blocks = 1, uint64_t step = kRecord) {
        Lsn lsn = timeline.last_record_end();
        for (uint64_t segment = WalSegmentNumber(lsn);
             segment <= WalSegmentNumber(lsn + static_cast<uint64_t>(count) * step); segment++) {
            const std::string path = timeline.wal().directory() + "/" + WalSegmentName(segment);
            if (!FileExists(path)) {
                ASSERT_TRUE(ReplaceFileAtomically(path, "").ok());
            }
        }
        timeline.BeginRecords();
        for (int i = 0; i < count; i++) {
            const Lsn end = lsn + step;
            timeline.StartRecord(end - kRecord, end);
            timeline.PutRecord(Page(static_cast<BlockNumber>(written_ % blocks)), 0);
            written_++;
            lsn = end;
        }
        timeline.CommitRecords();
    }
    void Flush(Timeline& timeline) {
        timeline.Flush();
        Status status = timeline.WaitForFlush();
        ASSERT_TRUE(status.ok()) << status.message();
        worker_.WaitUntilIdle();
    }
    uint64_t Fold(Timeline& timeline, BlockNumber block, Lsn at) {
        auto history = timeline.CollectPage(Page(block), at);
        EXPECT_TRUE(history.ok()) << history.status().message();
        return history.ok() ? FoldPage(*history) : 0;
    }
    Timeline::RetentionReport Retain(Timeline& timeline, Lsn horizon, std::vector<Lsn> points = {},
                                     bool ends = false) {
        Timeline::Retention retention;
        retention.horizon = horizon;
        retention.points = std::move(points);
        retention.ends_at_horizon = ends;
        auto report = timeline.ApplyRetention(retention);
        EXPECT_TRUE(report.ok()) << report.status().message();
        worker_.WaitUntilIdle();
        return report.ok() ? *report : Timeline::RetentionReport{};
    }

    TempDirectory directory_{TempDirectory::kMemory};
    const TimelineId id_ = TimelineId::Random();
    FakeImager imager_;
    LayerWorker worker_;
    LayerMemory* memory_ = nullptr;
    FlushLimits limits_;
    uint64_t replay_bytes_ = 16 << 10;
    uint64_t written_ = 0;
    std::shared_ptr<Timeline> timeline_;
    std::shared_ptr<Timeline> branch_;
};

TEST_F(TimelineRetention, MergesByEights) {
    std::map<Lsn, uint64_t> expected;
    for (int i = 1; i <= 64; i++) {
        Write(*timeline_, 100, 7);
        const Lsn end = timeline_->last_record_end();
        expected[end] = Fold(*timeline_, 3, end);
        Flush(*timeline_);
        EXPECT_LE(LayerFiles(), 8u) << i;
    }
    EXPECT_LE(LayerFiles(), 8u);
    for (const auto& [at, fold] : expected) {
        EXPECT_EQ(Fold(*timeline_, 3, at), fold);
    }
    Open();
    for (const auto& [at, fold] : expected) {
        EXPECT_EQ(Fold(*timeline_, 3, at), fold);
    }
}

TEST_F(TimelineRetention, BoundsWhatAReadReplays) {
    replay_bytes_ = 1000;
    Open();
    Write(*timeline_, 40);
    Flush(*timeline_);
    for (int i = 0; i < 5; i++) {
        Write(*timeline_, 7);
        Flush(*timeline_);
    }
    Write(*timeline_, 500);
    Flush(*timeline_);
    EXPECT_GT(imager_.made.load(), 30u);
    EXPECT_LT(imager_.made.load(), 40u) << "one for each 16 records";
    uint64_t longest = 0;
    for (Lsn at = kStart + kRecord; at <= timeline_->last_record_end(); at = at + kRecord) {
        auto history = timeline_->CollectPage(Page(0), at);
        ASSERT_TRUE(history.ok());
        longest = std::max(longest, history->records.size() * kRecord);
    }
    EXPECT_LE(longest, replay_bytes_ + kRecord);
    EXPECT_GE(longest, replay_bytes_ / 2);
}

TEST_F(TimelineRetention, WithoutImagesTheRecordsStay) {
    replay_bytes_ = 1000;
    imager_.failing = true;
    Open();
    Write(*timeline_, 100);
    Flush(*timeline_);
    EXPECT_EQ(timeline_->CollectPage(Page(0), kMaxLsn)->records.size(), 100u);
    imager_.failing = false;
    Write(*timeline_, 1);
    Flush(*timeline_);
    EXPECT_TRUE(timeline_->CollectPage(Page(0), kMaxLsn)->records.empty());
}

TEST_F(TimelineRetention, FreesWalAndImagesAndKeepsThePoints) {
    std::vector<Lsn> points;
    std::vector<uint64_t> folds;
    for (int i = 0; i < 6; i++) {
        Write(*timeline_, 300, 3, 100000);
        points.push_back(timeline_->last_record_end());
        folds.push_back(Fold(*timeline_, 1, points.back()));
        Write(*timeline_, 1, 3, 100000);
        Flush(*timeline_);
    }
    const size_t segments = Segments();
    const Lsn end = timeline_->last_record_end();
    Timeline::Retention dry;
    dry.horizon = end;
    dry.points = points;
    dry.dry_run = true;
    auto promised = timeline_->ApplyRetention(dry);
    ASSERT_TRUE(promised.ok()) << promised.status().message();
    EXPECT_EQ(Segments(), segments);
    EXPECT_EQ(timeline_->readable_from(), kStart);
    EXPECT_EQ(ListDirectory(layer_directory())->size(), LayerFiles() + ImageFiles() + 1);

    Timeline::RetentionReport report = Retain(*timeline_, end, points);
    EXPECT_EQ(report.readable_from, end);
    EXPECT_EQ(report.removed_bytes, promised->removed_bytes);
    EXPECT_EQ(report.written_bytes, promised->written_bytes);
    EXPECT_GT(report.dropped_versions, 1700u);
    EXPECT_EQ(Segments(), 1u);
    EXPECT_EQ(LayerFiles(), 1u);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < points.size(); i++) {
            EXPECT_EQ(Fold(*timeline_, 1, points[i]), folds[i]);
            for (Lsn at : {points[i] - 1, points[i] + 1}) {
                auto gone = timeline_->CollectPage(Page(1), at);
                EXPECT_EQ(gone.status().code(), StatusCode::kNotFound);
                EXPECT_NE(gone.status().message().find(end.ToString()), std::string::npos);
                EXPECT_EQ(timeline_->CheckReadable(at).code(), StatusCode::kNotFound);
            }
        }
        EXPECT_TRUE(timeline_->CheckReadable(kMaxLsn).ok());
        Open();
        EXPECT_EQ(timeline_->readable_from(), end);
    }
    // Once more: nothing to do.
    report = Retain(*timeline_, end, points);
    EXPECT_EQ(report.removed_bytes + report.written_bytes, 0u);
    // A point less: its images go.
    const std::vector<Lsn> fewer(points.begin() + 4, points.end());
    report = Retain(*timeline_, end, fewer);
    EXPECT_GT(report.removed_bytes, 0u);
    EXPECT_EQ(Fold(*timeline_, 1, points[4]), folds[4]);
    EXPECT_EQ(timeline_->CollectPage(Page(1), points[3]).status().code(), StatusCode::kNotFound);
    // What is gone cannot be asked for again.
    Timeline::Retention wrong;
    wrong.horizon = end;
    wrong.points = {points[3]};
    EXPECT_EQ(timeline_->ApplyRetention(wrong).status().code(), StatusCode::kInvalidArgument);
    wrong = {};
    wrong.horizon = end + 1;
    EXPECT_EQ(timeline_->ApplyRetention(wrong).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(TimelineRetention, AReaderUnderWayKeepsItsWal) {
    Write(*timeline_, 300, 1, 100000);
    Flush(*timeline_);
    Write(*timeline_, 300, 1, 100000);
    Flush(*timeline_);
    const size_t segments = Segments();
    auto history = timeline_->CollectPage(Page(0), kStart + 3000000);
    ASSERT_TRUE(history.ok());
    ASSERT_FALSE(history->records.empty());
    Retain(*timeline_, timeline_->last_record_end());
    EXPECT_EQ(Segments(), segments);
    std::byte byte[8];
    for (const RecordRef& ref : history->records) {
        EXPECT_TRUE(ref.wal->Read(ref.start, byte).ok());
    }
    const RecordRef first = history->records.front();
    history = PageHistory{};
    worker_.WaitUntilIdle();
    EXPECT_EQ(Segments(), 1u);
    Status gone = first.wal->Read(first.start, byte);
    EXPECT_EQ(gone.code(), StatusCode::kNotFound);
    EXPECT_NE(gone.message().find("the oldest WAL that is kept"), std::string::npos)
        << gone.message();
}

TEST_F(TimelineRetention, StaleWalGoesWhenTheTimelineIsOpened) {
    Write(*timeline_, 600, 1, 100000);
    Flush(*timeline_);
    Retain(*timeline_, timeline_->last_record_end());
    ASSERT_EQ(Segments(), 1u);
    // As after a crash between the manifest and the removal.
    ASSERT_TRUE(ReplaceFileAtomically(wal_directory() + "/" + WalSegmentName(1), "").ok());
    Open();
    worker_.WaitUntilIdle();
    EXPECT_EQ(Segments(), 1u);
}

TEST_F(TimelineRetention, ATimelineCanEnd) {
    Write(*timeline_, 300, 3, 100000);
    const Lsn end = timeline_->last_record_end();
    const uint64_t fold = Fold(*timeline_, 1, end);
    branch_ = Make(TimelineId::Random(), directory_.path() + "/branch", end, timeline_);
    Write(*timeline_, 300, 3, 100000);
    Flush(*timeline_);
    Write(*timeline_, 300, 3, 100000);
    const Lsn tip = timeline_->last_record_end();
    ASSERT_TRUE(timeline_->wal().SaveDurablePosition(tip).ok());
    Timeline::RetentionReport report = Retain(*timeline_, end, {end}, true);
    EXPECT_GT(report.removed_bytes, 0u);
    for (int pass = 0; pass < 2; pass++) {
        EXPECT_EQ(timeline_->last_record_end(), end);
        EXPECT_EQ(Fold(*timeline_, 1, end), fold);
        EXPECT_EQ(Fold(*timeline_, 1, kMaxLsn), fold);
        auto gone = timeline_->CollectPage(Page(1), tip);
        EXPECT_EQ(gone.status().code(), StatusCode::kNotFound);
        EXPECT_NE(gone.status().message().find("ends at " + end.ToString()), std::string::npos);
        EXPECT_EQ(timeline_->wal().ReadDurablePosition()->value(), end);
        EXPECT_EQ(Segments(), 1u);
        EXPECT_EQ(Fold(*branch_, 1, kMaxLsn), fold);
        branch_ = nullptr;
        // As after a crash before the WAL was cut off.
        timeline_ = nullptr;
        ASSERT_TRUE(ReplaceFileAtomically(
                        wal_directory() + "/" + WalSegmentName(WalSegmentNumber(tip)), "")
                        .ok());
        Open();
        branch_ = Make(TimelineId::Random(), directory_.path() + "/branch", end, timeline_);
    }
}

TEST_F(TimelineRetention, TheStateOfTheClusterIsExactAtThePoints) {
    Write(*timeline_, 10);
    const Lsn point = timeline_->last_record_end();
    Write(*timeline_, 10);
    Flush(*timeline_);
    Timeline::Retention retention;
    retention.horizon = timeline_->last_record_end();
    retention.points = {point};
    retention.state_at = [](Lsn at) -> Result<std::string> { return "as of " + at.ToString(); };
    ASSERT_TRUE(timeline_->ApplyRetention(retention).ok());
    for (Lsn at : {point, retention.horizon}) {
        auto blob = timeline_->GetVersionedBlob(kClusterStateBlobKey, at);
        ASSERT_TRUE(blob.ok() && blob->has_value());
        EXPECT_EQ((*blob)->lsn, at);
        EXPECT_EQ((*blob)->value, "as of " + at.ToString());
    }
}

TEST_F(TimelineRetention, TheCommonMemoryIsShared) {
    LayerMemory memory(4 << 20);
    memory_ = &memory;
    branch_ = nullptr;
    Open();
    EXPECT_EQ(memory.used_bytes.load(), 0u);
    Write(*timeline_, 100000, 1000);
    ASSERT_GT(memory.used_bytes.load(), 1u << 20);
    ASSERT_LT(memory.used_bytes.load(), 4u << 20);
    EXPECT_FALSE(timeline_->WantsFlush());
    ASSERT_TRUE(EnsureDirectory(directory_.path() + "/branch").ok());
    ASSERT_TRUE(EnsureDirectory(directory_.path() + "/branch/wal").ok());
    branch_ = Make(TimelineId::Random(), directory_.path() + "/branch",
                   timeline_->last_record_end(), timeline_);
    // One that holds little does not help, the other one does.
    Write(*branch_, 10, 1000);
    memory.used_bytes += 4 << 20;
    EXPECT_FALSE(branch_->WantsFlush());
    EXPECT_TRUE(timeline_->WantsFlush());
    memory.used_bytes -= 4 << 20;
    Flush(*timeline_);
    EXPECT_LT(memory.used_bytes.load(), 1u << 20);
    EXPECT_EQ(memory.layers.load(), 1u);
    branch_ = nullptr;
    timeline_ = nullptr;
    EXPECT_EQ(memory.used_bytes.load(), 0u);
    EXPECT_EQ(memory.layers.load(), 0u);
    memory_ = nullptr;
}

// Readers at retained points, in the window and on a branch, while everything happens.
TEST_F(TimelineRetention, ReadersNeverSeeAWrongPage) {
    constexpr BlockNumber kBlocks = 20;
    constexpr uint64_t kStep = 20000;
    replay_bytes_ = 500;
    Open();
    std::mutex mutex;
    std::vector<Lsn> points;                   // guarded by mutex
    std::map<Lsn, std::vector<uint64_t>> right;  // guarded by mutex
    auto remember = [&] {
        const Lsn at = timeline_->last_record_end();
        std::vector<uint64_t> folds;
        for (BlockNumber block = 0; block < kBlocks; block++) {
            folds.push_back(Fold(*timeline_, block, at));
        }
        std::lock_guard lock(mutex);
        right[at] = std::move(folds);
        return at;
    };
    Write(*timeline_, 100, kBlocks, kStep);
    const Lsn branch_point = remember();
    points.push_back(branch_point);
    ASSERT_TRUE(EnsureDirectory(directory_.path() + "/branch").ok());
    ASSERT_TRUE(EnsureDirectory(directory_.path() + "/branch/wal").ok());
    branch_ = Make(TimelineId::Random(), directory_.path() + "/branch", branch_point, timeline_);

    std::atomic<bool> stop{false};
    std::atomic<uint64_t> reads{0};
    std::atomic<uint64_t> too_late{0};
    auto read = [&](uint32_t seed) {
        std::mt19937 random(seed);
        while (!stop.load()) {
            Lsn at;
            uint64_t expected;
            const BlockNumber block = random() % kBlocks;
            bool retained = false;
            const bool on_branch = random() % 4 == 0;
            {
                std::lock_guard lock(mutex);
                if (on_branch) {
                    at = branch_point;
                } else if (random() % 2 == 0) {
                    at = points[random() % points.size()];
                } else {
                    at = std::prev(right.end(), 1 + random() % std::min<size_t>(right.size(), 3))
                             ->first;
                }
                retained = on_branch || std::binary_search(points.begin(), points.end(), at);
                expected = right[at][block];
            }
            Timeline& timeline = on_branch ? *branch_ : *timeline_;
            auto history = timeline.CollectPage(Page(block), at);
            if (!history.ok()) {
                // Only what the window has left meanwhile may be gone.
                ASSERT_EQ(history.status().code(), StatusCode::kNotFound);
                ASSERT_FALSE(retained) << history.status().message();
                ASSERT_LT(at, timeline_->readable_from());
                too_late++;
                continue;
            }
            ASSERT_EQ(FoldPage(*history), expected) << at.ToString() << " block " << block;
            std::byte bytes[16];
            for (const RecordRef& ref : history->records) {
                Status status = ref.wal->Read(ref.start, bytes);
                ASSERT_TRUE(status.ok()) << status.message();
            }
            auto relations = timeline.ListRelations(at);
            ASSERT_TRUE(relations.ok() || !retained) << relations.status().message();
            reads++;
        }
    };
    std::vector<std::thread> readers;
    for (uint32_t i = 0; i < 3; i++) {
        readers.emplace_back(read, i);
    }
    std::atomic<uint64_t> collections{0};
    std::thread collector([&] {
        while (!stop.load()) {
            Timeline::Retention retention;
            {
                std::lock_guard lock(mutex);
                retention.horizon =
                    std::prev(right.end(), std::min<ptrdiff_t>(right.size(), 6))->first;
                retention.points = points;
            }
            auto report = timeline_->ApplyRetention(retention);
            ASSERT_TRUE(report.ok()) << report.status().message();
            collections += report->removed_bytes > 0 ? 1 : 0;
        }
    });
    for (int i = 0; i < 150; i++) {
        Write(*timeline_, 40, kBlocks, kStep);
        const Lsn at = remember();
        if (i % 20 == 0) {
            std::lock_guard lock(mutex);
            points.push_back(at);
        }
        timeline_->Flush();
    }
    ASSERT_TRUE(timeline_->WaitForFlush().ok());
    stop = true;
    collector.join();
    for (std::thread& reader : readers) {
        reader.join();
    }
    worker_.WaitUntilIdle();
    EXPECT_GT(reads.load(), 100u);
    EXPECT_GT(collections.load(), 3u);
    EXPECT_LT(too_late.load(), reads.load());
    EXPECT_LE(Segments(), 3u) << "of eight";
    EXPECT_LE(LayerFiles(), 16u);
    // With nobody left, the rest goes, and all points still read right.
    Retain(*timeline_, timeline_->last_record_end(), points);
    EXPECT_EQ(Segments(), 1u);
    for (Lsn at : points) {
        for (BlockNumber block = 0; block < kBlocks; block++) {
            EXPECT_EQ(Fold(*timeline_, block, at), right[at][block]);
        }
    }
}

}  // namespace
}  // namespace zenith
