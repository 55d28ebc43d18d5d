#include "zenith_cli/compute_node.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <span>

#include "common/base/posix_file.h"
#include "zenith_cli/compute_settings.h"
#include "zenith_cli/interrupt.h"
#include "zenith_cli/privileges.h"
#include "zenith_cli/program_paths.h"
#include "zenith_cli/supervisor.h"

namespace zenith {

namespace {

constexpr int kBackupTimeoutMs = 120000;
constexpr int kStartTimeoutMs = 60000;
constexpr int kStopTimeoutMs = 60000;
constexpr int kImmediateStopTimeoutMs = 6000;  // postgres kills its children after 5 s
constexpr int kSignalAgainMs = 500;
constexpr uint64_t kLogLimit = 16 << 20;
constexpr const char* kNewPrefix = "pgdata.new-";

// Line `number` (from 1) of a postmaster.pid file; miscinit.c, pidfile.h.
std::string PidFileLine(const std::string& path, int number) {
    Result<std::string> text = ReadWholeFile(path);
    if (!text.ok()) {
        return "";
    }
    size_t start = 0;
    for (int i = 1; i < number; i++) {
        start = text->find('\n', start);
        if (start == std::string::npos) {
            return "";
        }
        start++;
    }
    std::string line = text->substr(start, text->find('\n', start) - start);
    line.resize(line.find_last_not_of(' ') + 1);
    return line;
}

constexpr int kPidFileStatusLine = 8;

// Without fsync: a data directory need not survive a crash, the next start makes another, and an
// fsync would have to wait for all the relation files that were just made.
Status WriteDisposableFile(const std::string& path, std::string_view content) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC));
    return WriteAllAt(fd.get(), path, 0, std::as_bytes(std::span(content.data(), content.size())));
}

// Has ext4 put every directory made in `directory` into a block group chosen by its name (chattr
// +T). In one group the thousand files of a data directory may take seconds to create: ext4 does
// not reuse an inode for minutes after its deletion, and looks at all those of earlier data
// directories anew for each file. Other file systems refuse the flag and do not need it.
void SpreadSubdirectories(const std::string& directory) {
    Result<UniqueFd> fd = OpenFile(directory, O_RDONLY | O_DIRECTORY);
    int flags = 0;
    if (fd.ok() && ioctl(fd->get(), FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_TOPDIR_FL;
        [[maybe_unused]] int rc = ioctl(fd->get(), FS_IOC_SETFLAGS, &flags);
    }
}

// Two starts on one timeline must not overlap: the second would fence off the first, which the page
// server does not know to live before it has called.
Result<UniqueFd> LockTimeline(const Repository& repository, const TimelineId& timeline) {
    Result<UniqueFd> lock = LockFile(repository.TimelineDirectory(timeline) + "/compute.lock");
    if (!lock.ok() && lock.status().code() == StatusCode::kNotFound) {
        ZENITH_RETURN_IF_ERROR(repository.ReadTimeline(timeline).status());  // says it is not there
    }
    return lock;
}

// `fd` is what `path` names now, not something that was removed or replaced since it was opened.
bool IsStillAt(const UniqueFd& fd, const std::string& path) {
    struct stat ours = {};
    struct stat current = {};
    return fstat(fd.get(), &ours) == 0 && stat(path.c_str(), &current) == 0 &&
           ours.st_ino == current.st_ino && ours.st_dev == current.st_dev;
}

// What interrupted starts left in a compute's directory.
Status RemoveUnfinished(const std::string& directory) {
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(directory));
    for (const std::string& name : names) {
        if (name.starts_with(kNewPrefix)) {
            ZENITH_RETURN_IF_ERROR(RemoveTree(directory + "/" + name));
        }
    }
    return Status::Ok();
}

Status RenamePath(const std::string& from, const std::string& to) {
    if (rename(from.c_str(), to.c_str()) != 0) {
        return ErrnoStatus("rename directory", from, errno);
    }
    return Status::Ok();
}

}  // namespace

const char* ComputeStateName(ComputeState state) {
    switch (state) {
        case ComputeState::kStopped:
            return "stopped";
        case ComputeState::kStarting:
            return "starting";
        case ComputeState::kRunning:
            return "running";
        case ComputeState::kStopping:
            return "stopping";
        case ComputeState::kCrashed:
            return "crashed";
        case ComputeState::kRestarting:
            return "restarting";
        case ComputeState::kFailed:
            return "failed";
    }
    return "unknown";
}

