// The repository's metadata when the power goes: a branch, tag, term or deletion that was
// acknowledged stays so, what was under way is done or not done, and nothing else is left.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>

#include "common/base/posix_file.h"
#include "common/repo/repository.h"
#include "pageserver/testing/power_cuts.h"

namespace zenith {
namespace {

const Lsn kStart(0x15FFB08);

class RepositoryRound : public PowerCutRound {
  public:
    explicit RepositoryRound(uint32_t seed) : random_(seed) {}

    void Prepare(const std::string& directory) override {
        Repository repository(directory + "/repo");
        ASSERT_TRUE(repository.CreateLayout().ok());
        ASSERT_TRUE(repository.WriteConfig(RepoConfig()).ok());
        TimelineFile root;
        root.id = TimelineId::Random();
        root.ancestor_lsn = kStart;
        ASSERT_TRUE(repository.WriteTimeline(root).ok());
        ASSERT_TRUE(repository.WriteBranch("main", root.id).ok());
        branches_["main"] = {root, root};
    }

    void Work(const std::string& directory, FaultFileSystem& disk) override {
        Repository repository(directory + "/repo");
        for (int step = 0; step < 25 && !disk.power_is_off(); step++) {
            if (random_() % 15 == 0) {
                disk.FailFrom(1 + random_() % 6, 1 + random_() % 2,
                              random_() % 2 == 0 ? EIO : ENOSPC);
            }
            Step(repository);
            disk.StopFailing();
        }
    }

    void Recover(const std::string& directory) override {
        Repository repository(directory + "/repo");
        if (repository.RemoveLeftovers().ok()) {
            repository.RemoveUnnamedTimelines().Ignore("the power may go");
        }
    }

    void Check(const std::string& directory) override {
        Repository repository(directory + "/repo");
        ASSERT_TRUE(repository.ReadConfig().ok());
        Status status = repository.RemoveLeftovers();
        ASSERT_TRUE(status.ok()) << status.message();
        status = repository.RemoveUnnamedTimelines();
        ASSERT_TRUE(status.ok()) << status.message();
        CheckBranches(repository);
        CheckTags(repository);
        CheckLeftovers(repository);
    }

  private:
    // What a file holds, and what it may hold instead since a write of it failed: none when it may
    // not be there.
    template <typename T>
    struct Either {
        std::optional<T> value;
        std::optional<T> other;
    };

    void CheckBranches(const Repository& repository) {
        auto found = repository.ListBranches();
        ASSERT_TRUE(found.ok()) << found.status().message();
        for (const auto& [name, expected] : branches_) {
            SCOPED_TRACE("branch " + name);
            auto branch = found->find(name);
            if (branch == found->end()) {
                EXPECT_FALSE(expected.value && expected.other) << "is gone";
                continue;
            }
            ASSERT_TRUE(expected.value || expected.other) << "is there again";
            const TimelineId id = branch->second;
            ASSERT_EQ(id, (expected.value ? expected.value : expected.other)->id);
            auto file = repository.ReadTimeline(id);
            ASSERT_TRUE(file.ok()) << file.status().message();
            bool matches = false;
            for (const auto& candidate : {expected.value, expected.other}) {
                matches = matches || (candidate && candidate->term == file->term &&
                                      candidate->ancestor == file->ancestor &&
                                      candidate->compute_connstr == file->compute_connstr);
            }
            EXPECT_TRUE(matches) << "has term " << file->term;
            found->erase(branch);
        }
        EXPECT_TRUE(found->empty()) << "branch " << found->begin()->first << " was never made";
    }

    void CheckTags(const Repository& repository) {
        auto found = repository.ListTags();
        ASSERT_TRUE(found.ok()) << found.status().message();
        for (const auto& [name, expected] : tags_) {
            SCOPED_TRACE("tag " + name);
            auto tag = found->find(name);
            const std::optional<Lsn> lsn =
                tag == found->end() ? std::nullopt : tag->second.lsn;
            EXPECT_TRUE(lsn == expected.value || lsn == expected.other);
            found->erase(name);
        }
        EXPECT_TRUE(found->empty()) << "tag " << found->begin()->first << " was never made";
    }

