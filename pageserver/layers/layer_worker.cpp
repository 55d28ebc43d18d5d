#include "pageserver/layers/layer_worker.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace zenith {

LayerWorker::LayerWorker(size_t threads) : max_threads_(std::max<size_t>(threads, 2)) {}

LayerWorker::~LayerWorker() {
    {
        std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    posted_.notify_all();
    for (std::thread& thread : threads_) {
        thread.join();
    }
}

void LayerWorker::Post(const void* owner, Kind kind, std::function<void()> job) {
    std::lock_guard lock(mutex_);
    jobs_[static_cast<size_t>(kind)].push_back({owner, std::move(job)});
    size_t waiting = 0;
    for (const auto& jobs : jobs_) {
        waiting += jobs.size();
    }
    if (waiting > idle_ && threads_.size() < max_threads_) {
        threads_.emplace_back(&LayerWorker::Work, this);
    }
    posted_.notify_one();
}

void LayerWorker::Forget(const void* owner) {
    std::array<std::deque<Job>, kKinds> dropped;  // destroyed without the lock
    std::unique_lock lock(mutex_);
    for (size_t kind = 0; kind < kKinds; kind++) {
        auto keep = std::stable_partition(jobs_[kind].begin(), jobs_[kind].end(),
                                          [&](const Job& job) { return job.owner != owner; });
        std::move(keep, jobs_[kind].end(), std::back_inserter(dropped[kind]));
        jobs_[kind].erase(keep, jobs_[kind].end());
    }
    ended_.wait(lock, [&] {
        return std::find(running_.begin(), running_.end(), owner) == running_.end();
    });
    lock.unlock();
}

void LayerWorker::WaitUntilIdle() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] {
        return running_.empty() &&
               std::all_of(jobs_.begin(), jobs_.end(),
                           [](const std::deque<Job>& jobs) { return jobs.empty(); });
    });
}

size_t LayerWorker::NextKind() const {
    for (size_t kind = 0; kind < kKinds; kind++) {
        if (!jobs_[kind].empty() &&
            (kind != static_cast<size_t>(Kind::kMerge) || merging_ + 1 < max_threads_)) {
            return kind;
        }
    }
    return kKinds;
}

void LayerWorker::Work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        size_t kind = kKinds;
        idle_++;
        posted_.wait(lock, [&] {
            kind = NextKind();
            return stopping_ || kind < kKinds;
        });
        idle_--;
        if (stopping_) {
            return;
        }
        Job job = std::move(jobs_[kind].front());
        jobs_[kind].pop_front();
        const bool merge = kind == static_cast<size_t>(Kind::kMerge);
        merging_ += merge ? 1 : 0;
        running_.push_back(job.owner);
        lock.unlock();
        job.run();
        job.run = nullptr;
        lock.lock();
        running_.erase(std::find(running_.begin(), running_.end(), job.owner));
        if (merge) {
            merging_--;
            // Another one may have been kept waiting for this.
            posted_.notify_one();
        }
        ended_.notify_all();
    }
}

}  // namespace zenith
