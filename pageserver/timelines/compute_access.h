// How the timeline manager reaches computes; replaced in tests.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/base/result.h"
#include "common/repo/repository.h"
#include "pageserver/timelines/compute_client.h"
#include "pageserver/timelines/timeline_manager.h"
#include "pageserver/wal_receiver/wal_source.h"

namespace zenith {

struct ComputeAccess {
    WalSourceConnector connect;
    std::function<ComputeLiveness(const std::string& connstr, const TimelineId& timeline,
                                  uint64_t term, int wake_fd)>
        probe;
    std::function<Result<Lsn>(const std::string& connstr, int timeout_ms, int wake_fd)> flush;
};

// TimelineManager::Open with other computes than PostgreSQL's.
Result<std::unique_ptr<TimelineManager>> OpenTimelineManager(const Repository& repository,
                                                             ComputeAccess access,
                                                             const LayerOptions& options = {});

}  // namespace zenith