Result<ComputeNode> ComputeNode::Ensure(const Repository& repository, const std::string& branch) {
    ZENITH_ASSIGN_OR_RETURN(TimelineId timeline, TimelineOfBranch(repository, branch));
    ZENITH_ASSIGN_OR_RETURN(UniqueFd lock, LockTimeline(repository, timeline));
    ZENITH_ASSIGN_OR_RETURN(std::vector<ComputeNode> computes, All(repository));
    const ComputeNode* chosen = nullptr;
    for (const ComputeNode& compute : computes) {
        if (compute.file().timeline == timeline) {
            if (compute.State() == ComputeState::kRunning) {
                return compute;
            }
            chosen = chosen == nullptr ? &compute : chosen;
        }
    }
    if (chosen != nullptr) {
        ComputeNode compute = *chosen;
        ZENITH_RETURN_IF_ERROR(compute.StartLocked(std::nullopt).status());
        return compute;
    }
    ComputeRequest request;
    request.branch = branch;
    ZENITH_ASSIGN_OR_RETURN(ComputeNode compute, Create(repository, request));
    Result<bool> started = compute.StartLocked(std::nullopt);
    if (!started.ok()) {
        // Nobody asked for this compute by name; without running it is of no use.
        compute.Destroy(true).Ignore("the first error is the one to report");
        return started.status();
    }
    return compute;
}

std::optional<ProcessHandle> ComputeNode::FindPostmaster() const {
    std::optional<pid_t> pid = ReadPidFile(DataDirectory() + "/postmaster.pid");
    if (!pid) {
        return std::nullopt;
    }
    // Only the postmaster has "-D <directory>" among its arguments; its children show a title.
    return OpenProcess(*pid, [&](const std::vector<std::string>& argv) {
        if (std::filesystem::path(argv[0]).filename() != "postgres") {
            return false;
        }
        for (size_t i = 1; i + 1 < argv.size(); i++) {
            if (argv[i] == "-D" && argv[i + 1] == DataDirectory()) {
                return true;
            }
        }
        return false;
    });
}

ComputeState ComputeNode::State() const {
    const std::string pid_file = DataDirectory() + "/postmaster.pid";
    if (!FindPostmaster()) {
        if (FindSupervisor(*repository_, directory_, file_.name)) {
            return ComputeState::kRestarting;
        }
        if (!ReadSupervisorState(directory_).failure.empty()) {
            return ComputeState::kFailed;
        }
        return FileExists(pid_file) && !FindPostmaster() ? ComputeState::kCrashed
                                                         : ComputeState::kStopped;
    }
    const std::string status = PidFileLine(pid_file, kPidFileStatusLine);
    if (status == "ready" || status == "standby") {
        return ComputeState::kRunning;
    }
    return status == "stopping" ? ComputeState::kStopping : ComputeState::kStarting;
}

std::string ComputeNode::AutoConfPath() const {
    return DataDirectory() + "/postgresql.auto.conf";
}

// The compute's lock, and file_ as it is under the lock. kNotFound when the compute was destroyed
// while we waited, also when another of its name was created since. Whoever needs computes/.lock,
// too, takes it after this one.
Result<UniqueFd> ComputeNode::Lock() {
    const std::string path = directory_ + "/lock";
    Result<UniqueFd> lock = LockFile(path);
    if (!lock.ok() && lock.status().code() != StatusCode::kNotFound) {
        return lock;
    }
    ZENITH_ASSIGN_OR_RETURN(ComputeFile now, repository_->ReadCompute(file_.name));
    if (!lock.ok() || !IsStillAt(*lock, path) || !IsSame(now)) {
        return Status::NotFound("compute \"" + file_.name + "\" does not exist any more",
                                "Another was created by that name; use \"zenith pg list\" to see "
                                "it.");
    }
    file_ = std::move(now);
    return lock;
}

Result<bool> ComputeNode::Start(std::optional<int> port) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd lock, LockTimeline(*repository_, file_.timeline));
    return StartLocked(port);
}

