#include "pageserver/timelines/loaded_timeline.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
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

// The state at the end of the layer files, where ingest goes on.
Result<ClusterState> StateAfterLayers(Timeline& timeline, uint64_t system_identifier) {
    const Lsn end = timeline.last_record_end();
    const std::string context = "timeline " + timeline.id().ToString() +
                                " has layers up to " + end.ToString();
    auto state = ClusterStateAt(timeline, end, system_identifier);
    if (!state.ok()) {
        return state.status().WithContext(context);
    }
    if (state->record_end != end) {
        return Status::Corruption(context + ", which is no record boundary");
    }
    return state;
}

// The WAL that layer files refer to was durable before they were written. That their last record is
// still there is worth one look: the end of the WAL must not be taken to be before it.
Status CheckLastRecord(const Timeline& timeline, const WalStorage& wal,
                       const ClusterState& state) {
    std::string record;
    Status status = wal.ReadRecord(state.record_start, state.record_end, &record);
    if (status.code() == StatusCode::kNotFound && timeline.readable_from() >= state.record_end) {
        // Retention kept the WAL from its end on.
        return Status::Ok();
    }
    return status
        .WithContext("timeline " + timeline.id().ToString() + " has layers up to " +
                     state.record_end.ToString())
        .WithHint("Put a good copy of the file in its place and restart the page server.");
}

// Without a saved position: a new timeline, or one from before positions were saved.
constexpr uint64_t kRewriteWithoutPosition = 2 * kWalSegmentSize;

// Compares where the WAL ends with what was acknowledged, and makes durable what a page server that
// died may have left in the page cache alone: a branch made of it must not begin where the WAL ends
// after a power failure. `durable`: the saved position; `layers_end`: up to there it is, as well.
Status SettleTail(LoadedTimeline& loaded, std::optional<Lsn> durable, Lsn layers_end) {
    WalStorage& wal = loaded.timeline->wal();
    const Lsn end = loaded.follower->last_end();
    if (durable.has_value() && end < *durable && loaded.follower->error().ok()) {
        return loaded.follower->Refuse(Status::Corruption(
            "WAL of timeline " + loaded.timeline->id().ToString() + " is damaged after " +
                end.ToString() + " (file \"" + wal.directory() + "/" +
                WalSegmentName(WalSegmentNumber(end)) + "\", offset " +
                std::to_string(end.value % kWalSegmentSize) + "): it was acknowledged up to " +
                durable->ToString(),
            "Put a good copy of the file in its place and restart the page server; branches of "
            "earlier LSNs can still be made."));
    }
    Lsn from = durable.value_or(end - std::min(end.value, kRewriteWithoutPosition));
    from = std::max({from, wal.start(), layers_end});
    if (from < end) {
        ZENITH_RETURN_IF_ERROR(wal.Rewrite(from, end));
    }
    return Status::Ok();
}

}  // namespace

std::string SnapshotPath(const Repository& repository, const TimelineId& id) {
    return repository.SnapshotDirectory(id) + "/initial.snapshot";
}

Result<std::unique_ptr<LoadedTimeline>> LoadTimeline(const Repository& repository,
                                                     const TimelineFile& file,
                                                     const LoadedTimeline* parent,
                                                     const LayerOptions& options,
                                                     const std::atomic<bool>* stop) {
    auto begin = std::chrono::steady_clock::now();
    const std::string name = file.id.ToString();
    auto loaded = std::make_unique<LoadedTimeline>();
    const std::string wal_directory = repository.WalDirectory(file.id);
    ZENITH_RETURN_IF_ERROR(EnsureDirectory(wal_directory));
    auto wal = std::make_unique<WalStorage>(
        wal_directory, file.ancestor_lsn, parent != nullptr ? &parent->timeline->wal() : nullptr);
    TimelineLayers layers;
    layers.directory = repository.LayerDirectory(file.id);
    layers.options = options;
    ZENITH_ASSIGN_OR_RETURN(
        layers.opened, OpenDeltaLayers(layers.directory, file.id, file.ancestor_lsn, wal.get()));
    const size_t layer_count = layers.opened.files.size();

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

    loaded->timeline =
        MakeTimeline(file.id, file.ancestor_lsn, parent != nullptr ? parent->timeline : nullptr,
                     std::move(snapshot), std::move(wal), std::move(layers));

    if (layer_count > 0) {
        ZENITH_ASSIGN_OR_RETURN(state,
                                StateAfterLayers(*loaded->timeline, loaded->system_identifier));
    } else {
        // From here on the state of any LSN is this blob, or a later one, and a little WAL.
        loaded->timeline->BeginRecords();
        loaded->timeline->StartRecord(state.record_start, state.record_end);
        loaded->timeline->PutBlob(kClusterStateBlobKey, state.Serialize());
        loaded->timeline->CommitRecords();
    }
    Timeline& timeline = *loaded->timeline;
    const Lsn ingest_from = timeline.last_record_end();
    const Lsn layers_end = layer_count > 0 ? ingest_from : Lsn();
    ZENITH_ASSIGN_OR_RETURN(const std::optional<Lsn> durable, timeline.wal().ReadDurablePosition());

    loaded->follower = std::make_unique<WalFollower>(timeline, state, loaded->system_identifier);
    WalFollower& follower = *loaded->follower;
    // No layer file may outlive the WAL it refers to.
    follower.SetStop(stop);
    follower.SetFlushed(ingest_from);
    follower.SetFlushLimit(std::max(durable.value_or(Lsn()), layers_end));
    Status status =
        layer_count > 0 ? CheckLastRecord(timeline, timeline.wal(), state) : Status::Ok();
    status = status.ok() ? follower.IngestToEnd() : follower.Refuse(status);
    follower.SetStop(nullptr);
    if (!status.ok()) {
        if (loaded->follower->error().ok()) {
            return status;
        }
        spdlog::critical("timelines: {}", status.message());
    }
    status = SettleTail(*loaded, durable, layers_end);
    if (!status.ok()) {
        if (loaded->follower->error().ok()) {
            return status;
        }
        spdlog::critical("timelines: {}", status.message());
    }
    follower.SetFlushLimit(kMaxLsn);
    if (follower.error().ok() && timeline.WantsFlush()) {
        follower.Flush();
    }
    auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - begin);
    spdlog::info("timelines: loaded {}: {} to {}, {} layers and the WAL from {} on, in {} ms", name,
                 file.ancestor_lsn.ToString(), loaded->follower->last_end().ToString(),
                 layer_count, ingest_from.ToString(), elapsed.count());
    return loaded;
}

}  // namespace zenith
