// Processes of this machine: run a program and take its output, start a daemon, find again a
// process that a pid file names, signal it and wait for its end.
//
// A pid alone proves nothing: it may have been given to another process since. OpenProcess
// therefore takes a test of the command line, made after a handle (pidfd) that cannot change its
// target is held. Waits end early when the CLI is interrupted (interrupt.h). Thread rule: the CLI
// has one thread.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/base/result.h"
#include "common/base/unique_fd.h"

namespace zenith {

struct ProgramCall {
    std::vector<std::string> argv;  // argv[0] is the path of the program
    std::string working_directory;  // empty: the caller's
    std::vector<std::pair<std::string, std::string>> environment = {};  // set beside the caller's
    std::string program = {};  // the file to execute when argv[0] is just a name
};

// Runs to the end and returns the standard output. A non-zero exit is kInternal with what the
// program wrote to its standard error (or output), the last lines of it.
Result<std::string> RunProgram(const ProgramCall& call);

// Starts a program in a session of its own, with output appended to `log_path`, nothing on its
// input, no descriptor but these, and default signal actions. It stays our child as long as the CLI
// lives. A program that cannot be executed is an error here.
Result<pid_t> StartDaemon(const ProgramCall& call, const std::string& log_path);

// A child that is fed through its standard input; its error output is kept for the message.
// Destroyed without Finish(): the child is killed and reaped.
class FedProgram {
  public:
    static Result<FedProgram> Start(const ProgramCall& call);
    FedProgram(FedProgram&& other) noexcept;
    FedProgram& operator=(FedProgram&&) = delete;
    ~FedProgram();

    // An error when the child no longer reads; its own message then comes from Finish().
    Status Write(std::span<const std::byte> data);
    // Closes the input and waits; an error when the child failed.
    Status Finish();

  private:
    FedProgram() = default;
    std::string name_;
    pid_t pid_ = -1;
    UniqueFd input_;
    UniqueFd errors_;  // an unnamed file
};

// Readable once the process has ended; invalid (errno) when there is no such process, or on a
// kernel without such descriptors.
UniqueFd OpenPidFd(pid_t pid);

class ProcessHandle {
  public:
    pid_t pid() const { return pid_; }
    Status Signal(int signal_number) const;
    // True when it ended within `timeout_ms` (negative: for ever). kUnavailable when interrupted.
    Result<bool> WaitForExit(int timeout_ms) const;

  private:
    friend std::optional<ProcessHandle> OpenProcess(
        pid_t pid, const std::function<bool(const std::vector<std::string>&)>& is_it);
    pid_t pid_ = -1;
    UniqueFd pidfd_;  // invalid on a kernel without them
};

// The process if it lives and `is_it` agrees to its command line; nullopt otherwise. A zombie does
// not live.
std::optional<ProcessHandle> OpenProcess(
    pid_t pid, const std::function<bool(const std::vector<std::string>&)>& is_it);

// First line of a file as a pid; nullopt when there is no file or no number in it.
std::optional<pid_t> ReadPidFile(const std::string& path);

// Waits until `pid`, a child of ours, has ended and reaps it, killing it after `timeout_ms`.
// Interrupts do not matter here.
void ReapOrKill(pid_t pid, int timeout_ms);

// Directory of a process's working directory; empty when unknown.
std::string WorkingDirectoryOf(pid_t pid);

// Waits until `is_ready` returns true, asking again every few milliseconds. Ends with the daemon's
// fate as kInternal when `pid` (a child of ours) ends first, kUnavailable on time-out or interrupt.
Status WaitUntilReady(pid_t pid, int timeout_ms, const std::function<bool()>& is_ready);

// An advisory lock on a file, waited for; released when destroyed or when the process ends.
Result<UniqueFd> LockFile(const std::string& path);

// The last `lines` lines of a file from `offset` on, each indented; empty when there is nothing.
std::string TailOfFile(const std::string& path, uint64_t offset, int lines);
// Current size; 0 for a file that is not there.
uint64_t FileSize(const std::string& path);
// Renames a log that has grown past `limit` bytes to <path>.1, so that logs stay bounded.
void RotateLog(const std::string& path, uint64_t limit);

}  // namespace zenith
