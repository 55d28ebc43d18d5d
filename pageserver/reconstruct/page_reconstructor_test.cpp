#include "pageserver/reconstruct/page_reconstructor.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "common/base/byte_writer.h"
#include "common/base/posix_file.h"
#include "common/pgformat/record_types.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/testing/fake_redo_applier.h"
#include "pageserver/testing/wal_builder.h"
#include "pageserver/reconstruct/reconstructing_imager.h"

namespace zenith {
namespace {

constexpr RelForkKey kTable{{1663, 5, 16384}, Fork::kMain};
constexpr RelForkKey kMap{{1663, 5, 16384}, Fork::kVm};

// What a reconstructor sees of a timeline: histories, cut at the LSN asked for.
class FakeTimeline : public Timeline {
  public:
    FakeTimeline(std::string directory, Lsn start, std::shared_ptr<FakeTimeline> parent)
        : id_(TimelineId::Random()),
          start_(start),
          parent_(std::move(parent)),
          wal_(std::move(directory), start,
               parent_ != nullptr ? &static_cast<FakeTimeline&>(*parent_).wal_ : nullptr),
          builder_(start, 1) {}

    // Writes the record into the WAL and notes it for `key`.
    RecordRef Add(const PageKey& key, const WalRecordSpec& spec, uint8_t flags,
                  DatabaseKey database = DatabaseKey{}) {
        size_t before = builder_.stream().size();
        WalBuilder::Placed placed = builder_.Append(spec);
        Status status = wal_.Append(start_ + before, builder_.bytes().subspan(before));
        EXPECT_TRUE(status.ok()) << status.message();
        RecordRef ref{&wal_, placed.start, placed.end, flags, database};
        pages_[key].records.push_back(ref);
        bytes_[placed.end] = placed.bytes;
        end_ = placed.end;
        return ref;
    }
    void SetBase(const PageKey& key, const PageBuffer& page, Lsn lsn) {
        pages_[key].base = page;
        pages_[key].base_lsn = lsn;
    }
    // The page is truncated away here.
    void Forget(const PageKey& key) { pages_.erase(key); }
    RedoRecord Record(const RecordRef& ref) const {
        return {ref.start, ref.end, bytes_.at(ref.end)};
    }
    Lsn end() const { return end_; }

    const TimelineId& id() const override { return id_; }
    const std::shared_ptr<Timeline>& parent() const override { return parent_; }
    Lsn start_lsn() const override { return start_; }
    WalStorage& wal() override { return wal_; }
    Result<PageHistory> CollectPage(const PageKey& key, Lsn at) override {
        PageHistory own;
        auto found = pages_.find(key);
        if (found != pages_.end()) {
            own = found->second;
        }
        std::erase_if(own.records, [&](const RecordRef& ref) { return ref.end > at; });
        for (size_t i = own.records.size(); i > 0; --i) {
            if ((own.records[i - 1].flags & kRefWillInit) != 0) {
                own.records.erase(own.records.begin(),
                                  own.records.begin() + static_cast<ptrdiff_t>(i - 1));
                own.base.reset();
                return own;
            }
        }
        if (!own.base.has_value() && parent_ != nullptr) {
            Result<PageHistory> below = parent_->CollectPage(key, std::min(at, start_));
            EXPECT_TRUE(below.ok());
            below->records.insert(below->records.end(), own.records.begin(), own.records.end());
            return *below;
        }
        return own;
    }

