#include "pageserver/inspect/open_read_only.h"

#include <span>
#include <string>
#include <utility>

#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/timelines/loaded_timeline.h"
#include "pageserver/wal_ingest/cluster_state.h"
#include "pageserver/wal_ingest/ingester.h"
#include "pageserver/wal_receiver/wal_follower.h"

namespace zenith {

namespace {

Result<ClusterState> StateOfSnapshot(const SnapshotFile& snapshot) {
    auto control = snapshot.blobs().find(std::string(kFileBlobPrefix) + "global/pg_control");
    if (control == snapshot.blobs().end()) {
        return Status::Corruption("the snapshot has no global/pg_control");
    }
    return ClusterState::FromControlFile(
        std::as_bytes(std::span(control->second.data(), control->second.size())), snapshot.lsn());
}

}  // namespace

Result<std::shared_ptr<ReadOnlyTimeline>> OpenReadOnly(const Repository& repository,
                                                       const TimelineFile& file,
                                                       std::shared_ptr<ReadOnlyTimeline> parent,
                                                       Lsn end) {
    auto opened = std::make_shared<ReadOnlyTimeline>();
    auto wal = std::make_unique<WalStorage>(repository.WalDirectory(file.id), file.ancestor_lsn,
                                            parent ? &parent->timeline->wal() : nullptr);
    ZENITH_ASSIGN_OR_RETURN(OpenedLayers layers,
                            OpenDeltaLayers(repository.LayerDirectory(file.id), file.id,
                                            file.ancestor_lsn, wal.get(), Leftovers::kKeep));
    opened->manifest = layers.manifest;
    opened->layers = layers.files;
    std::unique_ptr<SnapshotFile> snapshot;
    ClusterState state;
    if (parent == nullptr) {
        ZENITH_ASSIGN_OR_RETURN(snapshot, SnapshotFile::Open(SnapshotPath(repository, file.id)));
        opened->system_identifier = snapshot->system_identifier();
        ZENITH_ASSIGN_OR_RETURN(state, StateOfSnapshot(*snapshot));
    } else {
        opened->system_identifier = parent->system_identifier;
        ZENITH_ASSIGN_OR_RETURN(state, ClusterStateAt(*parent->timeline, file.ancestor_lsn,
                                                      parent->system_identifier));
    }
    const bool has_layers = !layers.files.empty();
    const bool has_ended = layers.manifest.ends_at.has_value();
    // No directory: what is in memory stays there.
    TimelineLayers timeline_layers;
    timeline_layers.opened = std::move(layers);
    opened->timeline = MakeTimeline(file.id, file.ancestor_lsn, parent ? parent->timeline : nullptr,
                                    std::move(snapshot), std::move(wal),
                                    std::move(timeline_layers));
    opened->parent = std::move(parent);
    Timeline& timeline = *opened->timeline;
    if (has_layers) {
        ZENITH_ASSIGN_OR_RETURN(state, ClusterStateAt(timeline, timeline.last_record_end(),
                                                      opened->system_identifier));
    } else {
        timeline.BeginRecords();
        timeline.StartRecord(state.record_start, state.record_end);
        timeline.PutBlob(kClusterStateBlobKey, state.Serialize());
        timeline.CommitRecords();
    }
    if (!has_ended && end > timeline.last_record_end()) {
        WalFollower follower(timeline, state, opened->system_identifier);
        ZENITH_RETURN_IF_ERROR(follower.IngestUpTo(end));
    }
    return opened;
}

}  // namespace zenith
