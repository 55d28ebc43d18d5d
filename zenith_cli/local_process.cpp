#include "zenith_cli/local_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/base/posix_file.h"
#include "zenith_cli/interrupt.h"

namespace zenith {

namespace {

constexpr int kPollIntervalMs = 3;

int64_t NowMs() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

// Standard descriptors of a child; -1 is /dev/null.
struct ChildStreams {
    int input = -1;
    int output = -1;
    int error = -1;
};

// Everything that allocates is prepared before fork; the child only makes system calls.
struct PreparedCall {
    explicit PreparedCall(const ProgramCall& call) {
        for (char** entry = environ; *entry != nullptr; entry++) {
            std::string_view text(*entry);
            std::string_view name = text.substr(0, text.find('='));
            bool replaced = false;
            for (const auto& [key, value] : call.environment) {
                replaced = replaced || key == name;
            }
            if (!replaced) {
                environment_text.emplace_back(text);
            }
        }
        for (const auto& [key, value] : call.environment) {
            environment_text.push_back(key + "=" + value);
        }
        argv_text = call.argv;
        for (std::string& text : argv_text) {
            argv.push_back(text.data());
        }
        argv.push_back(nullptr);
        for (std::string& text : environment_text) {
            environment.push_back(text.data());
        }
        environment.push_back(nullptr);
    }

    std::vector<std::string> argv_text;
    std::vector<std::string> environment_text;
    std::vector<char*> argv;
    std::vector<char*> environment;
};

[[noreturn]] void RunChild(const ProgramCall& call, PreparedCall& prepared,
                           const ChildStreams& streams, bool daemon, int report_fd) {
    int null = open("/dev/null", O_RDWR);
    int wanted[3] = {streams.input, streams.output, streams.error};
    // Above 2 first, so that no dup2 overwrites a source that is still needed.
    for (int i = 0; i < 3; i++) {
        wanted[i] = fcntl(wanted[i] >= 0 ? wanted[i] : null, F_DUPFD_CLOEXEC, 3);
    }
    bool ok = true;
    for (int i = 0; i < 3; i++) {
        ok = ok && dup2(wanted[i], i) == i;
    }
    if (daemon) {
        setsid();
    }
    ok = ok && (call.working_directory.empty() || chdir(call.working_directory.c_str()) == 0);
    for (int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT, SIGCHLD}) {
        signal(number, SIG_DFL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (ok) {
        // What the caller of the CLI left open (a lock, a pipe of make) is not for the program.
        close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        execve(call.program.empty() ? prepared.argv[0] : call.program.c_str(),
               prepared.argv.data(), prepared.environment.data());
    }
    int error_number = errno;
    [[maybe_unused]] ssize_t n = write(report_fd, &error_number, sizeof error_number);
    _exit(127);
}

Result<pid_t> Spawn(const ProgramCall& call, const ChildStreams& streams, bool daemon) {
    PreparedCall prepared(call);
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) {
        return ErrnoStatus("create a pipe for", call.argv[0], errno);
    }
    UniqueFd report_read(report[0]);
    UniqueFd report_write(report[1]);
    pid_t pid = fork();
    if (pid < 0) {
        return ErrnoStatus("start", call.argv[0], errno);
    }
    if (pid == 0) {
        RunChild(call, prepared, streams, daemon, report_write.get());
    }
    report_write.Reset();
    int error_number = 0;
    ssize_t n;
    do {
        n = read(report_read.get(), &error_number, sizeof error_number);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
        }
        Status status = ErrnoStatus("execute", call.argv[0], error_number);
        if (error_number == EACCES) {
            return status.WithHint(
                "The user this runs as must be able to reach the program; \"make install\" puts it "
                "where everybody can.");
        }
        return status;
    }
    return pid;
}

// Reaps `pid`; its wait status.
Result<int> Reap(pid_t pid) {
    int wait_status = 0;
    pid_t got;
    do {
        got = waitpid(pid, &wait_status, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return ErrnoStatus("wait for process", std::to_string(pid), errno);
    }
    return wait_status;
}

std::string DescribeEnd(int wait_status) {
    if (WIFEXITED(wait_status)) {
        return "exited with status " + std::to_string(WEXITSTATUS(wait_status));
    }
    if (WIFSIGNALED(wait_status)) {
        return std::string("was ended by signal ") + std::to_string(WTERMSIG(wait_status)) + " (" +
               strsignal(WTERMSIG(wait_status)) + ")";
    }
    return "ended";
}

std::string BaseName(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

std::string LastLines(const std::string& text, int lines) {
    std::vector<std::string> all;
    size_t start = 0;
    while (start < text.size()) {
        size_t end = text.find('\n', start);
        if (end == std::string::npos) {
            end = text.size();
        }
        all.push_back(text.substr(start, end - start));
        start = end + 1;
    }
    std::string result;
    size_t skip = all.size() > static_cast<size_t>(lines) ? all.size() - lines : 0;
    for (size_t i = skip; i < all.size(); i++) {
        result += "\n  " + all[i];
    }
    return result;
}

// An unnamed file that takes what a child writes, so that no pipe has to be drained meanwhile.
Result<UniqueFd> UnnamedFile() {
    UniqueFd fd(memfd_create("output", MFD_CLOEXEC));
    if (!fd.valid()) {
        return ErrnoStatus("create file", "output", errno);
    }
    return fd;
}

std::string ContentOf(int fd) {
    std::string text;
    char buffer[4096];
    for (;;) {
        ssize_t n = pread(fd, buffer, sizeof buffer, static_cast<off_t>(text.size()));
        if (n <= 0) {
            return text;
        }
        text.append(buffer, static_cast<size_t>(n));
    }
}

Status FailureOf(const std::string& name, int wait_status, const std::string& message) {
    if (Interrupted()) {
        return CheckInterrupted();
    }
    return Status::Internal(name + " " + DescribeEnd(wait_status) + LastLines(message, 12));
}

}  // namespace

Result<std::string> RunProgram(const ProgramCall& call) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd output, UnnamedFile());
    ZENITH_ASSIGN_OR_RETURN(UniqueFd errors, UnnamedFile());
    ChildStreams streams{-1, output.get(), errors.get()};
    ZENITH_ASSIGN_OR_RETURN(pid_t pid, Spawn(call, streams, false));
    ZENITH_ASSIGN_OR_RETURN(int wait_status, Reap(pid));
    std::string text = ContentOf(output.get());
    if (wait_status != 0) {
        std::string message = ContentOf(errors.get());
        return FailureOf(BaseName(call.argv[0]), wait_status, message.empty() ? text : message);
    }
    return text;
}