    // Not for a reconstructor.
    Lsn last_record_end() const override { return end_; }
    Status WaitForLsn(Lsn, int) override { return Unused(); }
    Result<std::optional<BlockNumber>> RelationSize(const RelForkKey&, Lsn) override {
        return Unused();
    }
    Result<std::vector<RelationEntry>> ListRelations(Lsn) override { return Unused(); }
    Result<std::vector<BlockNumber>> ListSlruPages(SlruKind, Lsn) override { return Unused(); }
    Result<std::vector<DatabaseKey>> ListDatabases(Lsn) override { return Unused(); }
    Result<std::optional<std::string>> GetBlob(const std::string&, Lsn) override {
        return Unused();
    }
    Result<std::map<std::string, std::string>> ListBlobs(const std::string&, Lsn) override {
        return Unused();
    }
    Result<std::optional<VersionedBlob>> GetVersionedBlob(const std::string&, Lsn) override {
        return Unused();
    }
    void BeginRecords() override {}
    void StartRecord(Lsn, Lsn) override {}
    void PutRecord(const PageKey&, uint8_t) override {}
    void PutImage(const PageKey&, ConstPageSpan) override {}
    void DropPage(const PageKey&) override {}
    void CreateRelation(const RelForkKey&) override {}
    void TruncateRelation(const RelForkKey&, BlockNumber) override {}
    void DropRelation(const RelFileNode&) override {}
    void CreateDatabase(const DatabaseKey&) override {}
    void CloneDatabase(const DatabaseKey&, const DatabaseKey&) override {}
    void DropDatabase(const DatabaseKey&) override {}
    void PutBlob(const std::string&, std::string) override {}
    void DropBlob(const std::string&) override {}
    void AbandonRecord() override {}
    void CommitRecords() override {}
    Result<std::optional<BlockNumber>> WriterRelationSize(const RelForkKey&) override {
        return Unused();
    }
    Result<PageHistory> WriterCollectPage(const PageKey&) override { return Unused(); }
    Result<std::vector<BlockNumber>> WriterListSlruPages(SlruKind) override { return Unused(); }

  private:
    static Status Unused() { return Status::Internal("not asked by a reconstructor"); }

    TimelineId id_;
    Lsn start_;
    Lsn end_;
    std::shared_ptr<Timeline> parent_;
    WalStorage wal_;
    WalBuilder builder_;
    std::map<PageKey, PageHistory> pages_;
    std::map<Lsn, std::string> bytes_;
};

class PageReconstructorTest : public testing::Test {
  protected:
    PageReconstructorTest() {
        char path[] = "/tmp/zenith-reconstruct-test.XXXXXX";
        EXPECT_NE(mkdtemp(path), nullptr);
        directory_ = path;
    }
    ~PageReconstructorTest() override { RemoveTree(directory_).Ignore("end of a test"); }

    std::shared_ptr<FakeTimeline> NewTimeline(Lsn start = Lsn(0x2000028),
                                              std::shared_ptr<FakeTimeline> parent = nullptr) {
        std::string wal = directory_ + "/wal" + std::to_string(timelines_++);
        EXPECT_TRUE(EnsureDirectory(wal).ok());
        return std::make_shared<FakeTimeline>(wal, start, std::move(parent));
    }
    // What the fake applier makes of these records.
    static PageBuffer Expected(const FakeTimeline& timeline, const std::vector<RecordRef>& refs,
                               PageBuffer page = PageBuffer{}) {
        for (const RecordRef& ref : refs) {
            FakeRedo(timeline.Record(ref), page);
        }
        return page;
    }

    static WalRecordSpec Change(const PageKey& key, const std::string& what, bool init = false) {
        WalRecordSpec spec;
        spec.rmgr = Rmgr::kBtree;
        spec.blocks = {
            {.rel = key.relation(), .block = key.block, .will_init = init, .data = what}};
        spec.main_data = "x";
        return spec;
    }
    static WalRecordSpec Image(const PageKey& key, const PageBuffer& page) {
        WalRecordSpec spec;
        spec.rmgr = Rmgr::kXlog;
        spec.info = kXlogFpi;
        spec.blocks = {{.rel = key.relation(), .block = key.block, .image = page}};
        return spec;
    }

