// A timeline when the power goes: while WAL comes in, layers are flushed, merged, and history is
// dropped. After it the layers open, everything acknowledged can be read and is right (its records
// are in the WAL, too), and no file is left that does not count.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/layers/fake_snapshot_for_test.h"
#include "pageserver/layers/layer_worker.h"
#include "pageserver/layers/page_imager.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/layers/timeline_layers.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/testing/power_cuts.h"
#include "pageserver/testing/wal_builder.h"

namespace zenith {
namespace {

constexpr uint64_t kSystem = 42;
constexpr BlockNumber kBlocks = 12;
// The first segment ends soon.
const Lsn kStart = WalSegmentStart(4) - 20000;
const RelForkKey kRelation{{1663, 5, 16384}, Fork::kMain};

PageKey Block(BlockNumber block) {
    return PageKey::Relation(kRelation, block);
}

// What stands for the contents of a page: a number made of the records that lead to it.
uint64_t Mix(uint64_t number, Lsn start, Lsn end) {
    number = (number ^ start.value) * 0xFF51AFD7ED558CCDull;
    number = (number ^ number >> 29 ^ end.value) * 0xC4CEB9FE1A85EC53ull;
    return number ^ number >> 31;
}
uint64_t NumberOf(const PageHistory& history) {
    uint64_t number = 0;
    if (history.base) {
        std::memcpy(&number, history.base->data(), sizeof number);
    }
    for (const RecordRef& ref : history.records) {
        number = Mix((ref.flags & kRefWillInit) != 0 ? 0 : number, ref.start, ref.end);
    }
    return number;
}

class NumberImager final : public PageImager {
  public:
    std::vector<Result<std::optional<PageBuffer>>> Images(Timeline& timeline,
                                                          std::span<const Wanted> wanted) override {
        std::vector<Result<std::optional<PageBuffer>>> images;
        for (const Wanted& page : wanted) {
            auto history = timeline.CollectPage(page.key, page.at);
            if (!history.ok()) {
                images.push_back(history.status());
            } else if (!history->exists()) {
                images.push_back(std::optional<PageBuffer>());
            } else {
                std::optional<PageBuffer> image(std::in_place);
                image->fill(std::byte{7});
                const uint64_t number = NumberOf(*history);
                std::memcpy(image->data(), &number, sizeof number);
                images.push_back(image);
            }
        }
        return images;
    }
};

struct Change {
    BlockNumber block;
    bool will_init;
};
struct Record {
    Lsn start;
    Lsn end;
    std::vector<Change> changes;
    std::optional<BlockNumber> truncated_to;
    std::string blob;
};

class TimelineRound : public PowerCutRound {
  public:
    explicit TimelineRound(uint32_t seed) : random_(seed), builder_(kStart, kSystem) {}

    void Prepare(const std::string& directory) override {
        ASSERT_TRUE(EnsureDirectory(directory + "/wal").ok());
    }

    void Work(const std::string& directory, FaultFileSystem& disk) override {
        Opened opened(directory, id_);
        if (opened.timeline == nullptr) {
            return;
        }
        for (int step = 0; step < 60 && !disk.power_is_off(); step++) {
            Step(*opened.timeline);
            // So that one seed is one run, and each operation can be the last one.
            opened.worker.WaitUntilIdle();
        }
    }

    void Recover(const std::string& directory) override {
        Opened opened(directory, id_);
        if (opened.timeline != nullptr) {
            Replay(*opened.timeline);
            opened.timeline->Flush();
            opened.timeline->WaitForFlush().Ignore("the power may go");
            opened.worker.WaitUntilIdle();
        }
    }

    void Check(const std::string& directory) override {
        Opened opened(directory, id_);
        ASSERT_NE(opened.timeline, nullptr) << opened.status.message();
        opened.worker.WaitUntilIdle();
        CheckFiles(opened);
        Timeline& timeline = *opened.timeline;
        ASSERT_LE(timeline.last_record_end(), synced_) << "layers for WAL that was never synced";
        Replay(timeline);
        CheckHistory(timeline);
        if (testing::Test::HasFailure()) {
            return;
        }
        // It goes on from here, and what it writes then is right as well.
        timeline.Flush();
        Status status = timeline.WaitForFlush();
        ASSERT_TRUE(status.ok()) << status.message();
        opened.worker.WaitUntilIdle();
        CheckHistory(timeline);
        CheckFiles(opened);
    }