Result<pid_t> StartDaemon(const ProgramCall& call, const std::string& log_path) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd log, OpenFile(log_path, O_WRONLY | O_CREAT | O_APPEND));
    return Spawn(call, ChildStreams{-1, log.get(), log.get()}, true);
}

Result<FedProgram> FedProgram::Start(const ProgramCall& call) {
    FedProgram program;
    program.name_ = BaseName(call.argv[0]);
    ZENITH_ASSIGN_OR_RETURN(program.errors_, UnnamedFile());
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return ErrnoStatus("create a pipe for", call.argv[0], errno);
    }
    UniqueFd read_end(ends[0]);
    program.input_.Reset(ends[1]);
    // Fewer switches between the two processes; the default size is fine when this is refused.
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    ChildStreams streams{read_end.get(), -1, program.errors_.get()};
    ZENITH_ASSIGN_OR_RETURN(program.pid_, Spawn(call, streams, false));
    return program;
}

FedProgram::FedProgram(FedProgram&& other) noexcept
    : name_(std::move(other.name_)),
      pid_(std::exchange(other.pid_, -1)),
      input_(std::move(other.input_)),
      errors_(std::move(other.errors_)) {}

FedProgram::~FedProgram() {
    if (pid_ > 0) {
        kill(pid_, SIGKILL);
        Reap(pid_).status().Ignore("killed");
    }
}

Status FedProgram::Write(std::span<const std::byte> data) {
    size_t done = 0;
    while (done < data.size()) {
        ssize_t n = write(input_.get(), data.data() + done, data.size() - done);
        if (n < 0) {
            if (errno == EINTR) {
                ZENITH_RETURN_IF_ERROR(CheckInterrupted());
                continue;
            }
            return ErrnoStatus("write to", name_, errno);
        }
        done += static_cast<size_t>(n);
    }
    return Status::Ok();
}

Status FedProgram::Finish() {
    input_.Reset();
    ZENITH_ASSIGN_OR_RETURN(int wait_status, Reap(std::exchange(pid_, -1)));
    if (wait_status != 0) {
        return FailureOf(name_, wait_status, ContentOf(errors_.get()));
    }
    return Status::Ok();
}

// Not glibc's wrappers: its header of 2.36 lacks extern "C".
UniqueFd OpenPidFd(pid_t pid) {
    return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

Status ProcessHandle::Signal(int signal_number) const {
    int rc = pidfd_.valid() ? static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd_.get(),
                                                       signal_number, nullptr, 0))
                            : kill(pid_, signal_number);
    if (rc != 0 && errno != ESRCH) {
        return ErrnoStatus("signal process", std::to_string(pid_), errno);
    }
    return Status::Ok();
}

Result<bool> ProcessHandle::WaitForExit(int timeout_ms) const {
    const int64_t deadline = NowMs() + timeout_ms;
    for (;;) {
        ZENITH_RETURN_IF_ERROR(CheckInterrupted());
        int wait_ms = -1;
        if (timeout_ms >= 0) {
            wait_ms = static_cast<int>(std::max<int64_t>(0, deadline - NowMs()));
        }
        if (!pidfd_.valid()) {
            if (kill(pid_, 0) != 0 && errno == ESRCH) {
                return true;
            }
            wait_ms = wait_ms < 0 ? kPollIntervalMs : std::min(wait_ms, kPollIntervalMs);
        }
        struct pollfd fds[2] = {{InterruptFd(), POLLIN, 0}, {pidfd_.get(), POLLIN, 0}};
        int n = poll(fds, pidfd_.valid() ? 2 : 1, wait_ms);
        if (n > 0 && pidfd_.valid() && (fds[1].revents & POLLIN) != 0) {
            return true;
        }
        if (timeout_ms >= 0 && NowMs() >= deadline) {
            return false;
        }
    }
}