    static Result<std::optional<PageBuffer>> Get(PageReconstructor& reconstructor,
                                                 const std::shared_ptr<FakeTimeline>& timeline,
                                                 const PageKey& key, Lsn at = kMaxLsn) {
        return reconstructor.GetPage(timeline, key, at);
    }

    static constexpr size_t kNoCache = 0;
    static constexpr size_t kCache = 1 << 20;
    const PageKey page_ = PageKey::Relation(kTable, 3);
    std::string directory_;
    int timelines_ = 0;
    FakeRedoApplier applier_;
};

TEST_F(PageReconstructorTest, APageWithoutHistoryDoesNotExist) {
    auto timeline = NewTimeline();
    PageReconstructor reconstructor(applier_, kCache);
    auto page = Get(reconstructor, timeline, page_);
    ASSERT_TRUE(page.ok());
    EXPECT_FALSE(page->has_value());
    EXPECT_TRUE(applier_.calls().empty());
}

// Images for a layer: one pass over the records of a page, whatever the number of images, and
// nothing of it stays in the cache.
TEST_F(PageReconstructorTest, ImagesOfOnePageCostOnePass) {
    auto timeline = NewTimeline();
    const PageKey other = PageKey::Relation(kTable, 4);
    std::vector<RecordRef> refs;
    for (int i = 0; i < 12; ++i) {
        refs.push_back(timeline->Add(page_, Change(page_, "change " + std::to_string(i)), 0));
    }
    const RecordRef other_ref = timeline->Add(other, Change(other, "other"), 0);
    PageReconstructor reconstructor(applier_, kCache);
    ReconstructingImager imager(reconstructor);
    const std::vector<PageImager::Wanted> wanted = {{page_, refs[3].end},
                                                    {page_, refs[7].end},
                                                    {page_, refs[11].end},
                                                    {other, other_ref.end},
                                                    {PageKey::Relation(kTable, 9), kMaxLsn}};
    for (int pass = 0; pass < 2; ++pass) {
        applier_.Forget();
        auto images = imager.Images(*timeline, wanted);
        ASSERT_EQ(images.size(), wanted.size());
        for (size_t i = 0; i < 3; ++i) {
            std::vector<RecordRef> applied(refs.begin(),
                                           refs.begin() + static_cast<ptrdiff_t>(4 * i + 4));
            ASSERT_TRUE(images[i].ok() && images[i]->has_value());
            EXPECT_EQ(**images[i], Expected(*timeline, applied));
        }
        EXPECT_EQ(**images[3], Expected(*timeline, {other_ref}));
        EXPECT_TRUE(images[4].ok() && !images[4]->has_value());
        EXPECT_EQ(applier_.calls(), (std::vector<std::vector<size_t>>{{4, 1}, {4}, {4}}));
    }
    // One that fails is not a base for the next one, and does not fail the others.
    applier_.FailPage(page_, Status::Unavailable("no redo process"));
    auto images = imager.Images(*timeline, wanted);
    EXPECT_EQ(images[0].status().code(), StatusCode::kUnavailable);
    EXPECT_EQ(images[1].status().code(), StatusCode::kUnavailable);
    EXPECT_TRUE(images[3].ok());
}

TEST_F(PageReconstructorTest, ABaseAloneIsReturnedAsItIs) {
    auto timeline = NewTimeline();
    PageBuffer base;
    base.fill(std::byte{7});
    timeline->SetBase(page_, base, Lsn(0x1000));
    PageReconstructor reconstructor(applier_, kCache);
    auto page = Get(reconstructor, timeline, page_);
    ASSERT_TRUE(page.ok() && page->has_value());
    EXPECT_EQ(**page, base);
    EXPECT_TRUE(applier_.calls().empty());
}

TEST_F(PageReconstructorTest, AppliesRecordsToTheBaseUpToTheLsn) {
    auto timeline = NewTimeline();
    PageBuffer base;
    base.fill(std::byte{7});
    timeline->SetBase(page_, base, Lsn(0x1000));
    std::vector<RecordRef> refs;
    for (int i = 0; i < 5; ++i) {
        refs.push_back(timeline->Add(page_, Change(page_, "change " + std::to_string(i)), 0));
    }
    PageReconstructor reconstructor(applier_, kNoCache);
    for (size_t n = 1; n <= refs.size(); ++n) {
        std::vector<RecordRef> applied(refs.begin(), refs.begin() + static_cast<ptrdiff_t>(n));
        auto page = Get(reconstructor, timeline, page_, refs[n - 1].end);
        ASSERT_TRUE(page.ok() && page->has_value()) << page.status().message();
        EXPECT_EQ(**page, Expected(*timeline, applied, base));
    }
    EXPECT_EQ(applier_.calls(),
              (std::vector<std::vector<size_t>>{{1}, {2}, {3}, {4}, {5}}));
}

TEST_F(PageReconstructorTest, PlainImagesAreRestoredHere) {
    auto timeline = NewTimeline();
    PageBuffer logged;
    logged.fill(std::byte{0x42});
    RecordRef image = timeline->Add(page_, Image(page_, logged), kRefWillInit);
    PageReconstructor reconstructor(applier_, kNoCache);
    auto page = Get(reconstructor, timeline, page_);
    ASSERT_TRUE(page.ok() && page->has_value()) << page.status().message();
    SetPageLsn(logged, image.end);
    EXPECT_EQ(**page, logged);
    EXPECT_TRUE(applier_.calls().empty());

    // What follows is applied to it.
    std::vector<RecordRef> after = {timeline->Add(page_, Change(page_, "after"), 0)};
    page = Get(reconstructor, timeline, page_);
    ASSERT_TRUE(page.ok() && page->has_value());
    EXPECT_EQ(**page, Expected(*timeline, after, logged));
    EXPECT_EQ(applier_.calls(), (std::vector<std::vector<size_t>>{{1}}));

    // An all-zero page was logged: it exists, and stays all zero.
    const PageKey zero = PageKey::Relation(kTable, 9);
    timeline->Add(zero, Image(zero, PageBuffer{}), kRefWillInit);
    page = Get(reconstructor, timeline, zero);
    ASSERT_TRUE(page.ok() && page->has_value());
    EXPECT_TRUE(PageIsAllZero(**page));
}

TEST_F(PageReconstructorTest, ARecordThatInitializesGoesToTheApplierWithoutABase) {
    auto timeline = NewTimeline();
    std::vector<RecordRef> refs = {
        timeline->Add(page_, Change(page_, "new", true), kRefWillInit),
        timeline->Add(page_, Change(page_, "more"), 0)};
    PageReconstructor reconstructor(applier_, kNoCache);
    auto page = Get(reconstructor, timeline, page_);
    ASSERT_TRUE(page.ok() && page->has_value());
    EXPECT_EQ(**page, Expected(*timeline, refs));
    EXPECT_EQ(applier_.calls(), (std::vector<std::vector<size_t>>{{2}}));
}

TEST_F(PageReconstructorTest, OurOwnRecordsSplitTheChain) {
    // redo, truncation of the heap to 6 blocks (ours), redo: on a visibility map page
    auto timeline = NewTimeline();
    const PageKey map = PageKey::Relation(kMap, 0);
    PageBuffer base;
    base.fill(std::byte{0xFF});
    timeline->SetBase(map, base, Lsn(0x1000));
    std::vector<RecordRef> before = {timeline->Add(map, Change(map, "one"), 0),
                                     timeline->Add(map, Change(map, "two"), 0)};
    ByteWriter truncate;
    truncate.U32Le(6);
    truncate.U32Le(kMap.node.spc);
    truncate.U32Le(kMap.node.db);
    truncate.U32Le(kMap.node.rel);
    truncate.U32Le(kSmgrTruncateHeap | kSmgrTruncateVm);
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kSmgr;
    spec.info = kSmgrTruncate;
    spec.main_data = truncate.Take();
    timeline->Add(map, spec, kRefNative);
    std::vector<RecordRef> after = {timeline->Add(map, Change(map, "three"), 0)};

    PageReconstructor reconstructor(applier_, kNoCache);
    auto page = Get(reconstructor, timeline, map);
    ASSERT_TRUE(page.ok() && page->has_value()) << page.status().message();
    PageBuffer expected = Expected(*timeline, before, base);
    expected[kPageHeaderSize + 1] &= std::byte{0x0F};  // blocks 4 and 5 stay
    for (size_t i = kPageHeaderSize + 2; i < kPageSize; ++i) {
        expected[i] = std::byte{0};
    }
    expected = Expected(*timeline, after, expected);
    EXPECT_EQ(**page, expected);
    EXPECT_EQ(applier_.calls(), (std::vector<std::vector<size_t>>{{2}, {1}}));
}

TEST_F(PageReconstructorTest, SlruPagesNeverReachTheApplier) {
    auto timeline = NewTimeline();
    const PageKey clog = PageKey::Slru(SlruKind::kXact, 0);
    WalRecordSpec zero;
    zero.rmgr = Rmgr::kClog;
    zero.info = kClogZeroPage;
    zero.main_data = std::string(4, '\0');
    timeline->Add(clog, zero, kRefNative | kRefWillInit);
    WalRecordSpec commit;
    commit.rmgr = Rmgr::kXact;
    commit.info = kXactCommit;
    commit.xid = 5;
    commit.main_data = std::string(8, '\0');  // the time
    timeline->Add(clog, commit, kRefNative);

    PageReconstructor reconstructor(applier_, kCache);
    auto page = Get(reconstructor, timeline, clog);
    ASSERT_TRUE(page.ok() && page->has_value()) << page.status().message();
    PageBuffer expected{};
    expected[1] = std::byte{1 << 2};  // two bits for each transaction; 1 is committed
    EXPECT_EQ(**page, expected);
    EXPECT_TRUE(applier_.calls().empty());
}

TEST_F(PageReconstructorTest, ACopiedDatabasesPageIsRedoneUnderItsOldName) {
    auto timeline = NewTimeline();
    PageKey source = page_;
    PageKey copy = page_;
    copy.node.db = 77;
    const DatabaseKey source_db{source.node.spc, source.node.db};
    std::vector<RecordRef> refs = {
        timeline->Add(copy, Change(source, "before", true), kRefWillInit, source_db),
        timeline->Add(copy, Change(source, "the copy"), 0, source_db),
        timeline->Add(copy, Change(copy, "after"), 0, DatabaseKey{1663, 77})};
    PageReconstructor reconstructor(applier_, kCache);
    auto page = Get(reconstructor, timeline, copy);
    ASSERT_TRUE(page.ok() && page->has_value()) << page.status().message();
    EXPECT_EQ(**page, Expected(*timeline, refs));
    EXPECT_EQ(applier_.keys(), (std::vector<PageKey>{source, copy}));
    EXPECT_EQ(applier_.calls(), (std::vector<std::vector<size_t>>{{2}, {1}}));
}

TEST_F(PageReconstructorTest, ABatchIsOneCallAndFailuresStayAlone) {
    auto timeline = NewTimeline();
    std::vector<PageKey> keys;
    std::vector<std::vector<RecordRef>> refs;
    for (BlockNumber block = 0; block < 20; ++block) {
        keys.push_back(PageKey::Relation(kTable, block));
        refs.emplace_back();
        if (block == 4) {
            continue;  // does not exist
        }
        for (BlockNumber i = 0; i <= block; ++i) {
            refs.back().push_back(timeline->Add(keys.back(), Change(keys.back(), "change", i == 0),
                                                i == 0 ? kRefWillInit : 0));
        }
    }
    applier_.FailPage(keys[7], Status::Corruption("does not apply"));
    PageReconstructor reconstructor(applier_, kCache);
    auto pages = reconstructor.GetPages(timeline, keys, kMaxLsn);
    ASSERT_EQ(pages.size(), keys.size());
    for (size_t i = 0; i < keys.size(); ++i) {
        SCOPED_TRACE(i);
        if (i == 7) {
            ASSERT_FALSE(pages[i].ok());
            EXPECT_EQ(pages[i].status().code(), StatusCode::kCorruption);
            EXPECT_NE(pages[i].status().message().find("block 7 of relation 1663/5/16384"),
                      std::string::npos);
            continue;
        }
        ASSERT_TRUE(pages[i].ok()) << pages[i].status().message();
        ASSERT_EQ(pages[i]->has_value(), i != 4);
        if (i != 4) {
            EXPECT_EQ(**pages[i], Expected(*timeline, refs[i]));
        }
    }
    ASSERT_EQ(applier_.calls().size(), 1u);
    EXPECT_EQ(applier_.calls()[0].size(), 19u);
}

TEST_F(PageReconstructorTest, RepeatedReadsStartFromTheCachedVersion) {
    auto timeline = NewTimeline();
    std::vector<RecordRef> refs;
    for (int i = 0; i < 10; ++i) {
        refs.push_back(timeline->Add(page_, Change(page_, "change", i == 0),
                                     i == 0 ? kRefWillInit : 0));
    }
    PageReconstructor reconstructor(applier_, kCache);
    Lsn after_four = refs[3].end;
    ASSERT_TRUE(Get(reconstructor, timeline, page_, after_four).ok());
    // The same again needs nothing; the newest needs the six that follow.
    ASSERT_TRUE(Get(reconstructor, timeline, page_, after_four + 1).ok());
    auto page = Get(reconstructor, timeline, page_);
    ASSERT_TRUE(page.ok() && page->has_value());
    EXPECT_EQ(**page, Expected(*timeline, refs));
    EXPECT_EQ(applier_.calls(), (std::vector<std::vector<size_t>>{{4}, {6}}));

    // Going back in time does not use what is newer.
    page = Get(reconstructor, timeline, page_, refs[1].end);
    ASSERT_TRUE(page.ok() && page->has_value());
    EXPECT_EQ(**page, Expected(*timeline, {refs[0], refs[1]}));
}

TEST_F(PageReconstructorTest, ATruncatedPageDoesNotComeBackFromTheCache) {
    auto timeline = NewTimeline();
    timeline->Add(page_, Change(page_, "old", true), kRefWillInit);
    PageReconstructor reconstructor(applier_, kCache);
    ASSERT_TRUE(Get(reconstructor, timeline, page_).ok());

    timeline->Forget(page_);
    auto page = Get(reconstructor, timeline, page_);
    ASSERT_TRUE(page.ok());
    EXPECT_FALSE(page->has_value());

    // Its next life has nothing of the one before.
    std::vector<RecordRef> refs = {timeline->Add(page_, Change(page_, "new"), 0)};
    page = Get(reconstructor, timeline, page_);
    ASSERT_TRUE(page.ok() && page->has_value());
    EXPECT_EQ(**page, Expected(*timeline, refs));
}

TEST_F(PageReconstructorTest, BranchesShareWhatWasThereBeforeThem) {
    auto main = NewTimeline();
    std::vector<RecordRef> shared;
    for (int i = 0; i < 4; ++i) {
        shared.push_back(main->Add(page_, Change(page_, "shared", i == 0),
                                   i == 0 ? kRefWillInit : 0));
    }
    Lsn branch_point = main->end();
    auto left = NewTimeline(branch_point, main);
    auto right = NewTimeline(branch_point, main);
    std::vector<RecordRef> main_own = {main->Add(page_, Change(page_, "main"), 0)};
    std::vector<RecordRef> left_own = {left->Add(page_, Change(page_, "left"), 0)};
    PageBuffer at_branch = Expected(*main, shared);

    PageReconstructor reconstructor(applier_, kCache);
    // From the right branch, which changed nothing: this rebuilds the parent's version.
    auto page = Get(reconstructor, right, page_);
    ASSERT_TRUE(page.ok() && page->has_value()) << page.status().message();
    EXPECT_EQ(**page, at_branch);
    page = Get(reconstructor, left, page_);
    ASSERT_TRUE(page.ok() && page->has_value());
    EXPECT_EQ(**page, Expected(*left, left_own, at_branch));
    page = Get(reconstructor, main, page_);
    ASSERT_TRUE(page.ok() && page->has_value());
    EXPECT_EQ(**page, Expected(*main, main_own, at_branch));
    // Both had only their own record to apply; nobody saw the other's.
    EXPECT_EQ(applier_.calls(), (std::vector<std::vector<size_t>>{{4}, {1}, {1}}));
    page = Get(reconstructor, right, page_);
    ASSERT_TRUE(page.ok() && page->has_value());
    EXPECT_EQ(**page, at_branch);
    EXPECT_EQ(applier_.calls().size(), 3u);
}

TEST_F(PageReconstructorTest, HugeHistoriesAreAppliedInPieces) {
    auto timeline = NewTimeline();
    const PageKey other = PageKey::Relation(kTable, 4);
    // Two pages with 12 MB of records each.
    std::vector<RecordRef> refs;
    std::vector<RecordRef> other_refs;
    const std::string data(60000, 'd');
    for (int i = 0; i < 200; ++i) {
        const uint8_t flags = i == 0 ? kRefWillInit : 0;
        refs.push_back(timeline->Add(page_, Change(page_, data, i == 0), flags));
        other_refs.push_back(timeline->Add(other, Change(other, data, i == 0), flags));
    }
    PageReconstructor reconstructor(applier_, kCache);
    std::vector<PageKey> keys = {page_, other};
    auto pages = reconstructor.GetPages(timeline, keys, kMaxLsn);
    ASSERT_TRUE(pages[0].ok() && pages[0]->has_value());
    EXPECT_EQ(**pages[0], Expected(*timeline, refs));
    ASSERT_TRUE(pages[1].ok() && pages[1]->has_value());
    EXPECT_EQ(**pages[1], Expected(*timeline, other_refs));
    // 24 MB in calls of 8 MB, each record once.
    EXPECT_EQ(applier_.calls().size(), 3u);
    size_t records = 0;
    for (const std::vector<size_t>& call : applier_.calls()) {
        for (size_t n : call) {
            records += n;
        }
    }
    EXPECT_EQ(records, 400u);
}

TEST_F(PageReconstructorTest, DamagedWalFailsThePageAlone) {
    auto timeline = NewTimeline();
    RecordRef damaged = timeline->Add(page_, Change(page_, std::string(100, 'd'), true),
                                      kRefWillInit);
    const PageKey good = PageKey::Relation(kTable, 4);
    std::vector<RecordRef> refs = {timeline->Add(good, Change(good, "good", true), kRefWillInit)};
    ASSERT_TRUE(timeline->wal().Append(damaged.start + 80, std::as_bytes(std::span("XX", 2))).ok());

    PageReconstructor reconstructor(applier_, kCache);
    std::vector<PageKey> keys = {page_, good};
    auto pages = reconstructor.GetPages(timeline, keys, kMaxLsn);
    ASSERT_FALSE(pages[0].ok());
    EXPECT_EQ(pages[0].status().code(), StatusCode::kCorruption);
    EXPECT_NE(pages[0].status().message().find(damaged.start.ToString()), std::string::npos)
        << pages[0].status().message();
    ASSERT_TRUE(pages[1].ok() && pages[1]->has_value());
    EXPECT_EQ(**pages[1], Expected(*timeline, refs));
}

}  // namespace
}  // namespace zenith
