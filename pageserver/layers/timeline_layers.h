// TimelineLayers: where a timeline keeps its layer files, what it found there, and when it writes
// another one. Plain value.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pageserver/layers/delta_layer_file.h"

namespace zenith {

// When the history in memory goes to a file: at the first of these.
struct FlushLimits {
    size_t memory_bytes = 64 << 20;
    // What a restart has to read again at most, for each timeline.
    uint64_t wal_bytes = 256 << 20;
    // Older than this and not next to nothing: a timeline with little to do should not make many
    // small files.
    std::chrono::seconds age = std::chrono::minutes(10);
    uint64_t age_wal_bytes = 16 << 20;
};

struct TimelineLayers {
    // timelines/<id>/layers, made with the first file. Empty: everything stays in memory.
    std::string directory;
    // As OpenDeltaLayers() found them: oldest first.
    std::vector<std::shared_ptr<const DeltaLayerFile>> files;
    FlushLimits limits;
};

}  // namespace zenith
