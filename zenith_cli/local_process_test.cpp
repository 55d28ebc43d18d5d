#include "zenith_cli/local_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "common/base/posix_file.h"

namespace zenith {
namespace {

class LocalProcessTest : public testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/zenith_process_test_XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        directory_ = name;
        signal(SIGPIPE, SIG_IGN);
    }
    void TearDown() override { RemoveTree(directory_).Ignore("end of the test"); }

    std::string directory_;
};

bool Anything(const std::vector<std::string>&) {
    return true;
}

TEST_F(LocalProcessTest, OutputOfAProgram) {
    Result<std::string> text =
        RunProgram({{"/bin/sh", "-c", "pwd; echo $ZENITH_TEST; echo ignored >&2"},
                    "/usr",
                    {{"ZENITH_TEST", "a b"}}});
    ASSERT_TRUE(text.ok()) << text.status().message();
    EXPECT_EQ(*text, "/usr\na b\n");
}

TEST_F(LocalProcessTest, FailureCarriesTheProgramsMessage) {
    Result<std::string> text =
        RunProgram({{"/bin/sh", "-c", "echo one >&2; echo the reason >&2; exit 3"}, "", {}});
    ASSERT_FALSE(text.ok());
    EXPECT_EQ(text.status().message(), "sh exited with status 3\n  one\n  the reason");
    text = RunProgram({{"/bin/sh", "-c", "kill -9 $$"}, "", {}});
    ASSERT_FALSE(text.ok());
    EXPECT_NE(text.status().message().find("signal 9"), std::string::npos);
}

TEST_F(LocalProcessTest, ProgramThatCannotBeExecuted) {
    EXPECT_EQ(RunProgram({{"/nowhere/program"}, "", {}}).status().code(), StatusCode::kNotFound);
    std::ofstream(directory_ + "/data") << "text";
    Result<std::string> text = RunProgram({{directory_ + "/data"}, "", {}});
    ASSERT_FALSE(text.ok());
    EXPECT_FALSE(text.status().hint().empty());
    EXPECT_FALSE(StartDaemon({{"/nowhere/program"}, "", {}}, "/dev/null").ok());
}

TEST_F(LocalProcessTest, FedProgram) {
    Result<FedProgram> cat = FedProgram::Start({{"/bin/sh", "-c", "cat > copy"}, directory_, {}});
    ASSERT_TRUE(cat.ok());
    std::string data(3 << 20, 'x');
    ASSERT_TRUE(cat->Write(std::as_bytes(std::span(data.data(), data.size()))).ok());
    ASSERT_TRUE(cat->Finish().ok());
    EXPECT_EQ(*ReadWholeFile(directory_ + "/copy"), data);
}

TEST_F(LocalProcessTest, FedProgramThatGivesUp) {
    Result<FedProgram> program =
        FedProgram::Start({{"/bin/sh", "-c", "echo disk full >&2; exit 2"}, directory_, {}});
    ASSERT_TRUE(program.ok());
    std::string data(8 << 20, 'x');
    EXPECT_FALSE(program->Write(std::as_bytes(std::span(data.data(), data.size()))).ok());
    Status status = program->Finish();
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.message().find("disk full"), std::string::npos);
}

TEST_F(LocalProcessTest, DaemonIsCutOffFromItsCaller) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);  // inheritable, as make's are
    Result<pid_t> pid =
        StartDaemon({{"/bin/sh", "-c", "ls -l /proc/self/fd; echo done; exec sleep 1000"}, "/", {}},
                    directory_ + "/log");
    ASSERT_TRUE(pid.ok());
    // The shell says "done" a moment before it becomes the sleep.
    EXPECT_TRUE(WaitUntilReady(*pid, 10000, [&] {
                    return OpenProcess(*pid, [](const auto& argv) {
                               return argv == std::vector<std::string>{"sleep", "1000"};
                           }).has_value();
                }).ok());
    EXPECT_NE(ReadWholeFile(directory_ + "/log")->find("done"), std::string::npos);
    EXPECT_EQ(getsid(*pid), *pid);
    close(ends[1]);
    char byte;
    EXPECT_EQ(read(ends[0], &byte, 1), 0);  // end of file: the daemon has no copy of the pipe
    close(ends[0]);

    std::optional<ProcessHandle> handle = OpenProcess(*pid, [](const auto& argv) {
        return argv == std::vector<std::string>{"sleep", "1000"};
    });
    ASSERT_TRUE(handle.has_value());
    EXPECT_FALSE(*handle->WaitForExit(0));
    EXPECT_FALSE(OpenProcess(*pid, [](const auto&) { return false; }).has_value());
    EXPECT_EQ(WorkingDirectoryOf(*pid), "/");
    ASSERT_TRUE(handle->Signal(SIGKILL).ok());
    EXPECT_TRUE(*handle->WaitForExit(10000));
    EXPECT_FALSE(OpenProcess(*pid, Anything).has_value());  // a zombie does not live
    waitpid(*pid, nullptr, 0);
    EXPECT_FALSE(OpenProcess(*pid, Anything).has_value());
    EXPECT_TRUE(handle->Signal(SIGTERM).ok());  // gone already is what was wanted
}

