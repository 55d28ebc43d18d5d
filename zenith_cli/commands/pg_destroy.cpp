// zenith pg destroy.
#include <CLI/CLI.hpp>
#include <memory>

#include "zenith_cli/commands/command.h"
#include "zenith_cli/compute_node.h"
#include "zenith_cli/output.h"

namespace zenith {

namespace {

struct PgDestroyOptions {
    std::string name;
    bool force = false;
};

Result<int> RunPgDestroy(const PgDestroyOptions& options, const GlobalOptions& globals) {
    ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
    ZENITH_ASSIGN_OR_RETURN(ComputeNode compute, ComputeNode::Open(repository, options.name));
    ZENITH_RETURN_IF_ERROR(compute.Destroy(options.force));
    Print("destroyed compute \"" + options.name + "\"\n");
    return kExitOk;
}

}  // namespace

void AddPgDestroyCommand(CLI::App& pg, CommandRun& chosen) {
    auto options = std::make_shared<PgDestroyOptions>();
    CLI::App* command =
        pg.add_subcommand("destroy", "remove a compute; its branch and all data stay");
    command->add_option("NAME", options->name, "the compute")->required();
    command->add_flag("-f,--force", options->force, "also when it is running");
    command->callback([options, &chosen] {
        chosen.run = [options](const GlobalOptions& g) { return RunPgDestroy(*options, g); };
    });
}

}  // namespace zenith
