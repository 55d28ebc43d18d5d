// RedoProcessPool: a RedoApplier over a few redo processes, started when first needed and replaced
// when they end.
//
// Batches  One Apply call has one process to itself; calls beyond the number of processes wait.
// Failures A record that does not apply is one failed result (kCorruption); the rest of the batch
//          goes on in a new process. When a process dies or hangs without an answer, the requests
//          it still owed are sent again one by one, so that the right one is blamed: it fails
//          (kInternal) after the second death, or at once when it ran into the time limit.
//          kUnavailable: no process could be started, or the pool is shut down.
// Threads  all methods from any thread.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "pageserver/redo/postgres_redo_process.h"

namespace zenith {

struct RedoPoolOptions {
    RedoProcessOptions process;
    int processes = 2;
};

class RedoProcessPool : public RedoApplier {
  public:
    explicit RedoProcessPool(RedoPoolOptions options);
    // Shuts down.
    ~RedoProcessPool() override;

    std::vector<Result<PageBuffer>> Apply(std::span<const RedoRequest> requests) override;

    // Waits for calls in progress and ends all processes. Later calls get kUnavailable.
    void Shutdown();

    struct Stats {
        uint64_t pages = 0;           // requests answered with a page
        uint64_t records = 0;         // records in them
        uint64_t failures = 0;        // failed results
        uint64_t process_starts = 0;
    };
    Stats stats() const;
    // Processes that are running now.
    std::vector<pid_t> ProcessIds() const;

  private:
    struct Slot {
        std::unique_ptr<PostgresRedoProcess> process;
        pid_t pid = -1;  // of `process`, readable under mutex_ while the slot is busy
        bool busy = false;
    };
    // Null after Shutdown().
    Slot* Acquire();
    void Release(Slot* slot);
    Status EnsureProcess(Slot* slot);
    void EndProcess(Slot* slot);
    void ApplyIn(Slot* slot, std::span<const RedoRequest* const> requests,
                 std::vector<Result<PageBuffer>>* results);

    const RedoPoolOptions options_;
    mutable std::mutex mutex_;
    std::condition_variable slot_free_;
    std::vector<Slot> slots_;  // size never changes; `busy` and `pid` guarded by mutex_
    bool shut_down_ = false;   // guarded by mutex_
    bool cleaned_ = false;     // guarded by mutex_
    Stats stats_;              // guarded by mutex_
};

}  // namespace zenith
