#include "common/base/ids.h"

#include <sys/random.h>

#include <cstdlib>

namespace zenith {

std::string TimelineId::ToString() const {
    static const char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(32);
    for (uint8_t byte : bytes) {
        text.push_back(kDigits[byte >> 4]);
        text.push_back(kDigits[byte & 15]);
    }
    return text;
}

std::optional<TimelineId> TimelineId::Parse(std::string_view text) {
    if (text.size() != 32) {
        return std::nullopt;
    }
    TimelineId id;
    for (size_t i = 0; i < 32; i++) {
        char c = text[i];
        int digit;
        if (c >= '0' && c <= '9') {
            digit = c - '0';
        } else if (c >= 'a' && c <= 'f') {
            digit = c - 'a' + 10;
        } else if (c >= 'A' && c <= 'F') {
            digit = c - 'A' + 10;
        } else {
            return std::nullopt;
        }
        id.bytes[i / 2] = static_cast<uint8_t>((id.bytes[i / 2] << 4) | digit);
    }
    return id;
}

TimelineId TimelineId::Random() {
    TimelineId id;
    // getrandom cannot fail or fall short for 16 bytes once the kernel's pool is ready.
    if (getrandom(id.bytes.data(), id.bytes.size(), 0) != static_cast<ssize_t>(id.bytes.size())) {
        std::abort();
    }
    return id;
}

}  // namespace zenith
