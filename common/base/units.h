// Intervals and sizes as PostgreSQL's settings write them: "7 days", "1h 30min", "90", "64MB".
//
// Errors are kInvalidArgument with a hint that shows how to write one. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace zenith {

// Seconds. Units s, min, h, d and their long names, several in a row; a number alone is seconds.
Result<int64_t> ParseInterval(std::string_view text);
// The shortest text that ParseInterval reads back: "7d", "1h 30min", "0s".
std::string FormatInterval(int64_t seconds);

// Bytes. Units B, kB, MB, GB, TB, of 1024 each; a number alone is bytes.
Result<uint64_t> ParseSize(std::string_view text);
// The largest unit without a rest: "64MB", "1000B", "0B".
std::string FormatSize(uint64_t bytes);

}  // namespace zenith
