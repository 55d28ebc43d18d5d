#include "zenith_cli/output.h"

#include <gtest/gtest.h>

namespace zenith {
namespace {

TEST(Output, JsonString) {
    const std::pair<std::string, std::string> cases[] = {
        {"", R"("")"},
        {"plain", R"("plain")"},
        {"a\"b\\c", R"("a\"b\\c")"},
        {"line\nbreak\ttab", R"("line\u000abreak\u0009tab")"},
        {std::string("nul\0", 4), R"("nul\u0000")"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\xff", R"("\ufffd")"},
        {"a\xc3", R"("a\ufffd")"},
        {"\xc3(", R"("\ufffd(")"},
        {"\xc0\xaf", R"("\ufffd\ufffd")"},            // overlong
        {"\xed\xa0\x80", R"("\ufffd\ufffd\ufffd")"},  // a surrogate
        {"\xf4\x90\x80\x80", R"("\ufffd\ufffd\ufffd\ufffd")"},
    };
    for (const auto& [text, expected] : cases) {
        EXPECT_EQ(JsonString(text), expected);
    }
}

TEST(Output, TableAsText) {
    Table table({{"NAME", "name"}, {"", "id"}, {"PORT", "port"}, {"UP", "up"}});
    table.AddRow({std::string("main"), std::string("hidden"), int64_t{15432}, true});
    table.AddRow({std::string("dev"), std::string("hidden"), std::monostate(), false}, 2);
    EXPECT_EQ(table.ToText(),
              "NAME   PORT   UP\n"
              "main   15432  yes\n"
              "  dev  -      no\n");
}

TEST(Output, TableAsJson) {
    Table table({{"NAME", "name"}, {"", "id"}, {"PORT", "port"}, {"UP", "up"}});
    EXPECT_EQ(table.ToJson(), "[]");
    table.AddRow({std::string("a\"b"), std::string("x"), int64_t{-1}, true}, 2);
    table.AddRow({std::monostate(), std::string(), int64_t{2}, false});
    EXPECT_EQ(table.ToJson(),
              "[\n"
              "  {\"name\": \"a\\\"b\", \"id\": \"x\", \"port\": -1, \"up\": true},\n"
              "  {\"name\": null, \"id\": \"\", \"port\": 2, \"up\": false}\n"
              "]");
}

}  // namespace
}  // namespace zenith
