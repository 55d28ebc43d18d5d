// Flushing and loading of one timeline. timeline_model_test.cpp compares what is read.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/temp_directory_for_test.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {
namespace {

const Lsn kStart(0x1000);
const RelForkKey kRelation{{1663, 5, 16384}, Fork::kMain};
constexpr uint64_t kRecord = 64;

class TimelineFlush : public testing::Test {
  protected:
    void SetUp() override {
        spdlog::set_level(spdlog::level::warn);
        ASSERT_TRUE(EnsureDirectory(wal_directory()).ok());
        ASSERT_TRUE(ReplaceFileAtomically(wal_directory() + "/" + WalSegmentName(0), "").ok());
        Open();
    }
    void Open() {
        timeline_ = nullptr;
        auto wal = std::make_unique<WalStorage>(wal_directory(), kStart, nullptr);
        TimelineLayers layers;
        layers.directory = layer_directory();
        layers.options.limits = limits_;
        layers.options.imager = imager_;
        layers.options.memory = memory_;
        layers.options.worker = worker_;
        layers.options.replay_bytes = replay_bytes_;
        auto opened = OpenDeltaLayers(layers.directory, id_, kStart, wal.get());
        ASSERT_TRUE(opened.ok()) << opened.status().message();
        layers.opened = *std::move(opened);
        timeline_ = MakeTimeline(id_, kStart, nullptr, nullptr, std::move(wal), layers);
    }
    std::string wal_directory() const { return directory_.path() + "/wal"; }
    std::string layer_directory() const { return directory_.path() + "/layers"; }
    // Layer files.
    size_t FileCount() const {
        size_t count = 0;
        auto names = ListDirectory(layer_directory());
        if (names.ok()) {
            for (const std::string& name : *names) {
                count += ParseDeltaLayerFileName(name) ? 1 : 0;
            }
        }
        return count;
    }
    // `count` records, each of which changes `block`.
    void Write(int count, BlockNumber block = 0) {
        timeline_->BeginRecords();
        Lsn lsn = timeline_->last_record_end();
        for (int i = 0; i < count; i++) {
            timeline_->StartRecord(lsn, lsn + kRecord);
            timeline_->PutRecord(PageKey::Relation(kRelation, block), 0);
            lsn = lsn + kRecord;
        }
        timeline_->CommitRecords();
    }
    size_t Versions(BlockNumber block = 0) {
        auto history = timeline_->CollectPage(PageKey::Relation(kRelation, block), kMaxLsn);
        EXPECT_TRUE(history.ok()) << history.status().message();
        return history.ok() ? history->records.size() : 0;
    }

