// zenith init: a new repository with a fresh cluster on branch main.
//
// Everything is made in <repository>.init-XXXXXX and renamed at the end, so an interrupted init
// leaves no repository. The work is done by a child process: run by root it becomes the postgres
// user for good, while the parent can still rename in a directory that is root's.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "common/base/posix_file.h"
#include "common/base/units.h"
#include "zenith_cli/commands/command.h"
#include "zenith_cli/find_repository.h"
#include "zenith_cli/interrupt.h"
#include "zenith_cli/local_process.h"
#include "zenith_cli/output.h"
#include "zenith_cli/privileges.h"
#include "zenith_cli/program_paths.h"

namespace zenith {

namespace {

constexpr const char* kServerUser = "postgres";

struct InitOptions {
    std::string pg_bindir;
    std::string encoding;
    std::string locale;
    int listen_port = 0;
    bool data_checksums = false;
    std::string pitr_interval;
    std::string retain_bytes;
};

Status SetRetention(const InitOptions& options, RepoConfig* config) {
    if (!options.pitr_interval.empty()) {
        ZENITH_ASSIGN_OR_RETURN(config->pitr_interval_seconds,
                                ParseInterval(options.pitr_interval));
    }
    if (!options.retain_bytes.empty()) {
        ZENITH_ASSIGN_OR_RETURN(config->retain_bytes, ParseSize(options.retain_bytes));
    }
    return Status::Ok();
}

// Whether getopt_long() may take `argument` for the long option `option`: also abbreviated.
bool MayMean(std::string_view argument, std::string_view option) {
    std::string_view name = argument.substr(0, argument.find('='));
    return name.size() > 2 && option.starts_with(name);
}

// The first of the short options -D, -U and -X in `argument`; 0 when there is none. Options without
// a value may stand before it in the same argument.
char ReservedShortOption(std::string_view argument) {
    if (argument.size() < 2 || argument[0] != '-' || argument[1] == '-') {
        return 0;
    }
    for (char c : argument.substr(1)) {
        if (std::string_view("DUX").find(c) != std::string_view::npos) {
            return c;
        }
        if (std::string_view("AELT").find(c) != std::string_view::npos) {
            return 0;  // what follows is its value
        }
    }
    return 0;
}

// Among the arguments handed to initdb there must be none of what we set ourselves.
Status CheckInitdbArguments(const std::vector<std::string>& arguments) {
    auto refuse = [](const std::string& option) {
        return Status::InvalidArgument(
            "initdb's " + option + " is set by zenith and cannot be changed", "Leave it out.");
    };
    for (const std::string& argument : arguments) {
        for (const char* option : {"--pgdata", "--username", "--waldir", "--wal-segsize"}) {
            if (MayMean(argument, option)) {
                return refuse(option);
            }
        }
        if (char option = ReservedShortOption(argument); option != 0) {
            return refuse(std::string("-") + option);
        }
    }
    return Status::Ok();
}

Status CheckPlaceIsFree(const std::string& path) {
    struct stat info;
    if (lstat(path.c_str(), &info) != 0) {
        return errno == ENOENT ? Status::Ok() : ErrnoStatus("open directory", path, errno);
    }
    if (FileExists(path + "/config.json")) {
        return Status::AlreadyExists("\"" + path + "\" is a zenith repository already",
                                     "Use \"zenith start\" to start it, or choose another place "
                                     "with --repo-dir.");
    }
    if (!S_ISDIR(info.st_mode) || !std::filesystem::is_empty(path)) {
        return Status::AlreadyExists("\"" + path + "\" exists and is not empty",
                                     "Choose another place with --repo-dir.");
    }
    return Status::Ok();
}

// mkdir -p; everybody may pass through what is made.
Status MakeParents(const std::string& directory) {
    std::error_code error;
    mode_t old = umask(022);
    std::filesystem::create_directories(directory, error);
    umask(old);
    return error ? ErrnoStatus("create directory", directory, error.value()) : Status::Ok();
}

// The number behind `label` in what pg_controldata prints.
std::optional<uint64_t> ControlDataNumber(const std::string& text, std::string_view label) {
    size_t at = text.find(label);
    if (at == std::string::npos) {
        return std::nullopt;
    }
    at = text.find_first_not_of(' ', at + label.size());
    uint64_t number = 0;
    if (at == std::string::npos ||
        std::from_chars(text.data() + at, text.data() + text.size(), number).ec != std::errc()) {
        return std::nullopt;
    }
    return number;
}

// Fills what the configuration says of the new cluster.
Status DescribeCluster(const std::string& bindir, const std::string& pgdata, RepoConfig* config) {
    ZENITH_ASSIGN_OR_RETURN(
        std::string text,
        RunProgram({{bindir + "/pg_controldata", "-D", pgdata}, "", {{"LC_ALL", "C"}}}));
    auto identifier = ControlDataNumber(text, "Database system identifier:");
    auto checksums = ControlDataNumber(text, "Data page checksum version:");
    if (identifier.value_or(0) == 0 || !checksums.has_value()) {
        return Status::Internal("pg_controldata printed no system identifier or checksum version");
    }
    config->system_identifier = *identifier;
    config->data_checksums = *checksums != 0;
    return Status::Ok();
}

// Fills the staging directory. Runs in the child, as the user the servers will run as.
Status BuildRepository(const std::string& staging, const InitOptions& options,
                       const std::vector<std::string>& initdb_arguments) {
    ZENITH_ASSIGN_OR_RETURN(std::string bindir, FindPostgresBindir(options.pg_bindir));
    ZENITH_ASSIGN_OR_RETURN(std::string page_server, FindPageServerProgram());
    Repository repository(staging);
    ZENITH_RETURN_IF_ERROR(repository.CreateLayout());

    // As plain initdb, but: the superuser is always postgres, and no need for its own fsync, the
    // import reads everything once and syncs what it writes.
    const std::string pgdata = staging + "/initdb";
    std::vector<std::string> argv = {
        bindir + "/initdb", "-D",           pgdata,      "-U",
        "postgres",         "--auth=trust", "--no-sync", "--no-instructions"};
    if (!options.encoding.empty()) {
        argv.push_back("--encoding=" + options.encoding);
    }
    if (!options.locale.empty()) {
        argv.push_back("--locale=" + options.locale);
    }
    if (options.data_checksums) {
        argv.push_back("--data-checksums");
    }
    argv.insert(argv.end(), initdb_arguments.begin(), initdb_arguments.end());
    Result<std::string> initdb = RunProgram({argv, "", {}});
    if (!initdb.ok()) {
        const bool locale = initdb.status().message().find("locale") != std::string::npos;
        return locale ? initdb.status().WithHint("Choose one with --locale, such as C.UTF-8.")
                      : initdb.status();
    }

    RepoConfig config;
    config.pg_bindir = bindir;
    config.listen_port = options.listen_port;
    ZENITH_RETURN_IF_ERROR(SetRetention(options, &config));
    ZENITH_RETURN_IF_ERROR(DescribeCluster(bindir, pgdata, &config));
    ZENITH_RETURN_IF_ERROR(repository.WriteConfig(config));

    const TimelineId timeline = TimelineId::Random();
    ZENITH_RETURN_IF_ERROR(RunProgram({{page_server, "import", "--repo-dir", staging, "--pgdata",
                                        pgdata, "--timeline", timeline.ToString()},
                                       "",
                                       {}})
                               .status());
    ZENITH_RETURN_IF_ERROR(repository.ReadTimeline(timeline).status());
    ZENITH_RETURN_IF_ERROR(repository.WriteBranch("main", timeline));
    ZENITH_RETURN_IF_ERROR(RemoveTree(pgdata));
    return FsyncDirectory(staging);
}

// The child: never returns.
[[noreturn]] void RunChild(const std::string& staging, const InitOptions& options,
                           const std::vector<std::string>& initdb_arguments,
                           const UserAccount* account) {
    Status status;
    if (account != nullptr) {
        status = BecomeUser(*account);
        if (status.ok() && access(staging.c_str(), R_OK | W_OK | X_OK) != 0) {
            status = Status::Refused(
                "user " + account->name + " cannot reach \"" +
                    staging.substr(0, staging.rfind('/')) + "\"",
                "PostgreSQL does not run as root; choose a place that user can reach, such as "
                "--repo-dir /var/lib/postgresql/zenith.");
        }
    }
    if (status.ok()) {
        status = BuildRepository(staging, options, initdb_arguments);
    }
    if (!status.ok() && !Interrupted()) {
        PrintError(status);
    }
    _exit(status.ok() ? 0 : 1);
}

// Waits for the child; passes an interrupt on to it and all it started. True when it succeeded.
bool WaitForChild(pid_t pid) {
    UniqueFd pidfd = OpenPidFd(pid);
    bool told = false;
    for (;;) {
        int wait_status = 0;
        pid_t got = waitpid(pid, &wait_status, WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR)) {
            return got == pid && wait_status == 0;
        }
        if (Interrupted() && !told) {
            kill(-pid, SIGTERM);
            told = true;
        }
        struct pollfd fds[2] = {{pidfd.get(), POLLIN, 0}, {InterruptFd(), POLLIN, 0}};
        poll(fds, told ? 1 : 2, pidfd.valid() ? -1 : 5);
    }
}

Result<int> RunInit(const InitOptions& options, const GlobalOptions& globals) {
    ZENITH_RETURN_IF_ERROR(CheckInitdbArguments(globals.rest));
    RepoConfig retention;
    ZENITH_RETURN_IF_ERROR(SetRetention(options, &retention));
    ZENITH_ASSIGN_OR_RETURN(std::string path, NewRepositoryPath(globals.repo_dir));
    ZENITH_RETURN_IF_ERROR(CheckPlaceIsFree(path));
    std::optional<UserAccount> account;
    if (geteuid() == 0) {
        ZENITH_ASSIGN_OR_RETURN(account, AccountByName(kServerUser));
    }
    const std::string parent = path.substr(0, std::max<size_t>(1, path.rfind('/')));
    ZENITH_RETURN_IF_ERROR(MakeParents(parent));
    std::string staging = path + ".init-XXXXXX";
    if (mkdtemp(staging.data()) == nullptr) {
        return ErrnoStatus("create directory", staging, errno);
    }
    Status status;
    if (account && chown(staging.c_str(), account->uid, account->gid) != 0) {
        status = ErrnoStatus("change the owner of", staging, errno);
    }
    bool built = false;
    if (status.ok()) {
        pid_t pid = fork();
        if (pid == 0) {
            setpgid(0, 0);
            RunChild(staging, options, globals.rest, account ? &*account : nullptr);
        }
        if (pid < 0) {
            status = ErrnoStatus("start a process for", staging, errno);
        } else {
            setpgid(pid, pid);
            built = WaitForChild(pid);
            status = CheckInterrupted();
        }
    }
    if (status.ok() && built && rename(staging.c_str(), path.c_str()) != 0) {
        status = ErrnoStatus("rename directory", staging, errno);
    }
    if (!status.ok() || !built) {
        RemoveTree(staging).Ignore("the first error is the one to report");
        if (!status.ok()) {
            return status;
        }
        return kExitFailure;  // the child has said why
    }
    ZENITH_RETURN_IF_ERROR(FsyncDirectory(parent));
    Print("initialized repository \"" + path + "\" with branch \"main\"\n");
    return kExitOk;
}

}  // namespace

