#include "common/base/lsn.h"

#include <charconv>
#include <cstdio>

namespace zenith {

std::string Lsn::ToString() const {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%X/%X", static_cast<uint32_t>(value >> 32),
                  static_cast<uint32_t>(value));
    return buffer;
}

namespace {
bool ParseHalf(std::string_view text, uint32_t* out) {
    if (text.empty() || text.size() > 8) {
        return false;
    }
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out, 16);
    return error == std::errc() && end == text.data() + text.size();
}
}  // namespace

std::optional<Lsn> Lsn::Parse(std::string_view text) {
    size_t slash = text.find('/');
    if (slash == std::string_view::npos) {
        return std::nullopt;
    }
    uint32_t high = 0;
    uint32_t low = 0;
    if (!ParseHalf(text.substr(0, slash), &high) || !ParseHalf(text.substr(slash + 1), &low)) {
        return std::nullopt;
    }
    return Lsn((static_cast<uint64_t>(high) << 32) | low);
}

}  // namespace zenith
