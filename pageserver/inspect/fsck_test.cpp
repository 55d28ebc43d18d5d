// fsck on built repositories: nothing to say of a good one, and every flipped byte is found.
#include <cstdlib>
#include <random>
#include <set>

#include "pageserver/inspect/deep_check.h"
#include "pageserver/inspect/fsck_for_test.h"
#include "pageserver/layers/manifest.h"

namespace zenith {
namespace {

TEST_F(FsckTest, GoodRepositoryHasNoFindings) {
    std::set<std::string> kinds;
    for (const std::string& file : built_.Files()) {
        kinds.insert(file.substr(file.find_last_of("./") + 1));
    }
    for (const char* kind : {"json", "delta", "images", "manifest", "snapshot", "durable"}) {
        EXPECT_TRUE(kinds.contains(kind)) << kind;
    }
    // The first segment went with the garbage.
    EXPECT_FALSE(FileExists(built_.repository.path() + "/" + Segment(built_.root, 1)));
    FsckReport report = Fsck();
    EXPECT_EQ(Text(report.findings), "");
    EXPECT_EQ(report.timelines, 3u);
    EXPECT_GT(report.records, 40u);

    report = Fsck(true);
    EXPECT_EQ(Text(report.findings), "");
    // 30 blocks of the table, each at least once, and the snapshot's.
    EXPECT_GT(report.pages, 40u);
    EXPECT_TRUE(built_.redo.keys().empty());  // images do without
}

// The claim of fsck: one byte of any file, anywhere in it.
TEST_F(FsckTest, EveryFlippedByteIsFound) {
    std::mt19937_64 random(20261122);
    for (const std::string& file : built_.Files()) {
        const uint64_t size = std::filesystem::file_size(built_.repository.path() + "/" + file);
        ASSERT_GT(size, 0u) << file;
        std::set<uint64_t> offsets = {0, 1, size / 3, size / 2, size - 2, size - 1};
        const bool is_wal = size == kWalSegmentSize;
        for (int i = 0; i < 12; i++) {
            // Most of a segment is zeroes.
            offsets.insert(random() % (is_wal && i < 6 ? 300000 : size));
        }
        for (uint64_t offset : offsets) {
            // The flag of a page header that tells archivers something (XLP_BKP_REMOVABLE) may be
            // set or not: not that bit.
            // Nor the rest of a record whose beginning went with the garbage: nobody can tell.
            if (file == Segment(built_.root, WalSegmentNumber(built_.collected_to)) &&
                offset < built_.collected_to.value % kWalSegmentSize &&
                offset % kWalPageSize >= kWalLongHeaderSize) {
                continue;
            }
            const auto bits = static_cast<uint8_t>(0x80 >> random() % (is_wal ? 4 : 8));
            built_.Xor(file, offset, bits);
            SCOPED_TRACE(file + ", offset " + std::to_string(offset) + ", bits " +
                         std::to_string(bits));
            ExpectError(file);
            built_.Xor(file, offset, bits);
        }
    }
    EXPECT_EQ(Text(Fsck().findings), "");
}

TEST_F(FsckTest, EveryByteOfAPieceOfWalIsFound) {
    // Two records of the branch and what is around them: page headers, record headers, padding, the
    // last record, and zeroes behind it.
    const std::string file = Segment(built_.branch, WalSegmentNumber(built_.branch_point));
    const uint64_t begin = built_.branch_point.value % kWalSegmentSize;
    const uint64_t end = built_.branch_end.value % kWalSegmentSize;
    for (uint64_t offset = begin - 20; offset < begin + 60; offset++) {
        built_.Xor(file, offset, 0x10);
        SCOPED_TRACE(offset);
        ExpectError(file);
        built_.Xor(file, offset, 0x10);
    }
    for (uint64_t offset = end - 40; offset < end + 40; offset++) {
        built_.Xor(file, offset, 0x10);
        SCOPED_TRACE(offset);
        ExpectError(file);
        built_.Xor(file, offset, 0x10);
    }
    const uint64_t page = (begin / kWalPageSize + 2) * kWalPageSize;
    for (uint64_t offset = page - 4; offset < page + 28; offset++) {
        built_.Xor(file, offset, 0x10);
        SCOPED_TRACE(offset);
        ExpectError(file);
        built_.Xor(file, offset, 0x10);
    }
}

TEST_F(FsckTest, MissingFiles) {
    for (const std::string& file : built_.Files()) {
        // Nothing says that a tag or a compute should be there, and a branch is one of several; the
        // durable position is a lower bound.
        if (file.starts_with("refs/") || file.starts_with("computes/") ||
            file.ends_with("/durable")) {
            continue;
        }
        SCOPED_TRACE(file);
        const std::string path = built_.repository.path() + "/" + file;
        std::filesystem::rename(path, path + ".away");
        const FsckReport report = Fsck();
        EXPECT_GT(report.findings.errors(), 0u) << file;
        std::filesystem::rename(path + ".away", path);
    }
    EXPECT_EQ(Text(Fsck().findings), "");
}

TEST_F(FsckTest, TornTailIsNoDamage) {
    // The beginning of a record, up to a page's end, as the walsender sends it.
    const std::string file = Segment(built_.root, WalSegmentNumber(built_.root_end));
    auto timeline = built_.repository.ReadTimeline(built_.root);
    ASSERT_TRUE(timeline.ok());
    const std::string wal = built_.Read(file);
    // Find the last record's start through its successor's prev-link: build one that follows it.
    auto opened = LoadTimeline(built_.repository, *timeline, nullptr, {});
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    WalBuilder builder((*opened)->follower->last_end(), SmallCluster::kSystemIdentifier,
                       (*opened)->follower->last_start());
    opened->reset();
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kXlog;
    spec.info = kXlogNoop;
    spec.main_data = std::string(3 * kWalPageSize, 'n');
    const uint64_t room = kWalPageSize - builder.position().value % kWalPageSize;
    builder.AppendTorn(spec, room + 2000);
    auto put = [&](size_t bytes) {
        std::string changed = wal;
        const uint64_t at = builder.start().value % kWalSegmentSize;
        changed.replace(at, bytes, builder.stream().substr(0, bytes));
        built_.Write(file, changed);
    };
    put(room);
    EXPECT_EQ(Text(Fsck(true).findings), "");
    // Of the first page only a part is there although there is more of it behind: damage.
    put(room);
    built_.Xor(file, (builder.start() + room + 100).value % kWalSegmentSize, 0xFF);
    ExpectError(file, "bytes behind the last whole WAL record");
    built_.Write(file, wal);
}

TEST_F(FsckTest, LeftoversAreWarnings) {
    const std::string root = Directory(built_.root);
    for (const std::string& file :
         {std::string("notes.txt"), std::string("config.json.tmp"), std::string("refs/x"),
          std::string("refs/branches/a.tmp"), std::string("timelines/notes"), root + "/notes",
          root + "/wal/notes", root + "/layers/00000099.images", root + "/layers/x.tmp",
          root + "/snapshots/other", std::string("computes/half")}) {
        SCOPED_TRACE(file);
        built_.Write(file, "x");
        const FsckReport report = Fsck();
        EXPECT_EQ(report.findings.errors(), 0u) << Text(report.findings);
        EXPECT_EQ(report.findings.warnings(), 1u) << Text(report.findings);
        EXPECT_NE(Text(report.findings).find(file), std::string::npos) << Text(report.findings);
        std::filesystem::remove(built_.repository.path() + "/" + file);
    }
}

TEST_F(FsckTest, EditedConfigurationHasNoChecksum) {
    std::string text = built_.Read("config.json");
    text.erase(text.find(",\n  \"crc32c\""));
    built_.Write("config.json", text + "\n}\n");
    const FsckReport report = Fsck();
    EXPECT_EQ(report.findings.errors(), 0u);
    EXPECT_NE(Text(report.findings).find("no checksum"), std::string::npos);
}

TEST_F(FsckTest, TimelinesThatDoNotFitTogether) {
    auto file = built_.repository.ReadTimeline(built_.branch);
    ASSERT_TRUE(file.ok());
    TimelineFile changed = *file;
    changed.ancestor = TimelineId::Random();
    ASSERT_TRUE(built_.repository.WriteTimeline(changed).ok());
    ExpectError(Directory(built_.branch) + "/timeline.json", "does not exist");

    changed.ancestor = built_.empty_branch;
    ASSERT_TRUE(built_.repository.WriteTimeline(changed).ok());
    ExpectError("/timeline.json", "its own ancestor");

    changed = *file;
    changed.ancestor_lsn = Lsn(0x1000);
    ASSERT_TRUE(built_.repository.WriteTimeline(changed).ok());
    ExpectError(Directory(built_.branch) + "/timeline.json", "before its ancestor begins");

    changed.ancestor_lsn = file->ancestor_lsn + 8;
    ASSERT_TRUE(built_.repository.WriteTimeline(changed).ok());
    ExpectError(Segment(built_.root, 2), "no WAL record ends here");

    changed.ancestor_lsn = built_.kept_point + 8;
    ASSERT_TRUE(built_.repository.WriteTimeline(changed).ok());
    ExpectError(Directory(built_.branch) + "/timeline.json", "which was removed");

    changed.ancestor_lsn = built_.root_end + 0x100000;
    ASSERT_TRUE(built_.repository.WriteTimeline(changed).ok());
    ExpectError(Directory(built_.branch) + "/timeline.json",
                "but its ancestor, timeline " + built_.root.ToString() + ", ends at");
    ASSERT_TRUE(built_.repository.WriteTimeline(*file).ok());
    EXPECT_EQ(Text(Fsck().findings), "");
}

TEST_F(FsckTest, NamesThatLeadNowhere) {
    ASSERT_TRUE(built_.repository.WriteBranch("lost", TimelineId::Random()).ok());
    ExpectError("refs/branches/lost", "does not exist");
    ASSERT_TRUE(built_.repository.RemoveBranch("lost").ok());
    ASSERT_TRUE(built_.repository
                    .WriteTag("early", TimelinePoint{built_.empty_branch, Lsn(0x1000)})
                    .ok());
    ExpectError("refs/tags/early", "before all history");
    ASSERT_TRUE(built_.repository.RemoveTag("early").ok());
    // Removed, and below the branch point of the timeline it names.
    ASSERT_TRUE(
        built_.repository
            .WriteTag("gone", TimelinePoint{built_.empty_branch, built_.kept_point - 64})
            .ok());
    ExpectError("refs/tags/gone", "which was removed");
    ASSERT_TRUE(built_.repository.RemoveTag("gone").ok());
    ASSERT_TRUE(built_.repository.RemoveBranch("leaf").ok());
    EXPECT_EQ(Fsck().findings.errors(), 0u);
    EXPECT_EQ(Fsck().findings.warnings(), 1u);
}

// While a page server holds the repository the WAL's end moves: not judged.
TEST_F(FsckTest, EndOfWalIsNotJudgedWhileThePageServerRuns) {
    const std::string file = Segment(built_.branch, WalSegmentNumber(built_.branch_end));
    built_.Xor(file, (built_.branch_end + 5000).value % kWalSegmentSize, 1);
    ExpectError(file, "bytes behind");
    UniqueFd lock = LockAsPageServer();
    EXPECT_TRUE(PageServerRuns(built_.repository));
    EXPECT_EQ(Text(Fsck().findings), "");
    // What is durable is.
    built_.Xor(file, (built_.branch_end - 100).value % kWalSegmentSize, 1);
    ExpectError(file, "WAL is damaged");
    built_.Xor(file, (built_.branch_end - 100).value % kWalSegmentSize, 1);
    lock.Reset();
    EXPECT_FALSE(PageServerRuns(built_.repository));
}

TEST_F(FsckTest, DeepCheckNeedsNoRedoForImages) {
    built_.redo.FailPage(PageKey::Relation(BuiltRepository::kTable, 0),
                         Status::Corruption("it does not apply"));
    EXPECT_EQ(Text(Fsck(true).findings), "");
}

// No checksum shows this: a record that is whole, and names its page, and does not apply.
TEST_F(FsckTest, DeepCheckFindsPagesThatCannotBeRebuilt) {
    const PageKey page = PageKey::Relation(BuiltRepository::kTable, 2);
    auto loaded = built_.Load(built_.root, nullptr);
    WalBuilder wal = BuiltRepository::BuilderAt(*loaded);
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kGeneric;
    spec.blocks.push_back({.id = 0, .rel = BuiltRepository::kTable, .block = 2, .data = "change"});
    wal.Append(spec);
    ASSERT_TRUE(loaded->timeline->wal().Append(wal.start(), wal.bytes()).ok());
    ASSERT_TRUE(loaded->timeline->wal().SaveDurablePosition(wal.position()).ok());
    loaded.reset();
    EXPECT_EQ(Text(Fsck(true).findings), "");
    EXPECT_EQ(built_.redo.keys(), std::vector<PageKey>{page});

    built_.redo.FailPage(page, Status::Corruption("it does not apply"));
    EXPECT_EQ(Text(Fsck().findings), "");
    const FsckReport report = Fsck(true);
    EXPECT_EQ(report.findings.errors(), 1u) << Text(report.findings);
    const std::string text = Text(report.findings);
    EXPECT_NE(text.find("it does not apply"), std::string::npos) << text;
    EXPECT_NE(text.find("at " + wal.position().ToString()), std::string::npos) << text;
    EXPECT_NE(text.find(Directory(built_.root)), std::string::npos) << text;
}

TEST(DeepCheck, PagesThatAreNone) {
    PageBuffer page{};
    EXPECT_EQ(WrongWithPage(page, Lsn(100)), nullptr);
    page[100] = std::byte{1};
    EXPECT_STREQ(WrongWithPage(page, Lsn(100)), "a new page that is not all zero");
}

TEST_F(FsckTest, DeepCheckFollowsReferences) {
    // The WAL the newest layer refers to is replaced by other WAL, good in itself: a record for
    // another block.
    auto file = built_.repository.ReadTimeline(built_.branch);
    ASSERT_TRUE(file.ok());
    const std::string segment = Segment(built_.branch, WalSegmentNumber(built_.branch_point));
    const std::string wal = built_.Read(segment);
    std::string changed = wal;
    // The first record of the branch: block reference 0's block number lies behind the record's
    // header (24), the block's (4), the image's (5) and the relation (12).
    const Lsn start = WalRecordStartAt(built_.branch_point);
    const uint64_t at = start.value % kWalSegmentSize;
    uint32_t block = 0;
    const size_t block_at = at + 24 + 4 + 5 + 12;
    std::memcpy(&block, changed.data() + block_at, 4);
    ASSERT_EQ(block, 0u);
    changed[block_at] = 77;
    // Its checksum, over page borders: taken apart and put together.
    WalStorage storage(built_.repository.WalDirectory(built_.branch), built_.branch_point, nullptr);
    std::string bytes;
    uint32_t length = 0;
    std::memcpy(&length, wal.data() + at, 4);
    Lsn end = start;
    for (uint64_t rest = length, room = kWalPageSize - start.value % kWalPageSize;; ) {
        if (rest <= room) {
            end = Lsn(MaxAlign((end + rest).value));
            break;
        }
        end = end + room;
        end = end + WalPageHeaderSize(end);
        rest -= room;
        room = kWalPageSize - WalPageHeaderSize(end);
    }
    ASSERT_TRUE(storage.ReadRecord(start, end, &bytes).ok());
    bytes[24 + 4 + 5 + 12] = 77;
    SealWalRecord(&bytes);
    changed.replace(at + 20, 4, bytes.substr(20, 4));
    built_.Write(segment, changed);
    EXPECT_EQ(Text(Fsck().findings), "");
    const FsckReport report = Fsck(true);
    EXPECT_NE(Text(report.findings).find("does not name it"), std::string::npos)
        << Text(report.findings);
}

}  // namespace
}  // namespace zenith
