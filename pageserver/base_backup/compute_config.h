// The configuration files of a compute node that the page server writes.
//
// postgresql.conf is the cluster's own with two includes behind it: zenith.conf (from here) and
// zenith_compute.conf (from the CLI: addresses, ports, the user's settings; it has the last word).
#pragma once

#include <cstdint>
#include <string>

#include "common/base/ids.h"
#include "common/base/lsn.h"

namespace zenith {

struct ComputeConfig {
    TimelineId timeline;
    uint64_t term = 0;  // 0: a read-only compute at a past LSN
    Lsn start_lsn;
    // The first transaction behind the branch point, with its epoch; 0: the timeline has no parent.
    uint64_t branch_xid = 0;
    // Limits the cluster's state needs to be loaded at all; 0: PostgreSQL's default does.
    int min_prepared_transactions = 0;
    int replication_origins = 0;
    int logical_slots = 0;  // they also need wal_level = logical
};

std::string ZenithConf(const ComputeConfig& config);
// `own`: the cluster's postgresql.conf.
std::string WithIncludes(const std::string& own);

}  // namespace zenith
