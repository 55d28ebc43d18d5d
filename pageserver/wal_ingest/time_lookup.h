// Where in a timeline's history a time is.
//
// The cluster state that ingest saves about every 64 kB of WAL carries the newest commit time up to
// there. That only grows, so the saved states are the time index: a bisection finds the last one
// before the time, and the WAL behind it the exact record.
//
// Threads  any.
#pragma once

#include <cstdint>
#include <functional>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/wal_decoder/decoded_record.h"
#include "pageserver/wal_ingest/cluster_state.h"

namespace zenith {

// The end of the last record before the first commit with a time after `time` (microseconds since
// 1970); `end`, a record boundary, when there is no such commit before it. PREPARE TRANSACTION and
// ROLLBACK PREPARED count as commits: what was prepared then is, and nothing else. Goes back into
// the ancestors. kNotFound, naming the oldest time and LSN, when the history begins after `time`.
Result<Lsn> LsnAtTime(Timeline& timeline, int64_t time, Lsn end, uint64_t system_identifier);

// A record boundary such that everything written to this timeline after `time` comes after it, as far
// as records that carry a time tell; at most readable_from() when nothing is older. Stays a little
// below what would be exact.
Result<Lsn> LsnKnownOlderThan(Timeline& timeline, int64_t time, uint64_t system_identifier);

// Applies the WAL from state->record_end up to `at`, or to before the first record for which
// `stop_before` (may be null) is true. `at` may be between records.
Status ApplyWal(Timeline& timeline, Lsn at, uint64_t system_identifier,
                const std::function<Result<bool>(const DecodedRecord&)>& stop_before,
                ClusterState* state);

}  // namespace zenith