  private:
    struct Opened {
        Opened(const std::string& path, const TimelineId& timeline_id)
            : directory(path), id(timeline_id) {
            auto wal = std::make_unique<WalStorage>(directory + "/wal", kStart, nullptr);
            TimelineLayers layers;
            layers.directory = directory + "/layers";
            layers.options.worker = &worker;
            layers.options.imager = &imager;
            layers.options.replay_bytes = 400;
            auto found = OpenDeltaLayers(layers.directory, id, kStart, wal.get());
            if (!found.ok()) {
                status = found.status();
                return;
            }
            for (const auto& file : found->files) {
                status = status.ok() ? file->Verify() : status;
            }
            if (!status.ok()) {
                return;
            }
            layers.opened = *std::move(found);
            auto snapshot = std::make_unique<FakeSnapshot>(kStart);
            snapshot->AddDatabase({1663, 5});
            timeline = MakeTimeline(id, kStart, nullptr, std::move(snapshot), std::move(wal), layers);
        }
        const std::string directory;
        const TimelineId id;
        Status status;
        NumberImager imager;
        LayerWorker worker;
        std::shared_ptr<Timeline> timeline;
    };

    void Step(Timeline& timeline) {
        switch (random_() % 10) {
            case 0:
            case 1:
            case 2:
                timeline.Flush();
                timeline.WaitForFlush().Ignore("tried again");
                return;
            case 3:
                return Retain(timeline);
            case 4:
                return Tag(timeline);
            default:
                return Receive(timeline);
        }
    }

    // As the receiver does: append, sync, and only then ingest.
    void Receive(Timeline& timeline) {
        std::vector<Record> arrived;
        const Lsn from = builder_.position();
        for (uint32_t n = 1 + random_() % 8; n > 0; n--) {
            arrived.push_back(AnyRecord());
        }
        const auto bytes = builder_.bytes().subspan(from - kStart);
        if (!timeline.wal().Append(from, bytes).ok() || !timeline.wal().Sync().ok()) {
            return;  // the power is off
        }
        records_.insert(records_.end(), arrived.begin(), arrived.end());
        synced_ = builder_.position();
        Ingest(timeline, arrived);
    }

    Record AnyRecord() {
        Record record;
        WalRecordSpec spec;
        spec.rmgr = Rmgr::kHeap;
        spec.xid = 7;
        spec.main_data = std::string(random_() % 60 == 0 ? 9000 : 20 + random_() % 200, 'm');
        for (uint32_t n = random_() % 4; n > 0; n--) {
            record.changes.push_back(
                {static_cast<BlockNumber>(random_() % kBlocks), random_() % 12 == 0});
        }
        std::sort(record.changes.begin(), record.changes.end(),
                  [](const Change& a, const Change& b) { return a.block < b.block; });
        record.changes.erase(
            std::unique(record.changes.begin(), record.changes.end(),
                        [](const Change& a, const Change& b) { return a.block == b.block; }),
            record.changes.end());
        if (random_() % 40 == 0) {
            record.truncated_to = static_cast<BlockNumber>(random_() % kBlocks);
        }
        if (random_() % 5 == 0) {
            record.blob = "b" + std::to_string(random_());
        }
        const WalBuilder::Placed placed = builder_.Append(spec);
        record.start = placed.start;
        record.end = placed.end;
        return record;
    }

    static void Ingest(Timeline& timeline, const std::vector<Record>& records) {
        timeline.BeginRecords();
        for (const Record& record : records) {
            if (record.end <= timeline.last_record_end()) {
                continue;
            }
            timeline.StartRecord(record.start, record.end);
            if (record.truncated_to) {
                timeline.TruncateRelation(kRelation, *record.truncated_to);
            }
            for (const Change& change : record.changes) {
                timeline.PutRecord(Block(change.block), change.will_init ? kRefWillInit : 0);
            }
            if (!record.blob.empty()) {
                timeline.PutBlob(kClusterStateBlobKey, record.blob);
            }
        }
        timeline.CommitRecords();
    }
    // What is in no layer comes from the WAL again.
    void Replay(Timeline& timeline) { Ingest(timeline, records_); }

    Lsn AnyEnd() { return records_.empty() ? kStart : records_[random_() % records_.size()].end; }

    void Tag(Timeline& timeline) {
        const Lsn at = AnyEnd();
        if (timeline.CheckReadable(at).ok()) {
            tags_.insert(at);
        }
    }
    void Retain(Timeline& timeline) {
        if (records_.empty()) {
            return;
        }
        if (random_() % 3 == 0 && !tags_.empty()) {
            tags_.erase(std::next(tags_.begin(), static_cast<long>(random_() % tags_.size())));
        }
        Timeline::Retention retention;
        retention.horizon = std::max(horizon_, AnyEnd());
        horizon_ = retention.horizon;
        for (Lsn tag : tags_) {
            if (timeline.CheckReadable(tag).ok()) {
                retention.points.push_back(tag);
            }
        }
        retention.state_at = [this](Lsn at) { return Result<std::string>(StateAt(at)); };
        // From now on only these are sure to stay.
        tags_ = {retention.points.begin(), retention.points.end()};
        timeline.ApplyRetention(retention).status().Ignore("the power may go");
    }