Result<bool> ComputeNode::StartLocked(std::optional<int> port) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd lock, Lock());
    const bool runs = FindPostmaster().has_value();
    const bool supervised = FindSupervisor(*repository_, directory_, file_.name).has_value();
    if (runs && port && *port != file_.port) {
        return Status::Refused(
            "compute \"" + file_.name + "\" is running on port " + std::to_string(file_.port),
            "Use \"zenith pg stop " + file_.name + "\" first.");
    }
    if (!runs) {
        if (!supervised) {
            ForgetSupervisorState(directory_);
        }
        ZENITH_RETURN_IF_ERROR(SettlePort(port));
        ZENITH_RETURN_IF_ERROR(StartPostgres());
    }
    if (!supervised) {
        // It runs, whatever becomes of this: without a supervisor it does not come back by itself.
        Status status = StartSupervisor(*repository_, directory_, file_.name);
        if (!status.ok()) {
            return status.WithContext("compute \"" + file_.name + "\" runs without supervision");
        }
    }
    return !runs;
}

Result<bool> ComputeNode::Restart() {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd timeline, LockTimeline(*repository_, file_.timeline));
    ZENITH_ASSIGN_OR_RETURN(UniqueFd lock, Lock());
    if (FindPostmaster()) {
        return false;  // somebody was faster
    }
    ZENITH_RETURN_IF_ERROR(CheckPortFree());
    ZENITH_RETURN_IF_ERROR(StartPostgres());
    return true;
}

bool ComputeNode::StillExists() const {
    Result<ComputeFile> now = repository_->ReadCompute(file_.name);
    if (now.ok() ? !IsSame(*now) : now.status().code() == StatusCode::kNotFound) {
        return false;
    }
    return repository_->ReadTimeline(file_.timeline).status().code() != StatusCode::kNotFound;
}

bool ComputeNode::WasShutDown() const {
    Result<RepoConfig> config = repository_->ReadConfig();
    if (!config.ok()) {
        return false;
    }
    Result<std::string> text = RunProgram(
        {{config->pg_bindir + "/pg_controldata", "-D", DataDirectory()}, "", {{"LC_ALL", "C"}}});
    if (!text.ok()) {
        return false;
    }
    constexpr std::string_view kState = "Database cluster state:";
    const size_t at = text->find(kState);
    if (at == std::string::npos) {
        return false;
    }
    const size_t value = text->find_first_not_of(' ', at + kState.size());
    return value != std::string::npos && text->compare(value, 10, "shut down\n") == 0;
}

Status ComputeNode::StartPostgres() {
    const std::string old = directory_ + "/pgdata.old";
    if (!FileExists(DataDirectory()) && FileExists(old)) {
        ZENITH_RETURN_IF_ERROR(RenamePath(old, DataDirectory()));  // interrupted while replacing
    }
    ZENITH_RETURN_IF_ERROR(RemoveTree(old));
    ZENITH_RETURN_IF_ERROR(RemoveUnfinished(directory_));
    ZENITH_ASSIGN_OR_RETURN(PqConnection connection, PageServer(*repository_).Connect());
    SpreadSubdirectories(directory_);
    // A new name each time, so that ext4 chooses another place each time.
    std::string made = directory_ + "/" + kNewPrefix + "XXXXXX";
    if (mkdtemp(made.data()) == nullptr) {
        return ErrnoStatus("create directory", made, errno);
    }
    Status status = FetchBaseBackup(connection, made);
    if (status.ok() && FileExists(DataDirectory())) {
        status = RenamePath(DataDirectory(), old);
    }
    if (status.ok()) {
        status = RenamePath(made, DataDirectory());
    }
    if (!status.ok()) {
        RemoveTree(made).Ignore("the first error is the one to report");
        return status;
    }
    return RunPostgres();
}

