// zenith start: the page server, until it serves.
#include <CLI/CLI.hpp>

#include "zenith_cli/commands/command.h"
#include "zenith_cli/commands/page_server_text.h"

namespace zenith {

void AddStartCommand(CLI::App& app, CommandRun& chosen) {
    CLI::App* command = app.add_subcommand("start", "start the page server, wait until it serves");
    command->callback([&chosen] {
        chosen.run = [](const GlobalOptions& globals) -> Result<int> {
            ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
            return StartPageServer(repository);
        };
    });
}

}  // namespace zenith
