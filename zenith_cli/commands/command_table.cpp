#include <CLI/CLI.hpp>

#include "zenith_cli/commands/command.h"
#include "zenith_cli/find_repository.h"
#include "zenith_cli/interrupt.h"
#include "zenith_cli/output.h"
#include "zenith_cli/privileges.h"

namespace zenith {

namespace {

constexpr const char* kVersion = "zenith 0.1.0 (PostgreSQL 15)";

// "zenith pg create" for the subcommand that was being parsed when the error came up.
std::string PathOfCommand(const CLI::App& app) {
    std::string path = "zenith";
    const CLI::App* at = &app;
    for (;;) {
        std::vector<CLI::App*> given =
            const_cast<CLI::App*>(at)->get_subcommands([](CLI::App* sub) { return sub->parsed(); });
        if (given.empty()) {
            return path;
        }
        at = given.back();
        path += " " + at->get_name();
    }
}

// CLI11's sentences begin with a capital and may end with a period.
std::string InOurStyle(std::string message) {
    size_t end = message.find_last_not_of(". \n");
    message.resize(end == std::string::npos ? 0 : end + 1);
    // Not an acronym or the name of an argument.
    if (message.size() > 1 && message[0] >= 'A' && message[0] <= 'Z' &&
        (message[1] < 'A' || message[1] > 'Z')) {
        message[0] = static_cast<char>(message[0] - 'A' + 'a');
    }
    for (char& c : message) {
        c = c == '\n' ? ' ' : c;
    }
    return message;
}

int UsageError(const CLI::App& app, const std::string& message) {
    PrintError(Status::InvalidArgument(
        message, "Use \"" + PathOfCommand(app) + " --help\" to see what it takes."));
    return kExitUsage;
}

}  // namespace

Result<Repository> OpenRepository(const GlobalOptions& options) {
    ZENITH_ASSIGN_OR_RETURN(std::string path, FindRepository(options.repo_dir));
    ZENITH_RETURN_IF_ERROR(BecomeOwnerOf(path));
    Repository repository(path);
    ZENITH_RETURN_IF_ERROR(repository.ReadConfig().status());
    return repository;
}

void AddAllCommands(CLI::App& app, CommandRun& chosen) {
    AddInitCommand(app, chosen);
    AddStartCommand(app, chosen);
    AddStopCommand(app, chosen);
    AddStatusCommand(app, chosen);
    AddBranchCommand(app, chosen);
    AddTagCommand(app, chosen);
    AddGcCommand(app, chosen);
    AddRetentionCommand(app, chosen);
    AddPsqlCommand(app, chosen);
    CLI::App* pg = app.add_subcommand("pg", "compute nodes: create, start, stop, list, destroy");
    pg->require_subcommand(1);
    AddPgCreateCommand(*pg, chosen);
    AddPgStartCommand(*pg, chosen);
    AddPgStopCommand(*pg, chosen);
    AddPgListCommand(*pg, chosen);
    AddPgDestroyCommand(*pg, chosen);
    AddPgSuperviseCommand(*pg, chosen);
    AddPageServerCommands(app, chosen);
    AddInspectCommands(app, chosen);
}

int RunZenith(int argc, const char* const* argv) {
    GlobalOptions options;
    CommandRun chosen;
    CLI::App app("zenith: branches for stock PostgreSQL", "zenith");
    app.set_version_flag("--version", kVersion);
    app.fallthrough();  // global options may follow the command
    app.require_subcommand(1);
    app.add_option("--repo-dir", options.repo_dir,
                   "the repository; else ZENITH_REPO_DIR, else the nearest .zenith upward")
        ->type_name("DIR")
        ->take_last();
    AddAllCommands(app, chosen);

    // What follows "--" is for another program and never looked at here.
    int own = 1;
    while (own < argc && std::string_view(argv[own]) != "--") {
        own++;
    }
    for (int i = own + 1; i < argc; i++) {
        options.rest.emplace_back(argv[i]);
    }
    std::vector<std::string> arguments;
    for (int i = own - 1; i >= 1; i--) {
        arguments.emplace_back(argv[i]);  // CLI11 takes them from the back
    }
    if (arguments.empty()) {
        Print(app.help());
        return kExitUsage;
    }
    try {
        app.parse(std::move(arguments));
    } catch (const CLI::Success& help) {  // --help, --version
        return app.exit(help);
    } catch (const CLI::RequiredError& error) {
        std::vector<std::string> unknown = app.remaining(true);
        return UsageError(app, unknown.empty() ? InOurStyle(error.what())
                                               : "there is no command \"" + unknown.front() + "\"");
    } catch (const CLI::ParseError& error) {
        return UsageError(app, InOurStyle(error.what()));
    }
    if (!chosen.takes_rest && own < argc) {
        return UsageError(app, "\"" + PathOfCommand(app) + "\" takes nothing after \"--\"");
    }
    Result<int> outcome = chosen.run(options);
    if (!outcome.ok()) {
        PrintError(outcome.status());
        return Interrupted() ? kExitInterrupted : kExitFailure;
    }
    return *outcome;
}

}  // namespace zenith
