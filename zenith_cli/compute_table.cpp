#include "zenith_cli/compute_table.h"

#include "zenith_cli/compute_node.h"

namespace zenith {

Result<Table> ComputeTable(const Repository& repository) {
    ZENITH_ASSIGN_OR_RETURN(std::vector<ComputeNode> computes, ComputeNode::All(repository));
    const std::string socket_directory = repository.SocketDirectory();
    Table table({{"NAME", "name"},
                 {"BRANCH", "branch"},
                 {"PORT", "port"},
                 {"STATUS", "status"},
                 {"", "pid"},
                 {"", "timeline"},
                 {"", "listen_addresses"},
                 {"", "socket_directory"},
                 {"", "data_directory"},
                 {"", "log"}});
    for (const ComputeNode& compute : computes) {
        const ComputeFile& file = compute.file();
        std::optional<ProcessHandle> process = compute.FindPostmaster();
        table.AddRow({file.name, file.branch, static_cast<int64_t>(file.port),
                      std::string(ComputeStateName(compute.State())),
                      process ? Cell(static_cast<int64_t>(process->pid())) : Cell(),
                      file.timeline.ToString(), file.listen_addresses, socket_directory,
                      compute.DataDirectory(), compute.LogPath()});
    }
    return table;
}

}  // namespace zenith
