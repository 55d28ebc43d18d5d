#include "zenith_cli/compute_table.h"

#include "zenith_cli/compute_node.h"
#include "zenith_cli/supervisor.h"

namespace zenith {

Result<Table> ComputeTable(const Repository& repository) {
    ZENITH_ASSIGN_OR_RETURN(std::vector<ComputeNode> computes, ComputeNode::All(repository));
    const std::string socket_directory = repository.SocketDirectory();
    Table table({{"NAME", "name"},
                 {"BRANCH", "branch"},
                 {"PORT", "port"},
                 {"STATUS", "status"},
                 {"RESTARTS", "restarts"},
                 {"", "pid"},
                 {"", "timeline"},
                 {"", "listen_addresses"},
                 {"", "socket_directory"},
                 {"", "data_directory"},
                 {"", "log"},
                 {"", "supervisor_pid"},
                 {"", "last_restart"},
                 {"FAILURE", "failure"}});
    for (const ComputeNode& compute : computes) {
        const ComputeFile& file = compute.file();
        std::optional<ProcessHandle> process = compute.FindPostmaster();
        std::optional<ProcessHandle> supervisor =
            FindSupervisor(repository, compute.directory(), file.name);
        const SupervisorState state = ReadSupervisorState(compute.directory());
        table.AddRow({file.name, file.branch, static_cast<int64_t>(file.port),
                      std::string(ComputeStateName(compute.State())), state.restarts,
                      process ? Cell(static_cast<int64_t>(process->pid())) : Cell(),
                      file.timeline.ToString(), file.listen_addresses, socket_directory,
                      compute.DataDirectory(), compute.LogPath(),
                      supervisor ? Cell(static_cast<int64_t>(supervisor->pid())) : Cell(),
                      state.last_restart > 0 ? Cell(FormatTime(state.last_restart)) : Cell(),
                      state.failure.empty() ? Cell() : Cell(state.failure)});
    }
    return table;
}

}  // namespace zenith