    TempDirectory directory_;
    const TimelineId id_ = TimelineId::Random();
    FlushLimits limits_;
    PageImager* imager_ = nullptr;
    LayerMemory* memory_ = nullptr;
    LayerWorker* worker_ = nullptr;
    uint64_t replay_bytes_ = 16 << 10;
    std::shared_ptr<Timeline> timeline_;
};

TEST_F(TimelineFlush, WantsItAtTheLimits) {
    EXPECT_FALSE(timeline_->WantsFlush()) << "there is nothing";
    Write(100);
    EXPECT_FALSE(timeline_->WantsFlush());
    limits_.wal_bytes = 10 * kRecord;
    Open();
    Write(9);
    EXPECT_FALSE(timeline_->WantsFlush());
    Write(1);
    EXPECT_TRUE(timeline_->WantsFlush());
    timeline_->Flush();
    EXPECT_TRUE(timeline_->WaitForFlush().ok());
    EXPECT_FALSE(timeline_->WantsFlush());
    Write(10);
    EXPECT_TRUE(timeline_->WantsFlush());

    limits_ = {};
    limits_.memory_bytes = 100000;
    Open();
    EXPECT_EQ(timeline_->last_record_end(), kStart + 10 * kRecord);
    for (int i = 0; i < 1000 && !timeline_->WantsFlush(); i++) {
        Write(1000);
    }
    EXPECT_TRUE(timeline_->WantsFlush());

    limits_ = {};
    limits_.age = std::chrono::seconds(0);
    limits_.age_wal_bytes = 100 * kRecord;
    Open();
    Write(99);
    EXPECT_FALSE(timeline_->WantsFlush());
    Write(1);
    EXPECT_TRUE(timeline_->WantsFlush());
}

TEST_F(TimelineFlush, IsReadFromMemoryThenFromTheFile) {
    Write(50);
    timeline_->Flush();
    Write(50);
    EXPECT_EQ(Versions(), 100u);
    ASSERT_TRUE(timeline_->WaitForFlush().ok());
    EXPECT_EQ(FileCount(), 1u);
    EXPECT_EQ(Versions(), 100u);
    timeline_->Flush();
    ASSERT_TRUE(timeline_->WaitForFlush().ok());
    timeline_->Flush();
    ASSERT_TRUE(timeline_->WaitForFlush().ok()) << "nothing new";
    EXPECT_EQ(FileCount(), 2u);
    Write(7);
    Open();
    EXPECT_EQ(timeline_->last_record_end(), kStart + 100 * kRecord) << "the rest is in the WAL";
    EXPECT_EQ(Versions(), 100u);
    EXPECT_EQ(*timeline_->RelationSize(kRelation, kStart + kRecord), 1u);
    EXPECT_EQ(*timeline_->RelationSize(kRelation, kStart), std::nullopt);
    Write(7);
    EXPECT_EQ(Versions(), 107u);
}

TEST_F(TimelineFlush, WhatCannotBeWrittenStaysInMemory) {
    ASSERT_TRUE(ReplaceFileAtomically(layer_directory(), "in the way").ok());
    Write(50);
    timeline_->Flush();
    EXPECT_FALSE(timeline_->WaitForFlush().ok());
    EXPECT_FALSE(timeline_->WantsFlush()) << "not at once again";
    Write(50);
    EXPECT_EQ(Versions(), 100u);
    timeline_->Flush();
    EXPECT_FALSE(timeline_->WaitForFlush().ok());
    EXPECT_EQ(Versions(), 100u);
    ASSERT_TRUE(RemoveFile(layer_directory()).ok());
    timeline_->Flush();
    ASSERT_TRUE(timeline_->WaitForFlush().ok());
    timeline_->Flush();
    ASSERT_TRUE(timeline_->WaitForFlush().ok());
    EXPECT_EQ(FileCount(), 2u);
    Open();
    EXPECT_EQ(Versions(), 100u);
}

TEST_F(TimelineFlush, LeavesAnAbandonedRecordInMemory) {
    Write(50);
    const Lsn lsn = timeline_->last_record_end();
    timeline_->BeginRecords();
    timeline_->StartRecord(lsn, lsn + kRecord);
    timeline_->PutRecord(PageKey::Relation(kRelation, 0), 0);
    timeline_->AbandonRecord();
    timeline_->CommitRecords();
    EXPECT_FALSE(timeline_->WantsFlush());
    timeline_->Flush();
    EXPECT_TRUE(timeline_->WaitForFlush().ok());
    EXPECT_EQ(FileCount(), 0u);
}

// The WAL comes first: without it on disk there is no file that refers to it.
TEST_F(TimelineFlush, NeedsTheWal) {
    ASSERT_TRUE(RemoveFile(wal_directory() + "/" + WalSegmentName(0)).ok());
    Write(50);
    timeline_->Flush();
    EXPECT_FALSE(timeline_->WaitForFlush().ok());
    EXPECT_EQ(FileCount(), 0u);
    EXPECT_EQ(Versions(), 50u);
}

TEST_F(TimelineFlush, ReadersNeverMissAnything) {
    std::atomic<bool> stop{false};
    std::vector<std::thread> readers;
    for (int i = 0; i < 3; i++) {
        readers.emplace_back([&] {
            while (!stop.load()) {
                const Lsn at = timeline_->last_record_end();
                auto history = timeline_->CollectPage(PageKey::Relation(kRelation, 0), at);
                ASSERT_TRUE(history.ok());
                ASSERT_EQ(history->records.size(), (at - kStart) / kRecord);
                auto relations = timeline_->ListRelations(at);
                ASSERT_TRUE(relations.ok());
                ASSERT_EQ(relations->size(), at == kStart ? 0u : 1u);
            }
        });
    }
    for (int i = 0; i < 200; i++) {
        Write(10);
        if (i % 5 == 0) {
            timeline_->Flush();
        }
    }
    ASSERT_TRUE(timeline_->WaitForFlush().ok());
    stop.store(true);
    for (std::thread& reader : readers) {
        reader.join();
    }
    EXPECT_EQ(Versions(), 2000u);
}

}  // namespace
}  // namespace zenith
