#include "zenith_cli/branch_table.h"

#include <gtest/gtest.h>

namespace zenith {
namespace {

PqRows Rows(std::vector<std::vector<std::optional<std::string>>> rows) {
    PqRows result;
    result.columns = {"name",     "timeline",   "ancestor", "ancestor_lsn",
                      "last_lsn", "created_at", "running"};
    result.rows = std::move(rows);
    return result;
}

TEST(BranchTable, ChildrenStandBelowTheirParent) {
    Result<Table> table = BranchTable(Rows({
        {"apple", "t3", "t2", "0/30", "0/40", "once", "f"},
        {"main", "t1", std::nullopt, "0/10", "0/50", "once", "t"},
        {"zebra", "t4", "t1", "0/15FFB08", std::nullopt, std::nullopt, "f"},
        {"mango", "t2", "t1", "0/20", "0/35", "once", "f"},
        {"orphan", "t5", "gone", "0/20", "0/35", "once", "f"},
    }));
    ASSERT_TRUE(table.ok());
    EXPECT_EQ(table->ToText(),
              "BRANCH     PARENT          TIP   CREATED  COMPUTE  TIMELINE\n"
              "main       -               0/50  once     yes      t1\n"
              "  mango    main@0/20       0/35  once     no       t2\n"
              "    apple  mango@0/30      0/40  once     no       t3\n"
              "  zebra    main@0/15FFB08  -     -        no       t4\n"
              "orphan     (deleted)@0/20  0/35  once     no       t5\n");
    EXPECT_NE(table->ToJson().find(
                  "{\"name\": \"zebra\", \"parent\": \"main@0/15FFB08\", \"last_lsn\": null, "
                  "\"created_at\": null, \"running\": false, \"timeline\": \"t4\", \"ancestor\": "
                  "\"t1\", \"ancestor_lsn\": \"0/15FFB08\"}"),
              std::string::npos)
        << table->ToJson();
}

TEST(BranchTable, EveryBranchIsShownOnceEvenInARing) {
    Result<Table> table = BranchTable(Rows({
        {"a", "t1", "t2", "0/1", "0/1", "", "f"},
        {"b", "t2", "t1", "0/1", "0/1", "", "f"},
        {"self", "t3", "t3", "0/1", "0/1", "", "f"},
    }));
    ASSERT_TRUE(table.ok());
    std::string text = table->ToText();
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
}

TEST(BranchTable, MissingColumnIsAnError) {
    PqRows rows = Rows({{"a", "t1", "", "", "", "", "f"}});
    rows.columns[4] = "something";
    EXPECT_EQ(BranchTable(rows).status().code(), StatusCode::kInternal);
}

}  // namespace
}  // namespace zenith
