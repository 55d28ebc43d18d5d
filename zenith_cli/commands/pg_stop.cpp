// zenith pg stop.
#include <CLI/CLI.hpp>
#include <memory>

#include "zenith_cli/commands/command.h"
#include "zenith_cli/commands/page_server_text.h"
#include "zenith_cli/compute_node.h"
#include "zenith_cli/output.h"

namespace zenith {

namespace {

struct PgStopOptions {
    std::string name;
    StopMode mode = StopMode::kFast;
};

Result<int> RunPgStop(const PgStopOptions& options, const GlobalOptions& globals) {
    ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
    ZENITH_ASSIGN_OR_RETURN(ComputeNode compute, ComputeNode::Open(repository, options.name));
    ZENITH_ASSIGN_OR_RETURN(bool runs, compute.RequestStop(options.mode));
    if (!runs) {
        Print("compute \"" + options.name + "\" was not running\n");
        return kExitOk;
    }
    ZENITH_RETURN_IF_ERROR(compute.WaitUntilStopped());
    Print("stopped compute \"" + options.name + "\"\n");
    return kExitOk;
}

}  // namespace

void AddPgStopCommand(CLI::App& pg, CommandRun& chosen) {
    auto options = std::make_shared<PgStopOptions>();
    CLI::App* command = pg.add_subcommand("stop", "stop a compute, wait until it has");
    command->add_option("NAME", options->name, "the compute")->required();
    AddStopModeOption(*command, options->mode);
    command->callback([options, &chosen] {
        chosen.run = [options](const GlobalOptions& g) { return RunPgStop(*options, g); };
    });
}

}  // namespace zenith
