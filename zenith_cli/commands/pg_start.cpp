// zenith pg start: postgres on a fresh base backup of the compute's branch.
#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>

#include "zenith_cli/commands/command.h"
#include "zenith_cli/compute_node.h"
#include "zenith_cli/output.h"

namespace zenith {

namespace {

struct PgStartOptions {
    std::string name;
    int port = 0;
};

Result<int> RunPgStart(const PgStartOptions& options, const GlobalOptions& globals) {
    const auto began = std::chrono::steady_clock::now();
    ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
    ZENITH_ASSIGN_OR_RETURN(ComputeNode compute, ComputeNode::Open(repository, options.name));
    ZENITH_ASSIGN_OR_RETURN(
        bool started,
        compute.Start(options.port == 0 ? std::nullopt : std::optional<int>(options.port)));
    const std::string port = std::to_string(compute.file().port);
    if (!started) {
        Print("compute \"" + options.name + "\" is already running on port " + port + "\n");
        return kExitOk;
    }
    const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(
                                  std::chrono::steady_clock::now() - began)
                                  .count();
    Print("started compute \"" + options.name + "\" on port " + port + ", in " +
          std::to_string(milliseconds) + " ms\n");
    return kExitOk;
}

}  // namespace

void AddPgStartCommand(CLI::App& pg, CommandRun& chosen) {
    auto options = std::make_shared<PgStartOptions>();
    CLI::App* command = pg.add_subcommand("start", "start a compute, wait until it takes queries");
    command->add_option("NAME", options->name, "the compute")->required();
    command->add_option("-p,--port", options->port, "move it to this port")
        ->type_name("PORT")
        ->check(CLI::Range(1, 65535));
    command->callback([options, &chosen] {
        chosen.run = [options](const GlobalOptions& g) { return RunPgStart(*options, g); };
    });
}

}  // namespace zenith
