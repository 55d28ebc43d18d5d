// TempDirectory: a directory below /tmp for one test, removed with everything in it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>
#include <stdlib.h>

#include <string>

#include "common/base/posix_file.h"

namespace zenith {

class TempDirectory {
  public:
    enum Where { kDisk, kMemory };
    // In memory, if there is such a place, an fsync costs nothing.
    explicit TempDirectory(Where where = kDisk) {
        const bool in_memory = where == kMemory && access("/dev/shm", W_OK) == 0;
        std::string name = std::string(in_memory ? "/dev/shm" : "/tmp") + "/zenith_layers_XXXXXX";
        const char* made = mkdtemp(name.data());
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
