// LayerMemory: what the layers in memory of all timelines take together, against a common limit.
//
// Thread rule: atomic; any thread. Outlives the layers that are charged to it.
#pragma once

#include <atomic>
#include <cstddef>

namespace zenith {

struct LayerMemory {
    explicit LayerMemory(size_t limit) : limit_bytes(limit) {}
    const size_t limit_bytes;
    std::atomic<size_t> used_bytes{0};
    // Layers that hold anything.
    std::atomic<size_t> layers{0};
};

}  // namespace zenith
