#include "pageserver/base_backup/tar_stream.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

#include "common/base/posix_file.h"

namespace zenith {
namespace {

class StringSink : public BaseBackupSink {
  public:
    Status Write(std::span<const std::byte> data) override {
        if (fail_after_ == 0) {
            return Status::Unavailable("the peer is gone");
        }
        fail_after_--;
        bytes_.append(reinterpret_cast<const char*>(data.data()), data.size());
        return Status::Ok();
    }
    std::string bytes_;
    int fail_after_ = 1000000;
};

class TarStreamTest : public testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/zenith_tar_XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        directory_ = name;
    }
    void TearDown() override { EXPECT_TRUE(RemoveTree(directory_).ok()); }

    // Has GNU tar unpack what was written.
    void Extract() {
        std::ofstream(directory_ + "/archive.tar", std::ios::binary) << sink_.bytes_;
        const std::string command =
            "tar -C " + directory_ + " -xf " + directory_ + "/archive.tar 2>&1";
        ASSERT_EQ(system(command.c_str()), 0);
    }
    struct stat StatOf(const std::string& name) {
        struct stat info = {};
        EXPECT_EQ(stat((directory_ + "/" + name).c_str(), &info), 0) << name;
        return info;
    }
    std::string ContentOf(const std::string& name) {
        auto content = ReadWholeFile(directory_ + "/" + name);
        EXPECT_TRUE(content.ok()) << name;
        return content.ok() ? *content : "";
    }

    std::string directory_;
    StringSink sink_;
};

TEST_F(TarStreamTest, GnuTarExtracts) {
    TarStream tar(sink_);
    const std::string odd(1000, 'x');
    const std::string exact(1024, 'y');
    ASSERT_TRUE(tar.Directory("base").ok());
    ASSERT_TRUE(tar.Directory("base/5").ok());
    ASSERT_TRUE(tar.File("base/odd", odd).ok());
    ASSERT_TRUE(tar.File("base/exact", exact).ok());
    ASSERT_TRUE(tar.File("base/empty", "").ok());
    ASSERT_TRUE(tar.File("base/closed", "", 0).ok());
    ASSERT_TRUE(tar.Hole("base/5/zero", 0).ok());
    ASSERT_TRUE(tar.Hole("base/5/small", 8192).ok());
    ASSERT_TRUE(tar.Hole("base/5/full", 1ull << 30).ok());
    ASSERT_TRUE(tar.File("base/after", "end").ok());
    ASSERT_TRUE(tar.Finish().ok());
    EXPECT_EQ(sink_.bytes_.size() % 512, 0u);
    Extract();

    EXPECT_EQ(StatOf("base/5").st_mode & 07777, 0700u);
    EXPECT_EQ(StatOf("base/odd").st_mode & 07777, 0600u);
    EXPECT_EQ(StatOf("base/closed").st_mode & 07777, 0u);
    EXPECT_EQ(ContentOf("base/odd"), odd);
    EXPECT_EQ(ContentOf("base/exact"), exact);
    EXPECT_EQ(ContentOf("base/after"), "end");
    EXPECT_EQ(StatOf("base/empty").st_size, 0);
    EXPECT_EQ(StatOf("base/5/zero").st_size, 0);
    EXPECT_EQ(StatOf("base/5/small").st_size, 8192);
    EXPECT_EQ(StatOf("base/5/full").st_size, 1 << 30);
    EXPECT_EQ(StatOf("base/5/small").st_blocks, 0);
    EXPECT_EQ(StatOf("base/5/full").st_blocks, 0);
}

TEST_F(TarStreamTest, SparseFileWithData) {
    const std::string first(8192, 'a');
    const std::string second(16384, 'b');
    TarStream tar(sink_);
    ASSERT_TRUE(tar.SparseFile("wal", 16 << 20, {{0, first}, {1 << 20, second}}).ok());
    // Data up to the very end.
    ASSERT_TRUE(tar.SparseFile("tail", 16 << 20, {{(16 << 20) - 8192, first}}).ok());
    ASSERT_TRUE(tar.File("after", "end").ok());
    ASSERT_TRUE(tar.Finish().ok());
    EXPECT_LT(sink_.bytes_.size(), 64u * 1024);
    Extract();
    std::string wal = ContentOf("wal");
    ASSERT_EQ(wal.size(), 16u << 20);
    std::string expected(16 << 20, '\0');
    expected.replace(0, first.size(), first);
    expected.replace(1 << 20, second.size(), second);
    EXPECT_TRUE(wal == expected);
    EXPECT_LE(StatOf("wal").st_blocks, 256);
    std::string tail = ContentOf("tail");
    ASSERT_EQ(tail.size(), 16u << 20);
    EXPECT_TRUE(tail.compare((16 << 20) - 8192, 8192, first) == 0);
    EXPECT_EQ(ContentOf("after"), "end");
}

TEST_F(TarStreamTest, RefusesWhatDoesNotFit) {
    TarStream tar(sink_);
    EXPECT_FALSE(tar.File(std::string(100, 'n'), "").ok());
    EXPECT_FALSE(tar.SparseFile("f", 8192, {{100, std::string(512, 'x')}}).ok());
    EXPECT_FALSE(tar.SparseFile("f", 8192, {{0, "short"}}).ok());
}

TEST_F(TarStreamTest, SinkErrorIsReturned) {
    sink_.fail_after_ = 1;
    TarStream tar(sink_);
    Status status = tar.File("big", std::string(1 << 20, 'x'));
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.message(), "the peer is gone");
}

}  // namespace
}  // namespace zenith
