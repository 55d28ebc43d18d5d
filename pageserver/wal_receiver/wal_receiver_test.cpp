#include "pageserver/wal_receiver/wal_receiver.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <stdlib.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/testing/wal_builder.h"
#include "pageserver/wal_receiver/compute_wal_source.h"
#include "pageserver/wal_receiver/scripted_wal_source.h"

namespace zenith {
namespace {

constexpr uint64_t kSystemIdentifier = 7300000000000000123ull;
const Lsn kStart(3 * kWalSegmentSize + 5 * kWalPageSize + 1000);
const Lsn kPrev(kStart - 64);

class WalReceiverTest : public testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/zenith_receiver_XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        directory_ = name;
        Open();
    }
    void TearDown() override {
        follower_.reset();
        timeline_.reset();
        EXPECT_TRUE(RemoveTree(directory_).ok());
    }

    // As after a restart: everything in memory is gone, the files stay.
    void Open() {
        follower_.reset();
        timeline_ = MakeTimeline(TimelineId::Random(), kStart, nullptr, nullptr,
                                 std::make_unique<WalStorage>(directory_, kStart, nullptr));
        ClusterState state;
        state.record_end = kStart;
        state.record_start = kPrev;
        state.next_xid = 1000;
        state.next_oid = 20000;
        state.next_multi = 1;
        follower_ = std::make_unique<WalFollower>(*timeline_, state, kSystemIdentifier);
    }

    // Records of growing length up to `bytes` of WAL; notes where each ends.
    void Build(WalBuilder* builder, uint64_t bytes) {
        Lsn end = builder->position() + bytes;
        for (uint32_t i = 0; builder->position() < end; i++) {
            WalRecordSpec spec;
            spec.rmgr = Rmgr::kLogicalMsg;
            spec.xid = 1000 + i;
            spec.main_data.assign(100 + i % 20000, static_cast<char>('a' + i % 26));
            ends_.insert(builder->Append(spec).end);
        }
    }

    std::unique_ptr<WalReceiver> MakeReceiver() {
        WalSourceTarget target;
        target.timeline = timeline_->id();
        target.term = 1;
        target.system_identifier = kSystemIdentifier;
        auto receiver = WalReceiver::Create(target, *timeline_, *follower_,
                                            {follower_->last_end(), follower_->last_start()},
                                            compute_.Connector());
        EXPECT_TRUE(receiver.ok());
        (*receiver)->Start();
        return *std::move(receiver);
    }

    void ExpectStored(const WalBuilder& builder) {
        std::string stored(builder.stream().size(), '\0');
        ASSERT_TRUE(timeline_->wal()
                        .Read(kStart, std::as_writable_bytes(std::span(stored.data(),
                                                                       stored.size())))
                        .ok());
        EXPECT_TRUE(stored == builder.stream());
    }

    // A flush position is the end of a record that had been sent completely; none is given before
    // the compute has shown that it knows what is stored.
    void ExpectHonestUpdates() {
        for (const ScriptedCompute::StatusUpdate& update : compute_.updates()) {
            EXPECT_TRUE(!update.flushed.valid() || update.flushed == kStart ||
                        ends_.contains(update.flushed))
                << update.flushed.ToString();
            EXPECT_LE(update.flushed, update.sent);
            EXPECT_LE(update.applied, update.flushed);
        }
    }

    std::string directory_;
    std::shared_ptr<Timeline> timeline_;
    std::unique_ptr<WalFollower> follower_;
    ScriptedCompute compute_;
    std::set<Lsn> ends_;
};

std::span<const std::byte> Part(const WalBuilder& builder, Lsn from, Lsn to) {
    return builder.bytes().subspan(from - builder.start(), to - from);
}

