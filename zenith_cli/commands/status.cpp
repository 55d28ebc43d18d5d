// zenith status: the page server, the computes and the branches at one look.
#include <CLI/CLI.hpp>
#include <memory>

#include "zenith_cli/branch_table.h"
#include "zenith_cli/commands/command.h"
#include "zenith_cli/compute_table.h"
#include "zenith_cli/output.h"
#include "zenith_cli/page_server.h"

namespace zenith {

namespace {

// What keeps WAL or history from being stored, and what did and is over.
Result<Table> ProblemTable(const Repository& repository, const PageServer& server) {
    Table table({{"PROBLEM WITH", "branch"},
                 {"SINCE", "since"},
                 {"HEALED", "healed_at"},
                 {"WHAT", "what"},
                 {"", "timeline"}});
    ZENITH_ASSIGN_OR_RETURN(PqRows rows, server.Query("timeline_list"));
    auto cell = [](const std::string& text) { return text.empty() ? Cell() : Cell(text); };
    for (size_t i = 0; i < rows.rows.size(); i++) {
        ZENITH_ASSIGN_OR_RETURN(std::string timeline, RowField(rows, i, "timeline"));
        ZENITH_ASSIGN_OR_RETURN(std::string error, RowField(rows, i, "error"));
        ZENITH_ASSIGN_OR_RETURN(std::string problem, RowField(rows, i, "problem"));
        ZENITH_ASSIGN_OR_RETURN(std::string since, RowField(rows, i, "problem_since"));
        ZENITH_ASSIGN_OR_RETURN(std::string healed_at, RowField(rows, i, "problem_healed_at"));
        const std::string name = NameOfTimeline(repository, timeline);
        if (!error.empty()) {
            table.AddRow({name, Cell(), Cell(), error, timeline});
        }
        if (!problem.empty()) {
            table.AddRow({name, cell(since), cell(healed_at), problem, timeline});
        }
    }
    return table;
}

Result<int> RunStatus(const Repository& repository, bool json) {
    PageServer server(repository);
    std::optional<ProcessHandle> process = server.FindProcess();
    std::optional<int> port = server.TcpPort();
    ZENITH_ASSIGN_OR_RETURN(Table computes, ComputeTable(repository));
    Table branches = NoBranches();
    Table problems(std::vector<Column>{});
    if (process) {
        ZENITH_ASSIGN_OR_RETURN(PqRows rows, server.Query("branch_list"));
        ZENITH_ASSIGN_OR_RETURN(branches, BranchTable(rows));
        ZENITH_ASSIGN_OR_RETURN(problems, ProblemTable(repository, server));
    }
    if (json) {
        Cell pid = process ? Cell(static_cast<int64_t>(process->pid())) : Cell();
        Cell tcp_port = port ? Cell(static_cast<int64_t>(*port)) : Cell();
        Print("{\"repository\": " + JsonString(repository.path()) +
              ",\n\"pageserver\": {\"running\": " + CellJson(process.has_value()) +
              ", \"pid\": " + CellJson(pid) + ", \"port\": " + CellJson(tcp_port) +
              ", \"socket_directory\": " + JsonString(repository.SocketDirectory()) +
              "},\n\"computes\": " + computes.ToJson() +
              ",\n\"branches\": " + (process ? branches.ToJson() : "null") +
              ",\n\"problems\": " + (process ? problems.ToJson() : "null") + "}\n");
        return kExitOk;
    }
    std::string text = "repository   " + repository.path() + "\npage server  ";
    if (!process) {
        text += "not running\n";
    } else {
        text += "running (pid " + std::to_string(process->pid()) +
                (port ? ", port " + std::to_string(*port) : "") + ")\n";
    }
    text += computes.empty() ? "\nno computes\n" : "\n" + computes.ToText();
    if (process) {
        text += "\n" + branches.ToText();
        text += problems.empty() ? "" : "\n" + problems.ToText();
    }
    Print(text);
    return kExitOk;
}

}  // namespace

void AddStatusCommand(CLI::App& app, CommandRun& chosen) {
    auto json = std::make_shared<bool>(false);
    CLI::App* command =
        app.add_subcommand("status", "show the page server, the computes and the branches");
    command->add_flag("--json", *json, "as JSON");
    command->callback([json, &chosen] {
        chosen.run = [json](const GlobalOptions& globals) -> Result<int> {
            ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
            return RunStatus(repository, *json);
        };
    });
}

}  // namespace zenith
