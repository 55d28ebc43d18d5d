// Names of WAL segment files: 24 hexadecimal digits, XLogFileName() of access/xlog_internal.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/lsn.h"

namespace zenith {

// Number of the 16 MB segment that holds byte `lsn`.
uint64_t WalSegmentNumber(Lsn lsn);
Lsn WalSegmentStart(uint64_t segment_number);
std::string WalSegmentName(uint64_t segment_number);
// The segment's number, or nullopt when `name` is not a segment of PostgreSQL timeline 1.
std::optional<uint64_t> ParseWalSegmentName(std::string_view name);

}  // namespace zenith