TEST_F(WalReceiverTest, IntakeAcknowledgesWholeRecordsOnly) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kLogicalMsg;
    spec.main_data.assign(10000, 'x');
    WalBuilder::Placed first = builder.Append(spec);
    WalBuilder::Placed second = builder.Append(spec);

    WalIntake intake(timeline_->wal(), kStart, kPrev, kSystemIdentifier);
    ASSERT_TRUE(intake.Receive(kStart, Part(builder, kStart, first.end - 8)).ok());
    ASSERT_TRUE(intake.MakeDurable().ok());
    EXPECT_EQ(intake.durable_end(), kStart);
    EXPECT_EQ(intake.durable_start(), kPrev);
    ASSERT_TRUE(
        intake.Receive(first.end - 8, Part(builder, first.end - 8, second.end - 100)).ok());
    EXPECT_EQ(intake.durable_end(), kStart) << "not before it is on disk";
    ASSERT_TRUE(intake.MakeDurable().ok());
    EXPECT_EQ(intake.durable_end(), first.end);
    EXPECT_EQ(intake.durable_start(), first.start);

    intake.Restart();
    EXPECT_EQ(intake.received_to(), first.end);
    ASSERT_TRUE(intake.Receive(first.end, Part(builder, first.end, second.end)).ok());
    ASSERT_TRUE(intake.MakeDurable().ok());
    EXPECT_EQ(intake.durable_end(), second.end);
}

TEST_F(WalReceiverTest, IntakeRefusesGapsAndGarbage) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    Build(&builder, 5000);
    WalIntake intake(timeline_->wal(), kStart, kPrev, kSystemIdentifier);
    EXPECT_EQ(intake.Receive(kStart + 8, Part(builder, kStart + 8, kStart + 16)).code(),
              StatusCode::kCorruption);
    std::string garbage(200, 'g');
    EXPECT_EQ(
        intake.Receive(kStart, std::as_bytes(std::span(garbage.data(), garbage.size()))).code(),
        StatusCode::kCorruption);
    intake.Restart();
    ASSERT_TRUE(intake.Receive(kStart, builder.bytes()).ok());
    ASSERT_TRUE(intake.MakeDurable().ok());
    EXPECT_EQ(intake.durable_end(), builder.position());
}

TEST_F(WalReceiverTest, ReceivesAndIngests) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    Build(&builder, 3 << 20);
    for (size_t piece : {size_t{777}, size_t{128 * 1024}}) {
        SCOPED_TRACE(piece);
        compute_.SetPieceSize(piece);
        compute_.SetStream(kStart, builder.stream());
        auto receiver = MakeReceiver();
        ASSERT_TRUE(compute_.WaitFor(
            [&](const ScriptedCompute& c) { return c.Flushed(builder.position()); }));
        EXPECT_EQ(receiver->durable_end(), builder.position());
        EXPECT_TRUE(receiver->streaming());
        ASSERT_TRUE(timeline_->WaitForLsn(builder.position(), 20000).ok());
        // Ingest is reported, too.
        ASSERT_TRUE(compute_.WaitFor([&](const ScriptedCompute& c) {
            return c.updates().back().applied == builder.position();
        }));
        receiver->Stop();
        EXPECT_FALSE(receiver->streaming());
        ExpectHonestUpdates();
        ExpectStored(builder);
        Build(&builder, 1 << 20);
    }
}

TEST_F(WalReceiverTest, AcrossASegmentSwitch) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    Build(&builder, 100000);
    ends_.insert(builder.AppendSwitch().end);
    Build(&builder, 100000);
    compute_.SetPieceSize(100000);
    compute_.SetStream(kStart, builder.stream());
    auto receiver = MakeReceiver();
    ASSERT_TRUE(compute_.WaitFor(
        [&](const ScriptedCompute& c) { return c.Flushed(builder.position()); }));
    ASSERT_TRUE(timeline_->WaitForLsn(builder.position(), 20000).ok());
    receiver->Stop();
    ExpectHonestUpdates();
}

