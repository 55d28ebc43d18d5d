#include "zenith_cli/page_server.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "common/base/posix_file.h"
#include "common/base/time_text.h"
#include "zenith_cli/interrupt.h"
#include "zenith_cli/program_paths.h"

namespace zenith {

namespace {

constexpr int kConnectTimeoutMs = 5000;
constexpr int kQueryTimeoutMs = 60000;
constexpr int kLongQueryTimeoutMs = 24 * 3600 * 1000;
constexpr int kStartTimeoutMs = 60000;
constexpr int kStopTimeoutMs = 60000;
constexpr uint64_t kLogLimit = 16 << 20;

bool SameDirectory(const std::string& argument, const std::string& base, const std::string& path) {
    std::error_code error;
    std::filesystem::path full = std::filesystem::path(base) / argument;
    return std::filesystem::weakly_canonical(full, error) == std::filesystem::path(path) && !error;
}

}  // namespace

std::optional<ProcessHandle> PageServer::FindProcess() const {
    std::optional<pid_t> pid = ReadPidFile(repository_.PageServerPidPath());
    if (!pid) {
        return std::nullopt;
    }
    return OpenProcess(*pid, [&](const std::vector<std::string>& argv) {
        if (std::filesystem::path(argv[0]).filename() != "pageserver") {
            return false;
        }
        const std::string base = WorkingDirectoryOf(*pid);
        constexpr std::string_view kOption = "--repo-dir";
        for (size_t i = 1; i < argv.size(); i++) {
            if (argv[i] == kOption && i + 1 < argv.size()) {
                return SameDirectory(argv[i + 1], base, repository_.path());
            }
            if (argv[i].starts_with(std::string(kOption) + "=")) {
                return SameDirectory(argv[i].substr(kOption.size() + 1), base, repository_.path());
            }
        }
        return false;
    });
}

std::optional<int> PageServer::TcpPort() const {
    std::optional<pid_t> port = ReadPidFile(repository_.PageServerPortPath());
    if (!port || !FindProcess()) {
        return std::nullopt;
    }
    return static_cast<int>(*port);
}

Result<bool> PageServer::Start() const {
    ZENITH_ASSIGN_OR_RETURN(RepoConfig config, repository_.ReadConfig());
    ZENITH_ASSIGN_OR_RETURN(UniqueFd lock, LockFile(repository_.path() + "/pageserver.lock"));
    if (FindProcess()) {
        return false;
    }
    ZENITH_ASSIGN_OR_RETURN(std::string program, FindPageServerProgram());
    ZENITH_RETURN_IF_ERROR(repository_.EnsureSocketDirectory());
    unlink(repository_.PageServerPortPath().c_str());  // of one that was killed
    const std::string log = repository_.PageServerLogPath();
    RotateLog(log, kLogLimit);
    const uint64_t log_start = FileSize(log);
    ProgramCall call{{program, "--repo-dir", repository_.path()}, repository_.path(), {}};
    ZENITH_ASSIGN_OR_RETURN(pid_t pid, StartDaemon(call, log));
    const std::string connstr = repository_.PageServerConnstr() + " dbname=zenith";
    const std::string socket =
        repository_.SocketDirectory() + "/.s.PGSQL." + std::to_string(kPageServerSocketPort);
    Status status = WaitUntilReady(pid, kStartTimeoutMs, [&] {
        if (!FileExists(socket) ||
            (!config.listen_address.empty() && !FileExists(repository_.PageServerPortPath()))) {
            return false;
        }
        Result<PqConnection> connection =
            PqConnection::Connect(connstr, kConnectTimeoutMs, InterruptFd());
        return connection.ok() && connection->Query("status", kConnectTimeoutMs).ok();
    });
    if (!status.ok()) {
        kill(pid, SIGKILL);  // still our child, so the pid is still its own
        return status.WithContext("the page server did not start")
            .WithHint("The end of its log \"" + log + "\":" + TailOfFile(log, log_start, 12));
    }
    return true;
}

Result<bool> PageServer::Stop(StopMode mode) const {
    std::optional<ProcessHandle> process = FindProcess();
    if (!process) {
        return false;
    }
    ZENITH_RETURN_IF_ERROR(process->Signal(mode == StopMode::kFast ? SIGTERM : SIGKILL));
    ZENITH_ASSIGN_OR_RETURN(bool ended, process->WaitForExit(kStopTimeoutMs));
    if (!ended) {
        return Status::Unavailable("the page server (pid " + std::to_string(process->pid()) +
                                       ") did not stop within " +
                                       std::to_string(kStopTimeoutMs / 1000) + " s",
                                   "Use \"zenith pageserver stop --mode immediate\".");
    }
    return true;
}

Result<PqConnection> PageServer::Connect() const {
    Result<PqConnection> connection = PqConnection::Connect(
        repository_.PageServerConnstr() + " dbname=zenith", kConnectTimeoutMs, InterruptFd());
    if (!connection.ok() && !Interrupted()) {
        if (!FindProcess()) {
            return Status::Unavailable("the page server is not running",
                                       "Use \"zenith start\" to start it.");
        }
        return connection.status().WithContext("the page server cannot be reached");
    }
    return connection;
}

Result<PqRows> PageServer::Query(const std::string& command) const {
    ZENITH_ASSIGN_OR_RETURN(PqConnection connection, Connect());
    return connection.Query(command, kQueryTimeoutMs);
}

Result<PqRows> PageServer::QueryWithoutHurry(const std::string& command) const {
    ZENITH_ASSIGN_OR_RETURN(PqConnection connection, Connect());
    return connection.Query(command, kLongQueryTimeoutMs);
}

Result<std::string> RowField(const PqRows& rows, size_t row, const char* column) {
    std::optional<size_t> index = rows.FindColumn(column);
    if (!index || row >= rows.rows.size()) {
        return Status::Internal(std::string("the page server's answer has no ") + column,
                                "The programs zenith and pageserver must be of the same version.");
    }
    return rows.rows[row][*index].value_or("");
}

Result<std::string> PointAsWord(const std::string& point) {
    std::string word = point;
    if (const size_t at = point.find('@'); at != std::string::npos) {
        if (auto time = ParseTime(std::string_view(point).substr(at + 1), NowMicros())) {
            word = point.substr(0, at + 1) + FormatTimeMicros(*time);
        }
    }
    const bool one_word = std::all_of(word.begin(), word.end(), [](unsigned char c) {
        return c > ' ' && c != '\'' && c != '"' && c != ';' && c != 127;
    });
    if (word.empty() || !one_word) {
        return Status::InvalidArgument(
            "\"" + word + "\" is not a point in time",
            "Write a branch, branch@LSN, branch@2026-11-22T10:00:00Z, branch@-10min, a tag, or a "
            "timeline id with or without @LSN.");
    }
    return word;
}

}  // namespace zenith
