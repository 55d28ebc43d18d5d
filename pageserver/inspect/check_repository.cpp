#include "pageserver/inspect/check_repository.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "common/base/posix_file.h"
#include "pageserver/inspect/check_files.h"
#include "pageserver/inspect/deep_check.h"
#include "pageserver/inspect/open_read_only.h"
#include "pageserver/inspect/timeline_tree.h"

namespace zenith {

namespace {

// A running page server may take away the files under the check; then the timeline is looked at
// again. It does so at most every few seconds.
constexpr int kMostAttempts = 5;

class RepositoryChecker {
  public:
    RepositoryChecker(const Repository& repository, const FsckOptions& options)
        : repository_(repository), options_(options) {}

    Result<FsckReport> Run();

  private:
    struct Parent {
        std::shared_ptr<ReadOnlyTimeline> opened;  // null without `deep`, or when it cannot be
        Lsn end;
        Lsn record_before;  // the branch point; invalid: not known
    };

    Status ReadConfig();
    void CheckTopLevel();
    void CheckComputes();
    void CheckTimeline(const TimelineId& id, const Parent& parent);
    // What one look at the timeline finds; *opened is for its children.
    Findings LookAt(const TimelineNode& node, const Parent& parent, CheckedFiles* files,
                    std::shared_ptr<ReadOnlyTimeline>* opened, uint64_t* pages);
    // The look was at files that have gone meanwhile.
    bool HasChanged(const TimelineNode& node, const std::string& stamp) const;

