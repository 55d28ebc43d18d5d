// What the timeline manager asks a compute directly: whether it lives, and to flush.
//
// Threads  any. `wake_fd` becoming readable ends every wait.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"

namespace zenith {

enum class ComputeLiveness {
    kLives,  // it answers with that timeline and term
    kBusy,   // a server is there, but starting up or shutting down
    kGone,   // nobody answers, or somebody else
};
ComputeLiveness ProbeCompute(const std::string& connstr, const TimelineId& timeline, uint64_t term,
                             int wake_fd);

// Has the compute write all of its WAL to disk. Everything that was committed there before the call,
// with synchronous_commit = off, too, is before the LSN returned, which the receiver will get.
// kUnavailable when the compute cannot be reached.
Result<Lsn> FlushCompute(const std::string& connstr, int timeout_ms, int wake_fd);

}  // namespace zenith
