// Makes a root timeline out of a data directory.
#pragma once

#include <string>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/repo/repository.h"

namespace zenith {

// Loads the cluster in `pgdata`, made by PostgreSQL 15 and cleanly shut down, as root timeline
// `id`: snapshot, the WAL segment with its last checkpoint, timeline.json last. `pgdata` is only read.
// kRefused when it is not cleanly shut down or not of the repository's system identifier (a
// repository without one takes it over). After an error the timeline does not exist.
Status ImportCluster(const Repository& repository, const std::string& pgdata, const TimelineId& id);

}  // namespace zenith