std::optional<ProcessHandle> OpenProcess(
    pid_t pid, const std::function<bool(const std::vector<std::string>&)>& is_it) {
    if (pid <= 0) {
        return std::nullopt;
    }
    ProcessHandle handle;
    handle.pid_ = pid;
    handle.pidfd_ = OpenPidFd(pid);
    if (!handle.pidfd_.valid() && errno == ESRCH) {
        return std::nullopt;
    }
    Result<std::string> text = ReadWholeFile("/proc/" + std::to_string(pid) + "/cmdline");
    if (!text.ok() || text->empty()) {
        return std::nullopt;  // gone, a zombie or a kernel thread
    }
    std::vector<std::string> argv;
    size_t start = 0;
    while (start < text->size()) {
        size_t end = std::min(text->find('\0', start), text->size());
        argv.push_back(text->substr(start, end - start));
        start = end + 1;
    }
    if (argv.empty() || !is_it(argv)) {
        return std::nullopt;
    }
    return handle;
}

void ReapOrKill(pid_t pid, int timeout_ms) {
    UniqueFd pidfd = OpenPidFd(pid);
    struct pollfd fds[1] = {{pidfd.get(), POLLIN, 0}};
    const int64_t deadline = NowMs() + timeout_ms;
    int64_t left = timeout_ms;
    while (pidfd.valid() && left > 0 && poll(fds, 1, static_cast<int>(left)) < 0 &&
           errno == EINTR) {
        left = deadline - NowMs();
    }
    if (waitpid(pid, nullptr, WNOHANG) == 0) {
        kill(pid, SIGKILL);
        Reap(pid).status().Ignore("killed");
    }
}

std::optional<pid_t> ReadPidFile(const std::string& path) {
    Result<std::string> text = ReadWholeFile(path);
    if (!text.ok()) {
        return std::nullopt;
    }
    pid_t pid = 0;
    const char* end = text->data() + text->size();
    auto [stop, error] = std::from_chars(text->data(), end, pid);
    if (error != std::errc() || pid <= 0 || (stop != end && *stop != '\n')) {
        return std::nullopt;
    }
    return pid;
}

std::string WorkingDirectoryOf(pid_t pid) {
    char buffer[4096];
    ssize_t n = readlink(("/proc/" + std::to_string(pid) + "/cwd").c_str(), buffer, sizeof buffer);
    return n <= 0 ? "" : std::string(buffer, static_cast<size_t>(n));
}

Status WaitUntilReady(pid_t pid, int timeout_ms, const std::function<bool()>& is_ready) {
    UniqueFd pidfd = OpenPidFd(pid);
    const int64_t deadline = NowMs() + timeout_ms;
    for (;;) {
        if (is_ready()) {
            return Status::Ok();
        }
        int wait_status = 0;
        if (waitpid(pid, &wait_status, WNOHANG) == pid) {
            return Status::Internal("it " + DescribeEnd(wait_status));
        }
        ZENITH_RETURN_IF_ERROR(CheckInterrupted());
        if (NowMs() >= deadline) {
            return Status::Unavailable("it was not ready within " +
                                       std::to_string(timeout_ms / 1000) + " s");
        }
        // Wakes at once when the process ends or we are interrupted.
        struct pollfd fds[2] = {{InterruptFd(), POLLIN, 0}, {pidfd.get(), POLLIN, 0}};
        poll(fds, 2, kPollIntervalMs);
    }
}

Result<UniqueFd> LockFile(const std::string& path) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT));
    while (flock(fd.get(), LOCK_EX) != 0) {
        if (errno != EINTR) {
            return ErrnoStatus("lock file", path, errno);
        }
        ZENITH_RETURN_IF_ERROR(CheckInterrupted());
    }
    return fd;
}

std::string TailOfFile(const std::string& path, uint64_t offset, int lines) {
    constexpr uint64_t kMostBytes = 16 * 1024;
    Result<UniqueFd> fd = OpenFile(path, O_RDONLY);
    if (!fd.ok()) {
        return "";
    }
    uint64_t size = FileSize(path);
    if (size > offset + kMostBytes) {
        offset = size - kMostBytes;
    }
    std::vector<std::byte> buffer(kMostBytes);
    Result<size_t> n = ReadUpToAt(fd->get(), path, offset, buffer);
    if (!n.ok()) {
        return "";
    }
    return LastLines(std::string(reinterpret_cast<const char*>(buffer.data()), *n), lines);
}

uint64_t FileSize(const std::string& path) {
    struct stat info;
    return stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

void RotateLog(const std::string& path, uint64_t limit) {
    if (FileSize(path) > limit) {
        // Without it the log only grows on; nothing depends on it.
        [[maybe_unused]] int rc = rename(path.c_str(), (path + ".1").c_str());
    }
}

}  // namespace zenith