// Breaks in the middle of a record, at a record's end, and on a page header.
TEST_F(WalReceiverTest, ContinuesAfterABrokenStream) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    Build(&builder, 200000);
    std::vector<Lsn> breaks = {kStart + 12345, *std::next(ends_.begin(), 3),
                               Lsn(kStart.value / kWalPageSize * kWalPageSize) + 2 * kWalPageSize +
                                   12};
    std::sort(breaks.begin(), breaks.end());
    compute_.SetPieceSize(4000);
    compute_.SetStream(kStart, std::string());
    auto receiver = MakeReceiver();
    int connects = 1;
    for (Lsn at : breaks) {
        compute_.BreakOnceAt(at);
        compute_.SetStream(kStart, builder.stream().substr(0, at - kStart));
        connects++;
        ASSERT_TRUE(compute_.WaitFor([&](const ScriptedCompute& c) {
            return c.starts().size() == static_cast<size_t>(connects);
        }));
    }
    compute_.SetStream(kStart, builder.stream());
    ASSERT_TRUE(compute_.WaitFor(
        [&](const ScriptedCompute& c) { return c.Flushed(builder.position()); }));
    ASSERT_TRUE(timeline_->WaitForLsn(builder.position(), 20000).ok());
    receiver->Stop();
    for (Lsn start : compute_.starts()) {
        EXPECT_TRUE(start == kStart || std::any_of(ends_.begin(), ends_.end(), [start](Lsn end) {
                        return WalRecordStartAt(end) == start;
                    })) << start.ToString();
    }
    ExpectHonestUpdates();
    ExpectStored(builder);
}

TEST_F(WalReceiverTest, AnswersKeepalives) {
    compute_.SetStream(kStart, std::string());
    auto receiver = MakeReceiver();
    for (int asked = 1; asked <= 3; asked++) {
        compute_.AskForReply();
        ASSERT_TRUE(compute_.WaitFor(
            [&](const ScriptedCompute& c) { return c.answered() == asked; }));
    }
    EXPECT_TRUE(receiver->WaitForStreaming(true, 0));
}

TEST_F(WalReceiverTest, KeepsTryingToConnectAndStops) {
    compute_.SetConnectError(Status::Refused("the compute has term 3 instead of 1"));
    auto receiver = MakeReceiver();
    ASSERT_TRUE(compute_.WaitFor([](const ScriptedCompute& c) { return c.connects() >= 3; }));
    EXPECT_FALSE(receiver->streaming());
    receiver->Stop();
    receiver->Stop();  // again is fine
}

// A torn tail from before a restart is overwritten by what the compute sends again.
TEST_F(WalReceiverTest, ContinuesBehindATornTail) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    Build(&builder, 50000);
    Lsn cut = *std::next(ends_.begin(), 40) + 333;
    Lsn whole = *std::prev(ends_.upper_bound(cut));
    ASSERT_TRUE(timeline_->wal().Append(kStart, Part(builder, kStart, cut)).ok());
    Open();
    ASSERT_TRUE(follower_->IngestToEnd().ok());
    EXPECT_EQ(follower_->last_end(), whole);
    EXPECT_EQ(timeline_->last_record_end(), follower_->last_end());
    auto position = follower_->FindEndOfWal();
    ASSERT_TRUE(position.ok());
    EXPECT_EQ(position->end, follower_->last_end());

    compute_.SetStream(kStart, builder.stream());
    auto receiver = MakeReceiver();
    ASSERT_TRUE(compute_.WaitFor(
        [&](const ScriptedCompute& c) { return c.Flushed(builder.position()); }));
    receiver->Stop();
    // At the last whole record: the compute has to know it.
    EXPECT_EQ(compute_.starts()[0], WalRecordStartAt(*std::prev(ends_.find(whole))));
    ExpectStored(builder);
}

// A compute that was started again on an older copy of its data directory writes other WAL where
// the acknowledged one is. Acknowledging anything would tell its clients that their commits are safe.
TEST_F(WalReceiverTest, AcknowledgesNothingToAComputeOfAnotherHistory) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    Build(&builder, 20000);
    compute_.SetStream(kStart, builder.stream());
    {
        auto receiver = MakeReceiver();
        ASSERT_TRUE(compute_.WaitFor(
            [&](const ScriptedCompute& c) { return c.Flushed(builder.position()); }));
        receiver->Stop();
    }
    size_t updates_before = compute_.updates().size();
    ASSERT_TRUE(follower_->IngestToEnd().ok());

    WalBuilder other(kStart, kSystemIdentifier, kPrev);
    WalRecordSpec message;
    message.rmgr = Rmgr::kLogicalMsg;
    while (other.position() < builder.position() + 5000) {
        message.main_data.assign(100, 'y');
        other.Append(message);
    }
    compute_.SetFirstLsn(kStart);
    compute_.SetStream(kStart, other.stream());
    auto receiver = MakeReceiver();
    size_t starts_before = compute_.starts().size();
    ASSERT_TRUE(compute_.WaitFor([&](const ScriptedCompute& c) {
        return c.starts().size() >= starts_before + 2;  // refused, and tried again
    }));
    receiver->Stop();
    for (size_t i = updates_before; i < compute_.updates().size(); i++) {
        EXPECT_FALSE(compute_.updates()[i].flushed.valid());
    }
    ExpectStored(builder);
}

