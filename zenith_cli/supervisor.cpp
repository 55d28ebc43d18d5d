#include "zenith_cli/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "common/base/posix_file.h"
#include "zenith_cli/compute_node.h"
#include "zenith_cli/interrupt.h"
#include "zenith_cli/output.h"

namespace zenith {

namespace {

constexpr int kUndelayedAttempts = 3;
constexpr int kFirstDelayMs = 100;
constexpr int kMaxDelayMs = 30000;
// Starts that failed or did not last, in a row; five minutes with the delays between them.
constexpr int kMaxAttempts = 20;
// Who has run for so long has recovered: the next crash is the first of its own.
constexpr int kStableMs = 60000;
constexpr uint64_t kLogLimit = 1 << 20;

std::string PidPath(const std::string& directory) {
    return directory + "/supervisor.pid";
}

std::string StatePath(const std::string& directory) {
    return directory + "/supervisor.state";
}

int64_t NowMs() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

std::string OneLine(std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

// Standard output is the supervisor's log.
void Log(const std::string& message) {
    std::printf("%s %s\n", FormatTime(time(nullptr)).c_str(), message.c_str());
    std::fflush(stdout);
}

class Supervisor {
  public:
    Supervisor(ComputeNode compute, std::string directory)
        : compute_(std::move(compute)),
          directory_(std::move(directory)),
          state_(ReadSupervisorState(directory_)) {}

    Status Run() {
        for (;;) {
            if (std::optional<ProcessHandle> postgres = compute_.FindPostmaster()) {
                ZENITH_RETURN_IF_ERROR(Watch(*postgres));
                if (Interrupted() || compute_.WasShutDown()) {
                    return Status::Ok();
                }
                Log("postgres ended without having been shut down");
                if (NowMs() - started_ms_ >= kStableMs) {
                    attempt_ = 0;
                }
            }
            if (attempt_ >= kMaxAttempts) {
                return GiveUp();
            }
            if (!Wait(RestartDelayMs(attempt_))) {
                return Status::Ok();
            }
            attempt_++;
            const int64_t began = NowMs();
            Result<bool> started = compute_.Restart();
            if (Interrupted()) {
                StopPostgres();
                return Status::Ok();
            }
            if (started.ok()) {
                started_ms_ = NowMs();
                if (*started) {
                    CountRestart(started_ms_ - began);
                }
            } else if (!compute_.StillExists()) {
                Log("the compute is gone: " + OneLine(started.status().message()));
                return Status::Ok();
            } else {
                last_error_ = started.status().message();
                Log("attempt " + std::to_string(attempt_) + " to start postgres failed: " +
                    OneLine(last_error_));
            }
        }
    }

  private:
    // Until postgres ends; when we are told to stop, it is, too.
    Status Watch(const ProcessHandle& postgres) {
        // What a start leaves to be reaped has ended after a while.
        Result<bool> ended = postgres.WaitForExit(kStableMs);
        ReapChildren();
        if (ended.ok() && !*ended) {
            ended = postgres.WaitForExit(-1);
        }
        if (!ended.ok() && !Interrupted()) {
            return ended.status();
        }
        StopPostgres();
        ReapChildren();
        return Status::Ok();
    }

    // Waits as long as it takes: who stops us has a time limit of their own.
    void StopPostgres() {
        std::optional<ProcessHandle> postgres = compute_.FindPostmaster();
        if (!postgres) {
            return;
        }
        postgres->Signal(SIGINT).Ignore("it has ended then");
        UniqueFd pidfd = OpenPidFd(postgres->pid());
        struct pollfd fds[1] = {{pidfd.get(), POLLIN, 0}};
        while (pidfd.valid() && compute_.FindPostmaster() && poll(fds, 1, -1) < 0 &&
               errno == EINTR) {
        }
        ReapChildren();
    }

    // Those that this process has started itself: postgres after a crash, and what removes the old
    // data directory.
    void ReapChildren() {
        while (waitpid(-1, nullptr, WNOHANG) > 0) {
        }
    }

    // False when we are told to stop meanwhile.
    bool Wait(int delay_ms) {
        const int64_t deadline = NowMs() + delay_ms;
        struct pollfd fds[1] = {{InterruptFd(), POLLIN, 0}};
        while (!Interrupted() && NowMs() < deadline) {
            poll(fds, 1, static_cast<int>(deadline - NowMs()));
        }
        return !Interrupted();
    }

    void CountRestart(int64_t took_ms) {
        state_.restarts++;
        state_.last_restart = time(nullptr);
        WriteState();
        Log("started again in " + std::to_string(took_ms) + " ms (restart " +
            std::to_string(state_.restarts) + ")");
    }

    Status GiveUp() {
        state_.failure = OneLine("gave up after " + std::to_string(attempt_) + " starts in a row" +
                                 (last_error_.empty() ? "" : ": " + last_error_));
        WriteState();
        Log(state_.failure);
        return Status::Ok();
    }

    void WriteState() {
        Status status =
            ReplaceFileAtomically(StatePath(directory_), SupervisorStateText(state_));
        if (!status.ok()) {
            Log("the state could not be written: " + status.message());
        }
    }

    ComputeNode compute_;
    const std::string directory_;
    SupervisorState state_;
    int attempt_ = 0;
    int64_t started_ms_ = NowMs();
    std::string last_error_;
};

}  // namespace

int RestartDelayMs(int attempt) {
    if (attempt < kUndelayedAttempts) {
        return 0;
    }
    int delay = kFirstDelayMs;
    for (int i = kUndelayedAttempts; i < attempt && delay < kMaxDelayMs; i++) {
        delay *= 2;
    }
    return std::min(delay, kMaxDelayMs);
}

std::string SupervisorStateText(const SupervisorState& state) {
    std::string text = "restarts " + std::to_string(state.restarts) + "\nlast_restart " +
                       std::to_string(state.last_restart) + "\n";
    if (!state.failure.empty()) {
        text += "failure " + OneLine(state.failure) + "\n";
    }
    return text;
}

SupervisorState ParseSupervisorState(const std::string& text) {
    SupervisorState state;
    size_t start = 0;
    while (start < text.size()) {
        const size_t end = std::min(text.find('\n', start), text.size());
        const std::string_view line(text.data() + start, end - start);
        const size_t space = std::min(line.find(' '), line.size());
        const std::string_view key = line.substr(0, space);
        const std::string_view value = line.substr(std::min(space + 1, line.size()));
        int64_t number = 0;
        std::from_chars(value.data(), value.data() + value.size(), number);
        if (key == "restarts") {
            state.restarts = number;
        } else if (key == "last_restart") {
            state.last_restart = number;
        } else if (key == "failure") {
            state.failure = value;
        }
        start = end + 1;
    }
    return state;
}

std::optional<ProcessHandle> FindSupervisor(const Repository& repository,
                                            const std::string& directory,
                                            const std::string& name) {
    std::optional<pid_t> pid = ReadPidFile(PidPath(directory));
    if (!pid) {
        return std::nullopt;
    }
    return OpenProcess(*pid, [&](const std::vector<std::string>& argv) {
        return argv.size() == 6 && argv[0] == "zenith" && argv[2] == repository.path() &&
               argv[4] == "supervise" && argv[5] == name;
    });
}

SupervisorState ReadSupervisorState(const std::string& directory) {
    Result<std::string> text = ReadWholeFile(StatePath(directory));
    return text.ok() ? ParseSupervisorState(*text) : SupervisorState();
}

void ForgetSupervisorState(const std::string& directory) {
    unlink(StatePath(directory).c_str());
}

Status StartSupervisor(const Repository& repository, const std::string& directory,
                       const std::string& name) {
    const std::string log = directory + "/supervisor.log";
    RotateLog(log, kLogLimit);
    // Our own file, also when the directory it is in is not open to the repository's owner.
    ProgramCall call{{"zenith", "--repo-dir", repository.path(), "pg", "supervise", name},
                     "/",
                     {},
                     "/proc/self/exe"};
    ZENITH_ASSIGN_OR_RETURN(pid_t pid, StartDaemon(call, log));
    return ReplaceFileAtomically(PidPath(directory), std::to_string(pid) + "\n");
}

Status Supervise(const Repository& repository, const std::string& name) {
    prctl(PR_SET_NAME, "zenith");  // else "exe", from /proc/self/exe
    ZENITH_ASSIGN_OR_RETURN(ComputeNode compute, ComputeNode::Open(repository, name));
    std::string directory = compute.directory();
    return Supervisor(std::move(compute), std::move(directory)).Run();
}

}  // namespace zenith
