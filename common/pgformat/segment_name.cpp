#include "common/pgformat/segment_name.h"

#include <charconv>
#include <cstdio>

#include "common/pgformat/wal_format.h"

namespace zenith {

namespace {
constexpr uint64_t kSegmentsPerXlogId = 0x100000000ull / kWalSegmentSize;
}

uint64_t WalSegmentNumber(Lsn lsn) { return lsn.value / kWalSegmentSize; }

Lsn WalSegmentStart(uint64_t segment_number) { return Lsn(segment_number * kWalSegmentSize); }

std::string WalSegmentName(uint64_t segment_number) {
    char name[32];
    std::snprintf(name, sizeof name, "%08X%08X%08X", kWalTimelineId,
                  static_cast<uint32_t>(segment_number / kSegmentsPerXlogId),
                  static_cast<uint32_t>(segment_number % kSegmentsPerXlogId));
    return name;
}

std::optional<uint64_t> ParseWalSegmentName(std::string_view name) {
    if (name.size() != 24) {
        return std::nullopt;
    }
    uint32_t part[3];
    for (int i = 0; i < 3; i++) {
        const char* begin = name.data() + 8 * i;
        auto [end, error] = std::from_chars(begin, begin + 8, part[i], 16);
        if (error != std::errc() || end != begin + 8) {
            return std::nullopt;
        }
    }
    if (part[0] != kWalTimelineId || part[2] >= kSegmentsPerXlogId) {
        return std::nullopt;
    }
    return part[1] * kSegmentsPerXlogId + part[2];
}

}  // namespace zenith
