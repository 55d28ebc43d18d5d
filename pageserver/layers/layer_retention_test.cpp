// What exactly is left: small histories, and the entries of the file that RewriteLayers() makes of
// them. That reads get what they did before is layer_rewriter_test.cpp's.
#include <gtest/gtest.h>

#include <atomic>

#include "common/base/posix_file.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/database_blob.h"
#include "pageserver/layers/in_memory_layer.h"
#include "pageserver/layers/layer_rewriter.h"
#include "pageserver/layers/temp_directory_for_test.h"
#include "pageserver/testing/fake_timeline.h"

namespace zenith {
namespace {

const Lsn kStart(0x1000);
const RelForkKey kRelation{{1663, 5, 100}, Fork::kMain};

TimelineId Id() { return *TimelineId::Parse("000102030405060708090a0b0c0d0e0f"); }

PageKey Block(BlockNumber block) { return PageKey::Relation(kRelation, block); }

PageBuffer Filled(uint8_t fill) {
    PageBuffer page;
    page.fill(static_cast<std::byte>(fill));
    return page;
}

class GivingImager : public PageImager {
  public:
    std::vector<Result<std::optional<PageBuffer>>> Images(
        Timeline&, std::span<const Wanted> wanted) override {
        std::vector<Result<std::optional<PageBuffer>>> images;
        for (const Wanted& page : wanted) {
            asked.push_back(page.key.ToString() + " at " + page.at.ToString());
            if (fails) {
                images.push_back(Status::Unavailable("no redo"));
            } else {
                images.push_back(std::optional(Filled(1)));
            }
        }
        return images;
    }

    std::vector<std::string> asked;
    bool fails = false;
};

class NothingBelow : public HistoryBelow {
  public:
    Result<bool> MayHaveDatabase(const DatabaseKey&) const override { return false; }
    Result<bool> MayHaveRelation(const RelForkKey&) const override { return false; }
    Result<bool> MayHaveSlruPage(SlruKind, BlockNumber) const override { return false; }
    Result<bool> MayHaveBlob(const std::string&) const override { return false; }
};

class Rewriting : public testing::Test {
  protected:
    Rewriting() {
        retention_.imager = &imager_;
        retention_.timeline = &timeline_;
        retention_.below = &below_;
        retention_.images = images_.get();
    }

    void Flush(Lsn end) {
        const NewLayer layer = New(start_, end);
        auto written = WriteDeltaLayerFile(*memory_, layer);
        ASSERT_TRUE(written.ok()) << written.status().message();
        files_.push_back(Open(layer));
        start_ = end;
        memory_ = std::make_unique<InMemoryLayer>(nullptr);
    }
    NewLayer New(Lsn start, Lsn end) { return {directory_.path(), Id(), {start, end, number_++}}; }
    std::shared_ptr<const DeltaLayerFile> Open(const NewLayer& layer) {
        auto file = DeltaLayerFile::Open(layer.directory, Id(), layer.entry, nullptr, images_);
        EXPECT_TRUE(file.ok()) << file.status().message();
        EXPECT_TRUE((*file)->Verify().ok()) << (*file)->Verify().message();
        return *file;
    }

    // Rewrites all files so far to one up to `end`; its entries, as text.
    std::vector<std::string> Left(Lsn end, std::vector<Lsn> points = {}) {
        retention_.points = std::move(points);
        const NewLayer layer = New(kStart, end);
        auto rewritten = RewriteLayers(files_, layer, &retention_);
        EXPECT_TRUE(rewritten.ok()) << rewritten.status().message();
        report_ = *rewritten;
        file_ = Open(layer);
        return Dump(*file_);
    }

