// Times: microseconds since 1970 (UTC) everywhere.
#pragma once

#include <chrono>
#include <cstdint>

namespace zenith {

inline constexpr int64_t kMicrosPerSecond = 1000000;
// PostgreSQL's TimestampTz counts from 2000-01-01.
inline constexpr int64_t kPostgresEpochMicros = 946684800 * kMicrosPerSecond;

inline int64_t NowMicros() {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

}  // namespace zenith