    const Repository& repository_;
    const FsckOptions& options_;
    FsckReport report_;
    TimelineTree tree_;
    uint64_t system_identifier_ = 0;
    bool server_runs_ = false;
};

Status RepositoryChecker::ReadConfig() {
    auto config = repository_.ReadConfig();
    if (config.ok()) {
        system_identifier_ = config->system_identifier;
        if (!config->has_checksum) {
            report_.findings.Warning(repository_.ConfigPath(), "no checksum");
        }
        return Status::Ok();
    }
    if (config.status().code() == StatusCode::kRefused) {
        return config.status();  // what the rest should be is not known
    }
    if (config.status().code() == StatusCode::kNotFound) {
        if (!FileExists(repository_.path() + "/timelines")) {
            return config.status();
        }
        report_.findings.Error(repository_.ConfigPath(), Status::Corruption("the file is missing"));
        return Status::Ok();
    }
    report_.findings.Error(repository_.ConfigPath(), config.status());
    return Status::Ok();
}

void RepositoryChecker::CheckTopLevel() {
    static const std::set<std::string> kKnown = {
        "config.json", "refs",           "timelines",       "computes",       "redo",
        "run",         "pageserver.pid", "pageserver.port", "pageserver.log", "pageserver.lock"};
    auto names = ListDirectory(repository_.path());
    if (!names.ok()) {
        report_.findings.Error(repository_.path(), names.status());
        return;
    }
    std::sort(names->begin(), names->end());
    for (const std::string& name : *names) {
        const std::string path = repository_.path() + "/" + name;
        if (IsTemporary(name)) {
            if (!server_runs_) {
                report_.findings.Warning(path, "left by a write that did not finish");
            }
        } else if (!kKnown.contains(name)) {
            report_.findings.Warning(path, "unknown file");
        }
    }
    auto refs = ListDirectory(repository_.path() + "/refs");
    for (const std::string& name : refs.ok() ? *refs : std::vector<std::string>()) {
        if (name != "branches" && name != "tags") {
            report_.findings.Warning(repository_.path() + "/refs/" + name, "unknown file");
        }
    }
}

void RepositoryChecker::CheckComputes() {
    auto names = ListDirectory(repository_.ComputesDirectory());
    if (!names.ok()) {
        report_.findings.Error(repository_.ComputesDirectory(), names.status());
        return;
    }
    std::sort(names->begin(), names->end());
    for (const std::string& name : *names) {
        const std::string directory = repository_.ComputeDirectory(name);
        const std::string path = directory + "/compute.json";
        if (name == ".lock") {
            continue;  // the CLI's, empty
        }
        std::error_code error;
        if (!Repository::CheckComputeName(name).ok() ||
            !std::filesystem::is_directory(directory, error)) {
            report_.findings.Warning(directory, "unknown file");
            continue;
        }
        auto compute = repository_.ReadCompute(name);
        if (!compute.ok()) {
            if (compute.status().code() == StatusCode::kNotFound) {
                report_.findings.Warning(directory, "a compute without compute.json: it was not "
                                                    "made, or not removed, to the end");
            } else {
                report_.findings.Error(path, compute.status());
            }
            continue;
        }
        if (!compute->has_checksum) {
            report_.findings.Warning(path, "no checksum");
        }
        if (!tree_.nodes.contains(compute->timeline) &&
            !tree_.unreadable.contains(compute->timeline) &&
            !repository_.ReadTimeline(compute->timeline).ok()) {
            report_.findings.Warning(path, "its timeline " + compute->timeline.ToString() +
                                               " does not exist any more");
        }
    }
}

Findings RepositoryChecker::LookAt(const TimelineNode& node, const Parent& parent,
                                   CheckedFiles* files, std::shared_ptr<ReadOnlyTimeline>* opened,
                                   uint64_t* pages) {
    Findings findings;
    FilesCheck check;
    check.repository = &repository_;
    check.node = &node;
    check.record_before_start = parent.record_before;
    check.system_identifier = system_identifier_;
    check.server_runs = server_runs_;
    *files = CheckTimelineFiles(check, &findings, options_.progress);
    const bool is_root = !node.file.ancestor.valid();
    if (!is_root && node.file.ancestor_lsn > parent.end) {
        findings.Error(repository_.TimelineDirectory(node.file.id) + "/timeline.json",
                       Status::Corruption("it branches off at " +
                                          node.file.ancestor_lsn.ToString() +
                                          ", but its ancestor, timeline " +
                                          node.file.ancestor.ToString() + ", ends at " +
                                          parent.end.ToString()),
                       node.file.id);
        return findings;
    }
    if (options_.deep == nullptr || (!is_root && parent.opened == nullptr)) {
        return findings;
    }
    auto result = OpenReadOnly(repository_, node.file, parent.opened, files->end);
    if (!result.ok()) {
        findings.Error(repository_.TimelineDirectory(node.file.id), result.status(),
                       node.file.id);
        return findings;
    }
    *opened = *std::move(result);
    DeepCheck deep;
    deep.repository = &repository_;
    deep.opened = opened->get();
    deep.redo = options_.deep;
    for (const auto& [lsn, who] : node.points) {
        if (lsn > node.file.ancestor_lsn && lsn <= (*opened)->timeline->last_record_end()) {
            deep.points.push_back(lsn);
        }
    }
    *pages = CheckDeeply(deep, &findings, options_.progress);
    return findings;
}

bool RepositoryChecker::HasChanged(const TimelineNode& node, const std::string& stamp) const {
    return !FileExists(repository_.TimelineDirectory(node.file.id) + "/timeline.json") ||
           LayerStamp(repository_, node.file.id) != stamp;
}

void RepositoryChecker::CheckTimeline(const TimelineId& id, const Parent& parent) {
    TimelineNode& node = tree_.nodes.at(id);
    CheckedFiles files;
    std::shared_ptr<ReadOnlyTimeline> opened;
    uint64_t pages = 0;
    Findings findings;
    for (int attempt = 1;; attempt++) {
        const std::string stamp = LayerStamp(repository_, id);
        opened.reset();
        // Retention may have dropped what a tag named that was deleted since we read it.
        std::erase_if(node.points, [](const auto& point) { return !FileExists(point.second); });
        findings = LookAt(node, parent, &files, &opened, &pages);
        if (findings.errors() == 0 || attempt == kMostAttempts || !HasChanged(node, stamp)) {
            break;
        }
        server_runs_ = true;  // who else changed it
        if (!FileExists(repository_.TimelineDirectory(id) + "/timeline.json")) {
            return;  // deleted meanwhile, and so it had no children
        }
    }
    report_.findings.Append(std::move(findings));
    report_.timelines++;
    report_.records += files.records;
    report_.pages += pages;
    for (const TimelineId& child : node.children) {
        const Lsn start = tree_.nodes.at(child).file.ancestor_lsn;
        Lsn before = parent.record_before;  // for one that begins where this one does
        if (start != node.file.ancestor_lsn) {
            auto found = files.record_before.find(start);
            before = found == files.record_before.end() ? Lsn() : found->second;
        }
        CheckTimeline(child, {opened, files.end, before});
    }
}

Result<FsckReport> RepositoryChecker::Run() {
    ZENITH_RETURN_IF_ERROR(ReadConfig());
    server_runs_ = PageServerRuns(repository_);
    CheckTopLevel();
    TreeCheck check;
    check.server_runs = server_runs_;
    tree_ = ReadTimelineTree(repository_, check, &report_.findings);
    CheckComputes();
    for (const TimelineId& root : tree_.roots) {
        if (tree_.nodes.contains(root)) {
            CheckTimeline(root, {});
        }
    }
    return std::move(report_);
}

}  // namespace

bool PageServerRuns(const Repository& repository) {
    auto fd = OpenFile(repository.PageServerPidPath(), O_RDONLY);
    // The page server holds the lock for as long as it lives.
    return fd.ok() && flock(fd->get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

Result<FsckReport> CheckRepository(const Repository& repository, const FsckOptions& options) {
    return RepositoryChecker(repository, options).Run();
}

}  // namespace zenith