TEST_F(LocalProcessTest, DaemonThatEndsWhileWaitedFor) {
    Result<pid_t> pid =
        StartDaemon({{"/bin/sh", "-c", "echo no luck; exit 7"}, "", {}}, directory_ + "/log");
    ASSERT_TRUE(pid.ok());
    Status status = WaitUntilReady(*pid, 10000, [] { return false; });
    EXPECT_EQ(status.code(), StatusCode::kInternal);
    EXPECT_EQ(status.message(), "it exited with status 7");
    EXPECT_EQ(TailOfFile(directory_ + "/log", 0, 5), "\n  no luck");
}

TEST_F(LocalProcessTest, PidFiles) {
    struct Case {
        const char* text;
        std::optional<pid_t> pid;
    };
    for (const Case& c :
         {Case{"12\n", 12}, Case{"12", 12}, Case{"12\nmore\n", 12}, Case{"", std::nullopt},
          Case{"\n", std::nullopt}, Case{"x", std::nullopt}, Case{"12x", std::nullopt},
          Case{"-1\n", std::nullopt}, Case{"0\n", std::nullopt},
          Case{"99999999999999999999\n", std::nullopt}}) {
        std::ofstream(directory_ + "/pid") << c.text;
        EXPECT_EQ(ReadPidFile(directory_ + "/pid"), c.pid) << c.text;
    }
    EXPECT_EQ(ReadPidFile(directory_ + "/none"), std::nullopt);
    EXPECT_FALSE(OpenProcess(0, Anything).has_value());
    EXPECT_FALSE(OpenProcess(-5, Anything).has_value());
    EXPECT_FALSE(OpenProcess(2147483647, Anything).has_value());
}

TEST_F(LocalProcessTest, LockIsExclusiveAndNotInherited) {
    Result<UniqueFd> lock = LockFile(directory_ + "/lock");
    ASSERT_TRUE(lock.ok());
    const std::string try_it = "flock -n lock true && echo free || echo taken";
    EXPECT_EQ(*RunProgram({{"/bin/sh", "-c", try_it}, directory_, {}}), "taken\n");
    Result<pid_t> pid = StartDaemon({{"/bin/sleep", "1000"}, "", {}}, "/dev/null");
    ASSERT_TRUE(pid.ok());
    lock->Reset();
    EXPECT_EQ(*RunProgram({{"/bin/sh", "-c", try_it}, directory_, {}}), "free\n");
    kill(*pid, SIGKILL);
    waitpid(*pid, nullptr, 0);
}

TEST_F(LocalProcessTest, Logs) {
    const std::string path = directory_ + "/log";
    std::ofstream(path) << "old\nold\n";
    uint64_t start = FileSize(path);
    std::ofstream(path, std::ios::app) << "a\nb\nc\n";
    EXPECT_EQ(TailOfFile(path, start, 10), "\n  a\n  b\n  c");
    EXPECT_EQ(TailOfFile(path, start, 2), "\n  b\n  c");
    EXPECT_EQ(TailOfFile(directory_ + "/none", 0, 2), "");
    RotateLog(path, 100);
    EXPECT_TRUE(FileExists(path));
    RotateLog(path, 5);
    EXPECT_FALSE(FileExists(path));
    EXPECT_EQ(FileSize(path + ".1"), 14u);
}

}  // namespace
}  // namespace zenith