    // ---- what must be there ---------------------------------------------------------------------

    std::string StateAt(Lsn at) const {
        std::string state;
        for (const Record& record : records_) {
            if (record.end <= at && !record.blob.empty()) {
                state = record.blob;
            }
        }
        return state;
    }

    struct Expected {
        std::map<BlockNumber, uint64_t> pages;
        std::optional<BlockNumber> size;
    };
    Expected At(Lsn at) const {
        Expected expected;
        for (const Record& record : records_) {
            if (record.end > at) {
                break;
            }
            if (record.truncated_to && expected.size && *expected.size > *record.truncated_to) {
                expected.size = record.truncated_to;
                expected.pages.erase(expected.pages.lower_bound(*record.truncated_to),
                                     expected.pages.end());
            }
            for (const Change& change : record.changes) {
                uint64_t& number = expected.pages[change.block];
                number = Mix(change.will_init ? 0 : number, record.start, record.end);
                expected.size = std::max(expected.size.value_or(0), change.block + 1);
            }
        }
        return expected;
    }

    void CheckHistory(Timeline& timeline) {
        ASSERT_EQ(timeline.last_record_end(), records_.empty() ? kStart : synced_);
        std::vector<Lsn> places(tags_.begin(), tags_.end());
        for (int i = 0; i < 6; i++) {
            places.push_back(AnyEnd());
        }
        places.push_back(horizon_);
        places.push_back(synced_);
        for (Lsn at : places) {
            SCOPED_TRACE("at " + at.ToString());
            Status readable = timeline.CheckReadable(at);
            if (!readable.ok()) {
                EXPECT_EQ(readable.code(), StatusCode::kNotFound);
                EXPECT_LT(at, horizon_) << readable.message();
                EXPECT_FALSE(tags_.contains(at)) << readable.message();
                EXPECT_FALSE(timeline.CollectPage(Block(0), at).ok());
                continue;
            }
            CheckAt(timeline, at);
        }
    }

    void CheckAt(Timeline& timeline, Lsn at) {
        const Expected expected = At(at);
        for (BlockNumber block = 0; block < kBlocks; block++) {
            SCOPED_TRACE("block " + std::to_string(block));
            auto history = timeline.CollectPage(Block(block), at);
            ASSERT_TRUE(history.ok()) << history.status().message();
            auto page = expected.pages.find(block);
            ASSERT_EQ(history->exists(), page != expected.pages.end());
            for (const RecordRef& ref : history->records) {
                std::string bytes;
                Status status = ref.wal->ReadRecord(ref.start, ref.end, &bytes);
                ASSERT_TRUE(status.ok()) << status.message();
            }
            if (history->exists()) {
                ASSERT_EQ(NumberOf(*history), page->second);
            }
        }
        auto size = timeline.RelationSize(kRelation, at);
        ASSERT_TRUE(size.ok()) << size.status().message();
        EXPECT_EQ(*size, expected.size);
        auto blob = timeline.GetBlob(kClusterStateBlobKey, at);
        ASSERT_TRUE(blob.ok()) << blob.status().message();
        EXPECT_EQ(blob->value_or(""), StateAt(at));
    }

    static void CheckFiles(const Opened& opened) {
        const std::string directory = opened.directory + "/layers";
        if (!FileExists(directory)) {
            return;
        }
        auto found = OpenDeltaLayers(directory, opened.id, kStart, nullptr, Leftovers::kKeep);
        ASSERT_TRUE(found.ok()) << found.status().message();
        auto leftovers = FindLeftovers(directory, *found);
        ASSERT_TRUE(leftovers.ok()) << leftovers.status().message();
        for (const std::string& name : *leftovers) {
            ADD_FAILURE() << "left over: layers/" << name;
        }
    }

    std::mt19937 random_;
    const TimelineId id_ = TimelineId::Random();
    WalBuilder builder_;
    std::vector<Record> records_;  // acknowledged
    Lsn synced_ = kStart;
    Lsn horizon_ = kStart;  // the highest that retention was asked for
    std::set<Lsn> tags_;
};

TEST(TimelineCrash, WhatWasAcknowledgedIsThereAndRight) {
    RunPowerCuts(120, [](uint32_t seed) { return std::make_unique<TimelineRound>(seed); });
}

}  // namespace
}  // namespace zenith
