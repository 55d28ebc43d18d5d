#include "pageserver/inspect/timeline_tree.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "common/base/posix_file.h"

namespace zenith {

namespace {

class TreeReader {
  public:
    TreeReader(const Repository& repository, const TreeCheck& check, Findings* findings)
        : repository_(repository), check_(check), findings_(findings) {}

    TimelineTree Read() {
        ReadTimelines();
        Connect();
        ReadRefs("branches");
        ReadRefs("tags");
        CheckNames();
        return std::move(tree_);
    }

  private:
    void ReadTimelines();
    void ReadTimeline(const TimelineId& id, const std::string& directory);
    // Children to their parents; what hangs on nothing becomes unreadable.
    void Connect();
    void ReadRefs(const std::string& kind);
    void ReadRef(const std::string& kind, const std::string& name, const std::string& path);
    // The LSN on the timeline it is read from: `id` or an ancestor.
    void AddPoint(TimelineId id, Lsn lsn, const std::string& path);
    void CheckNames();
    bool IsThere(const TimelineId& id) const {
        return tree_.nodes.contains(id) || tree_.unreadable.contains(id);
    }

    const Repository& repository_;
    const TreeCheck check_;
    Findings* const findings_;
    TimelineTree tree_;
    std::set<TimelineId> named_;
    bool branch_exists_ = false;
};

void TreeReader::ReadTimelines() {
    const std::string top = repository_.path() + "/timelines";
    auto names = ListDirectory(top);
    if (!names.ok()) {
        findings_->Error(top, names.status());
        return;
    }
    std::sort(names->begin(), names->end());
    for (const std::string& name : *names) {
        const std::string path = top + "/" + name;
        std::optional<TimelineId> id = TimelineId::Parse(name);
        if (id.has_value()) {
            ReadTimeline(*id, path);
        } else if (name.ends_with(".removed")) {
            if (!check_.server_runs) {
                findings_->Warning(path, "a timeline that was being removed when the page server "
                                         "died; its next start removes it");
            }
        } else {
            findings_->Warning(path, "unknown file");
        }
    }
}

void TreeReader::ReadTimeline(const TimelineId& id, const std::string& directory) {
    const std::string path = directory + "/timeline.json";
    Result<TimelineFile> file = repository_.ReadTimeline(id);
    if (file.ok()) {
        tree_.nodes[id].file = *std::move(file);
        return;
    }
    if (file.status().code() != StatusCode::kNotFound) {
        findings_->Error(path, file.status(), id);
        tree_.unreadable.insert(id);
        return;
    }
    auto wal = ListDirectory(directory + "/wal");
    if (wal.ok() && !wal->empty()) {
        findings_->Error(path, Status::Corruption("is missing, but the timeline has WAL"), id);
        tree_.unreadable.insert(id);
    } else if (!check_.server_runs) {
        findings_->Warning(directory, "a timeline that was never finished; the next start of the "
                                      "page server removes it");
    }
}

void TreeReader::Connect() {
    for (auto& [id, node] : tree_.nodes) {
        const TimelineId ancestor = node.file.ancestor;
        const std::string path = repository_.TimelineDirectory(id) + "/timeline.json";
        if (!ancestor.valid()) {
            tree_.roots.push_back(id);
        } else if (auto parent = tree_.nodes.find(ancestor); parent != tree_.nodes.end()) {
            parent->second.children.push_back(id);
        } else if (!tree_.unreadable.contains(ancestor)) {
            findings_->Error(path,
                             Status::Corruption("its ancestor, timeline " + ancestor.ToString() +
                                                ", does not exist"),
                             id);
        }
    }
    // What no root leads to hangs on damage, or on itself.
    std::set<TimelineId> reached;
    std::vector<TimelineId> next = tree_.roots;
    while (!next.empty()) {
        const TimelineId id = next.back();
        next.pop_back();
        reached.insert(id);
        for (const TimelineId& child : tree_.nodes[id].children) {
            next.push_back(child);
        }
    }
    for (auto node = tree_.nodes.begin(); node != tree_.nodes.end();) {
        if (reached.contains(node->first)) {
            ++node;
            continue;
        }
        // Follow the ancestors: back where we were is a circle.
        TimelineId at = node->second.file.ancestor;
        for (size_t i = 0; i < tree_.nodes.size() && at != node->first; i++) {
            auto ancestor = tree_.nodes.find(at);
            at = ancestor == tree_.nodes.end() ? TimelineId() : ancestor->second.file.ancestor;
        }
        if (at == node->first) {
            findings_->Error(repository_.TimelineDirectory(at) + "/timeline.json",
                             Status::Corruption("the timeline is its own ancestor"), at);
        }
        tree_.unreadable.insert(node->first);
        ++node;
    }
    for (const TimelineId& id : tree_.unreadable) {
        tree_.nodes.erase(id);
    }
    for (auto& [id, node] : tree_.nodes) {
        for (const TimelineId& child : node.children) {
            const TimelineFile& file = tree_.nodes[child].file;
            const std::string path = repository_.TimelineDirectory(child) + "/timeline.json";
            if (file.ancestor_lsn < node.file.ancestor_lsn) {
                findings_->Error(path,
                                 Status::Corruption("it branches off at " +
                                                    file.ancestor_lsn.ToString() +
                                                    ", before its ancestor begins at " +
                                                    node.file.ancestor_lsn.ToString()),
                                 child);
            } else {
                AddPoint(id, file.ancestor_lsn, path);
            }
        }
    }
}

void TreeReader::ReadRefs(const std::string& kind) {
    const std::string top = repository_.path() + "/refs/" + kind;
    std::error_code error;
    std::vector<std::string> paths;
    std::filesystem::recursive_directory_iterator it(top, error), end;
    for (; !error && it != end; it.increment(error)) {
        if (!it->is_directory()) {
            paths.push_back(it->path().string());
        }
    }
    if (error) {
        findings_->Error(top, ErrnoStatus("read directory", top, error.value()));
    }
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) {
        const std::string name = path.substr(top.size() + 1);
        if (IsTemporary(name)) {
            if (!check_.server_runs) {
                findings_->Warning(path, "left by a write that did not finish");
            }
        } else if (!Repository::CheckRefName(name).ok()) {
            findings_->Warning(path, "unknown file");
        } else {
            ReadRef(kind, name, path);
        }
    }
}

void TreeReader::ReadRef(const std::string& kind, const std::string& name,
                         const std::string& path) {
    const bool is_branch = kind == "branches";
    branch_exists_ = branch_exists_ || is_branch;
    TimelineId id;
    std::optional<Lsn> lsn;
    if (is_branch) {
        auto branch = repository_.FindBranch(name);
        if (!branch.ok()) {
            findings_->Error(path, branch.status());
            return;
        }
        if (!branch->has_value()) {
            return;  // deleted meanwhile
        }
        id = **branch;
    } else {
        auto tag = repository_.FindTag(name);
        if (!tag.ok()) {
            findings_->Error(path, tag.status());
            return;
        }
        if (!tag->has_value()) {
            return;
        }
        id = (*tag)->timeline;
        lsn = (*tag)->lsn;
        if (FileExists(repository_.path() + "/refs/branches/" + name)) {
            findings_->Error(path, Status::Corruption("there is a branch of that name, too"));
        }
    }
    named_.insert(id);
    // Made since we looked, perhaps.
    if (!IsThere(id) && !repository_.ReadTimeline(id).ok()) {
        findings_->Error(path, Status::Corruption("it names timeline " + id.ToString() +
                                                  ", which does not exist"));
        return;
    }
    if (lsn.has_value() && tree_.nodes.contains(id)) {
        AddPoint(id, *lsn, path);
    }
}

void TreeReader::AddPoint(TimelineId id, Lsn lsn, const std::string& path) {
    auto node = tree_.nodes.find(id);
    // At its own start a branch has nothing that its ancestor has not, and retention keeps no point
    // for it.
    while (node != tree_.nodes.end() && lsn <= node->second.file.ancestor_lsn &&
           node->second.file.ancestor.valid()) {
        node = tree_.nodes.find(node->second.file.ancestor);
    }
    if (node == tree_.nodes.end()) {
        return;
    }
    if (lsn < node->second.file.ancestor_lsn) {
        findings_->Error(path, Status::Corruption("it names LSN " + lsn.ToString() +
                                                  ", before all history, which begins at " +
                                                  node->second.file.ancestor_lsn.ToString()));
        return;
    }
    node->second.points.emplace(lsn, path);
}

void TreeReader::CheckNames() {
    // The last branch cannot be deleted. A repository that is being made has no timelines either.
    if (!branch_exists_ && !tree_.nodes.empty()) {
        findings_->Error(repository_.path() + "/refs/branches",
                         Status::Corruption("there is no branch",
                                            "Restore refs/ and timelines/ from a backup."));
    }
    for (const auto& [id, node] : tree_.nodes) {
        if (!named_.contains(id) && node.children.empty() && node.file.ancestor.valid()) {
            findings_->Warning(repository_.TimelineDirectory(id),
                               "no branch, tag or other timeline refers to it; the next start of "
                               "the page server removes it",
                               id);
        }
    }
}

}  // namespace

bool IsTemporary(const std::string& name) { return name.ends_with(".tmp"); }

TimelineTree ReadTimelineTree(const Repository& repository, const TreeCheck& check,
                              Findings* findings) {
    return TreeReader(repository, check, findings).Read();
}

}  // namespace zenith
