#include "common/base/time_text.h"

#include <cstdio>
#include <ctime>

#include "common/base/units.h"

namespace zenith {

namespace {

// Takes digits and separators off the front of a text.
class Scanner {
  public:
    explicit Scanner(std::string_view text) : rest_(text) {}
    bool AtEnd() const { return rest_.empty(); }
    bool Take(char c) {
        if (rest_.empty() || rest_.front() != c) {
            return false;
        }
        rest_.remove_prefix(1);
        return true;
    }
    bool NextIsDigit() const { return !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9'; }
    // Exactly `digits` digits with a value in [low, high].
    bool Number(int digits, int low, int high, int* value) {
        *value = 0;
        for (int i = 0; i < digits; i++) {
            if (!NextIsDigit()) {
                return false;
            }
            *value = *value * 10 + (rest_.front() - '0');
            rest_.remove_prefix(1);
        }
        return *value >= low && *value <= high;
    }
    // One to six digits behind the point, as microseconds.
    bool Fraction(int64_t* micros) {
        *micros = 0;
        int digits = 0;
        for (; NextIsDigit() && digits < 6; digits++) {
            *micros = *micros * 10 + (rest_.front() - '0');
            rest_.remove_prefix(1);
        }
        for (int i = digits; i < 6; i++) {
            *micros *= 10;
        }
        return digits > 0 && !NextIsDigit();
    }

  private:
    std::string_view rest_;
};

int DaysIn(int year, int month) {
    constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : kDays[month - 1];
}

// "Z", "+02", "+0200", "-02:30": seconds east of UTC. Nothing: nullopt in *offset.
bool ScanZone(Scanner& scanner, std::optional<int>* offset) {
    if (scanner.AtEnd()) {
        offset->reset();
        return true;
    }
    if (scanner.Take('Z') || scanner.Take('z')) {
        *offset = 0;
        return scanner.AtEnd();
    }
    const bool east = scanner.Take('+');
    if (!east && !scanner.Take('-')) {
        return false;
    }
    int hours = 0;
    int minutes = 0;
    if (!scanner.Number(2, 0, 15, &hours)) {
        return false;
    }
    if (!scanner.AtEnd()) {
        scanner.Take(':');
        if (!scanner.Number(2, 0, 59, &minutes)) {
            return false;
        }
    }
    *offset = (east ? 1 : -1) * (hours * 3600 + minutes * 60);
    return scanner.AtEnd();
}

}  // namespace

std::optional<int64_t> ParseTime(std::string_view text, int64_t now) {
    if (text.size() > 1 && text.front() == '-') {
        Result<int64_t> interval = ParseInterval(text.substr(1));
        return interval.ok() ? std::optional(now - *interval * kMicrosPerSecond) : std::nullopt;
    }
    Scanner scanner(text);
    tm parts = {};
    int year, month, day;
    int hour = 0, minute = 0, second = 0;
    int64_t micros = 0;
    std::optional<int> offset;
    if (!scanner.Number(4, 1970, 9999, &year) || !scanner.Take('-') ||
        !scanner.Number(2, 1, 12, &month) || !scanner.Take('-') ||
        !scanner.Number(2, 1, DaysIn(year, month), &day)) {
        return std::nullopt;
    }
    if (!scanner.AtEnd()) {
        if ((!scanner.Take('T') && !scanner.Take('t') && !scanner.Take(' ')) ||
            !scanner.Number(2, 0, 23, &hour) || !scanner.Take(':') ||
            !scanner.Number(2, 0, 59, &minute)) {
            return std::nullopt;
        }
        if (scanner.Take(':')) {
            if (!scanner.Number(2, 0, 60, &second) ||
                (scanner.Take('.') && !scanner.Fraction(&micros))) {
                return std::nullopt;
            }
        }
        scanner.Take(' ');  // "2026-11-22 10:00:00 +02"
        if (!ScanZone(scanner, &offset)) {
            return std::nullopt;
        }
    }
    parts.tm_year = year - 1900;
    parts.tm_mon = month - 1;
    parts.tm_mday = day;
    parts.tm_hour = hour;
    parts.tm_min = minute;
    parts.tm_sec = second;
    parts.tm_isdst = -1;
    const time_t seconds = offset ? timegm(&parts) - *offset : mktime(&parts);
    return seconds * kMicrosPerSecond + micros;
}

std::string FormatTimeMicros(int64_t time) {
    int64_t micros = time % kMicrosPerSecond;
    if (micros < 0) {
        micros += kMicrosPerSecond;
    }
    time_t seconds = (time - micros) / kMicrosPerSecond;
    tm parts = {};
    gmtime_r(&seconds, &parts);
    char text[64];
    size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    std::string result(text, length);
    if (micros != 0) {
        snprintf(text, sizeof text, ".%06d", static_cast<int>(micros));
        result += text;
    }
    return result + "Z";
}

}  // namespace zenith
