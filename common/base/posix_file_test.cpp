#include "common/base/posix_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <string>
#include <thread>

namespace zenith {
namespace {

// What `zenith pg start` leaves behind is removed by a process of its own, and the next start does
// not wait for that.
TEST(RemoveTree, TwoAtTheSameTimeBothSucceed) {
    for (int round = 0; round < 5; round++) {
        std::string top = "/tmp/zenith_remove_tree_XXXXXX";
        ASSERT_NE(mkdtemp(top.data()), nullptr);
        for (int i = 0; i < 20; i++) {
            const std::string directory = top + "/d" + std::to_string(i);
            ASSERT_TRUE(EnsureDirectory(directory).ok());
            for (int j = 0; j < 20; j++) {
                ASSERT_TRUE(OpenFile(directory + "/f" + std::to_string(j), O_CREAT | O_WRONLY).ok());
            }
        }
        std::atomic<int> ready{0};
        Status statuses[2];
        auto remove = [&](Status* status) {
            ready++;
            while (ready < 2) {
            }
            *status = RemoveTree(top);
        };
        std::thread other(remove, &statuses[1]);
        remove(&statuses[0]);
        other.join();
        EXPECT_TRUE(statuses[0].ok()) << statuses[0].message();
        EXPECT_TRUE(statuses[1].ok()) << statuses[1].message();
        EXPECT_FALSE(FileExists(top));
    }
}

}  // namespace
}  // namespace zenith