void AddInitCommand(CLI::App& app, CommandRun& chosen) {
    auto options = std::make_shared<InitOptions>();
    CLI::App* command = app.add_subcommand(
        "init", "make a repository (in .zenith) with a new cluster on branch main");
    command->add_option("--pg-bindir", options->pg_bindir, "where PostgreSQL 15's programs are")
        ->type_name("DIR");
    command->add_option("-E,--encoding", options->encoding, "as initdb")->type_name("ENCODING");
    command->add_option("--locale", options->locale, "as initdb")->type_name("LOCALE");
    command->add_flag("-k,--data-checksums", options->data_checksums, "as initdb");
    command
        ->add_option("--listen-port", options->listen_port,
                     "TCP port of the page server; 0 lets the system choose one at each start")
        ->type_name("PORT")
        ->check(CLI::Range(0, 65535));
    command
        ->add_option("--pitr-interval", options->pitr_interval,
                     "how long every moment of the history is kept; default: 7 days")
        ->type_name("INTERVAL");
    command
        ->add_option("--retain-bytes", options->retain_bytes,
                     "so much of the newest WAL is kept however old it is; default: 0")
        ->type_name("SIZE");
    command->footer("Further arguments for initdb may follow after \"--\".");
    command->callback([options, &chosen] {
        chosen.takes_rest = true;
        chosen.run = [options](const GlobalOptions& globals) { return RunInit(*options, globals); };
    });
}

}  // namespace zenith
