// What runs without postgres; the rest is in regress/sql/supervisor.sql.
#include "zenith_cli/supervisor.h"

#include <gtest/gtest.h>

namespace zenith {
namespace {

TEST(Supervisor, DelaysGrowToTheirLimit) {
    EXPECT_EQ(RestartDelayMs(0), 0);
    EXPECT_EQ(RestartDelayMs(2), 0);
    EXPECT_EQ(RestartDelayMs(3), 100);
    EXPECT_EQ(RestartDelayMs(4), 200);
    for (int attempt = 4; attempt < 100; attempt++) {
        EXPECT_GE(RestartDelayMs(attempt), RestartDelayMs(attempt - 1));
    }
    EXPECT_EQ(RestartDelayMs(99), 30000);
}

TEST(Supervisor, StateComesBackAsItWasWritten) {
    SupervisorState state;
    state.restarts = 7;
    state.last_restart = 1700000000;
    state.failure = "gave up after 20 starts in a row: no page server\nat all";
    const SupervisorState read = ParseSupervisorState(SupervisorStateText(state));
    EXPECT_EQ(read.restarts, 7);
    EXPECT_EQ(read.last_restart, 1700000000);
    EXPECT_EQ(read.failure, "gave up after 20 starts in a row: no page server at all");
}

TEST(Supervisor, AnyTextIsAState) {
    for (const char* text : {"", "\n\n", "restarts", "restarts x\nlast_restart", "failure",
                             "unknown 1\nrestarts 99999999999999999999"}) {
        const SupervisorState state = ParseSupervisorState(text);
        EXPECT_EQ(state.restarts, 0) << text;
        EXPECT_EQ(state.failure, "") << text;
    }
    EXPECT_EQ(ParseSupervisorState("restarts 3").restarts, 3);
}

}  // namespace
}  // namespace zenith
