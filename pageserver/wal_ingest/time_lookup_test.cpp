#include "pageserver/wal_ingest/time_lookup.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "common/base/time.h"
#include "pageserver/layers/fake_snapshot_for_test.h"
#include "pageserver/layers/temp_directory_for_test.h"
#include "pageserver/wal_ingest/ingest_test_util.h"

namespace zenith {
namespace {

constexpr int64_t kSecond = kMicrosPerSecond;
constexpr int64_t kBegin = 1790000000 * kSecond;  // when the first checkpoint was

// A real timeline that is fed records of given times.
class TimeLookup : public testing::Test {
  protected:
    struct Event {
        Lsn before;  // where the record before ends
        int64_t time;
        bool counts;  // all but ABORT
    };

    TimeLookup() { Start(&root_, Lsn(0x1000100), nullptr, FirstState()); }

    struct Fed {
        std::shared_ptr<Timeline> timeline;
        std::unique_ptr<WalBuilder> wal;
        std::unique_ptr<Ingester> ingester;
        std::vector<Event> events;  // commits and aborts, its ancestors' first
    };

    ClusterState FirstState() {
        ClusterState state;
        state.next_xid = 1000;
        state.record_end = Lsn(0x1000100);
        state.newest_commit_time = state.newest_time = kBegin;
        return state;
    }
    void Start(Fed* fed, Lsn start, std::shared_ptr<Timeline> parent, ClusterState state) {
        const WalStorage* parent_wal = parent != nullptr ? &parent->wal() : nullptr;
        const std::string directory = directory_.path() + "/" + std::to_string(timelines_++);
        ASSERT_TRUE(EnsureDirectory(directory).ok());
        std::unique_ptr<SnapshotFile> snapshot;
        if (parent == nullptr) {
            snapshot = std::make_unique<FakeSnapshot>(start);
        }
        fed->wal = std::make_unique<WalBuilder>(start, 1, state.record_start);
        fed->timeline =
            MakeTimeline(TimelineId::Random(), start, std::move(parent), std::move(snapshot),
                         std::make_unique<WalStorage>(directory, start, parent_wal));
        // As a load does.
        fed->timeline->BeginRecords();
        fed->timeline->StartRecord(state.record_start, state.record_end);
        fed->timeline->PutBlob("cluster_state", state.Serialize());
        fed->timeline->CommitRecords();
        fed->ingester = std::make_unique<Ingester>(*fed->timeline, state);
    }
    void Append(Fed* fed, const WalRecordSpec& spec) {
        const Lsn from = fed->wal->position();
        const WalBuilder::Placed placed = fed->wal->Append(spec);
        ASSERT_TRUE(fed->timeline->wal()
                        .Append(from, fed->wal->bytes().subspan(from - fed->wal->start()))
                        .ok());
        fed->timeline->BeginRecords();
        Status status = fed->ingester->IngestRecord(
            {placed.start, placed.end, std::as_bytes(std::span(placed.bytes))});
        fed->timeline->CommitRecords();
        ASSERT_TRUE(status.ok()) << status.message();
    }
    void End(Fed* fed, int64_t time, uint8_t info = kXactCommit) {
        fed->events.push_back({fed->timeline->last_record_end(), time,
                               info != kXactAbort});
        XactSpec spec{.info = info, .xid = xid_};
        if (info == kXactCommitPrepared || info == kXactAbortPrepared) {
            spec = {.info = info, .prepared_xid = xid_};
        }
        xid_++;
        spec.time = time - kPostgresEpochMicros;
        Append(fed, spec.Record());
    }
    void Prepare(Fed* fed, int64_t time) {
        fed->events.push_back({fed->timeline->last_record_end(), time, true});
        ByteWriter body;
        body.U32Le(kTwoPhaseMagic);
        body.U32Le(72 + 8 + 4);
        body.U32Le(xid_);
        body.Zeros(4);
        body.U64Le(static_cast<uint64_t>(time - kPostgresEpochMicros));
        body.Zeros(4 + 4 + 22);
        body.U16Le(4);  // length of the name
        body.Zeros(16);
        body.Text(std::string("gid\0\0\0\0\0", 8));
        Append(fed, PlainRecord(Rmgr::kXact, kXactPrepare, body.buffer(), xid_++));
    }
    void Filler(Fed* fed, size_t bytes) {
        Append(fed, PlainRecord(Rmgr::kLogicalMsg, 0, std::string(bytes, 'f'), xid_));
    }
    static Result<Lsn> At(const Fed& fed, int64_t time) {
        return LsnAtTime(*fed.timeline, time, fed.timeline->last_record_end(), 1);
    }
    static Lsn Expected(const Fed& fed, int64_t time) {
        for (const Event& event : fed.events) {
            if (event.counts && event.time > time) {
                return event.before;
            }
        }
        return fed.timeline->last_record_end();
    }
    static void ExpectExact(const Fed& fed, int64_t time) {
        Result<Lsn> found = At(fed, time);
        ASSERT_TRUE(found.ok()) << found.status().message();
        EXPECT_EQ(*found, Expected(fed, time)) << time - kBegin << " us";
    }

