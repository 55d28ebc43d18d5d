// TimelineId: the name of a timeline, 16 random bytes, written as 32 lower-case hexadecimal digits.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace zenith {

struct TimelineId {
    std::array<uint8_t, 16> bytes{};

    auto operator<=>(const TimelineId&) const = default;
    bool valid() const { return *this != TimelineId{}; }
    std::string ToString() const;
    // Exactly 32 hexadecimal digits; nullopt otherwise.
    static std::optional<TimelineId> Parse(std::string_view text);
    // A new random id from the operating system's random source.
    static TimelineId Random();
};

}  // namespace zenith

template <>
struct std::hash<zenith::TimelineId> {
    size_t operator()(const zenith::TimelineId& id) const {
        size_t h;
        std::memcpy(&h, id.bytes.data(), sizeof h);
        return h;
    }
};
