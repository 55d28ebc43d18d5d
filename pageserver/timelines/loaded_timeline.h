// LoadedTimeline: a timeline's files opened, its snapshot or parent attached, and the WAL that is in
// no layer file ingested.
//
// Threads  load from any thread, one load of a timeline at a time; then the members' own rules.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "common/base/result.h"
#include "common/repo/repository.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/layers/timeline_layers.h"
#include "pageserver/wal_receiver/wal_follower.h"

namespace zenith {

struct LoadedTimeline {
    std::shared_ptr<Timeline> timeline;
    std::unique_ptr<WalFollower> follower;  // refers to *timeline
    uint64_t system_identifier = 0;
};

// Where a root timeline's snapshot is.
std::string SnapshotPath(const Repository& repository, const TimelineId& id);

// Loads the timeline of `file`: opens its layer files and ingests the WAL after them. `parent`: its
// ancestor, loaded, or null for a root. A record that cannot be ingested does not fail the load:
// see follower->error(). `stop` (may be null) ends a long load with kUnavailable.
// kCorruption: the branch point is beyond the parent's WAL, or files are damaged.
Result<std::unique_ptr<LoadedTimeline>> LoadTimeline(const Repository& repository,
                                                     const TimelineFile& file,
                                                     const LoadedTimeline* parent,
                                                     const LayerOptions& options = {},
                                                     const std::atomic<bool>* stop = nullptr);

}  // namespace zenith
