// zenith pageserver start | stop | status.
#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "zenith_cli/commands/command.h"
#include "zenith_cli/commands/page_server_text.h"
#include "zenith_cli/output.h"

namespace zenith {

namespace {

std::string Describe(const PageServer& server) {
    std::string text;
    if (std::optional<ProcessHandle> process = server.FindProcess()) {
        text = "pid " + std::to_string(process->pid());
        if (std::optional<int> port = server.TcpPort()) {
            text += ", port " + std::to_string(*port);
        }
    }
    return text;
}

Result<int> ShowPageServer(const Repository& repository) {
    PageServer server(repository);
    if (!server.FindProcess()) {
        Print("page server is not running\n");
        return kExitNotRunning;
    }
    ZENITH_RETURN_IF_ERROR(server.Query("status").status());
    Print("page server is running (" + Describe(server) + ")\n");
    return kExitOk;
}

}  // namespace

Result<int> StartPageServer(const Repository& repository) {
    PageServer server(repository);
    ZENITH_ASSIGN_OR_RETURN(bool started, server.Start());
    Print(std::string("page server ") + (started ? "started (" : "is already running (") +
          Describe(server) + ")\n");
    return kExitOk;
}

Result<int> StopPageServer(const Repository& repository, StopMode mode) {
    ZENITH_ASSIGN_OR_RETURN(bool stopped, PageServer(repository).Stop(mode));
    Print(stopped ? "page server stopped\n" : "page server was not running\n");
    return kExitOk;
}

void AddStopModeOption(CLI::App& command, StopMode& mode) {
    const std::map<std::string, StopMode> names = {{"fast", StopMode::kFast},
                                                   {"immediate", StopMode::kImmediate}};
    command
        .add_option_function<std::string>(
            "-m,--mode", [&mode, names](const std::string& name) { mode = names.at(name); },
            "fast (default): orderly; immediate: at once, as after a crash")
        ->type_name("MODE")
        ->check(CLI::IsMember({"fast", "immediate"}));
}

void AddPageServerCommands(CLI::App& app, CommandRun& chosen) {
    CLI::App* group =
        app.add_subcommand("pageserver", "the page server alone: start, stop, status");
    group->require_subcommand(1);
    group->add_subcommand("start", "start it, wait until it serves")->callback([&chosen] {
        chosen.run = [](const GlobalOptions& globals) -> Result<int> {
            ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
            return StartPageServer(repository);
        };
    });
    auto mode = std::make_shared<StopMode>(StopMode::kFast);
    CLI::App* stop =
        group->add_subcommand("stop", "stop it; computes that run go on and wait for its return");
    AddStopModeOption(*stop, *mode);
    stop->callback([mode, &chosen] {
        chosen.run = [mode](const GlobalOptions& globals) -> Result<int> {
            ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
            return StopPageServer(repository, *mode);
        };
    });
    group->add_subcommand("status", "say whether it runs; exit code 3 when it does not")
        ->callback([&chosen] {
            chosen.run = [](const GlobalOptions& globals) -> Result<int> {
                ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
                return ShowPageServer(repository);
            };
        });
}

}  // namespace zenith
