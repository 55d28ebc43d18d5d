// The check over a real timeline with its layer files, and an applier that lies when it is told to.
#include "pageserver/reconstruct/redo_check.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <cstdlib>
#include <memory>
#include <sstream>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/pgformat/record_types.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/reconstruct/page_reconstructor.h"
#include "pageserver/reconstruct/reconstructing_imager.h"
#include "pageserver/testing/fake_redo_applier.h"
#include "pageserver/testing/wal_builder.h"
#include "pageserver/wal_decoder/decoded_record.h"

namespace zenith {
namespace {

const Lsn kStart(0x2000028);
constexpr RelForkKey kTable{{1663, 5, 16384}, Fork::kMain};
constexpr size_t kFlipped = 4711;

void Flip(PageSpan page) {
    page[kFlipped] ^= std::byte{1};
}

// FakeRedo() but for images, which it restores.
class TestApplier : public RedoApplier {
  public:
    std::vector<Result<PageBuffer>> Apply(std::span<const RedoRequest> requests) override {
        calls++;
        std::vector<Result<PageBuffer>> results;
        for (const RedoRequest& request : requests) {
            PageBuffer page = request.base.value_or(PageBuffer{});
            for (const RedoRecord& record : request.records) {
                DecodedRecord decoded;
                auto bytes = std::as_bytes(std::span(record.bytes.data(), record.bytes.size()));
                EXPECT_TRUE(DecodeRecord(record.start, record.end, bytes, &decoded).ok());
                if (decoded.blocks[0].has_image) {
                    EXPECT_TRUE(RestoreUncompressedImage(decoded, decoded.blocks[0], page).ok());
                } else {
                    FakeRedo(record, page);
                }
            }
            records += request.records.size();
            if (lying) {
                Flip(page);
            }
            const bool fails = !failure.ok() && !request.base.has_value();
            results.push_back(fails ? Result<PageBuffer>(failure) : Result<PageBuffer>(page));
        }
        return results;
    }

    bool lying = false;
    // Of every page without a base.
    Status failure;
    size_t calls = 0;
    size_t records = 0;
};

class TestImager : public PageImager {
  public:
    explicit TestImager(RedoApplier& applier) : pages_(applier, 0), imager_(pages_) {}
    std::vector<Result<std::optional<PageBuffer>>> Images(
        Timeline& timeline, std::span<const Wanted> wanted) override {
        auto images = imager_.Images(timeline, wanted);
        for (auto& image : images) {
            EXPECT_TRUE(image.ok() && image->has_value());
            if (wrong) {
                Flip(**image);
            }
        }
        made += images.size();
        return images;
    }
    bool wrong = false;
    size_t made = 0;

  private:
    PageReconstructor pages_;
    ReconstructingImager imager_;
};

class RedoCheckTest : public testing::Test {
  protected:
    RedoCheckTest() : builder_(kStart, 1), imager_(applier_) {
        char path[] = "/tmp/zenith-redo-check-test.XXXXXX";
        EXPECT_NE(mkdtemp(path), nullptr);
        directory_ = path;
        EXPECT_TRUE(EnsureDirectory(directory_ + "/wal").ok());
        TimelineLayers layers;
        layers.directory = directory_ + "/layers";
        layers.options.imager = &imager_;
        layers.options.replay_bytes = 300;
        const TimelineId id = TimelineId::Random();
        auto wal = std::make_unique<WalStorage>(directory_ + "/wal", kStart, nullptr);
        auto opened = OpenDeltaLayers(layers.directory, id, kStart, wal.get());
        EXPECT_TRUE(opened.ok()) << opened.status().message();
        layers.opened = *std::move(opened);
        timeline_ = MakeTimeline(id, kStart, nullptr, nullptr, std::move(wal), layers);

        logger_ = spdlog::default_logger();
        spdlog::set_default_logger(std::make_shared<spdlog::logger>(
            "", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_)));
    }
    ~RedoCheckTest() override {
        spdlog::set_default_logger(logger_);
        timeline_ = nullptr;
        RemoveTree(directory_).Ignore("end of a test");
    }