    static std::vector<std::string> Dump(const DeltaLayerFile& file) {
        std::vector<std::string> lines;
        auto cursor = *file.NewCursor();
        while (*cursor->NextKey()) {
            for (const DeltaEntry* entry = *cursor->NextEntry(); entry != nullptr;
                 entry = *cursor->NextEntry()) {
                std::string line = Name(cursor->kind(), cursor->key()) + " " +
                                   entry->lsn.ToString() + " ";
                if (cursor->kind() != DeltaBlockKind::kPages) {
                    line += std::to_string(entry->number);
                } else if (DeltaPageWhat(entry->number) == kDeltaPageImage) {
                    line += "image";
                } else {
                    line += DeltaPageWhat(entry->number) == kDeltaPageTombstone ? "end" : "record";
                }
                lines.push_back(line);
            }
        }
        return lines;
    }
    static std::string Name(DeltaBlockKind kind, const std::string& key) {
        switch (kind) {
            case DeltaBlockKind::kCuts:
                return "cut " + std::to_string(DecodeDatabaseKey(key).db);
            case DeltaBlockKind::kDatabases:
                return "database " + std::to_string(DecodeDatabaseKey(key).db);
            case DeltaBlockKind::kSizes:
                return "size " + DecodeRelationKey(key).ToString();
            case DeltaBlockKind::kFloors:
                return "floor " + DecodeRelationKey(key).ToString();
            case DeltaBlockKind::kBlobs:
                return "blob " + key;
            case DeltaBlockKind::kPages:
                return DecodePageKey(key).ToString();
        }
        return "";
    }

    using Lines = std::vector<std::string>;

