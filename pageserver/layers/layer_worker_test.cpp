#include "pageserver/layers/layer_worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

namespace zenith {
namespace {

using Kind = LayerWorker::Kind;

// A job that runs until it is let go.
struct Gate {
    std::promise<void> begun;
    std::promise<void> open;
    std::function<void()> Job() {
        return [this] {
            begun.set_value();
            open.get_future().wait();
        };
    }
};

TEST(LayerWorker, AFlushDoesNotWaitForMerges) {
    Gate merge;
    std::atomic<bool> second_merge{false};
    LayerWorker worker(2);
    int owner = 0;
    worker.Post(&owner, Kind::kMerge, merge.Job());
    merge.begun.get_future().wait();
    worker.Post(&owner, Kind::kMerge, [&] { second_merge = true; });
    std::promise<void> flushed;
    worker.Post(&owner, Kind::kFlush, [&] { flushed.set_value(); });
    flushed.get_future().wait();
    EXPECT_FALSE(second_merge.load()) << "one thread does not merge";
    merge.open.set_value();
    worker.WaitUntilIdle();
    EXPECT_TRUE(second_merge.load());
}

TEST(LayerWorker, FlushesGoFirst) {
    Gate first;
    Gate second;
    std::mutex mutex;
    std::vector<int> order;
    LayerWorker worker(2);
    int owner = 0;
    worker.Post(&owner, Kind::kFlush, first.Job());
    worker.Post(&owner, Kind::kFlush, second.Job());
    first.begun.get_future().wait();
    second.begun.get_future().wait();
    auto note = [&](int what) {
        return [&, what] {
            std::lock_guard lock(mutex);
            order.push_back(what);
        };
    };
    worker.Post(&owner, Kind::kRemoval, note(3));
    worker.Post(&owner, Kind::kMerge, note(2));
    worker.Post(&owner, Kind::kFlush, note(1));
    first.open.set_value();
    std::promise<void> done;
    worker.Post(&owner, Kind::kRemoval, [&] { done.set_value(); });
    done.get_future().wait();
    second.open.set_value();
    worker.WaitUntilIdle();
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(LayerWorker, ForgetsWhatHasNotBegunAndWaitsForTheRest) {
    Gate running;
    LayerWorker worker(2);
    int owner = 0;
    int other = 0;
    std::atomic<bool> ran{false};
    std::atomic<bool> ended{false};
    worker.Post(&owner, Kind::kMerge, [&] {
        running.Job()();
        ended = true;
    });
    running.begun.get_future().wait();
    worker.Post(&other, Kind::kMerge, [&] { ran = true; });
    worker.Forget(&other);
    std::thread releaser([&] { running.open.set_value(); });
    worker.Forget(&owner);
    EXPECT_TRUE(ended.load());
    releaser.join();
    worker.WaitUntilIdle();
    EXPECT_FALSE(ran.load());
}

}  // namespace
}  // namespace zenith
