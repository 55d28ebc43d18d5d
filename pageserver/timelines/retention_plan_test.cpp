#include "pageserver/timelines/retention_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "pageserver/timelines/small_cluster_for_test.h"

namespace zenith {
namespace {

class RetentionPlanTest : public testing::Test {
  protected:
    TimelineId Add(std::optional<TimelineId> ancestor, uint64_t lsn, const char* branch = nullptr) {
        TimelineFile file;
        file.id = TimelineId::Random();
        file.ancestor = ancestor.value_or(TimelineId());
        file.ancestor_lsn = Lsn(lsn);
        facts_.timelines[file.id] = file;
        if (branch != nullptr) {
            facts_.branches[file.id].push_back(branch);
        }
        return file.id;
    }
    static std::vector<TimelineId> Sorted(std::vector<TimelineId> ids) {
        std::sort(ids.begin(), ids.end());
        return ids;
    }
    RetentionFacts facts_;
};

TEST_F(RetentionPlanTest, OnlyWhatNobodyRefersToGoes) {
    const TimelineId root = Add(std::nullopt, 100, "main");
    const TimelineId imported = Add(std::nullopt, 100);
    const TimelineId gone = Add(root, 200);
    const TimelineId gone_child = Add(gone, 300);
    const TimelineId kept_by_child = Add(root, 210);
    Add(kept_by_child, 310, "child");
    const TimelineId tagged = Add(root, 220);
    facts_.tags.push_back({"v1", tagged, Lsn(230)});
    const TimelineId read = Add(root, 240);
    facts_.held.emplace(read, Lsn(250));

    std::vector<TimelineId> removed = UnreferencedTimelines(facts_);
    ASSERT_EQ(removed, (std::vector<TimelineId>{gone_child, gone})) << "children first";
    EXPECT_EQ(UnreferencedTimelines(facts_, {imported}).size(), 3u);
    facts_.held.clear();
    facts_.tags.clear();
    EXPECT_EQ(Sorted(UnreferencedTimelines(facts_)), Sorted({gone, gone_child, tagged, read}));
    // The root goes last, with everything below it, when it is the one that was deleted.
    facts_.branches.clear();
    std::vector<TimelineId> all = UnreferencedTimelines(facts_, {root});
    EXPECT_EQ(all.size(), 7u);
    EXPECT_EQ(all.back(), root);
}

TEST_F(RetentionPlanTest, PointsOfATimeline) {
    const TimelineId root = Add(std::nullopt, 100, "main");
    const TimelineId a = Add(root, 300, "a");
    const TimelineId b = Add(root, 200);
    Add(root, 300, "c");
    facts_.tags.push_back({"v1", root, Lsn(250)});
    facts_.held.emplace(root, Lsn(400));
    facts_.held.emplace(a, Lsn(500));
    EXPECT_EQ(NeededPoints(facts_, root, {}),
              (std::vector<Lsn>{Lsn(200), Lsn(250), Lsn(300), Lsn(400)}));
    EXPECT_EQ(NeededPoints(facts_, root, {b}), (std::vector<Lsn>{Lsn(250), Lsn(300), Lsn(400)}));
    EXPECT_EQ(NeededPoints(facts_, a, {}), (std::vector<Lsn>{Lsn(500)}));
    EXPECT_TRUE(NeededPoints(facts_, b, {}).empty());
}

TEST_F(RetentionPlanTest, PointsBeforeItsStartAreTheAncestors) {
    const TimelineId root = Add(std::nullopt, 100, "main");
    const TimelineId child = Add(root, 300, "a");
    const TimelineId grandchild = Add(child, 500, "b");
    EXPECT_EQ(HolderOf(facts_, grandchild, Lsn(600)), grandchild);
    EXPECT_EQ(HolderOf(facts_, grandchild, Lsn(500)), grandchild);
    EXPECT_EQ(HolderOf(facts_, grandchild, Lsn(499)), child);
    EXPECT_EQ(HolderOf(facts_, grandchild, Lsn(200)), root);
    EXPECT_EQ(HolderOf(facts_, grandchild, Lsn(50)), root);
    facts_.timelines[root].ancestor = grandchild;  // damage
    EXPECT_TRUE(HolderOf(facts_, grandchild, Lsn(50)).valid());
}

TEST_F(RetentionPlanTest, ReadsTheRepositoryOrRefuses) {
    SmallCluster cluster;
    Repository repository(cluster.repository_path());
    EXPECT_EQ(ReadRetentionFacts(repository).status().code(), StatusCode::kCorruption);
    TimelineFile root;
    root.id = TimelineId::Random();
    root.ancestor_lsn = Lsn(100);
    TimelineFile child = root;
    child.id = TimelineId::Random();
    child.ancestor = root.id;
    child.ancestor_lsn = Lsn(300);
    ASSERT_TRUE(repository.WriteTimeline(root).ok());
    ASSERT_TRUE(repository.WriteTimeline(child).ok());
    ASSERT_TRUE(repository.WriteBranch("main", root.id).ok());
    ASSERT_TRUE(repository.WriteTag("early", {child.id, Lsn(200)}).ok());
    auto facts = ReadRetentionFacts(repository);
    ASSERT_TRUE(facts.ok()) << facts.status().message();
    EXPECT_TRUE(facts->named(root.id));
    EXPECT_FALSE(facts->named(child.id));
    ASSERT_EQ(facts->tags.size(), 1u);
    EXPECT_EQ(facts->tags[0].timeline, root.id);
    EXPECT_EQ(UnreferencedTimelines(*facts), std::vector<TimelineId>{child.id});
    // A timeline that cannot be read might be anybody's child.
    ASSERT_TRUE(
        ReplaceFileAtomically(repository.TimelineDirectory(child.id) + "/timeline.json", "{").ok());
    EXPECT_EQ(ReadRetentionFacts(repository).status().code(), StatusCode::kCorruption);
}

}  // namespace
}  // namespace zenith
