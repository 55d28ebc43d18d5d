#include "common/base/units.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <ctime>

#include "common/base/time_text.h"

namespace zenith {
namespace {

TEST(Units, Intervals) {
    for (const auto& [text, seconds] : std::initializer_list<std::pair<const char*, int64_t>>{
             {"0", 0}, {"90", 90}, {"90s", 90}, {"10min", 600}, {"2h", 7200}, {"7d", 604800},
             {"7 days", 604800}, {" 1 day ", 86400}, {"1h 30min", 5400}, {"1h30min", 5400},
             {"1 minute 1 second", 61}}) {
        Result<int64_t> parsed = ParseInterval(text);
        ASSERT_TRUE(parsed.ok()) << text;
        EXPECT_EQ(*parsed, seconds) << text;
        EXPECT_EQ(*ParseInterval(FormatInterval(seconds)), seconds);
    }
    for (const char* text : {"", " ", "d", "-1d", "1.5h", "1 fortnight", "99999999999999999999",
                             "9999999999999d", "1h,", "1D", "\n"}) {
        EXPECT_EQ(ParseInterval(text).status().code(), StatusCode::kInvalidArgument) << text;
    }
    EXPECT_EQ(FormatInterval(604800), "7d");
    EXPECT_EQ(FormatInterval(5401), "1h 30min 1s");
    EXPECT_EQ(FormatInterval(0), "0s");
}

TEST(Units, Sizes) {
    for (const auto& [text, bytes] : std::initializer_list<std::pair<const char*, uint64_t>>{
             {"0", 0}, {"100", 100}, {"64kB", 65536}, {"1 MB", 1 << 20}, {"1GB", 1 << 30},
             {"2TB", 2ull << 40}, {"17B", 17}}) {
        Result<uint64_t> parsed = ParseSize(text);
        ASSERT_TRUE(parsed.ok()) << text;
        EXPECT_EQ(*parsed, bytes) << text;
        EXPECT_EQ(*ParseSize(FormatSize(bytes)), bytes);
    }
    for (const char* text : {"", "MB", "-1", "1mb", "1 MB 1 kB", "1.5GB", "99999999TB"}) {
        EXPECT_EQ(ParseSize(text).status().code(), StatusCode::kInvalidArgument) << text;
    }
    EXPECT_EQ(FormatSize(1000), "1000B");
    EXPECT_EQ(FormatSize(3 << 20), "3MB");
}

class TimeText : public testing::Test {
  protected:
    void SetUp() override { SetZone("UTC"); }
    void TearDown() override { SetZone("UTC"); }
    static void SetZone(const char* zone) {
        setenv("TZ", zone, 1);
        tzset();
    }
};

TEST_F(TimeText, ReadsWhatPeopleWrite) {
    constexpr int64_t kTen = 1795341600 * kMicrosPerSecond;  // 2026-11-22T10:00:00Z
    EXPECT_EQ(FormatTimeMicros(kTen), "2026-11-22T10:00:00Z");
    for (const char* text :
         {"2026-11-22T10:00:00Z", "2026-11-22T10:00Z", "2026-11-22 10:00:00z",
          "2026-11-22T12:00:00+02:00", "2026-11-22T12:00:00+02", "2026-11-22T12:00:00 +0200",
          "2026-11-22T04:30:00.000000-05:30", "2026-11-22T10:00:00"}) {
        EXPECT_EQ(ParseTime(text, 0), kTen) << text;
    }
    EXPECT_EQ(ParseTime("2026-11-22T10:00:00.25Z", 0), kTen + 250000);
    EXPECT_EQ(ParseTime("2026-11-22T10:00:00.000001Z", 0), kTen + 1);
    EXPECT_EQ(FormatTimeMicros(kTen + 1), "2026-11-22T10:00:00.000001Z");
    EXPECT_EQ(ParseTime("2026-11-22", 0), kTen - 36000 * kMicrosPerSecond);
    EXPECT_EQ(ParseTime("2028-02-29T00:00:00Z", 0).has_value(), true);
    EXPECT_EQ(ParseTime("-10min", kTen), kTen - 600 * kMicrosPerSecond);
    EXPECT_EQ(ParseTime("-3 days", kTen), kTen - 3 * 86400 * kMicrosPerSecond);
    for (const char* text :
         {"", "-", "--1s", "10:00", "2026-13-01", "2026-02-29", "2026-11-22T", "2026-11-22T25:00",
          "2026-11-22T10:00:00.Z", "2026-11-22T10:00:00.1234567Z", "2026-11-22T10:00:00+2",
          "2026-11-22T10:00:00Zx", "2026-11-22T10:00:00+99", "0/15FFB08", "-10 parsecs"}) {
        EXPECT_EQ(ParseTime(text, kTen), std::nullopt) << text;
    }
}

TEST_F(TimeText, WithoutZoneIsLocal) {
    SetZone("EST5EDT,M3.2.0,M11.1.0");
    EXPECT_EQ(ParseTime("2026-11-22T05:00:00", 0), ParseTime("2026-11-22T10:00:00Z", 0));
    EXPECT_EQ(ParseTime("2026-07-22T06:00:00", 0), ParseTime("2026-07-22T10:00:00Z", 0));
}

}  // namespace
}  // namespace zenith
