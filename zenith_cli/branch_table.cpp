#include "zenith_cli/branch_table.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>

#include "zenith_cli/page_server.h"

namespace zenith {

namespace {

struct Branch {
    std::string name;
    std::string timeline;
    std::string ancestor;
    std::string ancestor_lsn;
    std::string last_lsn;
    std::string created_at;
    bool running = false;
};

// Seconds since 1970 become a readable time; anything else is shown as it came.
std::string TimeText(const std::string& text) {
    int64_t seconds = 0;
    const char* end = text.data() + text.size();
    auto [stop, error] = std::from_chars(text.data(), end, seconds);
    return error == std::errc() && stop == end ? FormatTime(seconds) : text;
}

Cell OrNothing(const std::string& text) {
    return text.empty() ? Cell() : Cell(text);
}

}  // namespace

Table NoBranches() {
    return Table({{"BRANCH", "name"},
                  {"PARENT", "parent"},
                  {"TIP", "last_lsn"},
                  {"CREATED", "created_at"},
                  {"COMPUTE", "running"},
                  {"TIMELINE", "timeline"},
                  {"", "ancestor"},
                  {"", "ancestor_lsn"}});
}

Result<Table> BranchTable(const PqRows& rows) {
    std::vector<Branch> branches;
    std::map<std::string, std::string> names;  // of timelines
    for (size_t i = 0; i < rows.rows.size(); i++) {
        Branch branch;
        ZENITH_ASSIGN_OR_RETURN(branch.name, RowField(rows, i, "name"));
        ZENITH_ASSIGN_OR_RETURN(branch.timeline, RowField(rows, i, "timeline"));
        ZENITH_ASSIGN_OR_RETURN(branch.ancestor, RowField(rows, i, "ancestor"));
        ZENITH_ASSIGN_OR_RETURN(branch.ancestor_lsn, RowField(rows, i, "ancestor_lsn"));
        ZENITH_ASSIGN_OR_RETURN(branch.last_lsn, RowField(rows, i, "last_lsn"));
        ZENITH_ASSIGN_OR_RETURN(branch.created_at, RowField(rows, i, "created_at"));
        ZENITH_ASSIGN_OR_RETURN(std::string running, RowField(rows, i, "running"));
        branch.running = running.starts_with('t');
        names.emplace(branch.timeline, branch.name);
        branches.push_back(std::move(branch));
    }
    // "main" first, then by name.
    std::sort(branches.begin(), branches.end(), [](const Branch& a, const Branch& b) {
        return std::pair(a.name != "main", a.name) < std::pair(b.name != "main", b.name);
    });

    Table table = NoBranches();
    std::vector<bool> shown(branches.size(), false);
    // Depth is bounded by the number of branches: each is shown once.
    std::function<void(size_t, int)> show = [&](size_t i, int depth) {
        shown[i] = true;
        const Branch& branch = branches[i];
        Cell parent;
        if (!branch.ancestor.empty()) {
            auto name = names.find(branch.ancestor);
            parent = (name == names.end() ? "(deleted)" : name->second) + "@" + branch.ancestor_lsn;
        }
        table.AddRow({branch.name, parent, OrNothing(branch.last_lsn),
                      OrNothing(TimeText(branch.created_at)), branch.running, branch.timeline,
                      OrNothing(branch.ancestor), OrNothing(branch.ancestor_lsn)},
                     2 * depth);
        for (size_t child = 0; child < branches.size(); child++) {
            if (!shown[child] && branches[child].ancestor == branch.timeline) {
                show(child, depth + 1);
            }
        }
    };
    for (size_t i = 0; i < branches.size(); i++) {
        if (!shown[i] && names.count(branches[i].ancestor) == 0) {
            show(i, 0);
        }
    }
    for (size_t i = 0; i < branches.size(); i++) {
        if (!shown[i]) {
            show(i, 0);
        }
    }
    return table;
}

std::string NameOfTimeline(const Repository& repository, const std::string& timeline) {
    Result<std::map<std::string, TimelineId>> branches = repository.ListBranches();
    if (branches.ok()) {
        for (const auto& [name, id] : *branches) {
            if (id.ToString() == timeline) {
                return name;
            }
        }
    }
    return timeline;
}

}  // namespace zenith
