// What fsck says: findings in words and in JSON, how many of them, and what it left out.
#include <CLI/CLI.hpp>

#include "common/base/log.h"
#include "pageserver/inspect/fsck_for_test.h"
#include "pageserver/inspect/inspect_commands.h"

namespace zenith {
namespace {

TEST(Finding, Messages) {
    Finding finding;
    finding.file = "/r/x\"y";
    finding.offset = 12;
    finding.what = "bad";
    finding.lsn = Lsn(0x15FFB08);
    EXPECT_EQ(finding.Message(), "file \"/r/x\"y\", offset 12: bad (0/15FFB08)");
    EXPECT_EQ(finding.Json(),
              "{\"severity\": \"error\", \"file\": \"/r/x\\\"y\", \"offset\": 12, \"timeline\": "
              "null, \"lsn\": \"0/15FFB08\", \"message\": \"file \\\"/r/x\\\"y\\\", offset 12: bad "
              "(0/15FFB08)\"}");
    finding.what = "file \"/r/x\"y\": bad";
    finding.lsn = Lsn();
    finding.timeline = TimelineId();
    EXPECT_EQ(finding.Message(),
              "file \"/r/x\"y\": bad (timeline 00000000000000000000000000000000)");
}

TEST(Findings, ListHasAnEnd) {
    Findings findings;
    for (size_t i = 0; i < 2 * Findings::kMostListed; i++) {
        findings.Warning("w" + std::to_string(i), "odd");
    }
    EXPECT_EQ(findings.listed().size(), Findings::kMostListed);
    Findings errors;
    for (size_t i = 0; i < Findings::kMostListed + 7; i++) {
        errors.Error("e" + std::to_string(i), Status::Corruption("bad"));
    }
    // Many warnings hide no error.
    findings.Append(std::move(errors));
    EXPECT_EQ(findings.listed().size(), 2 * Findings::kMostListed);
    EXPECT_EQ(findings.listed().front().file, "w0");
    EXPECT_EQ(findings.listed().back().file, "e" + std::to_string(Findings::kMostListed - 1));
    EXPECT_EQ(findings.warnings(), 2 * Findings::kMostListed);
    EXPECT_EQ(findings.errors(), Findings::kMostListed + 7);
    EXPECT_EQ(findings.not_listed(), Findings::kMostListed + 7);
}

class InspectCommandsTest : public FsckTest {
  protected:
    struct Outcome {
        int exit_code = -1;
        std::string output;
    };
    Outcome Run(std::vector<std::string> words) {
        CLI::App app;
        std::string directory = built_.repository.path();
        InspectCommands commands(app, &directory);
        std::reverse(words.begin(), words.end());
        app.parse(words);
        testing::internal::CaptureStdout();
        auto exit_code = commands.Run();
        spdlog::set_level(spdlog::level::info);
        Outcome outcome;
        outcome.output = testing::internal::GetCapturedStdout();
        EXPECT_TRUE(exit_code.ok()) << exit_code.status().message();
        outcome.exit_code = exit_code.ok() ? *exit_code : -1;
        return outcome;
    }
};

TEST_F(InspectCommandsTest, LongListsAreCut) {
    EXPECT_EQ(Run({"fsck"}).exit_code, 0);
    for (size_t i = 0; i < Findings::kMostListed + 5; i++) {
        built_.Write("refs/x" + std::to_string(i), "x");
    }
    const Outcome outcome = Run({"fsck"});
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'),
              static_cast<ptrdiff_t>(Findings::kMostListed) + 2);
    EXPECT_NE(outcome.output.find("\nfsck: 5 more findings not listed\n"), std::string::npos);
    EXPECT_NE(outcome.output.find("0 errors, 1005 warnings"), std::string::npos);
    const std::string json = Run({"fsck", "--json"}).output;
    EXPECT_NE(json.find("\"warnings\": 1005"), std::string::npos);
    EXPECT_NE(json.find("\"not_listed\": 5}"), std::string::npos);
}

TEST_F(InspectCommandsTest, DeepPartThatIsLeftOutIsToldOf) {
    built_.Write("config.json", "{");
    EXPECT_EQ(Run({"fsck"}).output.find("left out"), std::string::npos);
    for (const char* form : {"--deep", "--json"}) {
        const Outcome outcome = Run({"fsck", "--deep", form});
        EXPECT_EQ(outcome.exit_code, 1);
        EXPECT_NE(outcome.output.find("--deep was left out"), std::string::npos)
            << outcome.output;
    }
}

}  // namespace
}  // namespace zenith
