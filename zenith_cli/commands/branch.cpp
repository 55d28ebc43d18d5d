// zenith branch: list, create, delete.
#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <optional>

#include "zenith_cli/branch_table.h"
#include "zenith_cli/commands/command.h"
#include "zenith_cli/compute_node.h"
#include "zenith_cli/output.h"
#include "zenith_cli/page_server.h"

namespace zenith {

namespace {

// An empty argument is not a missing one: a script's variable may have had no value.
struct BranchOptions {
    std::optional<std::string> name;
    std::optional<std::string> point;
    std::optional<std::string> removed;
    bool json = false;
};

Result<int> ListBranches(const Repository& repository, bool json) {
    ZENITH_ASSIGN_OR_RETURN(PqRows rows, PageServer(repository).Query("branch_list"));
    ZENITH_ASSIGN_OR_RETURN(Table table, BranchTable(rows));
    Print(json ? table.ToJson() + "\n" : table.ToText());
    return kExitOk;
}

Result<int> CreateBranch(const Repository& repository, const std::string& name,
                         const std::string& point) {
    const auto began = std::chrono::steady_clock::now();
    ZENITH_RETURN_IF_ERROR(Repository::CheckRefName(name));
    ZENITH_ASSIGN_OR_RETURN(std::string start, PointAsWord(point));
    ZENITH_ASSIGN_OR_RETURN(PqRows rows,
                            PageServer(repository).Query("branch_create " + name + " " + start));
    ZENITH_ASSIGN_OR_RETURN(std::string timeline, RowField(rows, 0, "timeline"));
    ZENITH_ASSIGN_OR_RETURN(std::string ancestor, RowField(rows, 0, "ancestor"));
    ZENITH_ASSIGN_OR_RETURN(std::string lsn, RowField(rows, 0, "lsn"));
    const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(
                                  std::chrono::steady_clock::now() - began)
                                  .count();
    Print("created branch \"" + name + "\" at " + NameOfTimeline(repository, ancestor) + "@" + lsn +
          " (timeline " + timeline + "), in " + std::to_string(milliseconds) + " ms\n");
    return kExitOk;
}

Result<int> DeleteBranch(const Repository& repository, const std::string& name) {
    ZENITH_RETURN_IF_ERROR(Repository::CheckRefName(name));
    ZENITH_ASSIGN_OR_RETURN(std::optional<TimelineId> timeline, repository.FindBranch(name));
    if (timeline) {
        ZENITH_ASSIGN_OR_RETURN(std::vector<ComputeNode> computes, ComputeNode::All(repository));
        for (const ComputeNode& compute : computes) {
            if (compute.file().timeline == *timeline) {
                return Status::Refused(
                    "compute \"" + compute.file().name + "\" belongs to branch \"" + name + "\"",
                    "Use \"zenith pg destroy " + compute.file().name + "\" first.");
            }
        }
    }
    ZENITH_RETURN_IF_ERROR(PageServer(repository).Query("branch_delete " + name).status());
    Print("deleted branch \"" + name + "\"\n");
    return kExitOk;
}

Result<int> RunBranch(const BranchOptions& options, const GlobalOptions& globals) {
    ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
    if (options.removed) {
        return DeleteBranch(repository, *options.removed);
    }
    if (options.name) {
        if (!options.point) {
            ZENITH_ASSIGN_OR_RETURN(std::optional<TimelineId> main, repository.FindBranch("main"));
            if (!main) {
                return Status::NotFound("there is no branch \"main\" to start from",
                                        "Name the point: zenith branch " + *options.name +
                                            " POINT; \"zenith branch\" lists the branches.");
            }
        }
        return CreateBranch(repository, *options.name, options.point.value_or("main"));
    }
    return ListBranches(repository, options.json);
}

}  // namespace

void AddBranchCommand(CLI::App& app, CommandRun& chosen) {
    auto options = std::make_shared<BranchOptions>();
    CLI::App* command = app.add_subcommand("branch", "list branches; create or delete one");
    CLI::Option* name = command->add_option("NAME", options->name, "the new branch");
    CLI::Option* point = command->add_option(
        "POINT", options->point,
        "where it starts: a branch, branch@LSN, branch@TIME (2026-11-22T10:00:00Z, -10min), a tag, "
        "a timeline id; default: the tip of main");
    CLI::Option* removed =
        command->add_option("-d,--delete", options->removed, "delete this branch")
            ->type_name("NAME");
    CLI::Option* json = command->add_flag("--json", options->json, "list as JSON");
    name->excludes(removed)->excludes(json);
    point->excludes(removed)->excludes(json);
    removed->excludes(json);
    command->callback([options, &chosen] {
        chosen.run = [options](const GlobalOptions& g) { return RunBranch(*options, g); };
    });
}

}  // namespace zenith
