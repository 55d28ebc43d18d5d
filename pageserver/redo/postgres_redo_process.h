// PostgresRedoProcess: one stock "postgres --single" that has the zenith library preloaded and
// applies WAL records to pages, in a data directory of a few files that is its own.
//
// Life     Start() returns when the process is ready. After anything but RunEnd::kDone it must be
//          destroyed, which ends the process, waits for it and removes its directory.
// Isolation  A descriptor for the conversation, one for stderr (inherited), no others; no core
//          dumps, bounded memory, no new privileges. When the page server runs as root the process
//          runs as `user`, since PostgreSQL refuses root.
// Threads  one thread at a time.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "pageserver/reconstruct/redo_applier.h"

namespace zenith {

struct RedoProcessOptions {
    // Where the server's programs are: <pg_bin_dir>/postgres.
    std::string pg_bin_dir;
    // Directory that processes make their data directories in; must be this pool's alone. Made when
    // it is missing. As root it must be reachable for `user`.
    std::string work_dir;
    // What shared_preload_libraries gets; a path for a library that is not installed.
    std::string preload = "zenith";
    // Who the process runs as when we are root.
    std::string user = "postgres";
    // The cluster has data checksums or wal_log_hints: redo then sets the LSN of heap pages that
    // become all-visible. (Pages come back without a checksum in either case.)
    bool hint_bits_logged = false;
    int start_timeout_ms = 10000;
    // Longest time without an answer to any of the requests sent.
    int request_timeout_ms = 60000;
};

class PostgresRedoProcess {
  public:
    // kUnavailable when the process did not get ready; its stderr says more. kIoError for what the
    // operating system refused.
    static Result<std::unique_ptr<PostgresRedoProcess>> Start(const RedoProcessOptions& options);
    ~PostgresRedoProcess();
    PostgresRedoProcess(const PostgresRedoProcess&) = delete;
    PostgresRedoProcess& operator=(const PostgresRedoProcess&) = delete;

    enum class RunEnd {
        kDone,          // every request was answered
        kFailedAnswer,  // the last result is a failed one, after which the process ends
        kDied,          // the connection broke without an answer
        kTimedOut,      // no answer in time
    };
    // Sends the requests, at most `max_in_flight` ahead of the answers, and appends one result for
    // each answered request to *results. *why describes any end but kDone.
    RunEnd Run(std::span<const RedoRequest* const> requests, size_t max_in_flight,
               std::vector<Result<PageBuffer>>* results, std::string* why);

    // The process ended while nobody was talking to it.
    bool HasEnded() const;
    pid_t pid() const { return pid_; }

  private:
    PostgresRedoProcess(const RedoProcessOptions& options, std::string directory);

    Status Spawn();
    Status WaitUntilReady();
    // Reads what is there into input_; false at the end of the stream. Requires: room in input_.
    bool ReceiveSome(std::string* why);
    // Forgets the first n bytes of input_.
    void DropInput(size_t n);
    // Waits for the process to end, kills it after `patience_ms`, and returns how it ended.
    std::string Reap(int patience_ms);

    const RedoProcessOptions options_;
    const std::string directory_;
    pid_t pid_ = -1;
    bool reaped_ = true;
    UniqueFd pidfd_;
    UniqueFd socket_;
    uint64_t next_id_ = 1;
    // What was received and not taken apart yet: the first input_used_ bytes.
    std::vector<std::byte> input_;
    size_t input_used_ = 0;
};

}  // namespace zenith