    // Only what belongs to a timeline with a name.
    void CheckLeftovers(const Repository& repository) {
        auto branches = repository.ListBranches();
        ASSERT_TRUE(branches.ok());
        std::set<std::string> timelines;
        for (const auto& [name, id] : *branches) {
            timelines.insert(id.ToString());
        }
        const std::string directory = repository.path() + "/timelines";
        auto names = ListDirectory(directory);
        ASSERT_TRUE(names.ok());
        for (const std::string& name : *names) {
            EXPECT_TRUE(timelines.contains(name)) << "left over: timelines/" << name;
        }
        for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
            EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
        }
        for (const auto& entry :
             std::filesystem::recursive_directory_iterator(repository.path() + "/refs")) {
            EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
        }
    }

    void Step(const Repository& repository) {
        switch (random_() % 6) {
            case 0:
            case 1:
                return MakeBranch(repository);
            case 2:
                return RaiseTerm(repository);
            case 3:
                return MakeTag(repository);
            case 4:
                return RemoveTag(repository);
            default:
                return DeleteBranch(repository);
        }
    }

    // As the page server does: the timeline, then its name; a failure takes the timeline away.
    void MakeBranch(const Repository& repository) {
        const std::string name = (random_() % 3 == 0 ? "team/b" : "b") + std::to_string(next_++);
        TimelineFile file;
        file.id = TimelineId::Random();
        file.ancestor = branches_["main"].value->id;
        file.ancestor_lsn = kStart;
        if (!repository.WriteTimeline(file).ok()) {
            return;
        }
        if (repository.WriteBranch(name, file.id).ok()) {
            branches_[name] = {file, file};
        } else {
            branches_[name] = {std::nullopt, file};
        }
    }
    void RaiseTerm(const Repository& repository) {
        auto& branch = AnyBranch();
        if (!branch.value || !branch.other) {
            return;
        }
        TimelineFile file = *branch.value;
        file.term++;
        file.compute_connstr = "port=" + std::to_string(file.term);
        branch.other = file;
        if (repository.WriteTimeline(file).ok()) {
            branch = {file, file};
        }
    }
    // The name goes first: from then on nobody finds the timeline.
    void DeleteBranch(const Repository& repository) {
        const std::string name = AnyName();
        auto& branch = branches_[name];
        if (name == "main" || !branch.value || !branch.other) {
            return;
        }
        const TimelineFile file = *branch.value;
        if (!repository.RemoveBranch(name).ok()) {
            branch.other.reset();  // from now on unsure
            return;
        }
        branch = {};
        repository.RemoveTimeline(file.id).Ignore("what is left has no name");
    }
    void MakeTag(const Repository& repository) {
        const std::string name = "t" + std::to_string(random_() % 5);
        if (tags_[name].value || tags_[name].other) {
            return;
        }
        const Lsn lsn = kStart + 8 * (1 + random_() % 1000);
        tags_[name].other = lsn;
        if (repository.WriteTag(name, {branches_["main"].value->id, lsn}).ok()) {
            tags_[name].value = lsn;
        }
    }
    void RemoveTag(const Repository& repository) {
        const std::string name = "t" + std::to_string(random_() % 5);
        auto& tag = tags_[name];
        if (!tag.value || tag.value != tag.other) {
            return;
        }
        tag.other.reset();
        if (repository.RemoveTag(name).ok()) {
            tag = {};
        }
    }

    std::string AnyName() {
        auto it = branches_.begin();
        std::advance(it, random_() % branches_.size());
        return it->first;
    }
    Either<TimelineFile>& AnyBranch() { return branches_[AnyName()]; }

    std::mt19937 random_;
    int next_ = 0;
    std::map<std::string, Either<TimelineFile>> branches_;
    std::map<std::string, Either<Lsn>> tags_;
};

TEST(RepositoryCrash, WhatWasAcknowledgedIsThere) {
    RunPowerCuts(150, [](uint32_t seed) { return std::make_unique<RepositoryRound>(seed); });
}

}  // namespace
}  // namespace zenith
