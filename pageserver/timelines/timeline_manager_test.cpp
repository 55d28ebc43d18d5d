#include "pageserver/timelines/timeline_manager.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>

#include "common/base/byte_writer.h"
#include "common/base/posix_file.h"
#include "common/base/time.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/testing/wal_builder.h"
#include "pageserver/timelines/import_cluster.h"
#include "pageserver/timelines/loaded_timeline.h"
#include "pageserver/timelines/small_cluster_for_test.h"
#include "pageserver/timelines/timeline_manager_for_test.h"

namespace zenith {
namespace {

TEST_F(TimelineManagerTest, ImportedRootHasItsState) {
    auto timeline = manager_->Get(root_);
    ASSERT_TRUE(timeline.ok()) << timeline.status().message();
    EXPECT_EQ((*timeline)->start_lsn(), cluster_.end());
    EXPECT_EQ((*timeline)->last_record_end(), cluster_.end());
    auto state = manager_->StateAt(root_, std::nullopt);
    ASSERT_TRUE(state.ok()) << state.status().message();
    EXPECT_EQ(state->record_end, cluster_.end());
    EXPECT_EQ(state->record_start, cluster_.checkpoint_start());
    EXPECT_EQ(state->next_xid, 740u);
    EXPECT_EQ(state->next_oid, 16384u);
    auto size = (*timeline)->RelationSize({{1663, 5, 1259}, Fork::kMain}, cluster_.end());
    ASSERT_TRUE(size.ok());
    EXPECT_EQ(*size, 3u);
    // The bytes before the start, for the first WAL page of a compute.
    std::vector<std::byte> header(8);
    ASSERT_TRUE((*timeline)->wal().Read(Lsn(cluster_.end().value / 8192 * 8192), header).ok());
    EXPECT_EQ(header[0], std::byte{0x10});
    EXPECT_EQ(header[1], std::byte{0xD1});
    EXPECT_EQ(manager_->Get(TimelineId::Random()).status().code(), StatusCode::kNotFound);
    EXPECT_EQ(manager_->StateAt(root_, cluster_.end() + 8).status().code(), StatusCode::kNotFound);
    EXPECT_FALSE(manager_->StateAt(root_, cluster_.end() - 8).ok());
}

TEST_F(TimelineManagerTest, TermsOnlyGrowAndSurviveRestarts) {
    EXPECT_EQ(Grant(root_), 1u);
    EXPECT_EQ(Grant(root_), 2u) << "the first compute never called";
    Open();
    EXPECT_EQ(Grant(root_), 3u);
    EXPECT_EQ(repository_.ReadTimeline(root_)->term, 3u);
    EXPECT_EQ(manager_->CallMeMaybe(root_, 2, "port=1").code(), StatusCode::kRefused);
    EXPECT_EQ(manager_->CallMeMaybe(root_, 4, "port=1").code(), StatusCode::kRefused);
    EXPECT_EQ(manager_->CallMeMaybe(root_, 3, "not a connstr").code(),
              StatusCode::kInvalidArgument);
}

TEST_F(TimelineManagerTest, ReceivesFromTheComputeThatCalled) {
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    for (BlockNumber block = 0; block < 10; block++) {
        Extend(&builder, block, 1000 + block);
    }
    Deliver(root_, "port=1", builder);
    EXPECT_EQ(SizeAt(root_, builder.position()), 10u);
    auto list = manager_->List();
    ASSERT_TRUE(list.ok());
    ASSERT_EQ(list->size(), 1u);
    EXPECT_TRUE((*list)[0].receiving);
    EXPECT_EQ((*list)[0].flush_lsn, builder.position());
    EXPECT_EQ((*list)[0].file.compute_connstr, "port=1");

    // The same call again keeps the stream; a new address starts another.
    EXPECT_TRUE(manager_->CallMeMaybe(root_, 1, "port=1").ok());
    EXPECT_TRUE(computes_.At("port=1").WaitFor(
        [](const ScriptedCompute& c) { return c.connects() == 1; }));
    computes_.At("port=2").SetFirstLsn(builder.start());
    computes_.At("port=2").SetStream(builder.start(), builder.stream());
    EXPECT_TRUE(manager_->CallMeMaybe(root_, 1, "port=2").ok());
    const Lsn last_start = Extend(&builder, 10).start;
    Deliver(root_, "port=2", builder);
    // The last record again, so that the compute shows that it knows it, then what is new.
    EXPECT_LT(computes_.At("port=2").starts().front(), (*list)[0].flush_lsn);
    EXPECT_LT((*list)[0].flush_lsn, last_start + 1);

    // After a restart everything is there again, and the state is exact.
    Open();
    auto state = manager_->StateAt(root_, std::nullopt);
    ASSERT_TRUE(state.ok());
    EXPECT_EQ(state->record_end, builder.position());
    EXPECT_EQ(state->record_start, builder.prev());
    EXPECT_EQ(state->next_xid, 1010u);
    EXPECT_EQ(SizeAt(root_, builder.position()), 11u);
}

// From the end of the layer files on the WAL is read again, and not before.
TEST_F(TimelineManagerTest, RestartsFromItsLayerFiles) {
    options_.limits.wal_bytes = 100;
    Open();
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    DeliverInPieces(root_, "port=1", &builder, 0, 40);
    computes_.SetFlush([&] { return Result<Lsn>(builder.position()); });
    auto branch = manager_->CreateTimeline({root_, std::nullopt});
    ASSERT_TRUE(branch.ok()) << branch.status().message();
    RunCompute(branch->id, "port=2");
    WalBuilder on_branch = BuilderAt(branch->id);
    DeliverInPieces(branch->id, "port=2", &on_branch, 40, 60);

    options_.limits.wal_bytes = 1 << 30;
    Open();
    for (int i = 0; i < 2; i++) {
        const Lsn layers_end = LayersEnd(root_);
        EXPECT_GT(layers_end, builder.start());
        EXPECT_LE(layers_end, builder.position());
        for (const auto& [id, wal, blocks] :
             {std::tuple(root_, &builder, 40u), std::tuple(branch->id, &on_branch, 60u)}) {
            auto state = manager_->StateAt(id, std::nullopt);
            ASSERT_TRUE(state.ok()) << state.status().message();
            EXPECT_EQ(state->record_end, wal->position());
            EXPECT_EQ(state->record_start, wal->prev());
            EXPECT_EQ(state->next_xid, 1000u + blocks);
            EXPECT_EQ(SizeAt(id, kMaxLsn), blocks);
            auto timeline = *manager_->Get(id);
            for (BlockNumber block = 0; block < blocks; block++) {
                auto page = timeline->CollectPage(PageKey::Relation(kRelation, block), kMaxLsn);
                ASSERT_TRUE(page.ok()) << page.status().message();
                ASSERT_EQ(page->records.size(), 1u);
            }
        }
        // The second time the first records are damaged: nobody reads them to load a timeline.
        manager_.reset();
        const std::string segment =
            repository_.WalDirectory(root_) + "/" + WalSegmentName(WalSegmentNumber(builder.start()));
        auto fd = OpenFile(segment, O_RDWR);
        ASSERT_TRUE(fd.ok());
        const std::string damage(16, '\xff');
        ASSERT_TRUE(WriteAllAt(fd->get(), segment, (builder.start().value + 32) % kWalSegmentSize,
                               std::as_bytes(std::span(damage.data(), damage.size())))
                        .ok());
        Open();
    }
    // The term goes on, and so does the WAL.
    computes_.SetLiveness("port=1", ComputeLiveness::kGone);
    auto grant = manager_->GrantWriter(root_);
    ASSERT_TRUE(grant.ok()) << grant.status().message();
    EXPECT_EQ(grant->state.record_end, builder.position());
}

// Its end must not be taken for the end of the history: the next writer would begin there.
TEST_F(TimelineManagerTest, WalThatEndsBeforeTheLayersIsDamaged) {
    options_.limits.wal_bytes = 100;
    Open();
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    DeliverInPieces(root_, "port=1", &builder, 0, 40);
    computes_.SetLiveness("port=1", ComputeLiveness::kGone);
    computes_.At("port=1").SetConnectError(Status::Unavailable("connection refused"));
    manager_.reset();
    const Lsn layers_end = LayersEnd(root_);
    WalStorage wal(repository_.WalDirectory(root_), cluster_.end(), nullptr);
    ASSERT_TRUE(RemoveFile(wal.directory() + "/durable").ok());
    ASSERT_TRUE(wal.TruncateAfter(layers_end - 8).ok());
    Open();
    Status status = manager_->GrantWriter(root_).status();
    EXPECT_EQ(status.code(), StatusCode::kCorruption);
    EXPECT_NE(status.message().find("has layers up to " + layers_end.ToString()),
              std::string::npos)
        << status.message();
    // What is before it can be used.
    EXPECT_GT(SizeAt(root_, layers_end - 200), 10u);
    EXPECT_TRUE(manager_->CreateTimeline({root_, layers_end - 200}).ok());
}

TEST_F(TimelineManagerTest, SecondWriterIsRefusedWhileTheFirstLives) {
    RunCompute(root_, "port=1");
    auto refused = manager_->GrantWriter(root_);
    EXPECT_EQ(refused.status().code(), StatusCode::kRefused);
    EXPECT_FALSE(refused.status().hint().empty());
    EXPECT_EQ(repository_.ReadTimeline(root_)->term, 1u);
    // Also when it is only known from timeline.json.
    Open();
    EXPECT_EQ(manager_->GrantWriter(root_).status().code(), StatusCode::kRefused);
    computes_.SetLiveness("port=1", ComputeLiveness::kBusy);
    EXPECT_EQ(manager_->GrantWriter(root_).status().code(), StatusCode::kRefused);
    computes_.SetLiveness("port=1", ComputeLiveness::kGone);
    EXPECT_EQ(Grant(root_), 2u);
    EXPECT_TRUE(repository_.ReadTimeline(root_)->compute_connstr.empty());
}

// A compute was killed in the middle of a record: the next one starts at the last whole one, and
// nothing of the torn record is left behind it.
TEST_F(TimelineManagerTest, NextWriterStartsAtTheLastWholeRecord) {
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    Extend(&builder, 0);
    Deliver(root_, "port=1", builder);
    Lsn whole = builder.position();
    WalRecordSpec big;
    big.rmgr = Rmgr::kLogicalMsg;
    big.main_data.assign(20000, 'x');
    builder.AppendTorn(big, 15000);
    computes_.At("port=1").BreakOnceAt(builder.position());
    computes_.At("port=1").SetConnectError(Status::Unavailable("connection refused"));
    computes_.At("port=1").SetStream(builder.start(), builder.stream());
    computes_.SetLiveness("port=1", ComputeLiveness::kGone);
    ASSERT_TRUE(computes_.At("port=1").WaitFor(
        [](const ScriptedCompute& c) { return c.connects() >= 2; }));

    auto grant = manager_->GrantWriter(root_);
    ASSERT_TRUE(grant.ok()) << grant.status().message();
    EXPECT_EQ(grant->term, 2u);
    EXPECT_EQ(grant->state.record_end, whole);
    auto timeline = manager_->Get(root_);
    std::vector<std::byte> tail(8000);
    ASSERT_TRUE((*timeline)->wal().Read(whole, tail).ok());
    for (std::byte b : tail) {
        ASSERT_EQ(b, std::byte{0});
    }
    EXPECT_EQ(manager_->CallMeMaybe(root_, 1, "port=1").code(), StatusCode::kRefused);
}

TEST_F(TimelineManagerTest, BranchSeesThePastOnly) {
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    WalBuilder::Placed first = Extend(&builder, 0);
    Extend(&builder, 1);
    Deliver(root_, "port=1", builder);
    Lsn tip = builder.position();
    computes_.SetFlush([&] { return Result<Lsn>(tip); });

    auto branch = manager_->CreateTimeline({root_, std::nullopt});
    ASSERT_TRUE(branch.ok()) << branch.status().message();
    EXPECT_EQ(branch->ancestor, root_);
    EXPECT_EQ(branch->ancestor_lsn, tip);
    // Between two records: rounded down.
    auto early = manager_->CreateTimeline({root_, first.end + 16});
    ASSERT_TRUE(early.ok()) << early.status().message();
    EXPECT_EQ(early->ancestor_lsn, first.end);

    Extend(&builder, 2);
    Deliver(root_, "port=1", builder);
    EXPECT_EQ(SizeAt(root_, kMaxLsn), 3u);
    EXPECT_EQ(SizeAt(branch->id, kMaxLsn), 2u);
    EXPECT_EQ(SizeAt(early->id, kMaxLsn), 1u);

    // Two siblings and a grandchild write their own histories at the same LSNs.
    RunCompute(branch->id, "port=2");
    WalBuilder on_branch = BuilderAt(branch->id);
    EXPECT_EQ(on_branch.start(), tip);
    for (BlockNumber block = 2; block < 6; block++) {
        Extend(&on_branch, block, 2000);
    }
    Deliver(branch->id, "port=2", on_branch);
    computes_.SetFlush([&] { return Result<Lsn>(on_branch.position()); });
    auto grandchild = manager_->CreateTimeline({branch->id, std::nullopt});
    ASSERT_TRUE(grandchild.ok()) << grandchild.status().message();
    EXPECT_EQ(SizeAt(grandchild->id, kMaxLsn), 6u);
    EXPECT_EQ(SizeAt(root_, kMaxLsn), 3u);
    EXPECT_EQ(manager_->StateAt(grandchild->id, std::nullopt)->next_xid, 2001u);
    EXPECT_EQ(manager_->StateAt(root_, std::nullopt)->next_xid, 1001u);

    // A point before the branch point is the ancestor's.
    auto before = manager_->CreateTimeline({grandchild->id, first.end});
    ASSERT_TRUE(before.ok()) << before.status().message();
    EXPECT_EQ(before->ancestor, root_);
    EXPECT_EQ(before->ancestor_lsn, first.end);

    // The same after a restart; the youngest is asked first and loads its ancestors.
    Open();
    EXPECT_EQ(SizeAt(grandchild->id, kMaxLsn), 6u);
    EXPECT_EQ(SizeAt(early->id, kMaxLsn), 1u);
    EXPECT_EQ(SizeAt(root_, kMaxLsn), 3u);
}

TEST_F(TimelineManagerTest, PointsOutsideOfHistory) {
    Lsn end = cluster_.end();
    EXPECT_EQ(manager_->PinPoint({root_, end + 1000}).status().code(), StatusCode::kNotFound);
    EXPECT_EQ(manager_->PinPoint({root_, end - 1000}).status().code(), StatusCode::kNotFound);
    EXPECT_EQ(*manager_->PinPoint({root_, end})->lsn, end);
    EXPECT_EQ(*manager_->PinPoint({root_, std::nullopt})->lsn, end);
}

// The branch command reaches a compute that had commits in its WAL buffers only.
TEST_F(TimelineManagerTest, BranchAtTheTipFlushesTheCompute) {
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    Extend(&builder, 0);
    Deliver(root_, "port=1", builder);
    computes_.SetFlush([&] {
        Extend(&builder, 1);
        computes_.At("port=1").SetStream(builder.start(), builder.stream());
        return Result<Lsn>(builder.position());
    });
    auto lsn = manager_->PinPoint({root_, std::nullopt});
    ASSERT_TRUE(lsn.ok()) << lsn.status().message();
    EXPECT_EQ(*lsn->lsn, builder.position());

    // It lives, but does not flush: better an error than a branch without its commits.
    computes_.SetFlush([] { return Result<Lsn>(Status::Unavailable("timeout")); });
    EXPECT_EQ(manager_->PinPoint({root_, std::nullopt}).status().code(), StatusCode::kUnavailable);
    // It died: what it acknowledged is here.
    computes_.SetLiveness("port=1", ComputeLiveness::kGone);
    EXPECT_EQ(*manager_->PinPoint({root_, std::nullopt})->lsn, builder.position());
}

// After a restart of the page server the compute is found by its recorded address.
TEST_F(TimelineManagerTest, BranchFindsTheComputeAfterARestart) {
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    Extend(&builder, 0);
    Deliver(root_, "port=1", builder);
    Open();
    Extend(&builder, 1);
    computes_.SetFlush([&] {
        computes_.At("port=1").SetStream(builder.start(), builder.stream());
        return Result<Lsn>(builder.position());
    });
    auto lsn = manager_->PinPoint({root_, std::nullopt});
    ASSERT_TRUE(lsn.ok()) << lsn.status().message();
    EXPECT_EQ(*lsn->lsn, builder.position());
}

TEST_F(TimelineManagerTest, BranchesAreDeletedInAnyOrder) {
    auto name_it = [&](const char* name) {
        return [this, name](const TimelineFile& file) {
            return repository_.WriteBranch(name, file.id);
        };
    };
    auto unname = [&](const char* name) { return [this, name] { return repository_.RemoveBranch(name); }; };
    ASSERT_TRUE(repository_.WriteBranch("main", root_).ok());
    auto other = manager_->CreateTimeline({root_, std::nullopt}, name_it("other"));
    auto parent = manager_->CreateTimeline({root_, std::nullopt}, name_it("parent"));
    ASSERT_TRUE(parent.ok()) << parent.status().message();
    auto child = manager_->CreateTimeline({parent->id, std::nullopt}, name_it("child"));
    ASSERT_TRUE(child.ok());
    // A name that cannot be written leaves no timeline.
    EXPECT_EQ(manager_->CreateTimeline({root_, std::nullopt}, name_it("child")).status().code(),
              StatusCode::kAlreadyExists);
    EXPECT_EQ(repository_.ListTimelines()->size(), 4u);

    // With a compute it stays, name and all.
    RunCompute(child->id, "port=2");
    EXPECT_EQ(manager_->DeleteTimeline(child->id, unname("child")).code(), StatusCode::kRefused);
    EXPECT_TRUE(repository_.FindBranch("child")->has_value());
    ASSERT_TRUE(computes_.At("port=2").WaitFor(
        [](const ScriptedCompute& c) { return !c.starts().empty(); }));
    computes_.At("port=2").SetConnectError(Status::Unavailable("connection refused"));
    computes_.SetLiveness("port=2", ComputeLiveness::kGone);
    computes_.At("port=2").BreakOnceAt(cluster_.end());

    // The parent loses its name, its child's data stays; nobody writes to it any more.
    ASSERT_TRUE(manager_->DeleteTimeline(parent->id, unname("parent")).ok());
    EXPECT_TRUE(manager_->Get(child->id).ok());
    EXPECT_EQ(manager_->GrantWriter(parent->id).status().code(), StatusCode::kRefused);
    // Nor does one that had been let before, and calls only now.
    EXPECT_EQ(manager_->CallMeMaybe(parent->id, 0, "port=7").code(), StatusCode::kRefused);
    // Main as well. A tag keeps the child, which keeps them all.
    auto tag = manager_->PinPoint({child->id, std::nullopt}, [&](const TimelinePoint& point) {
        return repository_.WriteTag("v1", point);
    });
    ASSERT_TRUE(tag.ok()) << tag.status().message();
    ASSERT_TRUE(manager_->DeleteTimeline(root_, unname("main")).ok());
    ASSERT_TRUE(manager_->DeleteTimeline(child->id, unname("child")).ok());
    EXPECT_EQ(repository_.ListTimelines()->size(), 4u);
    EXPECT_TRUE(manager_->Get(child->id).ok());
    // With the tag everything goes that only it kept: not what "other" comes from.
    ASSERT_TRUE(manager_->ReleasePoint(*tag, [&] { return repository_.RemoveTag("v1"); }).ok());
    std::vector<TimelineId> left = {root_, other->id};
    std::sort(left.begin(), left.end());
    EXPECT_EQ(*repository_.ListTimelines(), left);
    for (const TimelineId& id : {child->id, parent->id}) {
        EXPECT_EQ(manager_->Get(id).status().code(), StatusCode::kNotFound);
        EXPECT_FALSE(FileExists(repository_.TimelineDirectory(id)));
        EXPECT_EQ(manager_->DeleteTimeline(id).code(), StatusCode::kNotFound);
        EXPECT_EQ(manager_->CreateTimeline({id, std::nullopt}).status().code(),
                  StatusCode::kNotFound);
    }
}

TEST_F(TimelineManagerTest, PointsOfABranchBeforeItsStartBelongToItsAncestor) {
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    const Lsn first = Extend(&builder, 0).end;
    Extend(&builder, 1);
    Deliver(root_, "port=1", builder);
    auto branch = manager_->CreateTimeline({root_, builder.position()});
    ASSERT_TRUE(branch.ok());
    auto early = manager_->PinPoint({branch->id, first});
    ASSERT_TRUE(early.ok()) << early.status().message();
    EXPECT_EQ(early->timeline, root_);
    EXPECT_EQ(early->lsn, first);
    EXPECT_EQ(manager_->PinPoint({branch->id, builder.position()})->timeline, branch->id);
}

TEST_F(TimelineManagerTest, PointsByTheClock) {
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    const int64_t begin = 1700000100 * kMicrosPerSecond;  // after the cluster's checkpoint
    std::vector<Lsn> before;
    for (int i = 0; i < 5; i++) {
        Extend(&builder, static_cast<BlockNumber>(i));
        before.push_back(builder.position());
        WalRecordSpec commit;
        commit.rmgr = Rmgr::kXact;
        commit.xid = 1000 + static_cast<uint32_t>(i);
        ByteWriter body;
        body.U64Le(static_cast<uint64_t>(begin + i * kMicrosPerSecond - kPostgresEpochMicros));
        commit.main_data = body.Take();
        builder.Append(commit);
    }
    Deliver(root_, "port=1", builder);
    computes_.SetFlush([&] { return Result<Lsn>(builder.position()); });
    for (int i = 0; i < 5; i++) {
        TimelinePoint point{root_, std::nullopt, begin + i * kMicrosPerSecond - 1};
        auto pinned = manager_->PinPoint(point);
        ASSERT_TRUE(pinned.ok()) << pinned.status().message();
        EXPECT_EQ(pinned->lsn, before[static_cast<size_t>(i)]);
    }
    EXPECT_EQ(manager_->PinPoint({root_, std::nullopt, begin + 9 * kMicrosPerSecond})->lsn,
              builder.position());
    // Of a branch, and with an end as a tag has it.
    auto branch = manager_->CreateTimeline({root_, std::nullopt});
    ASSERT_TRUE(branch.ok());
    auto early = manager_->PinPoint({branch->id, std::nullopt, begin});
    ASSERT_TRUE(early.ok()) << early.status().message();
    EXPECT_EQ(early->timeline, root_);
    EXPECT_EQ(early->lsn, before[1]);
    EXPECT_EQ(manager_->PinPoint({root_, before[2], begin + 9 * kMicrosPerSecond})->lsn, before[2]);

    auto future = manager_->PinPoint({root_, std::nullopt, NowMicros() + 3600 * kMicrosPerSecond});
    EXPECT_EQ(future.status().code(), StatusCode::kNotFound);
    EXPECT_NE(future.status().message().find("future"), std::string::npos);
    auto past = manager_->PinPoint({root_, std::nullopt, 1600000000 * kMicrosPerSecond});
    EXPECT_EQ(past.status().code(), StatusCode::kNotFound);
    EXPECT_NE(past.status().message().find(cluster_.end().ToString()), std::string::npos)
        << past.status().message();
}

TEST_F(TimelineManagerTest, SettingsOfRetentionAreDurable) {
    EXPECT_EQ(manager_->retention().pitr_interval_seconds, 7 * 86400);
    ASSERT_TRUE(manager_->SetRetention({60, 12345}).ok());
    EXPECT_EQ(manager_->SetRetention({-1, 0}).code(), StatusCode::kInvalidArgument);
    Open();
    EXPECT_EQ(manager_->retention().pitr_interval_seconds, 60);
    EXPECT_EQ(manager_->retention().retain_bytes, 12345u);
}

// Ingest stops at a record it must not skip: the old history is served, nothing new is built on it.
TEST_F(TimelineManagerTest, IngestErrorIsReported) {
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    Extend(&builder, 0);
    Lsn good = builder.position();
    WalRecordSpec foreign;
    foreign.rmgr = static_cast<Rmgr>(128);
    foreign.blocks.push_back({.id = 0, .rel = kRelation, .block = 0, .data = "x"});
    builder.Append(foreign);
    computes_.At("port=1").SetStream(builder.start(), builder.stream());
    ASSERT_TRUE(computes_.At("port=1").WaitFor(
        [&](const ScriptedCompute& c) { return c.Flushed(builder.position()); }));
    auto timeline = manager_->Get(root_);
    ASSERT_TRUE((*timeline)->WaitForLsn(good, 20000).ok());
    EXPECT_FALSE((*timeline)->WaitForLsn(builder.position(), 0).ok());
    // Ingest reports its failure just after the good records became visible.
    while (InfoOf(root_).ingest_error.empty()) {
        std::this_thread::yield();
    }
    EXPECT_EQ(manager_->CreateTimeline({root_, std::nullopt}).status().code(),
              StatusCode::kRefused);
    EXPECT_TRUE(manager_->CreateTimeline({root_, good}).ok());
    // A restart changes nothing about it.
    Open();
    EXPECT_TRUE(manager_->Get(root_).ok());
    EXPECT_FALSE(InfoOf(root_).ingest_error.empty());
    ASSERT_TRUE(manager_->CallMeMaybe(root_, 1, "port=1").ok());
    computes_.SetLiveness("port=1", ComputeLiveness::kGone);
    computes_.At("port=1").SetConnectError(Status::Unavailable("connection refused"));
    computes_.At("port=1").BreakOnceAt(builder.position());
    EXPECT_EQ(manager_->GrantWriter(root_).status().code(), StatusCode::kRefused);
}

// A flipped byte in acknowledged WAL once looked like the end of it, and the next compute's start cut
// off everything behind it.
TEST_F(TimelineManagerTest, DamagedWalIsNotTakenForItsEnd) {
    RunCompute(root_, "port=1");
    WalBuilder builder = BuilderAt(root_);
    std::vector<WalBuilder::Placed> placed;
    for (BlockNumber block = 0; block < 20; block++) {
        placed.push_back(Extend(&builder, block, 1000 + block));
    }
    Deliver(root_, "port=1", builder);
    computes_.SetLiveness("port=1", ComputeLiveness::kGone);
    computes_.At("port=1").SetConnectError(Status::Unavailable("connection refused"));
    manager_.reset();

    const Lsn damaged = placed[10].start + 30;
    const std::string path = repository_.WalDirectory(root_) + "/" +
                             WalSegmentName(WalSegmentNumber(damaged));
    auto fd = OpenFile(path, O_RDWR);
    ASSERT_TRUE(fd.ok());
    std::byte byte;
    ASSERT_TRUE(ReadExactAt(fd->get(), path, damaged.value % kWalSegmentSize,
                            std::span(&byte, 1)).ok());
    byte ^= std::byte{1};
    ASSERT_TRUE(WriteAllAt(fd->get(), path, damaged.value % kWalSegmentSize,
                           std::span(&byte, 1)).ok());

    Open();
    auto grant = manager_->GrantWriter(root_);
    ASSERT_FALSE(grant.ok());
    EXPECT_EQ(grant.status().code(), StatusCode::kCorruption);
    EXPECT_NE(grant.status().message().find(placed[9].end.ToString()), std::string::npos)
        << grant.status().message();
    // What is before the damage can be used.
    EXPECT_EQ(SizeAt(root_, placed[9].end), 10u);
    EXPECT_TRUE(manager_->CreateTimeline({root_, placed[5].end}).ok());

    // Nothing was cut off: with the byte mended everything is there.
    manager_.reset();
    byte ^= std::byte{1};
    ASSERT_TRUE(WriteAllAt(fd->get(), path, damaged.value % kWalSegmentSize,
                           std::span(&byte, 1)).ok());
    Open();
    EXPECT_EQ(SizeAt(root_, builder.position()), 20u);
    EXPECT_EQ(Grant(root_), 2u);
}

TEST_F(TimelineManagerTest, ConcurrentFirstUse) {
    TimelineId id = root_;
    std::vector<TimelineId> chain = {root_};
    for (int i = 0; i < 5; i++) {
        id = manager_->CreateTimeline({id, std::nullopt})->id;
        chain.push_back(id);
    }
    Open();
    std::vector<std::thread> threads;
    std::mutex mutex;
    std::map<TimelineId, std::set<Timeline*>> seen;
    for (int i = 0; i < 12; i++) {
        threads.emplace_back([&, i] {
            const TimelineId& wanted = chain[static_cast<size_t>(i) % chain.size()];
            auto timeline = manager_->Get(wanted);
            ASSERT_TRUE(timeline.ok()) << timeline.status().message();
            std::lock_guard lock(mutex);
            seen[wanted].insert(timeline->get());
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (const auto& [wanted, timelines] : seen) {
        EXPECT_EQ(timelines.size(), 1u) << wanted.ToString();
    }
}

TEST_F(TimelineManagerTest, DamagedMetadata) {
    // Its own ancestor.
    TimelineFile file;
    file.id = TimelineId::Random();
    file.ancestor = file.id;
    file.ancestor_lsn = cluster_.end();
    ASSERT_TRUE(repository_.WriteTimeline(file).ok());
    EXPECT_EQ(manager_->Get(file.id).status().code(), StatusCode::kCorruption);
    // A branch point that its parent has not reached, and one that is no record boundary.
    for (Lsn lsn : {cluster_.end() + 8000, cluster_.end() - 8}) {
        file.id = TimelineId::Random();
        file.ancestor = root_;
        file.ancestor_lsn = lsn;
        ASSERT_TRUE(repository_.WriteTimeline(file).ok());
        EXPECT_FALSE(manager_->Get(file.id).ok()) << lsn.ToString();
    }
    EXPECT_TRUE(manager_->Get(root_).ok());
}

TEST_F(TimelineManagerTest, AfterShutdownNothingStarts) {
    RunCompute(root_, "port=1");
    manager_->Shutdown();
    manager_->Shutdown();
    computes_.SetLiveness("port=1", ComputeLiveness::kGone);
    EXPECT_EQ(manager_->GrantWriter(root_).status().code(), StatusCode::kUnavailable);
    EXPECT_FALSE(manager_->CallMeMaybe(root_, 1, "port=9").ok());
}

// ---- import -------------------------------------------------------------------------------------

class ImportTest : public testing::TestWithParam<uint64_t> {};

// The checkpoint record at awkward places of the WAL.
TEST_P(ImportTest, FindsTheEndOfTheCheckpoint) {
    SmallCluster cluster{Lsn(GetParam())};
    Repository repository(cluster.repository_path());
    TimelineId id = TimelineId::Random();
    Status status = ImportCluster(repository, cluster.pgdata(), id);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(repository.ReadTimeline(id)->ancestor_lsn, cluster.end());
    FakeComputes computes;
    auto manager = OpenTimelineManager(repository, computes.Access());
    ASSERT_TRUE(manager.ok());
    auto state = (*manager)->StateAt(id, std::nullopt);
    ASSERT_TRUE(state.ok()) << state.status().message();
    EXPECT_EQ(state->record_end, cluster.end());
    EXPECT_EQ(state->record_start, cluster.checkpoint_start());
}

INSTANTIATE_TEST_SUITE_P(Places, ImportTest,
                         testing::Values(2 * kWalSegmentSize, 2 * kWalSegmentSize + 8192,
                                         2 * kWalSegmentSize + 8192 - 8, 3 * kWalSegmentSize - 8,
                                         3 * kWalSegmentSize - 64, 3 * kWalSegmentSize - 120,
                                         2 * kWalSegmentSize + 8192 - 120));

TEST(ImportRefusal, NothingIsLeftBehind) {
    SmallCluster cluster;
    Repository repository(cluster.repository_path());
    TimelineId id = TimelineId::Random();
    auto expect_refused = [&](StatusCode code) {
        Status status = ImportCluster(repository, cluster.pgdata(), id);
        EXPECT_EQ(status.code(), code) << status.message();
        EXPECT_TRUE(repository.ListTimelines()->empty());
        EXPECT_FALSE(FileExists(repository.TimelineDirectory(id)));
    };
    ControlFile control = cluster.control();
    control.state = 6;  // DB_IN_PRODUCTION
    cluster.WriteControlFile(control);
    expect_refused(StatusCode::kRefused);
    control = cluster.control();
    control.system_identifier++;
    cluster.WriteControlFile(control);
    expect_refused(StatusCode::kRefused);
    control = cluster.control();
    control.data_checksum_version = 1;  // the repository's cluster has none
    cluster.WriteControlFile(control);
    expect_refused(StatusCode::kRefused);
    control = cluster.control();
    control.check_point = control.check_point + 8;
    cluster.WriteControlFile(control);
    expect_refused(StatusCode::kCorruption);
    cluster.WriteControlFile(cluster.control());
    ASSERT_TRUE(ReplaceFileAtomically(cluster.pgdata() + "/postmaster.pid", "1\n").ok());
    expect_refused(StatusCode::kRefused);
    ASSERT_TRUE(RemoveFile(cluster.pgdata() + "/postmaster.pid").ok());
    ASSERT_TRUE(ImportCluster(repository, cluster.pgdata(), id).ok());
    EXPECT_EQ(ImportCluster(repository, cluster.pgdata(), id).code(), StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace zenith
