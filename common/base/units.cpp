#include "common/base/units.h"

#include <array>
#include <charconv>
#include <optional>

namespace zenith {

namespace {

constexpr const char* kIntervalHint =
    "Write it as a number and a unit s, min, h or d, such as 90s, 30min or \"7 days\".";
constexpr const char* kSizeHint =
    "Write it as a number and a unit B, kB, MB, GB or TB, such as 512MB.";

struct Unit {
    std::string_view name;
    uint64_t factor;
};

// The first of a factor is how it is printed.
constexpr std::array kIntervalUnits = {
    Unit{"d", 86400},    Unit{"day", 86400},  Unit{"days", 86400},  Unit{"h", 3600},
    Unit{"hour", 3600},  Unit{"hours", 3600}, Unit{"min", 60},      Unit{"minute", 60},
    Unit{"minutes", 60}, Unit{"s", 1},        Unit{"sec", 1},       Unit{"second", 1},
    Unit{"seconds", 1},
};
constexpr std::array kSizeUnits = {
    Unit{"TB", 1ull << 40}, Unit{"GB", 1ull << 30}, Unit{"MB", 1ull << 20},
    Unit{"kB", 1ull << 10}, Unit{"B", 1},
};

bool IsLetter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void SkipSpace(std::string_view* text) {
    while (!text->empty() && text->front() == ' ') {
        text->remove_prefix(1);
    }
}

// Takes "<number> [<unit>]" off the front; nullopt when there is none, or it is too large.
template <typename Units>
std::optional<uint64_t> TakeAmount(std::string_view* text, const Units& units) {
    uint64_t number = 0;
    auto [stop, error] = std::from_chars(text->data(), text->data() + text->size(), number);
    if (error != std::errc()) {
        return std::nullopt;
    }
    text->remove_prefix(static_cast<size_t>(stop - text->data()));
    SkipSpace(text);
    size_t length = 0;
    while (length < text->size() && IsLetter((*text)[length])) {
        length++;
    }
    const std::string_view name = text->substr(0, length);
    text->remove_prefix(length);
    uint64_t factor = name.empty() ? 1 : 0;
    for (const Unit& unit : units) {
        if (name == unit.name) {
            factor = unit.factor;
        }
    }
    uint64_t amount;
    if (factor == 0 || __builtin_mul_overflow(number, factor, &amount) ||
        amount > static_cast<uint64_t>(INT64_MAX)) {
        return std::nullopt;
    }
    return amount;
}

Status Wrong(std::string_view text, const char* what, const char* hint) {
    std::string shown;
    for (char c : text.substr(0, 40)) {
        shown += c >= ' ' && c <= '~' ? c : '?';
    }
    return Status::InvalidArgument("\"" + shown + "\" is not " + what, hint);
}

}  // namespace

Result<int64_t> ParseInterval(std::string_view text) {
    // Three thousand years: sums with any time fit.
    constexpr uint64_t kLongest = 86400ull * 1000000;
    std::string_view rest = text;
    uint64_t seconds = 0;
    SkipSpace(&rest);
    do {
        std::optional<uint64_t> amount = TakeAmount(&rest, kIntervalUnits);
        if (!amount || *amount > kLongest || (seconds += *amount) > kLongest) {
            return Wrong(text, "an interval", kIntervalHint);
        }
        SkipSpace(&rest);
    } while (!rest.empty());
    return static_cast<int64_t>(seconds);
}

std::string FormatInterval(int64_t seconds) {
    std::string text;
    auto rest = static_cast<uint64_t>(seconds < 0 ? 0 : seconds);
    uint64_t last = 0;
    for (const Unit& unit : kIntervalUnits) {
        if (unit.factor != last && rest >= unit.factor) {
            text += (text.empty() ? "" : " ") + std::to_string(rest / unit.factor) +
                    std::string(unit.name);
            rest %= unit.factor;
        }
        last = unit.factor;
    }
    return text.empty() ? "0s" : text;
}

Result<uint64_t> ParseSize(std::string_view text) {
    std::string_view rest = text;
    SkipSpace(&rest);
    std::optional<uint64_t> bytes = TakeAmount(&rest, kSizeUnits);
    SkipSpace(&rest);
    if (!bytes || !rest.empty()) {
        return Wrong(text, "a size", kSizeHint);
    }
    return *bytes;
}

std::string FormatSize(uint64_t bytes) {
    for (const Unit& unit : kSizeUnits) {
        if (bytes >= unit.factor && bytes % unit.factor == 0) {
            return std::to_string(bytes / unit.factor) + std::string(unit.name);
        }
    }
    return "0B";
}

}  // namespace zenith
