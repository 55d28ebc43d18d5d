// zenith psql: psql on a compute of a branch, made and started when there is none.
//
// Run by root, the compute is seen to by a child that becomes the repository's owner; psql itself
// keeps the caller's user, directory and terminal.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "common/base/posix_file.h"
#include "zenith_cli/commands/command.h"
#include "zenith_cli/compute_node.h"
#include "zenith_cli/find_repository.h"
#include "zenith_cli/interrupt.h"
#include "zenith_cli/output.h"

namespace zenith {

namespace {

// The port of a running compute on the branch; nullopt when the child has told the error already.
Result<std::optional<int>> EnsureCompute(const GlobalOptions& globals, const std::string& branch) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return ErrnoStatus("create a pipe for", "psql", errno);
    }
    UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    pid_t pid = fork();
    if (pid < 0) {
        return ErrnoStatus("start a process for", "psql", errno);
    }
    if (pid == 0) {
        auto run = [&]() -> Status {
            ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
            ZENITH_ASSIGN_OR_RETURN(ComputeNode compute, ComputeNode::Ensure(repository, branch));
            int port = compute.file().port;
            if (write(write_end.get(), &port, sizeof port) != sizeof port) {
                return ErrnoStatus("write to", "pipe", errno);
            }
            return Status::Ok();
        };
        Status status = run();
        if (!status.ok()) {
            PrintError(status);
        }
        _exit(status.ok() ? 0 : 1);
    }
    write_end.Reset();
    int port = 0;
    ssize_t n;
    do {
        n = read(read_end.get(), &port, sizeof port);
    } while (n < 0 && errno == EINTR);
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    ZENITH_RETURN_IF_ERROR(CheckInterrupted());
    return n == sizeof port ? std::optional<int>(port) : std::nullopt;
}

Result<int> RunPsql(const std::string& branch, const GlobalOptions& globals) {
    ZENITH_ASSIGN_OR_RETURN(std::optional<int> port, EnsureCompute(globals, branch));
    if (!port) {
        return kExitFailure;
    }
    ZENITH_ASSIGN_OR_RETURN(std::string path, FindRepository(globals.repo_dir));
    Repository repository(path);
    ZENITH_ASSIGN_OR_RETURN(RepoConfig config, repository.ReadConfig());
    // By environment, not by options: then every argument of the caller's means what it means to
    // psql, a lone database name too.
    setenv("PGHOST", repository.SocketDirectory().c_str(), 1);
    setenv("PGPORT", std::to_string(*port).c_str(), 1);
    setenv("PGUSER", "postgres", 1);
    setenv("PGDATABASE", "postgres", 1);
    unsetenv("PGHOSTADDR");
    unsetenv("PGSERVICE");
    std::string program = config.pg_bindir + "/psql";
    std::vector<char*> argv = {program.data()};
    std::vector<std::string> arguments = globals.rest;
    for (std::string& argument : arguments) {
        argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    RestoreSignals();
    execv(program.c_str(), argv.data());
    return ErrnoStatus("execute", program, errno);
}

}  // namespace

void AddPsqlCommand(CLI::App& app, CommandRun& chosen) {
    auto branch = std::make_shared<std::string>("main");
    CLI::App* command = app.add_subcommand(
        "psql", "psql on a branch; creates and starts a compute if none runs there");
    command->add_option("BRANCH", *branch, "default: main");
    command->footer("Arguments for psql follow after \"--\": zenith psql main -- -c 'SELECT 1'");
    command->callback([branch, &chosen] {
        chosen.takes_rest = true;
        chosen.run = [branch](const GlobalOptions& g) { return RunPsql(*branch, g); };
    });
}

}  // namespace zenith
