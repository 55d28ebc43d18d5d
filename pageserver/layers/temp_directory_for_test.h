// TempDirectory: a directory below /tmp for one test, removed with everything in it.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>

#include "common/base/posix_file.h"

namespace zenith {

class TempDirectory {
  public:
    TempDirectory() {
        char name[] = "/tmp/zenith_layers_XXXXXX";
        const char* made = mkdtemp(name);
        EXPECT_NE(made, nullptr);
        path_ = made != nullptr ? made : "";
    }
    ~TempDirectory() {
        if (!path_.empty()) {
            RemoveTree(path_).Ignore("a leftover below /tmp does no harm");
        }
    }
    TempDirectory(const TempDirectory&) = delete;
    TempDirectory& operator=(const TempDirectory&) = delete;

    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace zenith