// Retention keeps the segment that the last record ends in; the record may begin in the one before.
TEST_F(WalReceiverTest, GoesOnWhereTheLastRecordBeginsInRemovedWal) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    const Lsn border = WalSegmentStart(WalSegmentNumber(kStart) + 1);
    ends_.insert(builder.FillTo(border - 64).end);
    Build(&builder, 1);
    ASSERT_GT(builder.position(), border);
    compute_.SetStream(kStart, builder.stream());
    {
        auto receiver = MakeReceiver();
        ASSERT_TRUE(compute_.WaitFor(
            [&](const ScriptedCompute& c) { return c.Flushed(builder.position()); }));
        receiver->Stop();
    }
    ASSERT_TRUE(follower_->IngestToEnd().ok());
    auto removed = timeline_->wal().RemoveBefore(builder.position() - 1);
    ASSERT_TRUE(removed.ok());
    EXPECT_GT(*removed, 0u);
    Build(&builder, 5000);
    compute_.SetFirstLsn(kStart);
    compute_.SetStream(kStart, builder.stream());
    auto receiver = MakeReceiver();
    EXPECT_TRUE(compute_.WaitFor(
        [&](const ScriptedCompute& c) { return c.Flushed(builder.position()); }));
    receiver->Stop();
    EXPECT_EQ(compute_.starts().back(), border);  // what is left of it is compared
    ExpectHonestUpdates();
}

TEST_F(WalReceiverTest, SavesTheDurablePosition) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    Build(&builder, 20000);
    compute_.SetStream(kStart, builder.stream());
    auto receiver = MakeReceiver();
    ASSERT_TRUE(compute_.WaitFor(
        [&](const ScriptedCompute& c) { return c.Flushed(builder.position()); }));
    receiver->Stop();
    auto saved = timeline_->wal().ReadDurablePosition();
    ASSERT_TRUE(saved.ok() && saved->has_value());
    EXPECT_EQ(**saved, builder.position());
}

// A page of a custom resource manager cannot be rebuilt: ingest stops, and commits behind it wait.
TEST_F(WalReceiverTest, StopsAcknowledgingWhenIngestFails) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    Build(&builder, 5000);
    Lsn good_end = builder.position();
    WalRecordSpec foreign;
    foreign.rmgr = static_cast<Rmgr>(128);
    foreign.blocks.push_back({.id = 0, .rel = {{1663, 5, 16384}, Fork::kMain}, .data = "x"});
    ends_.insert(builder.Append(foreign).end);
    const Lsn bad_end = builder.position();
    compute_.SetStream(kStart, builder.stream());
    {
        auto receiver = MakeReceiver();
        ASSERT_TRUE(timeline_->WaitForLsn(good_end, 20000).ok());
        ASSERT_TRUE(receiver->WaitForStreaming(false, 20000));
        while (follower_->error().ok()) {
            std::this_thread::yield();
        }
        Build(&builder, 5000);
        compute_.SetStream(kStart, builder.stream());
        EXPECT_FALSE(receiver->WaitForStreaming(true, 300)) << "it does not even connect";
        EXPECT_EQ(receiver->durable_end(), bad_end);
        EXPECT_TRUE(compute_.WaitFor(
            [&](const ScriptedCompute& c) { return !c.Flushed(builder.position()); }));
    }
    EXPECT_EQ(follower_->error().code(), StatusCode::kRefused);
    EXPECT_EQ(timeline_->last_record_end(), good_end);
    EXPECT_EQ(follower_->IngestUpTo(builder.position()).code(), StatusCode::kRefused);
    auto position = follower_->FindEndOfWal();
    ASSERT_TRUE(position.ok());
    EXPECT_EQ(position->end, bad_end);
}

