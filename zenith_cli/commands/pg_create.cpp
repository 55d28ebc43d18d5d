// zenith pg create: registers a compute.
#include <CLI/CLI.hpp>
#include <memory>

#include "zenith_cli/commands/command.h"
#include "zenith_cli/compute_node.h"
#include "zenith_cli/compute_settings.h"
#include "zenith_cli/output.h"

namespace zenith {

namespace {

struct PgCreateOptions {
    ComputeRequest request;
    std::vector<std::string> settings;
};

Result<int> RunPgCreate(PgCreateOptions options, const GlobalOptions& globals) {
    for (const std::string& text : options.settings) {
        ZENITH_ASSIGN_OR_RETURN(auto setting, ParseSetting(text));
        options.request.settings.push_back(std::move(setting));
    }
    ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
    ZENITH_ASSIGN_OR_RETURN(ComputeNode compute, ComputeNode::Create(repository, options.request));
    Print("created compute \"" + compute.file().name + "\" on branch \"" + compute.file().branch +
          "\", port " + std::to_string(compute.file().port) + "\n");
    return kExitOk;
}

}  // namespace

void AddPgCreateCommand(CLI::App& pg, CommandRun& chosen) {
    auto options = std::make_shared<PgCreateOptions>();
    CLI::App* command =
        pg.add_subcommand("create", "register a compute on a branch; start it then");
    command->add_option("BRANCH", options->request.branch, "default: main");
    command->add_option("--name", options->request.name, "default: the branch's")
        ->type_name("NAME");
    command
        ->add_option("-p,--port", options->request.port, "default: the first free one from 15432")
        ->type_name("PORT")
        ->check(CLI::Range(1, 65535));
    command
        ->add_option("--listen", options->request.listen_addresses,
                     "listen_addresses; default: 127.0.0.1; '' for the Unix socket alone")
        ->type_name("ADDRESSES");
    command->add_option("--set", options->settings, "a setting of its postgres, name=value")
        ->type_name("SETTING")
        ->allow_extra_args(false);  // one value each; what follows is the branch
    command->callback([options, &chosen] {
        chosen.run = [options](const GlobalOptions& g) { return RunPgCreate(*options, g); };
    });
}

}  // namespace zenith
