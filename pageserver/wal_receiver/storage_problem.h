// StorageProblem: what kept something from being stored, since when, and whether that is over.
#pragma once

#include <cstdint>
#include <string>

namespace zenith {

struct StorageProblem {
    std::string what;        // names file and reason; empty: there never was one
    int64_t since = 0;       // microseconds since 1970
    int64_t healed_at = 0;   // 0: it goes on
    bool going_on() const { return !what.empty() && healed_at == 0; }
};

}  // namespace zenith
