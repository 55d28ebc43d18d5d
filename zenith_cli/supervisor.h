// The supervisor of a compute: a process that "zenith pg start" leaves beside postgres. It watches
// postgres and, when that ends without having been shut down, makes a fresh base backup and starts
// it again at the same port: recovery in place is impossible on a sparse clone, so a crash of one
// backend ends the whole compute.
//
//   computes/<name>/supervisor.pid     its pid; stale when no such process lives
//   computes/<name>/supervisor.state   restarts since "pg start", and why it gave up
//   computes/<name>/supervisor.log     one line for each crash and restart
//
// It is not postgres's parent and need not be: postgres that has lost its supervisor (kill -9) runs
// on, "pg start" gives it another, "pg stop" stops it. SIGTERM: stops postgres, then ends. It ends
// by itself when postgres was shut down by somebody else, when the compute is destroyed, and when
// it gives up.
//
// Thread rule: as the CLI, one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/status.h"
#include "common/repo/repository.h"
#include "zenith_cli/local_process.h"

namespace zenith {

struct SupervisorState {
    int64_t restarts = 0;      // since "pg start"
    int64_t last_restart = 0;  // Unix seconds; 0: none
    std::string failure;       // why it gave up; empty when it has not
};

// `directory`: the compute's, computes/<name>.
std::optional<ProcessHandle> FindSupervisor(const Repository& repository,
                                            const std::string& directory, const std::string& name);
SupervisorState ReadSupervisorState(const std::string& directory);
void ForgetSupervisorState(const std::string& directory);
// Requires: the compute's lock is held, FindSupervisor() finds none.
Status StartSupervisor(const Repository& repository, const std::string& directory,
                       const std::string& name);

// The supervisor's life; returns when it is over.
Status Supervise(const Repository& repository, const std::string& name);

// How long to wait before start number `attempt` (0: the first) of a row: not at all three times,
// then 100 ms, doubled each time, at most 30 s.
int RestartDelayMs(int attempt);

// The state file's text and back; unknown lines are ignored.
std::string SupervisorStateText(const SupervisorState& state);
SupervisorState ParseSupervisorState(const std::string& text);

}  // namespace zenith
