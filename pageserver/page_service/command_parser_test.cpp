#include "pageserver/page_service/command_parser.h"

#include <gtest/gtest.h>

#include <random>

namespace zenith {
namespace {

const std::string kId = "0123456789abcdef0123456789abcdef";

Command Parsed(const std::string& text) {
    auto command = ParseCommand(text);
    EXPECT_TRUE(command.ok()) << text << ": " << command.status().message();
    if (!command.ok() || !*command) {
        return Command{};
    }
    return **command;
}

TEST(CommandParser, EveryCommand) {
    EXPECT_EQ(Parsed("status").kind, CommandKind::kStatus);
    EXPECT_EQ(Parsed("  STATUS ;; \n").kind, CommandKind::kStatus);
    EXPECT_EQ(Parsed("branch_list;").kind, CommandKind::kBranchList);
    EXPECT_EQ(Parsed("Tag_List").kind, CommandKind::kTagList);
    EXPECT_EQ(Parsed("timeline_list").kind, CommandKind::kTimelineList);

    Command command = Parsed("timeline_info " + kId);
    EXPECT_EQ(command.kind, CommandKind::kTimelineInfo);
    EXPECT_EQ(command.timeline.ToString(), kId);

    command = Parsed("pagestream\t'" + kId + "'");
    EXPECT_EQ(command.kind, CommandKind::kPagestream);
    EXPECT_EQ(command.timeline.ToString(), kId);

    command = Parsed("basebackup " + kId);
    EXPECT_EQ(command.kind, CommandKind::kBaseBackup);
    EXPECT_EQ(command.lsn, std::nullopt);
    command = Parsed("basebackup " + kId + " 0/15FFB08;");
    EXPECT_EQ(command.lsn, Lsn(0x15FFB08));

    command = Parsed("branch_create dev main@0/15FFB08");
    EXPECT_EQ(command.kind, CommandKind::kBranchCreate);
    EXPECT_EQ(command.name, "dev");
    EXPECT_EQ(command.point, "main@0/15FFB08");
    command = Parsed("tag_create 'it''s' 'a b'");
    EXPECT_EQ(command.kind, CommandKind::kTagCreate);
    EXPECT_EQ(command.name, "it's");
    EXPECT_EQ(command.point, "a b");
    EXPECT_EQ(Parsed("branch_delete dev").name, "dev");
    EXPECT_EQ(Parsed("tag_delete ''").name, "");
}

TEST(CommandParser, CallMeMaybeTakesTheRestOfTheLine) {
    struct Case {
        std::string text;
        std::string connstr;
    };
    const Case cases[] = {
        {"port=5432", "port=5432"},
        {"host=a port=5432 ;", "host=a port=5432"},
        {"host='a b' port=1", "host='a b' port=1"},
        {"'host=a port=1'", "host=a port=1"},
        {"'host=''a b'' port=1' ;", "host='a b' port=1"},
    };
    for (const Case& c : cases) {
        Command command = Parsed("callmemaybe " + kId + " 18446744073709551615 " + c.text);
        EXPECT_EQ(command.kind, CommandKind::kCallMeMaybe);
        EXPECT_EQ(command.term, UINT64_MAX);
        EXPECT_EQ(command.connstr, c.connstr);
    }
}

TEST(CommandParser, WhatDriversSendUnasked) {
    EXPECT_EQ(Parsed("SET extra_float_digits = 3").tag, "SET");
    EXPECT_EQ(Parsed("set application_name = 'it''s'").kind, CommandKind::kIgnored);
    EXPECT_EQ(Parsed("BEGIN").tag, "BEGIN");
    EXPECT_EQ(Parsed("commit").tag, "COMMIT");
    EXPECT_EQ(Parsed("ROLLBACK").tag, "ROLLBACK");
}

TEST(CommandParser, Empty) {
    for (const char* text : {"", " ", ";", " ; ;\n"}) {
        auto command = ParseCommand(text);
        ASSERT_TRUE(command.ok());
        EXPECT_FALSE(command->has_value());
    }
}

TEST(CommandParser, Errors) {
    struct Case {
        std::string text;
        std::string message;
        std::string hint;  // a part of it
    };
    const Case cases[] = {
        {"select 1", "unknown command \"select\"", "branch_create <name> <point>, branch_delete"},
        {"status now", "unexpected \"now\"", "Write it like this: status."},
        {"status; status", "unknown command \"status;\"", "Commands are: status, "},
        {"pagestream", "missing timeline id", "pagestream <timeline>."},
        {"pagestream 12", "\"12\" is not a timeline id", "timeline_list shows them"},
        {"pagestream 00000000000000000000000000000000",
         "\"00000000000000000000000000000000\" is not a timeline id", "timeline_list"},
        {"pagestream " + kId + " x", "unexpected \"x\"", "pagestream"},
        {"basebackup " + kId + " 15FFB08", "\"15FFB08\" is not an LSN", "0/15FFB08"},
        {"basebackup " + kId + " 0/0", "\"0/0\" is not an LSN", "0/15FFB08"},
        {"callmemaybe " + kId + " -1 x", "\"-1\" is not a term", "callmemaybe"},
        {"callmemaybe " + kId + " 1x x", "\"1x\" is not a term", "callmemaybe"},
        {"callmemaybe " + kId + " 18446744073709551616 x", "\"18446744073709551616\" is not a term",
         "callmemaybe"},
        {"callmemaybe " + kId + " 1", "missing connection string", "callmemaybe"},
        {"callmemaybe " + kId + " 1 'a' b", "unexpected \"b\"", "callmemaybe"},
        {"branch_create", "missing name", "branch_create <name> <point>"},
        {"branch_create dev", "missing point in time", "branch_create <name> <point>"},
        {"branch_create 'dev main", "unterminated quoted text \"'dev main\"", "branch_create"},
        {"branch_create 'dev'main x", "no space after the quoted text \"dev\"", "branch_create"},
        {"branch_create d'ev main", "a quote inside the word \"d'ev main\"", "branch_create"},
        {"\x01\xff", "unknown command \"??\"", "Commands are"},
        {std::string(1000, 'x'), "unknown command \"" + std::string(64, 'x') + "...\"", "Commands"},
    };
    for (const Case& c : cases) {
        auto command = ParseCommand(c.text);
        ASSERT_FALSE(command.ok()) << c.text;
        EXPECT_EQ(command.status().code(), StatusCode::kInvalidArgument);
        EXPECT_EQ(command.status().message(), c.message);
        EXPECT_NE(command.status().hint().find(c.hint), std::string::npos)
            << command.status().hint();
    }
}

TEST(CommandParser, RandomTextAlwaysParsesOrHasAHint) {
    std::mt19937 random(5);
    const std::string pieces[] = {
        "callmemaybe ",       kId,   "'", "''", " ", ";", "1", "\n", "0/1", "branch_create ", "x",
        std::string(1, '\0'), "\xff"};
    int parsed = 0;
    for (int round = 0; round < 20000; round++) {
        std::string text;
        for (size_t n = random() % 10; n > 0; n--) {
            text += pieces[random() % std::size(pieces)];
        }
        auto command = ParseCommand(text);
        if (command.ok()) {
            parsed++;
        } else {
            EXPECT_FALSE(command.status().hint().empty()) << text;
        }
    }
    EXPECT_GT(parsed, 0);
}

}  // namespace
}  // namespace zenith
