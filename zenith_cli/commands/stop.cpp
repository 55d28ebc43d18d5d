// zenith stop: all computes, at the same time, then the page server.
#include <CLI/CLI.hpp>
#include <memory>

#include "zenith_cli/commands/command.h"
#include "zenith_cli/commands/page_server_text.h"
#include "zenith_cli/compute_node.h"
#include "zenith_cli/output.h"

namespace zenith {

namespace {

Result<int> RunStop(const Repository& repository, StopMode mode) {
    ZENITH_ASSIGN_OR_RETURN(std::vector<ComputeNode> computes, ComputeNode::All(repository));
    std::vector<const ComputeNode*> stopping;
    for (const ComputeNode& compute : computes) {
        ZENITH_ASSIGN_OR_RETURN(bool runs, compute.RequestStop(mode));
        if (runs) {
            stopping.push_back(&compute);
        }
    }
    // Each is waited for even when one fails; the page server stays for those that still need it.
    Status failure;
    for (const ComputeNode* compute : stopping) {
        Status status = compute->WaitUntilStopped();
        if (status.ok()) {
            Print("compute \"" + compute->file().name + "\" stopped\n");
        } else if (failure.ok()) {
            failure = status;
        }
    }
    ZENITH_RETURN_IF_ERROR(failure);
    return StopPageServer(repository, mode);
}

}  // namespace

void AddStopCommand(CLI::App& app, CommandRun& chosen) {
    auto mode = std::make_shared<StopMode>(StopMode::kFast);
    CLI::App* command = app.add_subcommand("stop", "stop all computes, then the page server");
    AddStopModeOption(*command, *mode);
    command->callback([mode, &chosen] {
        chosen.run = [mode](const GlobalOptions& globals) -> Result<int> {
            ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
            return RunStop(repository, *mode);
        };
    });
}

}  // namespace zenith
