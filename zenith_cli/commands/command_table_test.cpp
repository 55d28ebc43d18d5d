// The rules of the command line: what is refused before anything is done, and with which exit code.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "common/base/posix_file.h"
#include "common/repo/repository.h"
#include "zenith_cli/commands/command.h"

namespace zenith {
namespace {

struct Outcome {
    int code;
    std::string out;
    std::string err;
};

Outcome RunCli(std::vector<std::string> arguments) {
    std::vector<const char*> argv = {"zenith"};
    for (const std::string& argument : arguments) {
        argv.push_back(argument.c_str());
    }
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    int code = RunZenith(static_cast<int>(argv.size()), argv.data());
    std::string out = testing::internal::GetCapturedStdout();
    return Outcome{code, out, testing::internal::GetCapturedStderr()};
}

TEST(CommandLine, UsageErrors) {
    const std::vector<std::string> cases[] = {
        {"nonsense"},
        {"pg"},
        {"pg", "nonsense"},
        {"pageserver"},
        {"--nonsense", "status"},
        {"status", "--nonsense"},
        {"status", "extra"},
        {"status", "--", "extra"},
        {"branch", "a", "b", "c"},
        {"branch", "-d"},
        {"branch", "-d", "a", "b"},
        {"branch", "a", "--json"},
        {"tag", "a"},
        {"tag", "a", "main", "x"},
        {"tag", "-d", "a", "b"},
        {"pg", "create", "--port", "0"},
        {"pg", "create", "--port", "65536"},
        {"pg", "create", "--port", "x"},
        {"pg", "create", "a", "b"},
        {"pg", "start"},
        {"pg", "stop"},
        {"pg", "stop", "x", "--mode", "smart"},
        {"pg", "destroy"},
        {"stop", "--mode", ""},
        {"psql", "main", "-c", "SELECT 1"},
        {"fsck", "extra"},
        {"fsck", "--", "extra"},
        {"layer"},
        {"layer", "nonsense"},
        {"layer", "list", "main", "dev"},
        {"layer", "dump"},
        {"layer", "dump", "x", "--block", "-1"},
        {"layer", "dump", "x", "--block", "x"},
    };
    for (const auto& arguments : cases) {
        Outcome outcome = RunCli(arguments);
        std::string line;
        for (const std::string& argument : arguments) {
            line += " " + argument;
        }
        EXPECT_EQ(outcome.code, kExitUsage) << line;
        EXPECT_EQ(outcome.out, "") << line;
        EXPECT_EQ(outcome.err.find("zenith: error: "), 0u) << line << ": " << outcome.err;
        EXPECT_NE(outcome.err.find("\nHINT:  Use \"zenith"), std::string::npos) << line;
    }
}

TEST(CommandLine, HintNamesTheCommandThatWasGiven) {
    EXPECT_NE(RunCli({"pg", "create", "--nonsense"}).err.find("\"zenith pg create --help\""),
              std::string::npos);
    EXPECT_NE(RunCli({"nonsense"}).err.find("there is no command \"nonsense\""), std::string::npos);
}

TEST(CommandLine, HelpAndVersion) {
    const std::vector<std::string> cases[] = {
        {"--help"},
        {"init", "--help"},
        {"start", "--help"},
        {"stop", "--help"},
        {"status", "--help"},
        {"branch", "--help"},
        {"tag", "-h"},
        {"psql", "--help"},
        {"pg", "--help"},
        {"pg", "create", "--help"},
        {"pg", "start", "--help"},
        {"pg", "stop", "--help"},
        {"pg", "list", "--help"},
        {"pg", "destroy", "--help"},
        {"fsck", "--help"},
        {"layer", "--help"},
        {"layer", "list", "--help"},
        {"layer", "dump", "--help"},
        {"pageserver", "--help"},
        {"pageserver", "stop", "--help"},
        {"--version"},
    };
    for (const auto& arguments : cases) {
        Outcome outcome = RunCli(arguments);
        EXPECT_EQ(outcome.code, kExitOk) << arguments[0];
        EXPECT_EQ(outcome.err, "") << arguments[0];
        EXPECT_NE(outcome.out, "") << arguments[0];
    }
}

TEST(CommandLine, RepositoryOptionMayStandAnywhere) {
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"--repo-dir", "/nowhere/x", "pg", "list"},
          std::vector<std::string>{"pg", "list", "--repo-dir", "/nowhere/x"},
          std::vector<std::string>{"pg", "list", "--repo-dir=/nowhere/x"}}) {
        Outcome outcome = RunCli(arguments);
        EXPECT_EQ(outcome.code, kExitFailure);
        EXPECT_EQ(outcome.err,
                  "zenith: error: \"/nowhere/x\" is not a zenith repository\n"
                  "HINT:  Use \"zenith init --repo-dir /nowhere/x\" to make one.\n");
    }
}

TEST(CommandLine, InitRefusesWhatIsThere) {
    char name[] = "/tmp/zenith_command_test_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    const std::string directory = name;
    Repository repository(directory + "/repo");
    ASSERT_TRUE(repository.CreateLayout().ok());
    RepoConfig config;
    config.pg_bindir = "/x";
    ASSERT_TRUE(repository.WriteConfig(config).ok());
    const std::string before = *ReadWholeFile(repository.ConfigPath());

    Outcome twice = RunCli({"init", "--repo-dir", repository.path()});
    EXPECT_EQ(twice.code, kExitFailure);
    EXPECT_NE(twice.err.find("is a zenith repository already"), std::string::npos);
    EXPECT_EQ(*ReadWholeFile(repository.ConfigPath()), before);

    Outcome not_empty = RunCli({"init", "--repo-dir", directory});
    EXPECT_EQ(not_empty.code, kExitFailure);
    EXPECT_NE(not_empty.err.find("is not empty"), std::string::npos);

    for (const char* argument : {"-D", "-D/x", "--pgdata=/x", "--pgdata", "-Uroot", "--username=x",
                                 "--wal-segsize=64", "-X", "--waldir=/x", "--user=x", "--wal-s=64",
                                 "--pgd=/x", "-kUroot", "-gNX/x"}) {
        Outcome outcome = RunCli({"init", "--repo-dir", directory + "/new", "--", argument});
        EXPECT_EQ(outcome.code, kExitFailure) << argument;
        EXPECT_NE(outcome.err.find("is set by zenith"), std::string::npos) << argument;
    }
    EXPECT_EQ(ListDirectory(directory)->size(), 1u);  // nothing half-made
    RemoveTree(directory).Ignore("end of the test");
}

}  // namespace
}  // namespace zenith
