// What FaultFileSystem is there to find is planted here: each way to forget a sync must show within
// a few crashes, and what is done right must never show.
#include "pageserver/testing/fault_file_system.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <set>

#include "common/base/posix_file.h"
#include "pageserver/testing/power_cuts.h"

namespace zenith {
namespace {

constexpr int kCrashes = 60;

class FaultFileSystemTest : public testing::Test {
  protected:
    void SetUp() override {
        top_ = scratch_.path();
        root_ = top_ + "/root";
        ASSERT_TRUE(EnsureDirectory(root_).ok());
        disk_ = std::make_unique<FaultFileSystem>(root_, 1);
    }
    void TearDown() override { disk_.reset(); }

    std::string Path(const std::string& name) const { return root_ + "/" + name; }
    void Write(const std::string& name, const std::string& content, uint64_t offset = 0,
               bool sync = false) {
        auto fd = OpenFile(Path(name), O_RDWR | O_CREAT);
        ASSERT_TRUE(fd.ok()) << fd.status().message();
        ASSERT_TRUE(WriteAllAt(fd->get(), name, offset,
                               std::as_bytes(std::span(content.data(), content.size())))
                        .ok());
        if (sync) {
            ASSERT_TRUE(FsyncFile(fd->get(), name).ok());
        }
    }
    void WriteDurably(const std::string& name, const std::string& content) {
        Write(name, content, 0, true);
        ASSERT_TRUE(FsyncDirectory(root_).ok());
    }
    // What is left of file `name` ("none" when it is not there) after many crashes.
    std::set<std::string> Outcomes(const std::string& name) {
        std::set<std::string> outcomes;
        for (int i = 0; i < kCrashes; i++) {
            const std::string directory = top_ + "/crash";
            disk_->CrashInto(directory);
            auto content = ReadWholeFile(directory + "/" + name);
            outcomes.insert(content.ok() ? *content : "none");
            EXPECT_TRUE(RemoveTree(directory).ok());
        }
        return outcomes;
    }

