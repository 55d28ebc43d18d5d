#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "common/base/byte_writer.h"
#include "pageserver/layers/fake_imager_for_test.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/timelines/timeline_manager_for_test.h"

namespace zenith {
namespace {

// Random branches, tags, deletions, writers, truncations, restarts and collections: what has a name
// stays as it was.
class KeptHistoryTest : public TimelineManagerTest, public testing::WithParamInterface<int> {};

TEST_P(KeptHistoryTest, WhatHasANameStays) {
    std::mt19937 random(static_cast<unsigned>(GetParam()));
    auto pick = [&](size_t n) { return static_cast<size_t>(random() % n); };
    struct Point {
        TimelineId timeline;
        Lsn lsn;
        BlockNumber size;
        std::vector<uint64_t> pages;  // a number for what each one holds
    };
    struct Branch {
        TimelineId id;
        std::vector<Point> history;  // oldest first; the last one is the tip
    };
    std::map<std::string, Branch> branches;
    std::map<std::string, Point> tags;
    FakeImager imager;
    options_.imager = &imager;
    options_.replay_bytes = 300;
    options_.limits.wal_bytes = 2000;
    Open();
    ASSERT_TRUE(repository_.WriteBranch("main", root_).ok());
    branches["main"] = {root_, {{root_, cluster_.end(), 0, {}}}};
    ASSERT_TRUE(manager_->SetRetention({0, 3000}).ok());
    int next = 0;
    size_t collected = 0;
    auto any = [&](auto& map) {
        auto it = map.begin();
        std::advance(it, static_cast<long>(pick(map.size())));
        return it;
    };
    auto numbers = [](Timeline& timeline, const Point& point) {
        std::vector<uint64_t> result;
        for (BlockNumber block = 0; block < point.size; block++) {
            auto page = timeline.CollectPage(PageKey::Relation(kRelation, block), point.lsn);
            EXPECT_TRUE(page.ok()) << page.status().message();
            std::string record;
            for (const RecordRef& ref : page.ok() ? page->records : std::vector<RecordRef>()) {
                Status read = ref.wal->ReadRecord(ref.start, ref.end, &record);
                EXPECT_TRUE(read.ok()) << read.message();
            }
            result.push_back(page.ok() ? FoldPage(*page) : 0);
        }
        return result;
    };
    auto check = [&](const Point& point, const std::string& what) {
        auto timeline = manager_->Get(point.timeline);
        ASSERT_TRUE(timeline.ok()) << what << timeline.status().message();
        Status readable = (*timeline)->CheckReadable(point.lsn);
        ASSERT_TRUE(readable.ok()) << what << readable.message();
        auto size = (*timeline)->RelationSize(kRelation, point.lsn);
        ASSERT_TRUE(size.ok()) << what << size.status().message();
        ASSERT_EQ(size->value_or(0), point.size) << what << " at " << point.lsn.ToString();
        auto state = manager_->StateAt(point.timeline, point.lsn);
        ASSERT_TRUE(state.ok()) << what << state.status().message();
        ASSERT_EQ(state->record_end, point.lsn) << what;
        ASSERT_EQ(numbers(**timeline, point), point.pages)
            << what << " at " << point.lsn.ToString();
    };
    for (int step = 0; step < 120; step++) {
        const size_t op = pick(12);
        SCOPED_TRACE(testing::Message() << "step " << step << " op " << op);
        auto of = any(branches);
        Branch& branch = of->second;
        if (op < 4) {
            const std::string connstr = "port=" + std::to_string(1000 + next++);
            RunCompute(branch.id, connstr);
            WalBuilder builder = BuilderAt(branch.id);
            std::vector<Point> points;
            BlockNumber size = branch.history.back().size;
            if (pick(5) == 0) {
                builder.AppendSwitch();
            }
            for (size_t i = 0, n = 1 + pick(40); i < n; i++) {
                if (size > 0 && pick(2) == 0) {
                    WalRecordSpec spec;
                    spec.rmgr = Rmgr::kHeap;
                    spec.info = 0x40;
                    spec.xid = 1000;
                    spec.main_data = std::string(14, '\0');
                    spec.blocks.push_back({.id = 0, .rel = kRelation,
                                           .block = static_cast<BlockNumber>(pick(size)),
                                           .data = "tuple"});
                    builder.Append(spec);
                } else if (size > 20) {
                    WalRecordSpec spec;  // XLOG_SMGR_TRUNCATE
                    spec.rmgr = Rmgr::kSmgr;
                    spec.info = 0x20;
                    size = static_cast<BlockNumber>(pick(size));
                    ByteWriter body;
                    body.U32Le(size);
                    body.U32Le(kRelation.node.spc);
                    body.U32Le(kRelation.node.db);
                    body.U32Le(kRelation.node.rel);
                    body.U32Le(1);
                    spec.main_data = body.Take();
                    builder.Append(spec);
                } else {
                    Extend(&builder, size++);
                }
                points.push_back({branch.id, builder.position(), size, {}});
            }
            Deliver(branch.id, connstr, builder);
            {
                auto timeline = manager_->Get(branch.id);
                for (Point& point : points) {
                    point.pages = numbers(**timeline, point);
                    branch.history.push_back(point);
                }
            }
            if (pick(4) == 0) {
                ASSERT_TRUE(manager_->CollectGarbage(branch.id, false).ok());
            }
            computes_.At(connstr).SetConnectError(Status::Unavailable("connection refused"));
            computes_.SetLiveness(connstr, ComputeLiveness::kGone);
            computes_.At(connstr).BreakOnceAt(builder.position());
        } else if (op < 7) {
            const size_t at =
                pick(3) == 0 ? branch.history.size() - 1 : pick(branch.history.size());
            const Point point = branch.history[at];
            const std::string name = "n" + std::to_string(next++);
            if (op < 6) {
                auto made = manager_->CreateTimeline({branch.id, point.lsn}, [&](const auto& file) {
                    return repository_.WriteBranch(name, file.id);
                });
                if (!made.ok()) {
                    ASSERT_EQ(made.status().code(), StatusCode::kNotFound)
                        << made.status().message();
                    continue;
                }
                Branch child{made->id, branch.history};
                child.history.resize(at + 1);
                for (Point& p : child.history) {
                    p.timeline = made->id;
                }
                branches[name] = child;
            } else {
                auto made = manager_->PinPoint({branch.id, point.lsn}, [&](const auto& found) {
                    return repository_.WriteTag(name, found);
                });
                if (!made.ok()) {
                    ASSERT_EQ(made.status().code(), StatusCode::kNotFound)
                        << made.status().message();
                    continue;
                }
                tags[name] = {made->timeline, *made->lsn, point.size, point.pages};
            }
        } else if (op == 7 && branches.size() > 1) {
            const std::string name = of->first;
            Status deleted = manager_->DeleteTimeline(
                branch.id, [&] { return repository_.RemoveBranch(name); });
            ASSERT_TRUE(deleted.ok()) << deleted.message();
            branches.erase(of);
        } else if (op == 8 && !tags.empty() && pick(2) == 0) {
            auto tag = any(tags);
            const std::string name = tag->first;
            ASSERT_TRUE(manager_->ReleasePoint({tag->second.timeline, tag->second.lsn}, [&] {
                return repository_.RemoveTag(name);
            }).ok());
            tags.erase(tag);
        } else if (op == 9 && pick(2) == 0) {
            manager_->Shutdown();
            if (pick(2) == 0) {
                manager_->FlushAll();
            }
            if (pick(2) == 0) {
                ASSERT_TRUE(repository_.RemoveUnnamedTimelines().ok());
            }
            Open();
        } else {
            auto timelines = repository_.ListTimelines();
            for (const TimelineId& id : *timelines) {
                if (pick(2) == 0) {
                    auto report = manager_->CollectGarbage(id, pick(4) == 0);
                    ASSERT_TRUE(report.ok() || report.status().code() == StatusCode::kNotFound)
                        << report.status().message();
                    collected++;
                }
            }
        }
        for (const auto& [name, b] : branches) {
            check(b.history.back(), name);
        }
        for (const auto& [name, point] : tags) {
            check(point, name);
        }
        if (HasFatalFailure()) {
            return;
        }
    }
    EXPECT_GT(collected, 0u);
    EXPECT_GT(imager.made, 0u);
    manager_ = nullptr;  // before the imager
}

INSTANTIATE_TEST_SUITE_P(Random, KeptHistoryTest, testing::Range(0, 6));

}  // namespace
}  // namespace zenith
