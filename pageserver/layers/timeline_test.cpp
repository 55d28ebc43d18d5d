// Timeline: each rule once, by example. The rules in combination: timeline_model_test.cpp.
#include "pageserver/layers/timeline.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "common/pgformat/page_format.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/fake_snapshot_for_test.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {
namespace {

const Lsn kStart(1000);
constexpr DatabaseKey kDb{kDefaultTablespaceOid, 5};
constexpr DatabaseKey kOther{kDefaultTablespaceOid, 6};
constexpr RelForkKey kRel{{kDefaultTablespaceOid, 5, 100}, Fork::kMain};
constexpr RelForkKey kVm{{kDefaultTablespaceOid, 5, 100}, Fork::kVm};
constexpr RelForkKey kShared{{kGlobalTablespaceOid, 0, 1260}, Fork::kMain};

RelForkKey In(const DatabaseKey& db, RelForkKey rel) {
    rel.node.spc = db.spc;
    rel.node.db = db.db;
    return rel;
}

PageBuffer PageOf(char c) {
    PageBuffer page;
    page.fill(static_cast<std::byte>(c));
    return page;
}

std::shared_ptr<Timeline> Make(Lsn start, std::shared_ptr<Timeline> parent,
                               std::unique_ptr<SnapshotFile> snapshot = nullptr) {
    auto wal =
        std::make_unique<WalStorage>("/nonexistent", start, parent ? &parent->wal() : nullptr);
    return MakeTimeline(TimelineId::Random(), start, std::move(parent), std::move(snapshot),
                        std::move(wal));
}

class TimelineTest : public ::testing::Test {
  protected:
    void SetUp() override {
        auto snapshot = std::make_unique<FakeSnapshot>(kStart);
        snapshot->AddDatabase(kDb);
        snapshot->AddRelation(kRel, 10);
        snapshot->AddPage(PageKey::Relation(kRel, 3), PageOf('s'));
        snapshot->AddRelation(kShared, 2);
        snapshot->AddPage(PageKey::Relation(kShared, 0), PageOf('g'));
        snapshot->AddSlruPage(SlruKind::kXact, 0, PageOf('x'));
        snapshot->AddBlob(RelmapBlobKey(kDb), "map5");
        snapshot->AddBlob("file/base/5/PG_VERSION", "15\n");
        snapshot->AddBlob("file/PG_VERSION", "15\n");
        root_ = Make(kStart, nullptr, std::move(snapshot));
    }

    // One record of its own batch; returns its end.
    template <typename Function>
    static Lsn Write(Timeline& timeline, Function&& function) {
        Lsn start = timeline.last_record_end() + (8 - timeline.last_record_end().value % 8) % 8;
        Lsn end = start + 64;
        timeline.BeginRecords();
        timeline.StartRecord(start, end);
        function();
        timeline.CommitRecords();
        return end;
    }
    Lsn Put(Timeline& timeline, const PageKey& key, uint8_t flags = 0) {
        return Write(timeline, [&] { timeline.PutRecord(key, flags); });
    }
    static PageHistory Page(Timeline& timeline, const PageKey& key, Lsn at = kMaxLsn) {
        auto history = timeline.CollectPage(key, at);
        EXPECT_TRUE(history.ok()) << history.status().message();
        return history.ok() ? *history : PageHistory{};
    }
    static std::vector<Lsn> Ends(const PageHistory& history) {
        std::vector<Lsn> ends;
        for (const RecordRef& ref : history.records) {
            ends.push_back(ref.end);
        }
        return ends;
    }
    static std::optional<BlockNumber> Size(Timeline& timeline, const RelForkKey& rel,
                                           Lsn at = kMaxLsn) {
        auto size = timeline.RelationSize(rel, at);
        EXPECT_TRUE(size.ok()) << size.status().message();
        return size.ok() ? *size : std::nullopt;
    }
    static std::optional<std::string> Blob(Timeline& timeline, const std::string& key,
                                           Lsn at = kMaxLsn) {
        auto blob = timeline.GetBlob(key, at);
        EXPECT_TRUE(blob.ok()) << blob.status().message();
        return blob.ok() ? *blob : std::nullopt;
    }