    ScratchDirectory scratch_;
    std::string top_;
    std::string root_;
    std::unique_ptr<FaultFileSystem> disk_;
};

using Set = std::set<std::string>;

TEST_F(FaultFileSystemTest, WhatWasThereIsDurable) {
    disk_.reset();
    ASSERT_TRUE(EnsureDirectory(Path("d")).ok());
    Write("d/old", std::string(10000, 'o'));
    Write("hole", "x", 1 << 20);
    disk_ = std::make_unique<FaultFileSystem>(root_, 2);
    EXPECT_EQ(Outcomes("d/old"), Set{std::string(10000, 'o')});
    EXPECT_EQ(Outcomes("hole"), Set{std::string(1 << 20, '\0') + "x"});
}

TEST_F(FaultFileSystemTest, SyncedStays) {
    WriteDurably("a", "one");
    EXPECT_EQ(Outcomes("a"), Set{"one"});
}

TEST_F(FaultFileSystemTest, MissingSyncOfAFileShows) {
    WriteDurably("a", "one");
    Write("a", "TWO");
    EXPECT_EQ(Outcomes("a"), (Set{"one", "TWO"}));
    Write("b", "new");
    ASSERT_TRUE(FsyncDirectory(root_).ok());
    EXPECT_EQ(Outcomes("b"), (Set{"", "new", std::string(3, '\0')}));
}

TEST_F(FaultFileSystemTest, MissingSyncOfADirectoryShows) {
    Write("a", "one", 0, true);
    EXPECT_EQ(Outcomes("a"), (Set{"none", "one"}));
    ASSERT_TRUE(FsyncDirectory(root_).ok());
    ASSERT_TRUE(RemoveFile(Path("a")).ok());
    EXPECT_EQ(Outcomes("a"), (Set{"none", "one"}));
    ASSERT_TRUE(FsyncDirectory(root_).ok());
    EXPECT_EQ(Outcomes("a"), Set{"none"});
    // The directory's own name counts as well.
    ASSERT_TRUE(EnsureDirectory(Path("d")).ok());
    Write("d/b", "two", 0, true);
    ASSERT_TRUE(FsyncDirectory(Path("d")).ok());
    EXPECT_EQ(Outcomes("d/b"), (Set{"none", "two"}));
    ASSERT_TRUE(FsyncDirectory(root_).ok());
    EXPECT_EQ(Outcomes("d/b"), Set{"two"});
}

TEST_F(FaultFileSystemTest, WritesAreTornBetweenSectors) {
    WriteDurably("a", std::string(2048, '.'));
    Write("a", std::string(1024, 'n'), 256);
    std::set<std::string> patterns;
    for (const std::string& content : Outcomes("a")) {
        ASSERT_EQ(content.size(), 2048u);
        const std::string parts[] = {content.substr(0, 256), content.substr(256, 256),
                                     content.substr(512, 512), content.substr(1024, 256),
                                     content.substr(1280)};
        std::string pattern;
        for (const std::string& part : parts) {
            ASSERT_EQ(part.find_first_not_of(part[0]), std::string::npos) << "torn elsewhere";
            pattern += part[0];
        }
        patterns.insert(pattern);
    }
    EXPECT_EQ(patterns, (Set{".....", ".n...", "..n..", "...n.", ".nn..", ".n.n.", "..nn.", ".nnn."}));
}

TEST_F(FaultFileSystemTest, LengthAndCuts) {
    WriteDurably("a", "0123456789");
    auto fd = OpenFile(Path("a"), O_RDWR);
    ASSERT_TRUE(fd.ok());
    ASSERT_EQ(ftruncate(fd->get(), 4), 0);
    EXPECT_EQ(Outcomes("a"), (Set{"0123", "0123456789"}));
    ASSERT_EQ(posix_fallocate(fd->get(), 0, 6), 0);
    ASSERT_EQ(fdatasync(fd->get()), 0);
    EXPECT_EQ(Outcomes("a"), Set{std::string("0123\0\0", 6)});
    auto emptied = OpenFile(Path("a"), O_WRONLY | O_TRUNC);
    ASSERT_TRUE(emptied.ok());
    EXPECT_EQ(Outcomes("a"), (Set{"", std::string("0123\0\0", 6)}));
}

// The habit of replacing a file, with each of its syncs left out in turn.
TEST_F(FaultFileSystemTest, RenameWithoutASyncShows) {
    WriteDurably("a", "one");
    Write("a.tmp", "two", 0, true);
    ASSERT_EQ(rename(Path("a.tmp").c_str(), Path("a").c_str()), 0);
    EXPECT_EQ(Outcomes("a"), (Set{"one", "two"}));
    ASSERT_TRUE(FsyncDirectory(root_).ok());
    EXPECT_EQ(Outcomes("a"), Set{"two"});
    EXPECT_EQ(Outcomes("a.tmp"), Set{"none"}) << "its creation must not come back";

    Write("a.tmp", "THREE");
    ASSERT_EQ(rename(Path("a.tmp").c_str(), Path("a").c_str()), 0);
    ASSERT_TRUE(FsyncDirectory(root_).ok());
    const Set outcomes = Outcomes("a");
    EXPECT_TRUE(outcomes.contains("")) << "a name for nothing";
    EXPECT_TRUE(outcomes.contains("THREE"));
    EXPECT_FALSE(outcomes.contains("two"));
}

TEST_F(FaultFileSystemTest, MovesBetweenDirectoriesAreWhole) {
    ASSERT_TRUE(EnsureDirectory(Path("x")).ok());
    ASSERT_TRUE(EnsureDirectory(Path("y")).ok());
    ASSERT_TRUE(FsyncDirectory(root_).ok());
    ASSERT_TRUE(EnsureDirectory(Path("x/d")).ok());
    Write("x/d/f", "content", 0, true);
    ASSERT_TRUE(FsyncDirectory(Path("x/d")).ok());
    ASSERT_TRUE(FsyncDirectory(Path("x")).ok());
    ASSERT_EQ(rename(Path("x/d").c_str(), Path("y/d").c_str()), 0);
    for (int i = 0; i < kCrashes; i++) {
        const std::string directory = top_ + "/crash";
        disk_->CrashInto(directory);
        EXPECT_NE(FileExists(directory + "/x/d/f"), FileExists(directory + "/y/d/f"));
        ASSERT_TRUE(RemoveTree(directory).ok());
    }
    ASSERT_TRUE(FsyncDirectory(Path("y")).ok());
    EXPECT_EQ(Outcomes("y/d/f"), Set{"content"});
    EXPECT_EQ(Outcomes("x/d/f"), Set{"none"});
}

TEST_F(FaultFileSystemTest, SeesTheStandardLibrary) {
    std::filesystem::create_directories(Path("p/q"));
    Write("p/q/f", "content", 0, true);
    ASSERT_TRUE(FsyncDirectory(Path("p/q")).ok());
    ASSERT_TRUE(FsyncDirectory(Path("p")).ok());
    ASSERT_TRUE(FsyncDirectory(root_).ok());
    EXPECT_EQ(Outcomes("p/q/f"), Set{"content"});
    const uint64_t before = disk_->operations();
    std::filesystem::remove_all(Path("p"));
    EXPECT_EQ(disk_->operations(), before + 3) << "a file and two directories";
    EXPECT_EQ(Outcomes("p/q/f"), (Set{"content", "none"}));
    ASSERT_TRUE(FsyncDirectory(root_).ok());
    EXPECT_EQ(Outcomes("p/q/f"), Set{"none"});
}

TEST_F(FaultFileSystemTest, SameSeedSameRun) {
    auto run = [&](uint32_t seed) {
        disk_.reset();
        EXPECT_TRUE(RemoveTree(root_).ok());
        EXPECT_TRUE(EnsureDirectory(root_).ok());
        disk_ = std::make_unique<FaultFileSystem>(root_, seed);
        Write("a", std::string(1 << 16, 'a'));
        EXPECT_TRUE(FsyncDirectory(root_).ok());
        std::vector<std::string> contents;
        for (int i = 0; i < 10; i++) {
            disk_->CrashInto(top_ + "/crash");
            contents.push_back(*ReadWholeFile(top_ + "/crash/a"));
            EXPECT_TRUE(RemoveTree(top_ + "/crash").ok());
        }
        return contents;
    };
    const auto first = run(7);
    EXPECT_EQ(run(7), first);
    EXPECT_NE(run(8), first);
}

TEST_F(FaultFileSystemTest, PowerGoesOff) {
    WriteDurably("a", "one");
    disk_->PowerOffAt(3);
    Write("b", "x");  // two operations
    EXPECT_FALSE(disk_->power_is_off());
    EXPECT_EQ(ReplaceFileAtomically(Path("a"), "two").code(), StatusCode::kIoError);
    EXPECT_TRUE(disk_->power_is_off());
    EXPECT_FALSE(OpenFile(Path("c"), O_RDWR | O_CREAT).ok());
    EXPECT_FALSE(EnsureDirectory(Path("d")).ok());
    EXPECT_FALSE(RemoveFile(Path("a")).ok());
    EXPECT_FALSE(FsyncDirectory(root_).ok());
    EXPECT_FALSE(FileExists(Path("c")));
    EXPECT_EQ(*ReadWholeFile(Path("a")), "one") << "reading still works";
    EXPECT_EQ(Outcomes("a"), Set{"one"});
}

TEST_F(FaultFileSystemTest, FullDiskHeals) {
    WriteDurably("a", "one");
    disk_->FailFrom(1, 1000, ENOSPC);
    EXPECT_FALSE(ReplaceFileAtomically(Path("a"), "two").ok());
    EXPECT_TRUE(FsyncDirectory(root_).ok()) << "needs no space";
    auto fd = OpenFile(Path("a"), O_RDWR);
    ASSERT_TRUE(fd.ok());
    EXPECT_EQ(posix_fallocate(fd->get(), 0, 100), ENOSPC);
    const std::string data(100, 'x');
    EXPECT_FALSE(WriteAllAt(fd->get(), "a", 0, std::as_bytes(std::span(data.data(), 100))).ok());
    disk_->StopFailing();
    ASSERT_TRUE(ReplaceFileAtomically(Path("a"), "three").ok());
    EXPECT_EQ(Outcomes("a"), Set{"three"});
}

// As the kernel has it: the error is told once, and the next sync, though it succeeds, writes nothing.
TEST_F(FaultFileSystemTest, AFailedSyncLosesWhatItShouldWrite) {
    WriteDurably("a", "one");
    auto fd = OpenFile(Path("a"), O_RDWR);
    ASSERT_TRUE(fd.ok());
    bool lost = false;
    for (int i = 0; i < 20; i++) {
        const std::string data = "TW" + std::string(1, static_cast<char>('a' + i));
        ASSERT_TRUE(WriteAllAt(fd->get(), "a", 0, std::as_bytes(std::span(data.data(), 3))).ok());
        disk_->FailFrom(1, 1, EIO);
        EXPECT_NE(fsync(fd->get()), 0);
        EXPECT_EQ(fsync(fd->get()), 0);
        const Set outcomes = Outcomes("a");
        ASSERT_EQ(outcomes.size(), 1u);
        lost = lost || *outcomes.begin() != data;
    }
    EXPECT_TRUE(lost);
}

// ReplaceFileAtomically cut at each of its operations: old or new, and new once it said so.
TEST_F(FaultFileSystemTest, ReplacingAFileIsAtomic) {
    int succeeded = 0;
    for (uint64_t n = 1; succeeded < 3; n++) {
        disk_.reset();
        ASSERT_TRUE(RemoveTree(root_).ok());
        ASSERT_TRUE(EnsureDirectory(root_).ok());
        disk_ = std::make_unique<FaultFileSystem>(root_, static_cast<uint32_t>(n));
        ASSERT_TRUE(ReplaceFileAtomically(Path("a"), std::string(3000, '1')).ok());
        disk_->PowerOffAt(n);
        const bool ok = ReplaceFileAtomically(Path("a"), std::string(5000, '2')).ok();
        succeeded += ok ? 1 : 0;
        for (const std::string& content : Outcomes("a")) {
            EXPECT_TRUE(content == std::string(5000, '2') ||
                        (!ok && content == std::string(3000, '1')))
                << "cut at " << n << ": " << content.size() << " bytes";
        }
        ASSERT_LT(n, 20u);
    }
}

}  // namespace
}  // namespace zenith