// Fills `target`: the base backup as it is, plus the compute's own settings.
Status ComputeNode::FetchBaseBackup(PqConnection& connection, const std::string& target) const {
    // GNU tar makes the sparse files that the relations are.
    ZENITH_ASSIGN_OR_RETURN(
        FedProgram tar,
        FedProgram::Start({{"/bin/tar", "--extract", "--file=-", "--no-same-owner"}, target, {}}));
    bool tar_failed = false;
    Status status = connection.CopyOut(
        "basebackup " + file_.timeline.ToString(),
        [&](std::span<const std::byte> data) {
            Status written = tar.Write(data);
            tar_failed = !written.ok();
            return written;
        },
        kBackupTimeoutMs);
    if (!status.ok() && !tar_failed) {
        ZENITH_RETURN_IF_ERROR(CheckInterrupted());
        return status.WithContext("no base backup for compute \"" + file_.name + "\"");
    }
    Status finished = tar.Finish();
    ZENITH_RETURN_IF_ERROR(
        finished.ok() ? status : finished.WithContext("could not unpack the base backup"));
    if (!FileExists(target + "/global/pg_control")) {
        return Status::Internal("the base backup for compute \"" + file_.name + "\" is incomplete");
    }
    if (FileExists(AutoConfPath())) {
        ZENITH_ASSIGN_OR_RETURN(std::string text, ReadWholeFile(AutoConfPath()));
        ZENITH_RETURN_IF_ERROR(
            WriteDisposableFile(target + "/postgresql.auto.conf", KeptAutoConf(text)));
    }
    ZENITH_RETURN_IF_ERROR(WriteClientAuthentication(target));
    return WriteDisposableFile(target + "/zenith_compute.conf",
                               ComputeConfText(*repository_, file_));
}

// Who may connect: a restart, after a crash above all, must not open what somebody has closed, and
// nobody may close out the page server: without it there is no commit and no next start.
Status ComputeNode::WriteClientAuthentication(const std::string& target) const {
    Result<UserAccount> owner = AccountById(geteuid());
    auto write = [&](const std::string& name, auto with_page_server) -> Status {
        const std::string& from = FileExists(DataDirectory() + name) ? DataDirectory() : target;
        std::string text;
        if (FileExists(from + name)) {
            ZENITH_ASSIGN_OR_RETURN(text, ReadWholeFile(from + name));
        }
        return WriteDisposableFile(target + name,
                                   owner.ok() ? with_page_server(text, owner->name) : text);
    };
    ZENITH_RETURN_IF_ERROR(write("/pg_hba.conf", HbaWithPageServer));
    return write("/pg_ident.conf", IdentWithPageServer);
}

// What a killed postgres leaves behind and the next one would stumble over when its pid is in use
// again. Requires: it does not run, and its lock is held.
void ComputeNode::RemoveStaleFiles() const {
    const std::string socket =
        repository_->SocketDirectory() + "/.s.PGSQL." + std::to_string(file_.port);
    unlink(socket.c_str());
    unlink((socket + ".lock").c_str());
}

Status ComputeNode::RunPostgres() const {
    ZENITH_ASSIGN_OR_RETURN(RepoConfig config, repository_->ReadConfig());
    ZENITH_RETURN_IF_ERROR(repository_->EnsureSocketDirectory());
    RemoveStaleFiles();
    std::string auto_conf;
    if (FileExists(AutoConfPath())) {
        ZENITH_ASSIGN_OR_RETURN(auto_conf, ReadWholeFile(AutoConfPath()));
    }
    const std::string log = LogPath();
    RotateLog(log, kLogLimit);
    const uint64_t log_start = FileSize(log);
    const std::string preload = PreloadLibraries(file_, auto_conf);
    ProgramCall call{{config.pg_bindir + "/postgres", "-D", DataDirectory(), "-c",
                      "shared_preload_libraries=" + preload},
                     directory_,
                     {}};
    ZENITH_ASSIGN_OR_RETURN(pid_t pid, StartDaemon(call, log));
    // Unlinking what was local before may take longer than the start; it need not be waited for.
    StartDaemon({{"/bin/rm", "-rf", "pgdata.old"}, directory_, {}}, "/dev/null")
        .status()
        .Ignore("the next start removes it");
    const std::string pid_file = DataDirectory() + "/postmaster.pid";
    Status status = WaitUntilReady(pid, kStartTimeoutMs, [&] {
        return PidFileLine(pid_file, kPidFileStatusLine) == "ready" &&
               ReadPidFile(pid_file) == std::optional<pid_t>(pid);
    });
    if (status.ok()) {
        status = WaitUntilReady(pid, kStartTimeoutMs, [&] { return WalIsReceived(); });
        if (status.ok()) {
            return status;
        }
        status = status.WithContext("the page server does not receive its WAL");
    }
    kill(pid, SIGQUIT);  // still our child, so the pid is still its own
    ReapOrKill(pid, kImmediateStopTimeoutMs);
    if (Interrupted()) {
        return status;
    }
    std::string hint = "The end of its log \"" + log + "\":" + TailOfFile(log, log_start, 12);
    if (!ExtensionIsInstalled(config.pg_bindir)) {
        hint = "The extension is not installed; use \"make install\". " + hint;
    }
    return status.WithContext("compute \"" + file_.name + "\" did not start").WithHint(hint);
}

