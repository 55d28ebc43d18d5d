// ComputeNode: one compute of a repository: its registration (compute.json), its data directory and
// its postgres process.
//
//   computes/<name>/compute.json    what "pg create" registered; a compute exists while this does
//   computes/<name>/pgdata/         the data directory of the last start
//   computes/<name>/pgdata.new-*/   one being made
//   computes/<name>/pgdata.old/     one that was replaced and is being removed
//   computes/<name>/postgres.log
//   computes/<name>/supervisor.*    of the process that starts it again after a crash (supervisor.h)
//
// Every start takes a fresh base backup: nothing in a data directory is worth keeping but what
// ALTER SYSTEM wrote. Two commands on one compute wait for each other (lock files). Thread rule:
// the CLI has one thread.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/result.h"
#include "common/repo/repository.h"
#include "zenith_cli/local_process.h"
#include "zenith_cli/page_server.h"

namespace zenith {

// kCrashed: it is not running, but did not end by itself either, and nobody starts it again.
// kRestarting: its supervisor is about to. kFailed: its supervisor has given up.
enum class ComputeState {
    kStopped,
    kStarting,
    kRunning,
    kStopping,
    kCrashed,
    kRestarting,
    kFailed
};
const char* ComputeStateName(ComputeState state);

struct ComputeRequest {
    std::string branch = "main";  // or a timeline id
    std::string name;             // empty: made from the branch's
    int port = 0;                 // 0: the first free one from 15432 on
    std::string listen_addresses = "127.0.0.1";
    std::vector<std::pair<std::string, std::string>> settings;
};

class ComputeNode {
  public:
    // `repository` outlives the object. kNotFound when there is no such compute.
    static Result<ComputeNode> Open(const Repository& repository, const std::string& name);
    static Result<std::vector<ComputeNode>> All(const Repository& repository);
    // Registers a compute; it does not run yet.
    static Result<ComputeNode> Create(const Repository& repository, const ComputeRequest& request);
    // A compute on the branch that runs, starting or creating one if needed.
    static Result<ComputeNode> Ensure(const Repository& repository, const std::string& branch);

    const ComputeFile& file() const { return file_; }
    std::string DataDirectory() const { return directory_ + "/pgdata"; }
    std::string LogPath() const { return directory_ + "/postgres.log"; }
    const std::string& directory() const { return directory_; }

    ComputeState State() const;
    std::optional<ProcessHandle> FindPostmaster() const;

    // Starts postgres on a fresh base backup, waits until it accepts connections and the page
    // server receives its WAL, and leaves a supervisor with it. `port`: moves the compute there
    // first. A port nobody chose moves when another program has it. False: it ran already (a
    // supervisor that is missing is started). An error carries the end of the log.
    Result<bool> Start(std::optional<int> port = std::nullopt);
    // Its supervisor's start: the port stays, and no other supervisor is started.
    Result<bool> Restart();
    // Not destroyed, nor replaced by another of its name, nor without a timeline.
    bool StillExists() const;
    // Ended, and not because it crashed: pg_control says "shut down".
    bool WasShutDown() const;
    // Stop = RequestStop, then WaitUntilStopped; apart for stopping several at once. Ends the
    // supervisor, too. False: neither ran.
    Result<bool> RequestStop(StopMode mode) const;
    Status WaitUntilStopped() const;
    // kRefused while it runs, unless `force`.
    Status Destroy(bool force);

  private:
    ComputeNode(const Repository& repository, ComputeFile file)
        : repository_(&repository),
          file_(std::move(file)),
          directory_(repository.ComputeDirectory(file_.name)) {}

    static Result<TimelineId> TimelineOfBranch(const Repository& repository,
                                               const std::string& branch);
    bool IsSame(const ComputeFile& other) const {
        return other.timeline == file_.timeline && other.created_at == file_.created_at;
    }
    Result<UniqueFd> Lock();
    Status SettlePort(std::optional<int> wanted);
    Status FetchBaseBackup(PqConnection& connection, const std::string& target) const;
    Status WriteClientAuthentication(const std::string& target) const;
    // As Start; requires: the timeline's lock is held.
    Result<bool> StartLocked(std::optional<int> port);
    // The data directory and postgres on it. Requires: both locks are held, it does not run.
    Status StartPostgres();
    Status RunPostgres() const;
    Status CheckPortFree() const;
    bool WalIsReceived() const;
    void RemoveStaleFiles() const;
    std::string AutoConfPath() const;

    const Repository* repository_;
    ComputeFile file_;
    std::string directory_;
};

}  // namespace zenith