    TempDirectory directory_;
    int timelines_ = 0;
    uint32_t xid_ = 1000;
    Fed root_;
};

TEST_F(TimeLookup, ExactToTheCommit) {
    for (int64_t offset : {1, 2, 2, 5}) {
        End(&root_, kBegin + offset * kSecond);
        Filler(&root_, 100);
    }
    for (int64_t offset = 0; offset < 7; offset++) {
        for (int64_t micros : {-1, 0, 1}) {
            if (offset * kSecond + micros >= 0) {
                ExpectExact(root_, kBegin + offset * kSecond + micros);
            }
        }
    }
    Result<Lsn> before = At(root_, kBegin - 1);
    EXPECT_EQ(before.status().code(), StatusCode::kNotFound);
    EXPECT_NE(before.status().message().find("the oldest point is " +
                                             root_.timeline->start_lsn().ToString()),
              std::string::npos)
        << before.status().message();
}

// The clock went back: a later commit with an earlier time is not before the one that comes first.
TEST_F(TimeLookup, TimesThatGoBackwards) {
    for (int64_t offset : {10, 4, 7, 11, 3, 30, 29, 31}) {
        End(&root_, kBegin + offset * kSecond);
    }
    for (int64_t offset = 0; offset < 33; offset++) {
        ExpectExact(root_, kBegin + offset * kSecond);
    }
}

// What was prepared at a time is prepared in a branch of that time: a PREPARE after it was in there, and
// what was rolled back after it was not, when no commit came in between.
TEST_F(TimeLookup, WhatIsPreparedIsExact) {
    End(&root_, kBegin + 1 * kSecond);
    Prepare(&root_, kBegin + 5 * kSecond);
    Filler(&root_, 200000);
    End(&root_, kBegin + 10 * kSecond, kXactAbortPrepared);
    Filler(&root_, 200000);
    End(&root_, kBegin + 14 * kSecond, kXactAbort);
    Prepare(&root_, kBegin + 16 * kSecond);
    End(&root_, kBegin + 20 * kSecond);
    for (int64_t offset = 0; offset < 22; offset++) {
        ExpectExact(root_, kBegin + offset * kSecond);
    }
}

TEST_F(TimeLookup, AbortsDoNotCountPreparedTransactionsDo) {
    End(&root_, kBegin + 1 * kSecond);
    End(&root_, kBegin + 9 * kSecond, kXactAbort);
    Filler(&root_, 10);
    End(&root_, kBegin + 3 * kSecond, kXactCommitPrepared);
    End(&root_, kBegin + 20 * kSecond, kXactAbortPrepared);
    End(&root_, kBegin + 12 * kSecond);
    for (int64_t offset = 0; offset < 22; offset++) {
        ExpectExact(root_, kBegin + offset * kSecond);
    }
}

// Far more WAL than between two saved states, with stretches that have no commit.
TEST_F(TimeLookup, LongHistoryAndItsBranches) {
    std::mt19937 random(7);
    int64_t time = kBegin;
    auto write = [&](Fed* fed, int events) {
        for (int i = 0; i < events; i++) {
            time += random() % 5 == 0 ? random() % (100 * kSecond) : random() % (kSecond / 4);
            const int64_t jitter = static_cast<int64_t>(random() % kSecond) - kSecond / 2;
            End(fed, time + jitter, random() % 4 == 0 ? kXactAbort : kXactCommit);
            Filler(fed, random() % 20 == 0 ? 200000 : random() % 3000);
        }
    };
    write(&root_, 600);
    const Lsn branch_point = root_.timeline->last_record_end();
    Fed child;
    child.events = root_.events;
    ASSERT_NO_FATAL_FAILURE(
        Start(&child, branch_point, root_.timeline, root_.ingester->state()));
    const int64_t end_of_root = time;
    write(&child, 300);
    time = end_of_root;
    write(&root_, 100);
    for (const Fed* fed : {&root_, &child}) {
        for (const Event& event : fed->events) {
            for (int64_t micros : {-1, 0, 1}) {
                ExpectExact(*fed, event.time + micros);
            }
        }
        // A time in the ancestor's part does not need the branch itself.
        EXPECT_LT(*At(*fed, root_.events[100].time), branch_point);
    }
    // With an end, nothing after it is found.
    EXPECT_EQ(*LsnAtTime(*child.timeline, time + 1000 * kSecond, branch_point, 1), branch_point);

    // What is older than a time: never beyond it, and not far from it.
    for (size_t i = 0; i < root_.events.size(); i += 7) {
        const int64_t then = root_.events[i].time;
        Result<Lsn> older = LsnKnownOlderThan(*root_.timeline, then, 1);
        ASSERT_TRUE(older.ok()) << older.status().message();
        EXPECT_LE(*older, *At(root_, then));
        EXPECT_GE(*older + 2500000, root_.events[i].before);
    }
    EXPECT_EQ(*LsnKnownOlderThan(*root_.timeline, kBegin - 1, 1), root_.timeline->start_lsn());
    EXPECT_EQ(*LsnKnownOlderThan(*child.timeline, root_.events[10].time, 1), branch_point);
}

}  // namespace
}  // namespace zenith
