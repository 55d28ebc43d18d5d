#include "pageserver/timelines/loaded_timeline.h"

#include <fcntl.h>

#include <chrono>
#include <utility>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/wal_ingest/cluster_state.h"

namespace zenith {

namespace {

// The state of a cleanly shut down cluster is its control file's.
Result<ClusterState> StateOfSnapshot(const SnapshotFile& snapshot) {
    const std::string key = std::string(kFileBlobPrefix) + "global/pg_control";
    auto found = snapshot.blobs().find(key);
    if (found == snapshot.blobs().end()) {
        return Status::Corruption("snapshot has no global/pg_control");
    }
    const std::string& bytes = found->second;
    return ClusterState::FromControlFile(std::as_bytes(std::span(bytes.data(), bytes.size())),
                                         snapshot.lsn());
}

// What was read may have been written by a page server that died before its fsync. A branch made
// of it must not begin where the WAL ends after a power failure.
Status SyncTail(const std::string& wal_directory, Lsn end) {
    uint64_t last = WalSegmentNumber(end);
    for (uint64_t segment : {last > 0 ? last - 1 : last, last}) {
        const std::string path = wal_directory + "/" + WalSegmentName(segment);
        if (!FileExists(path)) {
            continue;
        }
        ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR));
        ZENITH_RETURN_IF_ERROR(FdatasyncFile(fd.get(), path));
    }
    return FsyncDirectory(wal_directory);
}

}  // namespace

std::string SnapshotPath(const Repository& repository, const TimelineId& id) {
    return repository.SnapshotDirectory(id) + "/initial.snapshot";
}

Result<std::unique_ptr<LoadedTimeline>> LoadTimeline(const Repository& repository,
                                                     const TimelineFile& file,
                                                     const LoadedTimeline* parent) {
    auto begin = std::chrono::steady_clock::now();
    const std::string name = file.id.ToString();
    auto loaded = std::make_unique<LoadedTimeline>();
    std::unique_ptr<SnapshotFile> snapshot;
    ClusterState state;
    if (parent == nullptr) {
        const std::string path = SnapshotPath(repository, file.id);
        ZENITH_ASSIGN_OR_RETURN(snapshot, SnapshotFile::Open(path));
        if (snapshot->lsn() != file.ancestor_lsn) {
            return Status::Corruption("timeline " + name + " starts at " +
                                      file.ancestor_lsn.ToString() + " but its snapshot \"" + path +
                                      "\" is of " + snapshot->lsn().ToString());
        }
        auto state_result = StateOfSnapshot(*snapshot);
        if (!state_result.ok()) {
            return state_result.status().WithContext("file \"" + path + "\"");
        }
        state = *std::move(state_result);
        loaded->system_identifier = snapshot->system_identifier();
    } else {
        Timeline& ancestor = *parent->timeline;
        if (ancestor.last_record_end() < file.ancestor_lsn) {
            ZENITH_RETURN_IF_ERROR(parent->follower->error());
            return Status::Corruption("timeline " + name + " starts at " +
                                      file.ancestor_lsn.ToString() +
                                      " but the WAL of its ancestor " +
                                      ancestor.id().ToString() + " ends at " +
                                      ancestor.last_record_end().ToString());
        }
        ZENITH_ASSIGN_OR_RETURN(
            state, ClusterStateAt(ancestor, file.ancestor_lsn, parent->system_identifier));
        if (state.record_end != file.ancestor_lsn) {
            return Status::Corruption("timeline " + name + " starts at " +
                                      file.ancestor_lsn.ToString() +
                                      ", which is no record boundary of its ancestor");
        }
        loaded->system_identifier = parent->system_identifier;
    }

    const std::string wal_directory = repository.WalDirectory(file.id);
    ZENITH_RETURN_IF_ERROR(EnsureDirectory(wal_directory));
    auto wal = std::make_unique<WalStorage>(
        wal_directory, file.ancestor_lsn, parent != nullptr ? &parent->timeline->wal() : nullptr);
    loaded->timeline =
        MakeTimeline(file.id, file.ancestor_lsn, parent != nullptr ? parent->timeline : nullptr,
                     std::move(snapshot), std::move(wal));

    // From here on the state of any LSN is this blob, or a later one, and a little WAL.
    loaded->timeline->BeginRecords();
    loaded->timeline->StartRecord(state.record_start, state.record_end);
    loaded->timeline->PutBlob(kClusterStateBlobKey, state.Serialize());
    loaded->timeline->CommitRecords();

    loaded->follower =
        std::make_unique<WalFollower>(*loaded->timeline, state, loaded->system_identifier);
    Status status = loaded->follower->IngestToEnd();
    if (!status.ok()) {
        if (loaded->follower->error().ok()) {
            return status;
        }
        spdlog::critical("timelines: {}", status.message());
    }
    ZENITH_RETURN_IF_ERROR(SyncTail(wal_directory, loaded->follower->last_end()));
    auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - begin);
    spdlog::info("timelines: loaded {}: {} to {} in {} ms", name, file.ancestor_lsn.ToString(),
                 loaded->follower->last_end().ToString(), elapsed.count());
    return loaded;
}

}  // namespace zenith
