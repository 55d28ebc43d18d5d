#include "zenith_cli/find_repository.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/base/posix_file.h"

namespace zenith {
namespace {

class FindRepositoryTest : public testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/zenith_find_test_XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        directory_ = name;
        std::filesystem::create_directories(directory_ + "/project/.zenith");
        std::filesystem::create_directories(directory_ + "/project/deep/.zenith");  // none: empty
        std::filesystem::create_directories(directory_ + "/project/deep/er");
        std::filesystem::create_directories(directory_ + "/other");
        std::ofstream(directory_ + "/project/.zenith/config.json") << "{}";
        std::ofstream(directory_ + "/other/config.json") << "{}";
        before_ = std::filesystem::current_path();
        unsetenv("ZENITH_REPO_DIR");
    }
    void TearDown() override {
        std::filesystem::current_path(before_);
        unsetenv("ZENITH_REPO_DIR");
        RemoveTree(directory_).Ignore("end of the test");
    }

    std::string directory_;
    std::filesystem::path before_;
};

TEST_F(FindRepositoryTest, NearestUpward) {
    for (const char* below : {"/project", "/project/deep", "/project/deep/er"}) {
        std::filesystem::current_path(directory_ + below);
        Result<std::string> path = FindRepository("");
        ASSERT_TRUE(path.ok()) << below;
        EXPECT_EQ(*path, directory_ + "/project/.zenith");
    }
    std::filesystem::current_path(directory_);
    Result<std::string> none = FindRepository("");
    EXPECT_EQ(none.status().code(), StatusCode::kNotFound);
    EXPECT_NE(none.status().hint().find("zenith init"), std::string::npos);
}

TEST_F(FindRepositoryTest, OptionThenVariableThenSearch) {
    std::filesystem::current_path(directory_ + "/project");
    setenv("ZENITH_REPO_DIR", "../other/", 1);
    EXPECT_EQ(*FindRepository(""), directory_ + "/other");
    EXPECT_EQ(*FindRepository(".zenith"), directory_ + "/project/.zenith");
    setenv("ZENITH_REPO_DIR", "/nowhere", 1);
    EXPECT_EQ(FindRepository("").status().code(), StatusCode::kNotFound);  // no search then
    setenv("ZENITH_REPO_DIR", "", 1);
    EXPECT_EQ(*FindRepository(""), directory_ + "/project/.zenith");
}

TEST_F(FindRepositoryTest, NewRepository) {
    std::filesystem::current_path(directory_ + "/other");
    EXPECT_EQ(*NewRepositoryPath(""), directory_ + "/other/.zenith");
    setenv("ZENITH_REPO_DIR", "x/../y", 1);
    EXPECT_EQ(*NewRepositoryPath(""), directory_ + "/other/y");
    EXPECT_EQ(*NewRepositoryPath("/a/b/"), "/a/b");
}

}  // namespace
}  // namespace zenith