// Something is in the way of the second segment: nothing of it is acknowledged until it is gone.
TEST_F(WalReceiverTest, GoesOnWhenTheDiskHasRoomAgain) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    Build(&builder, 2 * kWalSegmentSize);
    const Lsn border((WalSegmentNumber(kStart) + 1) * kWalSegmentSize);
    const std::string obstacle =
        timeline_->wal().directory() + "/" + WalSegmentName(WalSegmentNumber(border));
    ASSERT_TRUE(EnsureDirectory(obstacle).ok());
    compute_.SetStream(kStart, builder.stream());
    auto receiver = MakeReceiver();
    // It tries more than once.
    ASSERT_TRUE(
        compute_.WaitFor([&](const ScriptedCompute& c) { return c.starts().size() >= 3; }));
    StorageProblem problem = receiver->problem();
    EXPECT_TRUE(problem.going_on());
    EXPECT_NE(problem.what.find(obstacle), std::string::npos) << problem.what;
    EXPECT_GT(problem.since, 0);
    EXPECT_LE(receiver->durable_end(), border);
    ASSERT_EQ(rmdir(obstacle.c_str()), 0);
    ASSERT_TRUE(compute_.WaitFor(
        [&](const ScriptedCompute& c) { return c.Flushed(builder.position()); }));
    ASSERT_TRUE(timeline_->WaitForLsn(builder.position(), 20000).ok());
    problem = receiver->problem();
    EXPECT_FALSE(problem.going_on());
    EXPECT_GE(problem.healed_at, problem.since);
    EXPECT_FALSE(problem.what.empty()) << "what was wrong can still be seen";
    EXPECT_TRUE(receiver->Flush().ok());
    receiver->Stop();
    EXPECT_EQ(receiver->Flush().code(), StatusCode::kUnavailable);
}

TEST_F(WalReceiverTest, FollowerStopsAtTheLimit) {
    WalBuilder builder(kStart, kSystemIdentifier, kPrev);
    Build(&builder, 2 << 20);
    ASSERT_TRUE(timeline_->wal().Append(kStart, builder.bytes()).ok());
    Lsn limit = *std::next(ends_.begin(), 100);
    ASSERT_TRUE(follower_->IngestUpTo(limit).ok());
    EXPECT_EQ(timeline_->last_record_end(), limit);
    // Not a record's end: nothing beyond it is ingested either.
    Lsn middle = *std::next(ends_.begin(), 110) + 16;
    EXPECT_EQ(follower_->IngestUpTo(middle).code(), StatusCode::kInternal);
    EXPECT_TRUE(follower_->error().ok());
    ASSERT_TRUE(follower_->IngestUpTo(builder.position()).ok());
    EXPECT_EQ(timeline_->last_record_end(), builder.position());
    // What is not there is damage, not an end.
    EXPECT_FALSE(follower_->IngestUpTo(builder.position() + 64).ok());
}

TEST(ConnstrWith, MergesSettings) {
    auto merged = ConnstrWith("host=/tmp port=5433 application_name='a b'",
                              {{"replication", "true"}, {"application_name", "zenith"}});
    ASSERT_TRUE(merged.ok());
    EXPECT_NE(merged->find("port='5433'"), std::string::npos) << *merged;
    EXPECT_NE(merged->find("replication='true'"), std::string::npos);
    EXPECT_NE(merged->find("user='postgres'"), std::string::npos);
    EXPECT_NE(merged->find("application_name='zenith'"), std::string::npos);
    auto uri = ConnstrWith("postgresql://u@h:6000/db", {});
    ASSERT_TRUE(uri.ok());
    EXPECT_NE(uri->find("user='u'"), std::string::npos) << *uri;
    EXPECT_EQ(ConnstrWith("nonsense", {}).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace zenith
