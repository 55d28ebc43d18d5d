// How a command hangs together: command_table.cpp has one line per command, each adds a subcommand
// with its options to the parser and, when it is the one given, sets what is to be run. Nothing
// runs while the command line is still being parsed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/repo/repository.h"
#include "zenith_cli/exit_codes.h"

namespace CLI {
class App;
}

namespace zenith {

struct GlobalOptions {
    std::string repo_dir;           // --repo-dir; empty when not given
    std::vector<std::string> rest;  // what follows "--"
};

struct CommandRun {
    // The exit code, or the error to print.
    std::function<Result<int>(const GlobalOptions&)> run;
    bool takes_rest = false;
};

// Finds the repository, becomes its owner when run by root, and reads its configuration once so
// that a directory that is none of ours is told at once.
Result<Repository> OpenRepository(const GlobalOptions& options);

// Adds every command to `app`; `chosen` is set by the one that is given, and outlives `app`.
void AddAllCommands(CLI::App& app, CommandRun& chosen);

// The whole program: parses, runs, prints errors; returns the exit code.
int RunZenith(int argc, const char* const* argv);

void AddInitCommand(CLI::App& app, CommandRun& chosen);
void AddStartCommand(CLI::App& app, CommandRun& chosen);
void AddStopCommand(CLI::App& app, CommandRun& chosen);
void AddStatusCommand(CLI::App& app, CommandRun& chosen);
void AddPageServerCommands(CLI::App& app, CommandRun& chosen);
void AddBranchCommand(CLI::App& app, CommandRun& chosen);
void AddTagCommand(CLI::App& app, CommandRun& chosen);
void AddGcCommand(CLI::App& app, CommandRun& chosen);
void AddRetentionCommand(CLI::App& app, CommandRun& chosen);
void AddPsqlCommand(CLI::App& app, CommandRun& chosen);
// fsck, layer list, layer dump.
void AddInspectCommands(CLI::App& app, CommandRun& chosen);
// Below "pg".
void AddPgCreateCommand(CLI::App& pg, CommandRun& chosen);
void AddPgStartCommand(CLI::App& pg, CommandRun& chosen);
void AddPgStopCommand(CLI::App& pg, CommandRun& chosen);
void AddPgListCommand(CLI::App& pg, CommandRun& chosen);
void AddPgDestroyCommand(CLI::App& pg, CommandRun& chosen);
void AddPgSuperviseCommand(CLI::App& pg, CommandRun& chosen);  // not for users

}  // namespace zenith