    std::shared_ptr<Timeline> root_;
};

using Lsns = std::vector<Lsn>;

TEST_F(TimelineTest, SnapshotIsTheBaseOfEverything) {
    PageHistory page = Page(*root_, PageKey::Relation(kRel, 3));
    ASSERT_TRUE(page.base);
    EXPECT_EQ(*page.base, PageOf('s'));
    EXPECT_EQ(page.base_lsn, kStart);
    EXPECT_TRUE(page.exists());
    EXPECT_FALSE(Page(*root_, PageKey::Relation(kRel, 4)).exists());   // all zero
    EXPECT_FALSE(Page(*root_, PageKey::Relation(kRel, 99)).exists());  // beyond the end
    EXPECT_EQ(Size(*root_, kRel), 10u);
    EXPECT_EQ(Size(*root_, kVm), std::nullopt);
    EXPECT_EQ(root_->last_record_end(), kStart);
    EXPECT_EQ(root_->ListDatabases(kMaxLsn)->size(), 1u);
    EXPECT_EQ(Blob(*root_, "file/PG_VERSION"), "15\n");
    EXPECT_EQ(root_->GetVersionedBlob("file/PG_VERSION", kMaxLsn)->value().lsn, kStart);
}

TEST_F(TimelineTest, RecordsPileUpUntilOneInitializesThePage) {
    const PageKey key = PageKey::Relation(kRel, 3);
    Lsn a = Put(*root_, key);
    Lsn b = Put(*root_, key);
    Lsn c = Put(*root_, key, kRefWillInit);
    Lsn d = Put(*root_, key);
    EXPECT_EQ(Ends(Page(*root_, key, b)), (Lsns{a, b}));
    EXPECT_TRUE(Page(*root_, key, b).base);
    EXPECT_EQ(Ends(Page(*root_, key)), (Lsns{c, d}));
    EXPECT_FALSE(Page(*root_, key).base);
    EXPECT_EQ(Ends(Page(*root_, key, c - 1)), (Lsns{a, b}));
    const PageHistory now = Page(*root_, key);
    EXPECT_EQ(now.records[0].flags, kRefWillInit);
    EXPECT_EQ(now.records[0].wal, &root_->wal());
    EXPECT_EQ(now.records[0].start, c - 64);
    EXPECT_EQ(now.records[0].database, kDb);
}

TEST_F(TimelineTest, ImageIsABase) {
    const PageKey key = PageKey::Slru(SlruKind::kXact, 0);
    Lsn a = Put(*root_, key, kRefNative);
    Lsn b = Write(*root_, [&] { root_->PutImage(key, PageOf('i')); });
    Lsn c = Put(*root_, key, kRefNative);
    PageHistory page = Page(*root_, key);
    EXPECT_EQ(*page.base, PageOf('i'));
    EXPECT_EQ(page.base_lsn, b);
    EXPECT_EQ(Ends(page), (Lsns{c}));
    page = Page(*root_, key, a);
    EXPECT_EQ(*page.base, PageOf('x'));
    EXPECT_EQ(Ends(page), (Lsns{a}));
}

TEST_F(TimelineTest, WritingCreatesAndExtends) {
    Lsn a = Put(*root_, PageKey::Relation(kVm, 4), kRefWillInit);
    EXPECT_EQ(Size(*root_, kVm), 5u);
    EXPECT_EQ(Size(*root_, kVm, a - 1), std::nullopt);
    Put(*root_, PageKey::Relation(kVm, 2), kRefWillInit);
    EXPECT_EQ(Size(*root_, kVm), 5u);
    Put(*root_, PageKey::Relation(kRel, 3));
    EXPECT_EQ(Size(*root_, kRel), 10u);
    Lsn e = Put(*root_, PageKey::Relation(kRel, 10), kRefWillInit);
    EXPECT_EQ(Size(*root_, kRel), 11u);
    EXPECT_EQ(Size(*root_, kRel, e - 1), 10u);
    // An existing fork is kept as it is.
    Write(*root_, [&] { root_->CreateRelation(kRel); });
    EXPECT_EQ(Size(*root_, kRel), 11u);
}

TEST_F(TimelineTest, TruncatedBlocksStayGoneWhenTheForkGrowsAgain) {
    Lsn a = Put(*root_, PageKey::Relation(kRel, 8));
    Lsn t = Write(*root_, [&] { root_->TruncateRelation(kRel, 3); });
    Lsn g = Put(*root_, PageKey::Relation(kRel, 9), kRefWillInit);
    EXPECT_EQ(Size(*root_, kRel, a), 10u);
    EXPECT_EQ(Size(*root_, kRel, t), 3u);
    EXPECT_EQ(Size(*root_, kRel, g), 10u);
    EXPECT_FALSE(Page(*root_, PageKey::Relation(kRel, 8)).exists());
    EXPECT_FALSE(Page(*root_, PageKey::Relation(kRel, 3)).exists());  // the snapshot's, too
    EXPECT_TRUE(Page(*root_, PageKey::Relation(kRel, 3), a).exists());
    Lsn n = Put(*root_, PageKey::Relation(kRel, 3));
    EXPECT_EQ(Ends(Page(*root_, PageKey::Relation(kRel, 3))), (Lsns{n}));
    EXPECT_FALSE(Page(*root_, PageKey::Relation(kRel, 3)).base);
    // Truncation never grows and never creates.
    Write(*root_, [&] {
        root_->TruncateRelation(kRel, 500);
        root_->TruncateRelation(kVm, 1);
    });
    EXPECT_EQ(Size(*root_, kRel), 10u);
    EXPECT_EQ(Size(*root_, kVm), std::nullopt);
}

TEST_F(TimelineTest, RecordThatTruncatesMayKeepItsLastPage) {
    Put(*root_, PageKey::Relation(kVm, 5));
    Lsn tail = Write(*root_, [&] {
        root_->TruncateRelation(kVm, 3);
        root_->PutRecord(PageKey::Relation(kVm, 2), kRefNative);
    });
    EXPECT_EQ(Size(*root_, kVm), 3u);
    EXPECT_EQ(Ends(Page(*root_, PageKey::Relation(kVm, 2))), (Lsns{tail}));
}

TEST_F(TimelineTest, DroppedRelationIsGoneWithAllForksUntilCreatedAgain) {
    Put(*root_, PageKey::Relation(kVm, 0));
    Lsn drop = Write(*root_, [&] { root_->DropRelation(kRel.node); });
    EXPECT_EQ(Size(*root_, kRel), std::nullopt);
    EXPECT_EQ(Size(*root_, kVm), std::nullopt);
    EXPECT_EQ(Size(*root_, kRel, drop - 1), 10u);
    EXPECT_FALSE(Page(*root_, PageKey::Relation(kRel, 3)).exists());
    EXPECT_EQ(root_->ListRelations(kMaxLsn)->size(), 1u);
    EXPECT_EQ(root_->ListRelations(drop - 1)->size(), 3u);
    Write(*root_, [&] { root_->CreateRelation(kRel); });
    EXPECT_EQ(Size(*root_, kRel), 0u);
    EXPECT_EQ(Size(*root_, kVm), std::nullopt);
    EXPECT_FALSE(Page(*root_, PageKey::Relation(kRel, 3)).exists());
}

TEST_F(TimelineTest, CloneSeesTheSourceAsOfTheCloneAndThenItsOwn) {
    const PageKey page = PageKey::Relation(kRel, 3);
    const PageKey copy = PageKey::Relation(In(kOther, kRel), 3);
    Lsn before = Put(*root_, page);
    Lsn clone = Write(*root_, [&] { root_->CloneDatabase(kOther, kDb); });
    Lsn source_after = Put(*root_, page);
    Lsn copy_after = Put(*root_, copy);
    Write(*root_, [&] { root_->TruncateRelation(kRel, 0); });

    PageHistory history = Page(*root_, copy);
    EXPECT_EQ(*history.base, PageOf('s'));
    EXPECT_EQ(Ends(history), (Lsns{before, copy_after}));
    EXPECT_EQ(history.records[0].database, kDb);  // the record names the source
    EXPECT_EQ(history.records[1].database, kOther);
    EXPECT_FALSE(Page(*root_, copy, clone - 1).exists());
    EXPECT_EQ(Ends(Page(*root_, page, source_after)), (Lsns{before, source_after}));
    EXPECT_EQ(Size(*root_, In(kOther, kRel)), 10u);
    EXPECT_EQ(Size(*root_, In(kOther, kRel), clone - 1), std::nullopt);

    EXPECT_EQ(Blob(*root_, RelmapBlobKey(kOther)), "map5");
    EXPECT_EQ(root_->GetVersionedBlob(RelmapBlobKey(kOther), kMaxLsn)->value().lsn, clone);
    EXPECT_EQ(Blob(*root_, RelmapBlobKey(kOther), clone - 1), std::nullopt);
    EXPECT_EQ(Blob(*root_, "file/base/6/PG_VERSION"), "15\n");
    auto files = root_->ListBlobs("file/base/", kMaxLsn);
    EXPECT_EQ(*files, (std::map<std::string, std::string>{{"file/base/5/PG_VERSION", "15\n"},
                                                          {"file/base/6/PG_VERSION", "15\n"}}));
    EXPECT_EQ(root_->ListBlobs("relmap/", kMaxLsn)->size(), 2u);
    EXPECT_EQ(root_->ListDatabases(kMaxLsn)->size(), 2u);

    // The source's relation map changes later: the copy's does not.
    Write(*root_, [&] { root_->PutBlob(RelmapBlobKey(kDb), "new5"); });
    EXPECT_EQ(Blob(*root_, RelmapBlobKey(kOther)), "map5");
    Write(*root_, [&] { root_->PutBlob(RelmapBlobKey(kOther), "new6"); });
    EXPECT_EQ(Blob(*root_, RelmapBlobKey(kOther)), "new6");
    EXPECT_EQ(Blob(*root_, RelmapBlobKey(kDb)), "new5");
}

TEST_F(TimelineTest, CloneOfACloneAcrossABranch) {
    Lsn a = Put(*root_, PageKey::Relation(kRel, 3));
    Write(*root_, [&] { root_->CloneDatabase(kOther, kDb); });
    Lsn b = Put(*root_, PageKey::Relation(In(kOther, kRel), 3));
    auto child = Make(root_->last_record_end(), root_);
    constexpr DatabaseKey third{4444, 7};
    Write(*child, [&] { child->CloneDatabase(third, kOther); });
    Lsn c = Put(*child, PageKey::Relation(In(third, kRel), 3));
    // What the root does after the branch is not seen.
    Put(*root_, PageKey::Relation(In(kOther, kRel), 3));
    PageHistory history = Page(*child, PageKey::Relation(In(third, kRel), 3));
    EXPECT_EQ(Ends(history), (Lsns{a, b, c}));
    EXPECT_EQ(history.records[0].wal, &root_->wal());
    EXPECT_EQ(history.records[2].wal, &child->wal());
    EXPECT_EQ(history.records[0].database, kDb);
    EXPECT_EQ(history.records[1].database, kOther);
    EXPECT_EQ(history.records[2].database, third);
    EXPECT_EQ(*history.base, PageOf('s'));
    EXPECT_EQ(Size(*child, In(third, kRel)), 10u);
    EXPECT_EQ(child->ListRelations(kMaxLsn)->size(), 4u);
    EXPECT_EQ(root_->ListRelations(kMaxLsn)->size(), 3u);
}

TEST_F(TimelineTest, DroppedDatabaseTakesItsRelationsAndBlobs) {
    Lsn drop = Write(*root_, [&] { root_->DropDatabase(kDb); });
    EXPECT_EQ(Size(*root_, kRel), std::nullopt);
    EXPECT_FALSE(Page(*root_, PageKey::Relation(kRel, 3)).exists());
    EXPECT_TRUE(root_->ListDatabases(kMaxLsn)->empty());
    EXPECT_EQ(Blob(*root_, RelmapBlobKey(kDb)), std::nullopt);
    EXPECT_EQ(Blob(*root_, "file/base/5/PG_VERSION"), std::nullopt);
    EXPECT_EQ(root_->ListBlobs("file/", kMaxLsn)->size(), 1u);
    EXPECT_EQ(root_->ListBlobs("file/", drop - 1)->size(), 2u);
    EXPECT_EQ(Size(*root_, kShared), 2u);
    EXPECT_EQ(Size(*root_, kRel, drop - 1), 10u);
    // Created anew it is empty.
    Write(*root_, [&] { root_->CreateDatabase(kDb); });
    EXPECT_EQ(Size(*root_, kRel), std::nullopt);
    EXPECT_EQ(root_->ListDatabases(kMaxLsn)->size(), 1u);
    Lsn n = Put(*root_, PageKey::Relation(kRel, 3));
    EXPECT_EQ(Ends(Page(*root_, PageKey::Relation(kRel, 3))), (Lsns{n}));
    EXPECT_FALSE(Page(*root_, PageKey::Relation(kRel, 3)).base);
    EXPECT_EQ(Size(*root_, kRel), 4u);
}

TEST_F(TimelineTest, FirstRelationInATablespaceMakesTheDirectoryAndDropTakesIt) {
    constexpr DatabaseKey elsewhere{4444, 5};
    Write(*root_, [&] { root_->PutBlob(TablespaceBlobKey(4444), ""); });
    Lsn created = Write(*root_, [&] { root_->CreateRelation(In(elsewhere, kRel)); });
    EXPECT_EQ(*root_->ListDatabases(kMaxLsn), (std::vector<DatabaseKey>{kDb, elsewhere}));
    EXPECT_EQ(root_->ListDatabases(created - 1)->size(), 1u);
    Write(*root_, [&] { root_->DropRelation(In(elsewhere, kRel).node); });
    EXPECT_EQ(root_->ListDatabases(kMaxLsn)->size(), 2u);
    Write(*root_, [&] { root_->DropBlob(TablespaceBlobKey(4444)); });
    EXPECT_EQ(*root_->ListDatabases(kMaxLsn), (std::vector<DatabaseKey>{kDb}));
}

TEST_F(TimelineTest, SlruPagesComeAndGo) {
    using Pages = std::vector<BlockNumber>;
    Lsn a = Put(*root_, PageKey::Slru(SlruKind::kXact, 1), kRefNative | kRefWillInit);
    Lsn b = Write(*root_, [&] { root_->DropPage(PageKey::Slru(SlruKind::kXact, 0)); });
    EXPECT_EQ(*root_->ListSlruPages(SlruKind::kXact, a - 1), (Pages{0}));
    EXPECT_EQ(*root_->ListSlruPages(SlruKind::kXact, a), (Pages{0, 1}));
    EXPECT_EQ(*root_->ListSlruPages(SlruKind::kXact, b), (Pages{1}));
    EXPECT_TRUE(root_->ListSlruPages(SlruKind::kCommitTs, b)->empty());
    EXPECT_FALSE(Page(*root_, PageKey::Slru(SlruKind::kXact, 0)).exists());
    EXPECT_TRUE(Page(*root_, PageKey::Slru(SlruKind::kXact, 0), a).exists());
    // Coming back, it starts from nothing.
    Lsn c = Put(*root_, PageKey::Slru(SlruKind::kXact, 0), kRefNative);
    EXPECT_EQ(Ends(Page(*root_, PageKey::Slru(SlruKind::kXact, 0))), (Lsns{c}));
    EXPECT_FALSE(Page(*root_, PageKey::Slru(SlruKind::kXact, 0)).base);
    EXPECT_EQ(*root_->ListSlruPages(SlruKind::kXact, c), (Pages{0, 1}));
}

TEST_F(TimelineTest, BranchSeesItsParentUpToTheBranchPointOnly) {
    const PageKey key = PageKey::Relation(kRel, 3);
    Lsn a = Put(*root_, key);
    Lsn b = Put(*root_, key);
    auto child = Make(a, root_);
    EXPECT_EQ(Ends(Page(*child, key)), (Lsns{a}));
    EXPECT_EQ(child->last_record_end(), a);
    Lsn c = Put(*child, key);
    EXPECT_EQ(Ends(Page(*child, key)), (Lsns{a, c}));
    EXPECT_EQ(Ends(Page(*root_, key)), (Lsns{a, b}));
    EXPECT_FALSE(Ends(Page(*child, key, a - 1)).size());
    Write(*child, [&] { child->DropRelation(kRel.node); });
    EXPECT_EQ(Size(*child, kRel), std::nullopt);
    EXPECT_EQ(Size(*root_, kRel), 10u);
    // Listing and blobs, too.
    Write(*child, [&] { child->DropBlob("file/PG_VERSION"); });
    EXPECT_EQ(Blob(*child, "file/PG_VERSION"), std::nullopt);
    EXPECT_EQ(Blob(*root_, "file/PG_VERSION"), "15\n");
    EXPECT_EQ(child->ListRelations(kMaxLsn)->size(), 1u);
    EXPECT_EQ(child->ListRelations(a)->size(), 2u);
}

TEST_F(TimelineTest, BranchFromBeforeItsParentsOwnStart) {
    Lsn a = Put(*root_, PageKey::Relation(kRel, 3));
    Lsn b = Put(*root_, PageKey::Relation(kRel, 3));
    auto child = Make(b, root_);
    Put(*child, PageKey::Relation(kRel, 3));
    auto grandchild = Make(a, child);
    EXPECT_EQ(Ends(Page(*grandchild, PageKey::Relation(kRel, 3))), (Lsns{a}));
}

TEST_F(TimelineTest, LsnBeforeTheHistoryIsNotFoundAndNamesTheOldest) {
    auto child = Make(kStart, root_);
    for (Timeline* timeline : {root_.get(), child.get()}) {
        auto page = timeline->CollectPage(PageKey::Relation(kRel, 3), kStart - 1);
        ASSERT_FALSE(page.ok());
        EXPECT_EQ(page.status().code(), StatusCode::kNotFound);
        EXPECT_NE(page.status().message().find(kStart.ToString()), std::string::npos);
        EXPECT_FALSE(timeline->RelationSize(kRel, kStart - 1).ok());
        EXPECT_FALSE(timeline->ListRelations(kStart - 1).ok());
        EXPECT_FALSE(timeline->ListDatabases(kStart - 1).ok());
        EXPECT_FALSE(timeline->ListSlruPages(SlruKind::kXact, kStart - 1).ok());
        EXPECT_FALSE(timeline->GetBlob("cluster_state", kStart - 1).ok());
        EXPECT_FALSE(timeline->ListBlobs("", kStart - 1).ok());
        EXPECT_TRUE(timeline->CollectPage(PageKey::Relation(kRel, 3), kStart).ok());
    }
}

TEST_F(TimelineTest, ParentThatIsNotThereYetIsUnavailableNotWrong) {
    auto child = Make(kStart + 6400, root_);
    auto page = child->CollectPage(PageKey::Relation(kRel, 3), kMaxLsn);
    ASSERT_FALSE(page.ok());
    EXPECT_EQ(page.status().code(), StatusCode::kUnavailable);
    EXPECT_EQ(child->RelationSize(kRel, kMaxLsn).status().code(), StatusCode::kUnavailable);
    EXPECT_EQ(child->ListRelations(kMaxLsn).status().code(), StatusCode::kUnavailable);
    // What the parent has is served.
    EXPECT_TRUE(child->CollectPage(PageKey::Relation(kRel, 3), kStart).ok());
    // A writer that needs it cannot go on, and nothing after that is readable.
    Put(*child, PageKey::Relation(kRel, 3));
    EXPECT_EQ(child->last_record_end(), kStart + 6400);
    EXPECT_EQ(child->WaitForLsn(kMaxLsn, 1000).code(), StatusCode::kUnavailable);
    EXPECT_FALSE(child->CollectPage(PageKey::Relation(kRel, 3), kStart).ok());
}

TEST_F(TimelineTest, WriterSeesItsUncommittedChangesOthersDoNot) {
    const PageKey key = PageKey::Relation(kRel, 12);
    root_->BeginRecords();
    root_->StartRecord(kStart + 8, kStart + 16);
    root_->PutRecord(key, kRefWillInit);
    root_->PutRecord(PageKey::Slru(SlruKind::kXact, 7), kRefWillInit);
    EXPECT_EQ(root_->WriterRelationSize(kRel)->value(), 13u);
    EXPECT_EQ(root_->WriterCollectPage(key)->records.size(), 1u);
    EXPECT_EQ(root_->WriterListSlruPages(SlruKind::kXact)->size(), 2u);
    EXPECT_EQ(root_->last_record_end(), kStart);
    // The writer may also use the ordinary reads.
    EXPECT_TRUE(root_->GetBlob("file/PG_VERSION", kMaxLsn)->has_value());
    std::optional<BlockNumber> seen;
    std::thread reader([&] { seen = Size(*root_, kRel, kStart); });
    root_->CommitRecords();
    reader.join();
    EXPECT_EQ(seen, 10u);
    EXPECT_EQ(root_->last_record_end(), kStart + 16);
    EXPECT_EQ(Size(*root_, kRel), 13u);
}

// A record that failed half way was published with the batch it was in.
TEST_F(TimelineTest, AbandonedRecordIsNotReached) {
    const PageKey key = PageKey::Relation(kRel, 12);
    root_->BeginRecords();
    root_->StartRecord(kStart + 8, kStart + 16);
    root_->PutRecord(PageKey::Relation(kRel, 10), kRefWillInit);
    root_->StartRecord(kStart + 16, kStart + 24);
    root_->PutRecord(key, kRefWillInit);
    root_->AbandonRecord();
    root_->CommitRecords();
    EXPECT_EQ(root_->last_record_end(), kStart + 16);
    EXPECT_EQ(root_->WaitForLsn(kStart + 17, 0).code(), StatusCode::kUnavailable);
    const Lsn last = root_->last_record_end();
    EXPECT_EQ(Size(*root_, kRel, last), 11u);
    EXPECT_FALSE(Page(*root_, key, last).exists());
    auto relations = root_->ListRelations(kMaxLsn);
    ASSERT_TRUE(relations.ok());
    for (const RelationEntry& entry : *relations) {
        EXPECT_TRUE(entry.rel != kRel || entry.blocks == 11);
    }

    // The first record of all.
    std::shared_ptr<Timeline> child = Make(last, root_);
    child->BeginRecords();
    child->StartRecord(last, last + 8);
    child->PutRecord(key, kRefWillInit);
    child->AbandonRecord();
    child->CommitRecords();
    EXPECT_EQ(child->last_record_end(), last);
    EXPECT_FALSE(Page(*child, key, last).exists());
}

TEST_F(TimelineTest, WaitForLsnWakesWhenTheWriterGetsThere) {
    EXPECT_TRUE(root_->WaitForLsn(kStart, 0).ok());
    Status late = root_->WaitForLsn(kStart + 1, 1);
    EXPECT_EQ(late.code(), StatusCode::kUnavailable);
    std::vector<std::thread> waiters;
    std::atomic<int> reached{0};
    for (int i = 1; i <= 3; i++) {
        waiters.emplace_back([&, i] { reached += root_->WaitForLsn(kStart + 64 * i, 60000).ok(); });
    }
    for (int i = 0; i < 3; i++) {
        Put(*root_, PageKey::Relation(kRel, 3));
    }
    for (std::thread& waiter : waiters) {
        waiter.join();
    }
    EXPECT_EQ(reached.load(), 3);
}

TEST_F(TimelineTest, ReadersAndWriterAtTheSameTime) {
    constexpr int kRecords = 3000;
    const PageKey key = PageKey::Relation(kRel, 3);
    auto child = Make(kStart, root_);
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> readers;
    for (int t = 0; t < 2; t++) {
        readers.emplace_back([&] {
            while (!stop.load()) {
                // Two records are always committed together.
                auto history = child->CollectPage(key, kMaxLsn);
                wrong += history.ok() && history->records.size() % 2 == 0 ? 0 : 1;
                wrong += child->ListRelations(kMaxLsn).ok() ? 0 : 1;
            }
        });
    }
    Lsn lsn = kStart;
    for (int i = 0; i < kRecords; i++) {
        child->BeginRecords();
        for (int k = 0; k < 2; k++) {
            child->StartRecord(lsn, lsn + 8);
            child->PutRecord(key, 0);
            lsn = lsn + 8;
        }
        child->CommitRecords();
    }
    stop.store(true);
    for (std::thread& reader : readers) {
        reader.join();
    }
    EXPECT_EQ(wrong.load(), 0);
    EXPECT_EQ(Page(*child, key).records.size(), 2u * kRecords);
}

TEST_F(TimelineTest, ParentLivesAsLongAsItsBranch) {
    Lsn a = Put(*root_, PageKey::Relation(kRel, 3));
    auto child = Make(a, root_);
    std::weak_ptr<Timeline> parent = root_;
    root_.reset();
    EXPECT_EQ(Ends(Page(*child, PageKey::Relation(kRel, 3))), (Lsns{a}));
    EXPECT_EQ(child->parent(), parent.lock());
    child.reset();
    EXPECT_TRUE(parent.expired());
}

TEST_F(TimelineTest, SenselessDatabaseCopiesAreIgnored) {
    Write(*root_, [&] {
        root_->CloneDatabase(kDb, kDb);
        root_->CloneDatabase({kGlobalTablespaceOid, 0}, kDb);
        root_->CloneDatabase(kOther, {kGlobalTablespaceOid, 0});
        root_->DropDatabase({kGlobalTablespaceOid, 0});
    });
    EXPECT_EQ(Size(*root_, kRel), 10u);
    EXPECT_EQ(Size(*root_, kShared), 2u);
    EXPECT_EQ(root_->ListDatabases(kMaxLsn)->size(), 1u);
    // Two databases that are made copies of each other by one record: both reads end.
    Write(*root_, [&] {
        root_->CloneDatabase(kOther, kDb);
        root_->CloneDatabase(kDb, kOther);
    });
    EXPECT_EQ(Size(*root_, In(kOther, kRel)), 10u);
    EXPECT_EQ(Size(*root_, kRel), std::nullopt);
}

}  // namespace
}  // namespace zenith
