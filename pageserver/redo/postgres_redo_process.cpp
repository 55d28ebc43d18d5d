#include "pageserver/redo/postgres_redo_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "pageserver/redo/redo_data_directory.h"
#include "pageserver/redo/redo_protocol.h"

namespace zenith {

namespace {

using Clock = std::chrono::steady_clock;

// Encoded requests held ready while the process is busy.
constexpr size_t kOutputTarget = 256 * 1024;
// Received at once; more than one response.
constexpr size_t kInputSize = 128 * 1024;
static_assert(kInputSize > 4 + kMaxRedoResponse);
// How long an orderly end may take before the process is killed.
constexpr int kExitPatienceMs = 2000;
constexpr rlim_t kAddressSpaceLimit = 1024 * 1024 * 1024;
constexpr int kExecFailed = 127;

int MillisecondsUntil(Clock::time_point deadline) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    return static_cast<int>(std::max<int64_t>(0, left.count() + 1));
}

int PidfdOpen(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

// In the child between fork and exec: async-signal-safe calls only, raw system calls where the C
// library would talk to other threads. Does not return.
[[noreturn]] void BecomeRedoProcess(int socket, const RedoUser* user, char* const argv[],
                                    char* const envp[]) {
    for (int signal_number = 1; signal_number < NSIG; ++signal_number) {
        signal(signal_number, SIG_DFL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);

    if (dup2(socket, STDIN_FILENO) < 0 || dup2(socket, STDOUT_FILENO) < 0) {
        _exit(kExecFailed);
    }
    close_range(STDERR_FILENO + 1, ~0U, 0);

    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    struct rlimit address_space = {kAddressSpaceLimit, kAddressSpaceLimit};
    setrlimit(RLIMIT_AS, &address_space);

    if (user != nullptr &&
        (syscall(SYS_setgroups, 1, &user->gid) != 0 ||
         syscall(SYS_setresgid, user->gid, user->gid, user->gid) != 0 ||
         syscall(SYS_setresuid, user->uid, user->uid, user->uid) != 0)) {
        _exit(kExecFailed);
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    execve(argv[0], argv, envp);
    constexpr char kMessage[] = "could not execute the redo process's program\n";
    ssize_t written = write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
    static_cast<void>(written);
    _exit(kExecFailed);
}

}  // namespace

PostgresRedoProcess::PostgresRedoProcess(const RedoProcessOptions& options, std::string directory)
    : options_(options), directory_(std::move(directory)), input_(kInputSize) {}

Result<std::unique_ptr<PostgresRedoProcess>> PostgresRedoProcess::Start(
    const RedoProcessOptions& options) {
    ZENITH_RETURN_IF_ERROR(EnsureDirectory(options.work_dir, geteuid() == 0 ? 0711 : 0700));
    ZENITH_ASSIGN_OR_RETURN(std::optional<RedoUser> user, FindRedoUser(options.user));
    ZENITH_ASSIGN_OR_RETURN(std::string directory,
                            MakeRedoDataDirectory(options.work_dir, options.preload,
                                                  options.hint_bits_logged, user));
    std::unique_ptr<PostgresRedoProcess> process(
        new PostgresRedoProcess(options, std::move(directory)));
    ZENITH_RETURN_IF_ERROR(process->Spawn());
    Status ready = process->WaitUntilReady();
    if (!ready.ok()) {
        std::string how = process->Reap(0);
        return Status(ready.code(), ready.message() + ": it " + how, ready.hint());
    }
    return process;
}

PostgresRedoProcess::~PostgresRedoProcess() {
    Reap(kExitPatienceMs);
    RemoveRedoDataDirectory(directory_);
}

Status PostgresRedoProcess::Spawn() {
    ZENITH_ASSIGN_OR_RETURN(std::optional<RedoUser> user, FindRedoUser(options_.user));

    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return ErrnoStatus("create", "socket pair", errno);
    }
    socket_.Reset(ends[0]);
    UniqueFd child_end(ends[1]);
    if (fcntl(socket_.get(), F_SETFL, O_NONBLOCK) != 0) {
        return ErrnoStatus("set up", "socket pair", errno);
    }

    // The process ends itself should a redo function loop while nobody is left to kill it. (The
    // kernel's parent death signal would follow the thread that started it, not the page server.)
    std::string watchdog = "ZENITH_REDO=" + std::to_string(options_.request_timeout_ms / 1000 + 10);
    std::vector<std::string> arguments = {options_.pg_bin_dir + "/postgres", "--single", "-D",
                                          directory_, "postgres"};
    std::vector<std::string> environment = {watchdog, "LC_ALL=C", "PATH=/usr/bin:/bin"};
    std::vector<char*> argv;
    for (std::string& argument : arguments) {
        argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    std::vector<char*> envp;
    for (std::string& variable : environment) {
        envp.push_back(variable.data());
    }
    envp.push_back(nullptr);

    pid_ = fork();
    if (pid_ < 0) {
        return ErrnoStatus("start", arguments[0], errno);
    }
    if (pid_ == 0) {
        BecomeRedoProcess(child_end.get(), user.has_value() ? &*user : nullptr, argv.data(),
                          envp.data());
    }
    reaped_ = false;
    pidfd_.Reset(PidfdOpen(pid_));
    return Status::Ok();
}

Status PostgresRedoProcess::WaitUntilReady() {
    const char* hint =
        "Look for its own message before this one in the page server's log; is the zenith "
        "extension installed (make install)?";
    Clock::time_point deadline =
        Clock::now() + std::chrono::milliseconds(options_.start_timeout_ms);
    while (input_used_ < kRedoGreetingSize) {
        struct pollfd waiting = {socket_.get(), POLLIN, 0};
        int n = poll(&waiting, 1, MillisecondsUntil(deadline));
        if (n == 0) {
            return Status::Unavailable("redo process was not ready within " +
                                           std::to_string(options_.start_timeout_ms) + " ms",
                                       hint);
        }
        std::string why;
        if (n > 0 && !ReceiveSome(&why)) {
            return Status::Unavailable("could not start redo process", hint);
        }
    }
    Result<RedoGreeting> greeting = DecodeRedoGreeting(std::span(input_).first(kRedoGreetingSize));
    ZENITH_RETURN_IF_ERROR(greeting.status());
    DropInput(kRedoGreetingSize);
    spdlog::debug("redo: started process {}, server version {}", pid_, greeting->server_version);
    return Status::Ok();
}

bool PostgresRedoProcess::ReceiveSome(std::string* why) {
    ssize_t n;
    do {
        n = recv(socket_.get(), input_.data() + input_used_, input_.size() - input_used_, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        input_used_ += static_cast<size_t>(n);
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return true;
    }
    *why = n == 0 || errno == ECONNRESET ? "it closed the connection" : std::strerror(errno);
    return false;
}

void PostgresRedoProcess::DropInput(size_t n) {
    std::copy(input_.begin() + static_cast<ptrdiff_t>(n),
              input_.begin() + static_cast<ptrdiff_t>(input_used_), input_.begin());
    input_used_ -= n;
}

bool PostgresRedoProcess::HasEnded() const {
    struct pollfd waiting = {socket_.get(), POLLIN, 0};
    return poll(&waiting, 1, 0) > 0;
}

PostgresRedoProcess::RunEnd PostgresRedoProcess::Run(std::span<const RedoRequest* const> requests,
                                                     size_t max_in_flight,
                                                     std::vector<Result<PageBuffer>>* results,
                                                     std::string* why) {
    const uint64_t first_id = next_id_;
    next_id_ += requests.size();
    size_t sent = 0;
    size_t answered = 0;
    std::string output;
    size_t output_done = 0;
    bool sending = true;
    std::chrono::milliseconds patience(options_.request_timeout_ms);
    Clock::time_point deadline = Clock::now() + patience;

    while (answered < requests.size()) {
        if (output_done == output.size()) {
            output.clear();
            output_done = 0;
        }
        while (sent < requests.size() && sent - answered < max_in_flight &&
               output.size() - output_done < kOutputTarget) {
            EncodeRedoRequest(first_id + sent, *requests[sent], &output);
            ++sent;
        }
        if (sending && output_done < output.size()) {
            ssize_t n = send(socket_.get(), output.data() + output_done,
                             output.size() - output_done, MSG_NOSIGNAL);
            if (n > 0) {
                output_done += static_cast<size_t>(n);
            } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
                sending = false;  // it ended; what it had to say is still to be read
            }
        }

        short events = POLLIN;
        if (sending && output_done < output.size()) {
            events |= POLLOUT;
        }
        struct pollfd waiting = {socket_.get(), events, 0};
        int n = poll(&waiting, 1, MillisecondsUntil(deadline));
        if (n < 0 && errno != EINTR) {
            *why = std::strerror(errno);
            return RunEnd::kDied;
        }
        if (n == 0) {
            *why = "no answer within " + std::to_string(options_.request_timeout_ms) + " ms";
            Reap(0);
            return RunEnd::kTimedOut;
        }
        if (n < 0 || (waiting.revents & (POLLIN | POLLHUP | POLLERR)) == 0) {
            continue;
        }
        if (!ReceiveSome(why)) {
            *why += ": it " + Reap(kExitPatienceMs);
            return RunEnd::kDied;
        }

        size_t taken = 0;
        for (;;) {
            size_t size;
            Result<RedoResponse> response =
                DecodeRedoResponse(std::span(input_).subspan(taken, input_used_ - taken), &size);
            if (!response.ok()) {
                *why = response.status().message();
                return RunEnd::kDied;
            }
            if (size == 0) {
                break;
            }
            if (answered == sent || response->id != first_id + answered) {
                *why = "it answered a request that was not sent";
                return RunEnd::kDied;
            }
            taken += size;
            ++answered;
            deadline = Clock::now() + patience;
            if (response->failed) {
                why->assign(reinterpret_cast<const char*>(response->body.data()),
                            response->body.size());
                const RedoRequest& request = *requests[answered - 1];
                results->push_back(Status::Corruption(
                    "could not apply WAL to " + request.key.ToString() + ", from " +
                    request.records.front().start.ToString() + " to " +
                    request.records.back().end.ToString() + ": " + *why));
                return RunEnd::kFailedAnswer;
            }
            PageBuffer page;
            std::memcpy(page.data(), response->body.data(), kPageSize);
            results->push_back(page);
        }
        DropInput(taken);
    }
    return RunEnd::kDone;
}

std::string PostgresRedoProcess::Reap(int patience_ms) {
    if (reaped_) {
        return "has ended";
    }
    // Reads as the end of the requests; the process then ends by itself and cleans up.
    shutdown(socket_.get(), SHUT_RDWR);
    bool ended = false;
    if (pidfd_.valid()) {
        Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(patience_ms);
        int n;
        do {
            struct pollfd waiting = {pidfd_.get(), POLLIN, 0};
            n = poll(&waiting, 1, MillisecondsUntil(deadline));
        } while (n < 0 && errno == EINTR);
        ended = n > 0;
    }
    if (!ended) {
        kill(pid_, SIGKILL);
    }
    int status = 0;
    pid_t reaped;
    do {
        reaped = waitpid(pid_, &status, 0);
    } while (reaped < 0 && errno == EINTR);
    bool known = reaped == pid_;  // unknown when the program ignores SIGCHLD
    reaped_ = true;
    pidfd_.Reset();
    if (!ended) {
        return "was killed";
    }
    if (known && WIFSIGNALED(status)) {
        return "was terminated by signal " + std::to_string(WTERMSIG(status));
    }
    if (known && WIFEXITED(status)) {
        return "exited with status " + std::to_string(WEXITSTATUS(status));
    }
    return "has ended";
}

}  // namespace zenith
