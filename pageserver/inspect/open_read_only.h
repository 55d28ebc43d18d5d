// ReadOnlyTimeline: a timeline opened without changing anything on disk, beside a running page
// server or without one. What is in no layer is ingested into memory, up to a given end.
//
// Memory   the index of the WAL after the newest layer.
// Threads  as Timeline; opening from one thread.
#pragma once

#include <cstdint>
#include <memory>

#include "common/base/result.h"
#include "common/repo/repository.h"
#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/layers/timeline.h"

namespace zenith {

struct ReadOnlyTimeline {
    std::shared_ptr<ReadOnlyTimeline> parent;  // null for a root
    std::shared_ptr<Timeline> timeline;
    LayerManifest manifest;
    std::vector<std::shared_ptr<const DeltaLayerFile>> layers;  // oldest first
    uint64_t system_identifier = 0;
};

// `end`: the end of the last record to read, at or after the end of the layers. `parent` is null for
// a root.
Result<std::shared_ptr<ReadOnlyTimeline>> OpenReadOnly(const Repository& repository,
                                                       const TimelineFile& file,
                                                       std::shared_ptr<ReadOnlyTimeline> parent,
                                                       Lsn end);

}  // namespace zenith