    Lsn Write(const WalRecordSpec& spec, uint8_t flags) {
        const size_t before = builder_.stream().size();
        WalBuilder::Placed placed = builder_.Append(spec);
        EXPECT_TRUE(timeline_->wal().Append(kStart + before, builder_.bytes().subspan(before)).ok());
        timeline_->BeginRecords();
        timeline_->StartRecord(placed.start, placed.end);
        timeline_->PutRecord(page_, flags);
        timeline_->CommitRecords();
        return placed.end;
    }
    // A change of the page; `count` of them, the LSN of the last.
    Lsn Change(int count) {
        Lsn end;
        for (int i = 0; i < count; i++) {
            WalRecordSpec spec;
            spec.rmgr = Rmgr::kBtree;
            spec.blocks = {{.rel = kTable, .block = page_.block, .data = "change"}};
            spec.main_data = std::to_string(++changes_);
            end = Write(spec, 0);
        }
        return end;
    }
    Lsn LogImage() {
        PageBuffer image;
        image.fill(std::byte{0x42});
        WalRecordSpec spec;
        spec.rmgr = Rmgr::kXlog;
        spec.info = kXlogFpi;
        spec.blocks = {{.rel = kTable, .block = page_.block, .image = image}};
        return Write(spec, kRefWillInit);
    }
    void Flush() {
        timeline_->Flush();
        Status status = timeline_->WaitForFlush();
        ASSERT_TRUE(status.ok()) << status.message();
    }
    PageReconstructor::PageResult Get(PageReconstructor& pages, Lsn at = kMaxLsn) {
        applier_.calls = applier_.records = 0;
        return pages.GetPage(timeline_, page_, at);
    }
    void ExpectDifference(const PageReconstructor::PageResult& page) {
        ASSERT_FALSE(page.ok());
        EXPECT_EQ(page.status().code(), StatusCode::kCorruption);
        EXPECT_NE(page.status().message().find("is not what its WAL gives"), std::string::npos)
            << page.status().message();
    }
    void ExpectInLog(const std::string& text) {
        EXPECT_NE(log_.str().find(text), std::string::npos) << text << " in:\n" << log_.str();
    }

