// zenith pg list.
#include <CLI/CLI.hpp>
#include <memory>

#include "zenith_cli/commands/command.h"
#include "zenith_cli/compute_table.h"
#include "zenith_cli/output.h"

namespace zenith {

void AddPgListCommand(CLI::App& pg, CommandRun& chosen) {
    auto json = std::make_shared<bool>(false);
    CLI::App* command = pg.add_subcommand("list", "list the computes");
    command->add_flag("--json", *json, "as JSON");
    command->callback([json, &chosen] {
        chosen.run = [json](const GlobalOptions& globals) -> Result<int> {
            ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
            ZENITH_ASSIGN_OR_RETURN(Table table, ComputeTable(repository));
            Print(*json ? table.ToJson() + "\n" : table.ToText());
            return kExitOk;
        };
    });
}

}  // namespace zenith
