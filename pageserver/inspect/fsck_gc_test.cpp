// fsck where garbage collection has been: on branches of branches, and beside it.
#include <filesystem>
#include <map>

#include "pageserver/inspect/fsck_for_test.h"
#include "pageserver/layers/manifest.h"

namespace zenith {
namespace {

class FsckGcTest : public FsckTest {
  protected:
    LayerManifest Manifest(const TimelineId& id) const {
        auto file = built_.repository.ReadTimeline(id);
        EXPECT_TRUE(file.ok());
        auto manifest = ReadLayerManifest(built_.repository.LayerDirectory(id), id,
                                          file.ok() ? file->ancestor_lsn : Lsn());
        EXPECT_TRUE(manifest.ok()) << manifest.status().message();
        return manifest.ok() ? *manifest : LayerManifest();
    }
    void ForgetPoints(const TimelineId& id) {
        LayerManifest manifest = Manifest(id);
        manifest.points.clear();
        auto file = built_.repository.ReadTimeline(id);
        ASSERT_TRUE(file.ok());
        ASSERT_TRUE(WriteLayerManifest(built_.repository.LayerDirectory(id), id,
                                       file->ancestor_lsn, manifest)
                        .ok());
    }
    // The branch's name goes, and with it what no other timeline needs of it.
    void EndBranch(Lsn at) {
        ASSERT_TRUE(built_.repository.RemoveBranch("dev/x").ok());
        auto root = built_.Load(built_.root, nullptr);
        auto branch = built_.Load(built_.branch, root.get());
        built_.Collect(branch.get(), at, {}, true);
        branch.reset();
        root.reset();
        EXPECT_EQ(Manifest(built_.branch).ends_at, at);
    }
    std::map<std::string, std::string> Contents() const {
        std::map<std::string, std::string> contents;
        for (const std::string& file : built_.Files()) {
            contents[file] = built_.Read(file);
        }
        return contents;
    }
};

// A read of a branch at its own start is one of its parent's, so retention keeps no point for it.
TEST_F(FsckGcTest, StartOfABranchIsOnItsAncestor) {
    const TimelineId twin = built_.MakeBranch("twin", built_.branch, built_.branch_point);
    built_.MakeBranch("triplet", twin, built_.branch_point);
    ASSERT_TRUE(
        built_.repository.WriteTag("start", TimelinePoint{twin, built_.branch_point}).ok());
    {
        auto root = built_.Load(built_.root, nullptr);
        auto branch = built_.Load(built_.branch, root.get());
        branch->follower->Flush();
        ASSERT_TRUE(branch->timeline->WaitForFlush().ok());
        built_.Collect(branch.get(), built_.branch_end, {built_.branch_point});
        branch.reset();
    }
    const LayerManifest manifest = Manifest(built_.branch);
    EXPECT_EQ(manifest.readable_from, built_.branch_end);
    EXPECT_TRUE(manifest.points.empty());
    EXPECT_EQ(Text(Fsck(true).findings), "");
}

// And there it has to be.
TEST_F(FsckGcTest, StartOfABranchThatIsGoneIsFound) {
    const TimelineId parent = built_.MakeBranch("parent", built_.root, built_.kept_point);
    const TimelineId child = built_.MakeBranch("child", parent, built_.kept_point);
    ASSERT_TRUE(built_.repository.WriteTag("start", TimelinePoint{child, built_.kept_point}).ok());
    EXPECT_EQ(Text(Fsck(true).findings), "");
    ForgetPoints(built_.root);
    const std::string gone = "it needs " + built_.kept_point.ToString() + " of timeline " +
                             built_.root.ToString() + ", which was removed";
    ExpectError(Directory(parent) + "/timeline.json", gone);
    ExpectError(Directory(child) + "/timeline.json", gone);
    ExpectError("refs/tags/start", gone);
}

TEST_F(FsckGcTest, BranchesOfATimelineThatHasEnded) {
    EndBranch(built_.branch_end);
    EXPECT_EQ(Text(Fsck(true).findings), "");
    UniqueFd lock = LockAsPageServer();
    EXPECT_EQ(Text(Fsck(true).findings), "");
    lock.Reset();

    auto file = built_.repository.ReadTimeline(built_.empty_branch);
    ASSERT_TRUE(file.ok());
    file->ancestor_lsn = built_.branch_end + 8;
    ASSERT_TRUE(built_.repository.WriteTimeline(*file).ok());
    ExpectError(Directory(built_.empty_branch) + "/timeline.json",
                "its ancestor, timeline " + built_.branch.ToString() + ", ends at " +
                    built_.branch_end.ToString());
}

// What a crash, or a page server's reader, has kept of the WAL is not fsck's to remove.
TEST_F(FsckGcTest, NothingIsRemoved) {
    const Lsn end = Manifest(built_.branch).layers.front().end;
    ASSERT_LT(end, built_.branch_end);
    built_.MakeBranch("child", built_.branch, end);
    ASSERT_TRUE(built_.repository.RemoveBranch("leaf").ok());
    std::filesystem::remove_all(built_.repository.TimelineDirectory(built_.empty_branch));
    const std::string segment = Segment(built_.branch, WalSegmentNumber(built_.branch_end));
    const std::string durable = Directory(built_.branch) + "/wal/durable";
    const std::string wal = built_.Read(segment);
    const std::string position = built_.Read(durable);
    EndBranch(end);
    // Whether or not it went already.
    built_.Write(segment, wal);
    built_.Write(durable, position);
    const auto before = Contents();
    EXPECT_EQ(Text(Fsck(true).findings), "");
    EXPECT_TRUE(Contents() == before);
}

// A tag is deleted after fsck has read the references, and garbage collection runs.
TEST_F(FsckGcTest, TagThatIsDeletedMeanwhile) {
    bool deleted = false;
    const FsckReport report = Fsck(true, [&](const std::string& what) {
        if (!deleted && what.find("snapshot") != std::string::npos) {
            deleted = true;
            ASSERT_TRUE(built_.repository.RemoveTag("old").ok());
            ForgetPoints(built_.root);
        }
    });
    EXPECT_TRUE(deleted);
    EXPECT_EQ(Text(report.findings), "");
}

}  // namespace
}  // namespace zenith