bool ComputeNode::WalIsReceived() const {
    Result<PqRows> info =
        PageServer(*repository_).Query("timeline_info " + file_.timeline.ToString());
    if (!info.ok()) {
        return false;
    }
    std::map<std::string, std::string> values;
    for (const auto& row : info->rows) {
        if (row.size() == 2 && row[0] && row[1]) {
            values[*row[0]] = *row[1];
        }
    }
    return values["running"] == "t" && values["compute"] == ComputeConnstr(*repository_, file_);
}

Result<bool> ComputeNode::RequestStop(StopMode mode) const {
    // First, so that nobody starts again what is about to end.
    std::optional<ProcessHandle> supervisor =
        FindSupervisor(*repository_, directory_, file_.name);
    if (supervisor) {
        ZENITH_RETURN_IF_ERROR(supervisor->Signal(SIGTERM));
    }
    std::optional<ProcessHandle> process = FindPostmaster();
    if (process) {
        ZENITH_RETURN_IF_ERROR(process->Signal(mode == StopMode::kFast ? SIGINT : SIGQUIT));
    } else if (!supervisor) {
        // Of a crash nothing is left to be told about once it was noticed.
        ForgetSupervisorState(directory_);
        if (State() == ComputeState::kCrashed) {
            unlink((DataDirectory() + "/postmaster.pid").c_str());
        }
    }
    return process || supervisor;
}

Status ComputeNode::WaitUntilStopped() const {
    for (int waited_ms = 0; waited_ms < kStopTimeoutMs; waited_ms += kSignalAgainMs) {
        std::optional<ProcessHandle> process =
            FindSupervisor(*repository_, directory_, file_.name);
        if (!process) {
            process = FindPostmaster();
        }
        if (!process) {
            return Status::Ok();
        }
        ZENITH_ASSIGN_OR_RETURN(bool ended, process->WaitForExit(kSignalAgainMs));
        if (!ended) {
            // A supervisor that was about to wait for a lock has not noticed; one that was killed
            // has left a postgres that nobody has told yet. Told twice, both do nothing new.
            std::optional<ProcessHandle> supervisor =
                FindSupervisor(*repository_, directory_, file_.name);
            std::optional<ProcessHandle> postgres = FindPostmaster();
            if (supervisor) {
                ZENITH_RETURN_IF_ERROR(supervisor->Signal(SIGTERM));
            } else if (postgres) {
                ZENITH_RETURN_IF_ERROR(postgres->Signal(SIGINT));
            }
        }
    }
    return Status::Unavailable("compute \"" + file_.name + "\" did not stop within " +
                                   std::to_string(kStopTimeoutMs / 1000) + " s",
                               "Use \"zenith pg stop " + file_.name + " --mode immediate\".");
}

Status ComputeNode::Destroy(bool force) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd lock, Lock());
    if (FindPostmaster() || FindSupervisor(*repository_, directory_, file_.name)) {
        if (!force) {
            return Status::Refused(
                "compute \"" + file_.name + "\" is running",
                "Use \"zenith pg stop " + file_.name + "\" first, or --force to stop it at once.");
        }
        ZENITH_RETURN_IF_ERROR(RequestStop(StopMode::kImmediate).status());
        ZENITH_RETURN_IF_ERROR(WaitUntilStopped());
    }
    RemoveStaleFiles();
    // Against a creation by this name. Only now: what is above may wait for long.
    ZENITH_ASSIGN_OR_RETURN(UniqueFd all, LockFile(repository_->ComputesDirectory() + "/.lock"));
    // From here on it does not exist; the rest is tidying up, and a creation does it if we cannot.
    ZENITH_RETURN_IF_ERROR(RemoveFile(directory_ + "/compute.json"));
    return RemoveTree(directory_);
}

}  // namespace zenith
