// TimelineLayers: where a timeline keeps its layer files, what it found there, and when it writes
// another one. Plain values, and what all timelines share.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/layers/layer_memory.h"
#include "pageserver/layers/layer_worker.h"
#include "pageserver/layers/page_imager.h"

namespace zenith {

// When the history in memory goes to a file: at the first of these.
struct FlushLimits {
    size_t memory_bytes = 64 << 20;
    // What a restart has to read again at most, for each timeline.
    uint64_t wal_bytes = 8 << 20;
    // Older than this and not next to nothing: a timeline with little to do should not make many
    // small files.
    std::chrono::seconds age = std::chrono::minutes(10);
    uint64_t age_wal_bytes = 4 << 20;
};

// What every timeline of a page server shares. The pointers may be null (no images, no common
// limit, threads of its own) and outlive the timelines.
struct LayerOptions {
    FlushLimits limits;
    PageImager* imager = nullptr;
    LayerMemory* memory = nullptr;
    LayerWorker* worker = nullptr;
    // A read replays at most about so many bytes of records.
    uint64_t replay_bytes = 16 << 10;
};

struct TimelineLayers {
    // timelines/<id>/layers, made with the first file. Empty: everything stays in memory.
    std::string directory;
    // As OpenDeltaLayers() found them.
    OpenedLayers opened;
    LayerOptions options;
};

}  // namespace zenith
