// StopSignal: tells any number of threads that wait in poll() that it is time to end.
//
// Set once, never taken back. Threads: all methods from any thread.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "common/base/unique_fd.h"

namespace zenith {

class StopSignal {
  public:
    StopSignal() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
    StopSignal(const StopSignal&) = delete;
    StopSignal& operator=(const StopSignal&) = delete;

    void Set() {
        set_.store(true);
        uint64_t one = 1;
        // Cannot fail: the counter is far from its limit.
        [[maybe_unused]] ssize_t written = write(fd_.get(), &one, sizeof one);
    }
    bool is_set() const { return set_.load(); }
    // Readable from Set() on; nobody reads from it.
    int fd() const { return fd_.get(); }

  private:
    UniqueFd fd_;
    std::atomic<bool> set_{false};
};

}  // namespace zenith