    static constexpr size_t kCache = 1 << 20;
    const PageKey page_ = PageKey::Relation(kTable, 3);
    std::string directory_;
    WalBuilder builder_;
    int changes_ = 0;
    TestApplier applier_;
    TestImager imager_;
    std::shared_ptr<Timeline> timeline_;
    std::ostringstream log_;
    std::shared_ptr<spdlog::logger> logger_;
};

TEST_F(RedoCheckTest, OffItAsksNobody) {
    Change(20);
    PageReconstructor pages(applier_, kCache);
    ASSERT_TRUE(Get(pages).ok());
    EXPECT_EQ(applier_.calls, 1u);
    ASSERT_TRUE(Get(pages).ok());
    EXPECT_EQ(applier_.calls, 0u);
    EXPECT_EQ(pages.check_stats().percent, 0);
    EXPECT_EQ(pages.check_stats().checked(), 0u);
}

TEST_F(RedoCheckTest, EqualPagesAreCounted) {
    const Lsn early = Change(20);
    Flush();
    Change(3);
    ASSERT_GT(imager_.made, 1u);
    PageReconstructor pages(applier_, kCache, 100);
    auto page = Get(pages);
    ASSERT_TRUE(page.ok() && page->has_value()) << page.status().message();
    // First what comes after the image, then everything.
    EXPECT_EQ(applier_.calls, 2u);
    EXPECT_GE(applier_.records, 23u + 3u);
    EXPECT_LT(applier_.records, 2 * 23u);
    // From the cache; the check does not believe in it.
    page = Get(pages);
    ASSERT_TRUE(page.ok());
    EXPECT_EQ(applier_.records, 23u);
    page = Get(pages, early);
    ASSERT_TRUE(page.ok());
    EXPECT_GE(applier_.records, 20u);

    const RedoCheckStats stats = pages.check_stats();
    EXPECT_EQ(stats.from_wal, 3u);
    EXPECT_EQ(stats.checked(), 3u);
    EXPECT_EQ(stats.differences + stats.impossible, 0u);
    // Nothing to compare with: a page that does not exist.
    ASSERT_TRUE(pages.GetPage(timeline_, PageKey::Relation(kTable, 9), kMaxLsn).ok());
    EXPECT_EQ(pages.check_stats().checked(), 3u);
}

TEST_F(RedoCheckTest, AWrongImageIsFound) {
    Change(20);
    imager_.wrong = true;
    Flush();
    const Lsn end = Change(1);
    PageReconstructor unchecked(applier_, kCache);
    ASSERT_TRUE(Get(unchecked).ok()) << "nobody would notice";
    PageReconstructor pages(applier_, kCache, 100);
    auto page = Get(pages);
    ExpectDifference(page);
    ExpectInLog("timeline " + timeline_->id().ToString());
    ExpectInLog("block 3 of relation 1663/5/16384 at " + end.ToString());
    ExpectInLog("the reader's page has LSN " + end.ToString());
    ExpectInLog("on an image as of ");
    ExpectInLog("from 21 records on nothing the page has LSN " + end.ToString());
    ExpectInLog("first at offset ");
    ExpectInLog("(resource manager 11, info 00)");
    EXPECT_EQ(pages.check_stats().differences, 1u);
    // It is not in the cache now.
    ExpectDifference(Get(pages));
    EXPECT_EQ(pages.check_stats().differences, 2u);
    // The images of a layer are checked as well: a wrong one does not beget others.
    ReconstructingImager imager(pages);
    const PageImager::Wanted wanted{page_, end};
    auto images = imager.Images(*timeline_, std::span(&wanted, 1));
    ASSERT_EQ(images.size(), 1u);
    ExpectDifference(images[0]);
}

TEST_F(RedoCheckTest, AWrongPageInTheCacheIsFound) {
    const Lsn end = Change(5);
    PageReconstructor pages(applier_, kCache, 100);
    // Both ways are wrong alike, so it is kept.
    applier_.lying = true;
    ASSERT_TRUE(Get(pages).ok());
    applier_.lying = false;
    ExpectDifference(Get(pages));
    ExpectInLog("rebuilt from 5 records on nothing, 5 of them in a version at hand");
    ExpectInLog("from 5 records on nothing the page has LSN " + end.ToString() +
                " and differs in 1 byte, first at offset " + std::to_string(kFlipped));
}

TEST_F(RedoCheckTest, OurOwnImageCodeIsComparedWithTheAppliers) {
    LogImage();
    PageReconstructor pages(applier_, 0, 100);
    ASSERT_TRUE(Get(pages).ok());
    EXPECT_EQ(applier_.records, 1u);
    EXPECT_EQ(pages.check_stats().from_wal, 1u);
    applier_.lying = true;
    ExpectDifference(Get(pages));
}

TEST_F(RedoCheckTest, WhereRecordsAreGoneTheImageIsTheBase) {
    const Lsn point = Change(20);
    Change(20);
    Flush();
    const Lsn horizon = timeline_->last_record_end();
    Timeline::Retention retention;
    retention.horizon = horizon;
    retention.points = {point};
    auto report = timeline_->ApplyRetention(retention);
    ASSERT_TRUE(report.ok()) << report.status().message();
    ASSERT_EQ(report->readable_from, horizon);
    // Behind the horizon there are records again, and images of them.
    const Lsn later = Change(20);
    Flush();
    Change(2);

    PageReconstructor pages(applier_, 0, 100);
    for (Lsn at : {point, horizon, later, kMaxLsn}) {
        auto page = Get(pages, at);
        EXPECT_TRUE(page.ok()) << page.status().message();
    }
    // The last one: 22 records on the image of the horizon.
    EXPECT_GE(applier_.records, 22u);
    // The other two are retention's images as they are.
    EXPECT_EQ(pages.check_stats().from_image, 2u);
    EXPECT_EQ(pages.check_stats().checked(), 2u);
    EXPECT_EQ(pages.check_stats().differences, 0u);
    EXPECT_EQ(pages.check_stats().impossible, 0u);
}

TEST_F(RedoCheckTest, RecordsThatDoNotApplyAreADifferenceAndNoRedoIsNone) {
    Change(20);
    Flush();
    PageReconstructor pages(applier_, 0, 100);
    // The reader's page has an image to begin with; the second way has not.
    applier_.failure = Status::Unavailable("no redo process");
    auto page = Get(pages);
    EXPECT_TRUE(page.ok()) << page.status().message();
    EXPECT_EQ(pages.check_stats().impossible, 1u);
    EXPECT_EQ(pages.check_stats().checked(), 0u);
    ExpectInLog("no redo process");
    applier_.failure = Status::Corruption("record left the page unchanged");
    ExpectDifference(Get(pages));
    ExpectInLog("record left the page unchanged");
    EXPECT_EQ(pages.check_stats().differences, 1u);
}

TEST_F(RedoCheckTest, ThePercentageIsThatOfPages) {
    auto chosen = [this](double percent) {
        RedoCheck check(applier_, percent);
        int count = 0;
        for (int i = 0; i < 100000; i++) {
            count += check.Chosen() ? 1 : 0;
        }
        return count;
    };
    EXPECT_EQ(chosen(100), 100000);
    EXPECT_NEAR(chosen(30), 30000, 1500);
    EXPECT_NEAR(chosen(0.5), 500, 150);
}

}  // namespace
}  // namespace zenith
