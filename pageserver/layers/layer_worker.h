// LayerWorker: the few threads that do the background work of all timelines: writing layers, then
// merging them, then removing what is not needed any more.
//
// Order    Flushes go before merges, merges before removals. At least one thread is kept from
//          merging, so that a flush never waits for a merge.
// Threads  all methods from any thread; Forget() not from a job. A job must not throw.
// Lifetime outlives everybody who posts. Threads start with the first job.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace zenith {

class LayerWorker {
  public:
    enum class Kind { kFlush, kMerge, kRemoval };

    // At least two threads.
    explicit LayerWorker(size_t threads = 2);
    // Waits for the jobs that run; drops the others.
    ~LayerWorker();
    LayerWorker(const LayerWorker&) = delete;
    LayerWorker& operator=(const LayerWorker&) = delete;

    // `owner` is only a name for Forget().
    void Post(const void* owner, Kind kind, std::function<void()> job);
    // Drops the jobs of `owner` that have not begun and waits for those that have.
    void Forget(const void* owner);
    // Until nothing is posted or runs. Not from a job.
    void WaitUntilIdle();

  private:
    struct Job {
        const void* owner;
        std::function<void()> run;
    };
    static constexpr size_t kKinds = 3;

    // The first kind with a job that may run now, or kKinds. Requires mutex_.
    size_t NextKind() const;
    void Work();

    const size_t max_threads_;
    std::mutex mutex_;
    std::condition_variable posted_;
    std::condition_variable ended_;
    // All guarded by mutex_.
    std::array<std::deque<Job>, kKinds> jobs_;
    std::vector<const void*> running_;  // owners
    size_t merging_ = 0;
    size_t idle_ = 0;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace zenith
