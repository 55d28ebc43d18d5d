// zenith gc: removes the history that nobody needs any more, now instead of later.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include "common/base/units.h"
#include "zenith_cli/branch_table.h"
#include "zenith_cli/commands/command.h"
#include "zenith_cli/interrupt.h"
#include "zenith_cli/output.h"
#include "zenith_cli/page_server.h"

namespace zenith {

namespace {

struct GcOptions {
    std::string branch;
    bool dry_run = false;
    bool json = false;
};

// Every timeline, children before parents: what goes with a child is not the parent's any more.
Result<std::vector<std::string>> AllTimelines(const PageServer& server) {
    ZENITH_ASSIGN_OR_RETURN(PqRows rows, server.Query("timeline_list"));
    std::map<std::string, std::string> ancestors;
    for (size_t i = 0; i < rows.rows.size(); i++) {
        ZENITH_ASSIGN_OR_RETURN(std::string id, RowField(rows, i, "timeline"));
        ZENITH_ASSIGN_OR_RETURN(ancestors[id], RowField(rows, i, "ancestor"));
    }
    std::vector<std::pair<size_t, std::string>> by_depth;
    for (const auto& [id, ancestor] : ancestors) {
        size_t depth = 0;
        for (std::string up = ancestor; !up.empty() && depth < ancestors.size(); depth++) {
            auto found = ancestors.find(up);
            up = found == ancestors.end() ? "" : found->second;
        }
        by_depth.emplace_back(depth, id);
    }
    std::sort(by_depth.rbegin(), by_depth.rend());
    std::vector<std::string> ids;
    for (auto& [depth, id] : by_depth) {
        ids.push_back(std::move(id));
    }
    return ids;
}

Result<int64_t> NumberField(const PqRows& rows, const char* column) {
    ZENITH_ASSIGN_OR_RETURN(std::string text, RowField(rows, 0, column));
    return static_cast<int64_t>(std::strtoll(text.c_str(), nullptr, 10));
}

std::string Bytes(int64_t bytes) {
    constexpr int64_t kMegabyte = 1 << 20;
    char text[64];
    if (bytes < kMegabyte) {
        snprintf(text, sizeof text, "%lld kB", static_cast<long long>((bytes + 1023) / 1024));
    } else {
        snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / kMegabyte);
    }
    return text;
}

Result<int> RunGc(const Repository& repository, const GcOptions& options) {
    PageServer server(repository);
    std::vector<std::string> timelines;
    if (options.branch.empty()) {
        ZENITH_ASSIGN_OR_RETURN(timelines, AllTimelines(server));
    } else {
        ZENITH_ASSIGN_OR_RETURN(TimelinePoint point, repository.ResolvePoint(options.branch));
        timelines.push_back(point.timeline.ToString());
    }
    Table table({{"BRANCH", "branch"},
                 {"TIMELINE", "timeline"},
                 {"OLDEST LSN", "readable_from"},
                 {options.dry_run ? "WOULD FREE" : "FREED", ""},
                 {"WRITTEN", ""},
                 {"VERSIONS", "dropped_versions"},
                 {"REMOVED", "removed"},
                 {"", "removed_bytes"},
                 {"", "written_bytes"}});
    int64_t freed = 0;
    int64_t written = 0;
    const bool progress = isatty(STDERR_FILENO) == 1 && timelines.size() > 1;
    size_t failures = 0;
    for (size_t i = 0; i < timelines.size(); i++) {
        ZENITH_RETURN_IF_ERROR(CheckInterrupted());
        if (progress) {
            fprintf(stderr, "\rtimeline %zu of %zu", i + 1, timelines.size());
        }
        const std::string name = NameOfTimeline(repository, timelines[i]);
        Result<PqRows> rows =
            server.QueryWithoutHurry((options.dry_run ? "gc dry-run " : "gc ") + timelines[i]);
        if (!rows.ok()) {
            // Deleted meanwhile; or one that is damaged, which does not keep the others' garbage.
            if (rows.status().code() != StatusCode::kNotFound || !options.branch.empty()) {
                PrintError(rows.status().WithContext("branch " + name));
                failures++;
            }
            continue;
        }
        ZENITH_ASSIGN_OR_RETURN(int64_t removed_bytes, NumberField(*rows, "removed_bytes"));
        ZENITH_ASSIGN_OR_RETURN(int64_t written_bytes, NumberField(*rows, "written_bytes"));
        ZENITH_ASSIGN_OR_RETURN(int64_t versions, NumberField(*rows, "dropped_versions"));
        ZENITH_ASSIGN_OR_RETURN(std::string readable_from, RowField(*rows, 0, "readable_from"));
        ZENITH_ASSIGN_OR_RETURN(std::string removed, RowField(*rows, 0, "removed"));
        freed += removed_bytes;
        written += written_bytes;
        table.AddRow({name == timelines[i] ? Cell("(deleted)") : Cell(name), timelines[i],
                      readable_from.empty() ? Cell() : Cell(readable_from), Bytes(removed_bytes),
                      Bytes(written_bytes), versions, removed == "t", removed_bytes,
                      written_bytes});
    }
    if (progress) {
        fprintf(stderr, "\r\x1b[K");
    }
    if (options.json) {
        Print("{\"dry_run\": " + CellJson(options.dry_run) +
              ", \"removed_bytes\": " + std::to_string(freed) +
              ", \"written_bytes\": " + std::to_string(written) +
              ",\n\"timelines\": " + table.ToJson() + "}\n");
    } else {
        Print(table.ToText() + (options.dry_run ? "would free " : "freed ") + Bytes(freed) +
              ", " + (options.dry_run ? "and write " : "wrote ") + Bytes(written) + "\n");
    }
    return failures == 0 ? kExitOk : kExitFailure;
}

}  // namespace

void AddGcCommand(CLI::App& app, CommandRun& chosen) {
    auto options = std::make_shared<GcOptions>();
    CLI::App* command =
        app.add_subcommand("gc", "remove the history that is not kept any longer (see retention)");
    command->add_option("BRANCH", options->branch, "this one only; a timeline id does as well");
    command->add_flag("--dry-run", options->dry_run, "only say what would be freed");
    command->add_flag("--json", options->json, "as JSON");
    command->callback([options, &chosen] {
        chosen.run = [options](const GlobalOptions& globals) -> Result<int> {
            ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
            return RunGc(repository, *options);
        };
    });
}

}  // namespace zenith