    TempDirectory directory_;
    std::shared_ptr<ImageFiles> images_ = std::make_shared<ImageFiles>(directory_.path(), Id());
    uint64_t number_ = 1;
    Lsn start_ = kStart;
    std::unique_ptr<InMemoryLayer> memory_ = std::make_unique<InMemoryLayer>(nullptr);
    std::vector<std::shared_ptr<const DeltaLayerFile>> files_;
    GivingImager imager_;
    NothingBelow below_;
    FakeTimeline timeline_;
    RewriteRetention retention_;
    RewrittenLayer report_;
    std::shared_ptr<const DeltaLayerFile> file_;
};

TEST_F(Rewriting, KeepsTheVersionsThatPointsSee) {
    memory_->SetSize(kRelation, Lsn(0x1010), 1);
    memory_->SetSize(kRelation, Lsn(0x1030), 2);
    for (uint64_t lsn = 0x1010; lsn <= 0x1060; lsn += 0x10) {
        memory_->AddRecord(Block(0), Lsn(lsn - 8), Lsn(lsn), 0);
    }
    Flush(Lsn(0x1050 + 0x10));
    memory_->AddImage(Block(0), Lsn(0x1070), Filled(7));
    Flush(Lsn(0x1080));
    EXPECT_EQ(Left(Lsn(0x1080), {Lsn(0x1010), Lsn(0x102f), Lsn(0x1044), Lsn(0x1048)}),
              (Lines{"size 1663/5/100 0/1010 2", "size 1663/5/100 0/1030 3",
                     "block 0 of relation 1663/5/100 0/1010 image",
                     "block 0 of relation 1663/5/100 0/1020 image",
                     "block 0 of relation 1663/5/100 0/1040 image",
                     "block 0 of relation 1663/5/100 0/1070 image"}));
    EXPECT_EQ(imager_.asked, (Lines{"block 0 of relation 1663/5/100 at 0/1010",
                                    "block 0 of relation 1663/5/100 at 0/102F",
                                    "block 0 of relation 1663/5/100 at 0/1044"}));
    EXPECT_EQ(report_.made_images, 3u);
    EXPECT_EQ(report_.dropped_versions, 3u);
    EXPECT_EQ(report_.layer.oldest_record, kMaxLsn);
    EXPECT_EQ(report_.layer.images, 3u) << "the fourth stays where it is";

    // Again, with fewer points: nothing is made.
    imager_.asked.clear();
    files_ = {file_};
    EXPECT_EQ(Left(Lsn(0x1080), {Lsn(0x1044)}),
              (Lines{"size 1663/5/100 0/1030 3", "block 0 of relation 1663/5/100 0/1040 image",
                     "block 0 of relation 1663/5/100 0/1070 image"}));
    EXPECT_TRUE(imager_.asked.empty());
    EXPECT_EQ(report_.dropped_versions, 2u);
}

TEST_F(Rewriting, RecordsStayWhereNoImageCanBeMade) {
    for (uint64_t lsn = 0x1010; lsn <= 0x1050; lsn += 0x10) {
        memory_->AddRecord(Block(0), Lsn(lsn - 8), Lsn(lsn), lsn == 0x1020 ? 1 : 0);
    }
    Flush(Lsn(0x1060));
    imager_.fails = true;
    EXPECT_EQ(Left(Lsn(0x1060), {Lsn(0x1030)}),
              (Lines{"block 0 of relation 1663/5/100 0/1020 record",
                     "block 0 of relation 1663/5/100 0/1030 record",
                     "block 0 of relation 1663/5/100 0/1040 record",
                     "block 0 of relation 1663/5/100 0/1050 record"}));
    EXPECT_EQ(report_.failed_images, 2u);
    EXPECT_EQ(report_.layer.oldest_record, Lsn(0x1018));
    imager_.fails = false;
    files_ = {file_};
    EXPECT_EQ(Left(Lsn(0x1060), {Lsn(0x1030)}),
              (Lines{"block 0 of relation 1663/5/100 0/1030 image",
                     "block 0 of relation 1663/5/100 0/1050 image"}));
}

TEST_F(Rewriting, ADroppedRelationLeavesNothing) {
    memory_->SetSize(kRelation, Lsn(0x1010), 5);
    memory_->AddRecord(Block(0), Lsn(0x1000), Lsn(0x1010), 1);
    memory_->AddRecord(Block(4), Lsn(0x1000), Lsn(0x1010), 1);
    memory_->AddFloor(kRelation, Lsn(0x1020), 3);
    memory_->SetSize(kRelation, Lsn(0x1020), 3);
    memory_->AddFloor(kRelation, Lsn(0x1030), 0);
    memory_->SetSize(kRelation, Lsn(0x1030), std::nullopt);
    Flush(Lsn(0x1060));
    EXPECT_EQ(Left(Lsn(0x1060)), Lines{});
    EXPECT_EQ(Left(Lsn(0x1060), {Lsn(0x1008)}), Lines{}) << "before it was there";
    EXPECT_EQ(Left(Lsn(0x1060), {Lsn(0x1024)}),
              (Lines{"size 1663/5/100 0/1020 4", "size 1663/5/100 0/1030 0",
                     "floor 1663/5/100 0/1030 0",
                     "block 0 of relation 1663/5/100 0/1010 image"}));
    EXPECT_EQ(Left(Lsn(0x1060), {Lsn(0x1018), Lsn(0x1024)}),
              (Lines{"size 1663/5/100 0/1010 6", "size 1663/5/100 0/1020 4",
                     "size 1663/5/100 0/1030 0", "floor 1663/5/100 0/1020 3",
                     "floor 1663/5/100 0/1030 0",
                     "block 0 of relation 1663/5/100 0/1010 image",
                     "block 4 of relation 1663/5/100 0/1010 image"}));
    retention_.below = nullptr;
    EXPECT_EQ(Left(Lsn(0x1060)),
              (Lines{"size 1663/5/100 0/1030 0", "floor 1663/5/100 0/1030 0"}))
        << "the ancestor may have it";
}

TEST_F(Rewriting, ADroppedDatabaseLeavesNothing) {
    const DatabaseKey db{1663, 5};
    const std::string relmap = RelmapBlobKey(db);
    memory_->SetDatabaseExists(db, Lsn(0x1010), true);
    memory_->SetSize(kRelation, Lsn(0x1010), 1);
    memory_->AddFloor(kRelation, Lsn(0x1012), 0);
    memory_->AddRecord(Block(0), Lsn(0x1010), Lsn(0x1018), 1);
    memory_->SetBlob(relmap, Lsn(0x1010), "map");
    memory_->CutDatabase(db, {Lsn(0x1020), std::nullopt});
    memory_->SetDatabaseExists(db, Lsn(0x1020), false);
    Flush(Lsn(0x1060));
    EXPECT_EQ(Left(Lsn(0x1060)), Lines{});
    EXPECT_EQ(Left(Lsn(0x1060), {Lsn(0x1018)}),
              (Lines{"cut 5 0/1020 0", "database 5 0/1010 1", "database 5 0/1020 0",
                     "size 1663/5/100 0/1010 2",
                     "blob " + relmap + " 0/1010 4",
                     "block 0 of relation 1663/5/100 0/1018 image"}));
    retention_.below = nullptr;
    EXPECT_EQ(Left(Lsn(0x1060)), (Lines{"cut 5 0/1020 0", "database 5 0/1020 0"}));
}

TEST_F(Rewriting, ACopyKeepsItsSource) {
    const DatabaseKey copy{1663, 6};
    const DatabaseKey source{1663, 5};
    for (uint64_t lsn = 0x1010; lsn <= 0x1040; lsn += 0x10) {
        memory_->AddRecord(Block(0), Lsn(lsn - 8), Lsn(lsn), 0);
    }
    memory_->CutDatabase(copy, {Lsn(0x1040), source});
    memory_->AddRecord(Block(0), Lsn(0x1048), Lsn(0x1050), 0);
    memory_->CutDatabase(source, {Lsn(0x1058), std::nullopt});
    Flush(Lsn(0x1060));
    EXPECT_EQ(Left(Lsn(0x1060)), (Lines{"cut 5 0/1058 0", "cut 6 0/1040 1",
                                        "block 0 of relation 1663/5/100 0/1030 image"}));
    // Once the copy is gone, so is what it was made of.
    memory_->CutDatabase(copy, {Lsn(0x1068), std::nullopt});
    Flush(Lsn(0x1070));
    EXPECT_EQ(Left(Lsn(0x1070)), (Lines{"cut 6 0/1068 0"}));
}

TEST_F(Rewriting, WhatAPutsSurvivesWhatItsRecordCutsOff) {
    memory_->AddRecord(Block(3), Lsn(0x1000), Lsn(0x1010), 1);
    memory_->AddFloor(kRelation, Lsn(0x1020), 0);
    memory_->AddRecord(Block(3), Lsn(0x1010), Lsn(0x1020), 0);
    Flush(Lsn(0x1060));
    EXPECT_EQ(Left(Lsn(0x1060)), (Lines{"block 3 of relation 1663/5/100 0/1020 image"}));
}

TEST_F(Rewriting, BlobsTimesAndTheState) {
    const std::string state = "s";
    memory_->SetBlob("a", Lsn(0x1010), "1");
    memory_->SetBlob("a", Lsn(0x1020), "2");
    memory_->SetBlob("a", Lsn(0x1030), std::nullopt);
    memory_->SetBlob("b", Lsn(0x1010), std::nullopt);
    memory_->SetBlob(kClusterStateBlobKey, Lsn(0x1018), "1");
    memory_->SetBlob(kClusterStateBlobKey, Lsn(0x1028), "2");
    memory_->SetBlob("time/1/2", Lsn(0x1040), "x");
    memory_->SetBlob("time/1/3", Lsn(0x1060), "x");
    memory_->AddTombstone(PageKey::Slru(SlruKind::kXact, 1), Lsn(0x1030));
    Flush(Lsn(0x1060));
    std::vector<Lsn> made;
    retention_.state_at = [&](Lsn lsn) -> Result<std::string> {
        made.push_back(lsn);
        return state;
    };
    EXPECT_EQ(Left(Lsn(0x1060), {Lsn(0x1020), Lsn(0x1028)}),
              (Lines{"blob a 0/1020 2", "blob a 0/1030 0", "blob cluster_state 0/1020 2",
                     "blob cluster_state 0/1028 2", "blob cluster_state 0/1060 2",
                     "blob time/1/3 0/1060 2"}));
    EXPECT_EQ(made, (std::vector<Lsn>{Lsn(0x1020), Lsn(0x1060)}));
    // To an LSN within a layer: what is later is gone.
    EXPECT_EQ(Left(Lsn(0x1024)), (Lines{"blob a 0/1020 2", "blob cluster_state 0/1024 2"}));
    retention_.state_at = [](Lsn) -> Result<std::string> { return Status::IoError("no WAL"); };
    const NewLayer layer = New(kStart, Lsn(0x1060));
    EXPECT_EQ(RewriteLayers(files_, layer, &retention_).status().code(), StatusCode::kIoError);
    EXPECT_FALSE(FileExists(directory_.path() + "/" + DeltaLayerFileName(layer.entry)));
}

TEST_F(Rewriting, ImagesMoveWhenMostOfTheirFileIsDead) {
    for (BlockNumber block = 0; block < 20; block++) {
        memory_->AddImage(Block(block), Lsn(0x1010), Filled(static_cast<uint8_t>(block)));
    }
    Flush(Lsn(0x1020));
    for (BlockNumber block = 0; block < 5; block++) {
        memory_->AddImage(Block(block), Lsn(0x1030), Filled(100));
    }
    Flush(Lsn(0x1040));
    Left(Lsn(0x1040));
    EXPECT_EQ(report_.copied_images, 0u);
    EXPECT_EQ(file_->image_files(), (std::vector<uint64_t>{1, 2}));
    for (BlockNumber block = 5; block < 15; block++) {
        memory_->AddImage(Block(block), Lsn(0x1050), Filled(101));
    }
    Flush(Lsn(0x1060));
    Left(Lsn(0x1060));
    EXPECT_EQ(report_.copied_images, 5u);
    EXPECT_EQ(file_->image_files(), (std::vector<uint64_t>{2, 4, 5}));
    PageHistory history;
    ASSERT_TRUE(file_->SearchPage(Block(17), kMaxLsn, &history).ok());
    EXPECT_EQ(history.base, Filled(17));
    EXPECT_EQ(history.base_lsn, Lsn(0x1010));
}

TEST_F(Rewriting, AMergeIsAllOfIt) {
    // One page with more entries than some blocks hold, on both sides of the seam.
    Lines expected;
    for (uint64_t i = 1; i <= 20000; i++) {
        const Lsn lsn = kStart + 8 * i;
        memory_->AddRecord(Block(i % 50 == 0 ? 9 : 3), lsn - 8, lsn, 0);
        if (i % 50 != 0) {
            expected.push_back("block 3 of relation 1663/5/100 " + lsn.ToString() + " record");
        }
        if (i == 7777) {
            memory_->SetBlob("a", lsn, "x");
            Flush(lsn);
        }
    }
    Flush(kStart + 160000);
    const NewLayer layer = New(kStart, kStart + 160000);
    auto merged = RewriteLayers(files_, layer, nullptr);
    ASSERT_TRUE(merged.ok());
    EXPECT_EQ(merged->layer.oldest_record, kStart);
    const Lines lines = Dump(*Open(layer));
    EXPECT_EQ(lines.size(), 20001u);
    EXPECT_EQ(lines[0], "blob a 0/" + std::string("10308") + " 2");
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), lines.begin() + 1));

    std::atomic<bool> cancel = true;
    EXPECT_EQ(RewriteLayers(files_, New(kStart, kStart + 160000), nullptr, &cancel).status().code(),
              StatusCode::kUnavailable);
    for (const LayerManifest::Entry& wrong :
         {LayerManifest::Entry{kStart, kStart + 8, 50},
          LayerManifest::Entry{kStart + 8, kStart + 160000, 51}}) {
        EXPECT_EQ(RewriteLayers(files_, {directory_.path(), Id(), wrong}, nullptr).status().code(),
                  StatusCode::kInvalidArgument);
    }
    const size_t before = ListDirectory(directory_.path())->size();
    const Status damage = Status::Corruption("gone");
    files_[1] = DeltaLayerFile::Damaged(files_[1]->entry(), damage);
    EXPECT_EQ(RewriteLayers(files_, New(kStart, kStart + 160000), nullptr).status().code(),
              StatusCode::kCorruption);
    EXPECT_EQ(ListDirectory(directory_.path())->size(), before);
}

}  // namespace
}  // namespace zenith
