// Lsn: a byte position in the WAL of one PostgreSQL cluster, as in access/xlogdefs.h.
// Zero is "no position". Prints and parses as PostgreSQL does: two hexadecimal halves, "0/15FFB08".
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace zenith {

struct Lsn {
    uint64_t value = 0;

    constexpr Lsn() = default;
    constexpr explicit Lsn(uint64_t v) : value(v) {}

    constexpr bool valid() const { return value != 0; }
    constexpr auto operator<=>(const Lsn&) const = default;
    constexpr Lsn operator+(uint64_t n) const { return Lsn(value + n); }
    constexpr Lsn operator-(uint64_t n) const { return Lsn(value - n); }
    constexpr uint64_t operator-(Lsn other) const { return value - other.value; }

    std::string ToString() const;
    // "X/X", one to eight hexadecimal digits on each side; nullopt for anything else.
    static std::optional<Lsn> Parse(std::string_view text);
};

inline constexpr Lsn kMaxLsn{UINT64_MAX};

}  // namespace zenith

template <>
struct std::hash<zenith::Lsn> {
    size_t operator()(const zenith::Lsn& lsn) const { return std::hash<uint64_t>()(lsn.value); }
};
