// Times as people write them in points ("main@2026-11-22T10:00:00Z", "main@-10min").
//
// Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/time.h"

namespace zenith {

// A date, with or without a time of day ("T" or a blank between them), with or without a fraction of
// a second and a zone (Z, +02, +02:00, +0200); without a zone it is in the process's time zone. Or
// "-" and an interval (units.h): so long before `now`. nullopt for anything else.
std::optional<int64_t> ParseTime(std::string_view text, int64_t now);

// "2026-11-22T10:00:00Z", with a fraction when there is one. ParseTime reads it back.
std::string FormatTimeMicros(int64_t time);

}  // namespace zenith
