// zenith tag: list, create, delete.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "zenith_cli/branch_table.h"
#include "zenith_cli/commands/command.h"
#include "zenith_cli/output.h"
#include "zenith_cli/page_server.h"

namespace zenith {

namespace {

struct TagOptions {
    std::optional<std::string> name;
    std::optional<std::string> point;
    std::optional<std::string> removed;
    bool json = false;
};

Result<int> ListTags(const Repository& repository, bool json) {
    ZENITH_ASSIGN_OR_RETURN(PqRows rows, PageServer(repository).Query("tag_list"));
    Table table({{"TAG", "name"}, {"POINT", "point"}, {"", "timeline"}, {"", "lsn"}});
    for (size_t i = 0; i < rows.rows.size(); i++) {
        ZENITH_ASSIGN_OR_RETURN(std::string name, RowField(rows, i, "name"));
        ZENITH_ASSIGN_OR_RETURN(std::string timeline, RowField(rows, i, "timeline"));
        ZENITH_ASSIGN_OR_RETURN(std::string lsn, RowField(rows, i, "lsn"));
        table.AddRow({name, NameOfTimeline(repository, timeline) + "@" + lsn, timeline, lsn});
    }
    Print(json ? table.ToJson() + "\n" : table.ToText());
    return kExitOk;
}

Result<int> CreateTag(const Repository& repository, const std::string& name,
                      const std::string& point) {
    ZENITH_RETURN_IF_ERROR(Repository::CheckRefName(name));
    ZENITH_ASSIGN_OR_RETURN(std::string place, PointAsWord(point));
    PageServer server(repository);
    ZENITH_RETURN_IF_ERROR(server.Query("tag_create " + name + " " + place).status());
    // What the point stood for is in the tag now.
    ZENITH_ASSIGN_OR_RETURN(std::optional<TimelinePoint> tag, repository.FindTag(name));
    std::string at = tag ? " at " + NameOfTimeline(repository, tag->timeline.ToString()) + "@" +
                               tag->lsn.value_or(Lsn()).ToString()
                         : "";
    Print("created tag \"" + name + "\"" + at + "\n");
    return kExitOk;
}

Result<int> RunTag(const TagOptions& options, const GlobalOptions& globals) {
    ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
    if (options.removed) {
        ZENITH_RETURN_IF_ERROR(Repository::CheckRefName(*options.removed));
        ZENITH_RETURN_IF_ERROR(
            PageServer(repository).Query("tag_delete " + *options.removed).status());
        Print("deleted tag \"" + *options.removed + "\"\n");
        return kExitOk;
    }
    if (options.name) {
        return CreateTag(repository, *options.name, *options.point);  // CLI11 sees to both
    }
    return ListTags(repository, options.json);
}

}  // namespace

void AddTagCommand(CLI::App& app, CommandRun& chosen) {
    auto options = std::make_shared<TagOptions>();
    CLI::App* command = app.add_subcommand("tag", "list tags; create or delete one");
    CLI::Option* name = command->add_option("NAME", options->name, "the new tag");
    CLI::Option* point = command->add_option(
        "POINT", options->point, "what it names: a branch, branch@LSN, branch@TIME, a tag, a timeline id");
    CLI::Option* removed =
        command->add_option("-d,--delete", options->removed, "delete this tag")->type_name("NAME");
    CLI::Option* json = command->add_flag("--json", options->json, "list as JSON");
    name->needs(point)->excludes(removed)->excludes(json);
    point->needs(name);
    removed->excludes(json);
    command->callback([options, &chosen] {
        chosen.run = [options](const GlobalOptions& g) { return RunTag(*options, g); };
    });
}

}  // namespace zenith
