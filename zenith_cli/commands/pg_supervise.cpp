// zenith pg supervise: what "pg start" leaves running beside a compute. Not for users.
#include <CLI/CLI.hpp>
#include <memory>

#include "zenith_cli/commands/command.h"
#include "zenith_cli/supervisor.h"

namespace zenith {

void AddPgSuperviseCommand(CLI::App& pg, CommandRun& chosen) {
    auto name = std::make_shared<std::string>();
    CLI::App* command = pg.add_subcommand("supervise", "start a compute again when it crashes");
    command->group("");  // not in the help
    command->add_option("NAME", *name, "the compute")->required();
    command->callback([name, &chosen] {
        chosen.run = [name](const GlobalOptions& globals) -> Result<int> {
            ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
            ZENITH_RETURN_IF_ERROR(Supervise(repository, *name));
            return kExitOk;
        };
    });
}

}  // namespace zenith
