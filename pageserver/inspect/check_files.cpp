#include "pageserver/inspect/check_files.h"

#include <algorithm>
#include <set>

#include "common/base/posix_file.h"
#include "pageserver/inspect/check_wal.h"
#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {

namespace {

class FilesChecker {
  public:
    FilesChecker(const FilesCheck& check, Findings* findings, const Progress& progress)
        : check_(check),
          repository_(*check.repository),
          file_(check.node->file),
          findings_(findings),
          progress_(progress) {}

    CheckedFiles Run() {
        CheckNames();
        CheckSnapshot();
        CheckLayers();
        CheckWalFiles();
        CheckPoints();
        return std::move(result_);
    }

  private:
    void Tell(const std::string& what) {
        if (progress_) {
            progress_("timeline " + file_.id.ToString() + ": " + what);
        }
    }
    void CheckNames();
    void CheckSnapshot();
    void CheckPages(const SnapshotFile& snapshot, const std::string& path);
    void CheckLayers();
    void CheckWalFiles();
    void CheckPoints();

    const FilesCheck& check_;
    const Repository& repository_;
    const TimelineFile& file_;
    Findings* const findings_;
    const Progress& progress_;
    CheckedFiles result_;

    LayerManifest manifest_;
    bool manifest_is_good_ = false;
    Lsn layers_end_;               // invalid: no layers
    Lsn oldest_record_ = kMaxLsn;  // that a layer refers to
};

void FilesChecker::CheckNames() {
    const std::string directory = repository_.TimelineDirectory(file_.id);
    auto names = ListDirectory(directory);
    if (!names.ok()) {
        findings_->Error(directory, names.status(), file_.id);
        return;
    }
    for (const std::string& name : *names) {
        if (name != "timeline.json" && name != "wal" && name != "snapshots" && name != "layers" &&
            name != "compute.lock" && !(IsTemporary(name) && check_.server_runs)) {
            findings_->Warning(directory + "/" + name,
                               IsTemporary(name) ? "left by a write that did not finish"
                                                 : "unknown file",
                               file_.id);
        }
    }
}

void FilesChecker::CheckSnapshot() {
    const std::string directory = repository_.SnapshotDirectory(file_.id);
    const std::string path = directory + "/initial.snapshot";
    const bool is_root = !file_.ancestor.valid();
    if (auto names = ListDirectory(directory); names.ok()) {
        for (const std::string& name : *names) {
            if (!is_root || name != "initial.snapshot") {
                findings_->Warning(directory + "/" + name, "unknown file", file_.id);
            }
        }
    }
    if (!is_root) {
        return;
    }
    Tell("snapshot");
    auto snapshot = SnapshotFile::Open(path);
    if (!snapshot.ok()) {
        findings_->Error(path, snapshot.status(), file_.id);
        return;
    }
    if ((*snapshot)->lsn() != file_.ancestor_lsn) {
        findings_->Error(path,
                         Status::Corruption("it is of " + (*snapshot)->lsn().ToString() +
                                            ", but the timeline begins at " +
                                            file_.ancestor_lsn.ToString()),
                         file_.id);
    }
    if (check_.system_identifier != 0 &&
        (*snapshot)->system_identifier() != check_.system_identifier) {
        findings_->Error(path,
                         Status::Corruption("it is of the cluster with system identifier " +
                                            std::to_string((*snapshot)->system_identifier())),
                         file_.id);
    }
    CheckPages(**snapshot, path);
}

void FilesChecker::CheckPages(const SnapshotFile& snapshot, const std::string& path) {
    auto check = [&](const PageKey& key) {
        auto page = snapshot.ReadPage(key);
        if (!page.ok()) {
            findings_->Error(path, page.status(), file_.id);
        }
    };
    for (const RelationEntry& relation : snapshot.relations()) {
        for (BlockNumber block = 0; block < relation.blocks; block++) {
            check(PageKey::Relation(relation.rel, block));
        }
    }
    for (SlruKind kind : kSlruKinds) {
        for (BlockNumber page : snapshot.SlruPages(kind)) {
            check(PageKey::Slru(kind, page));
        }
    }
}

void FilesChecker::CheckLayers() {
    const std::string directory = repository_.LayerDirectory(file_.id);
    const std::string manifest_path = directory + "/" + kManifestFileName;
    auto opened = OpenDeltaLayers(directory, file_.id, file_.ancestor_lsn, nullptr,
                                  Leftovers::kKeep);
    if (!opened.ok()) {
        findings_->Error(manifest_path, opened.status(), file_.id);
        return;
    }
    manifest_ = opened->manifest;
    manifest_is_good_ = true;
    bool all_good = true;
    std::set<uint64_t> image_files;
    for (const auto& layer : opened->files) {
        const std::string path = directory + "/" + DeltaLayerFileName(layer->entry());
        Tell("layer " + DeltaLayerFileName(layer->entry()));
        Status status = layer->damage();
        if (status.ok()) {
            oldest_record_ = std::min(oldest_record_, layer->oldest_record());
            image_files.insert(layer->image_files().begin(), layer->image_files().end());
            status = layer->Verify();
        } else {
            all_good = false;
        }
        if (!status.ok()) {
            findings_->Error(path, status, file_.id);
        }
        layers_end_ = layer->end();
    }
    for (uint64_t number : image_files) {
        Tell("images " + ImageFileName(number));
        Status status = opened->images->Get(number)->Verify();
        if (!status.ok()) {
            findings_->Error(directory + "/" + ImageFileName(number), status, file_.id);
        }
    }
    // While files are being written and removed, or it is not known what counts, nothing is left
    // over.
    if (check_.server_runs || !all_good) {
        return;
    }
    auto leftovers = FindLeftovers(directory, *opened);
    if (!leftovers.ok()) {
        findings_->Error(directory, leftovers.status(), file_.id);
        return;
    }
    for (const std::string& name : *leftovers) {
        findings_->Warning(directory + "/" + name,
                           "no manifest names it: a leftover, or not ours", file_.id);
    }
}

void FilesChecker::CheckWalFiles() {
    WalCheck wal;
    wal.timeline = file_.id;
    wal.directory = repository_.WalDirectory(file_.id);
    wal.start = file_.ancestor_lsn;
    wal.is_root = !file_.ancestor.valid();
    wal.previous_record = check_.record_before_start;
    wal.system_identifier = check_.system_identifier;
    wal.judge_end = !check_.server_runs && !manifest_.ends_at.has_value();
    wal.needed_to = file_.ancestor_lsn;
    auto durable =
        WalStorage(wal.directory, file_.ancestor_lsn, nullptr).ReadDurablePosition();
    if (!durable.ok()) {
        findings_->Error(wal.directory + "/durable", durable.status(), file_.id);
    } else if (durable->has_value()) {
        wal.needed_to = std::max(wal.needed_to, **durable);
    }
    wal.needed_to = std::max(wal.needed_to, layers_end_);
    for (const auto& [lsn, who] : check_.node->points) {
        wal.needed_to = std::max(wal.needed_to, lsn);
        wal.boundaries.insert(lsn);
    }
    if (layers_end_.valid()) {
        // Older WAL may be gone, or not be gone yet.
        wal.needed_from = std::min(oldest_record_, layers_end_);
        for (const LayerManifest::Entry& layer : manifest_.layers) {
            wal.boundaries.insert(layer.end);
        }
    }
    if (manifest_.ends_at.has_value()) {
        // A timeline that has ended keeps the WAL its layers refer to, if any, and no more.
        wal.needed_to = oldest_record_ == kMaxLsn ? Lsn() : layers_end_;
    }
    wal.boundaries.erase(file_.ancestor_lsn);
    if (wal.is_root) {
        wal.boundaries.insert(file_.ancestor_lsn);
    }
    Tell("WAL from " + std::max(wal.start, wal.needed_from).ToString());
    WalCheckResult checked = CheckWal(wal, findings_, progress_);
    result_.records = checked.records;
    result_.record_before = std::move(checked.record_before);
    result_.end = std::max(checked.end, layers_end_);
    if (manifest_.ends_at.has_value()) {
        // Its WAL may be gone, or not be gone yet.
        result_.end = *manifest_.ends_at;
    } else if (check_.server_runs) {
        // What arrives while we look may be torn, or not be durable.
        result_.end = std::min(result_.end, wal.needed_to);
    }
    result_.end = std::max(result_.end, file_.ancestor_lsn);
}

void FilesChecker::CheckPoints() {
    if (!manifest_is_good_) {
        return;
    }
    for (const auto& [lsn, path] : check_.node->points) {
        if (lsn < manifest_.readable_from &&
            !std::binary_search(manifest_.points.begin(), manifest_.points.end(), lsn)) {
            Finding finding;
            finding.file = path;
            finding.what = "it needs " + lsn.ToString() + " of timeline " + file_.id.ToString() +
                           ", which was removed: the history is kept from " +
                           manifest_.readable_from.ToString() + " on";
            findings_->Add(std::move(finding));
        } else if (manifest_.ends_at.has_value() && lsn > *manifest_.ends_at) {
            Finding finding;
            finding.file = path;
            finding.what = "it needs " + lsn.ToString() + " of timeline " + file_.id.ToString() +
                           ", which was ended at " + manifest_.ends_at->ToString();
            findings_->Add(std::move(finding));
        }
    }
}

}  // namespace

CheckedFiles CheckTimelineFiles(const FilesCheck& check, Findings* findings,
                                const Progress& progress) {
    return FilesChecker(check, findings, progress).Run();
}

std::string LayerStamp(const Repository& repository, const TimelineId& id) {
    auto text = ReadWholeFile(repository.LayerDirectory(id) + "/" + kManifestFileName);
    return text.ok() ? *text : "";
}

}  // namespace zenith
