// ClusterStateAt(): the newest saved state, then the WAL from there on.
#include <algorithm>

#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/wal_decoder/decoded_record.h"
#include "pageserver/wal_decoder/record_assembler.h"
#include "pageserver/wal_ingest/cluster_state.h"
#include "pageserver/wal_ingest/ingester.h"
#include "pageserver/wal_ingest/time_lookup.h"

namespace zenith {

namespace {

constexpr uint64_t kReadSize = 64 * 1024;

// The newest saved state at or before `at`; before the first one, what the initial snapshot's
// pg_control says.
Result<ClusterState> SavedState(Timeline& timeline, Lsn at) {
    ZENITH_ASSIGN_OR_RETURN(std::optional<Timeline::VersionedBlob> saved,
                            timeline.GetVersionedBlob(kClusterStateBlobKey, at));
    if (saved) {
        return ClusterState::Parse(saved->value);
    }
    const std::string control_key = std::string(kFileBlobPrefix) + "global/pg_control";
    ZENITH_ASSIGN_OR_RETURN(std::optional<std::string> control,
                            timeline.GetBlob(control_key, at));
    Timeline* root = &timeline;
    while (root->parent() != nullptr) {
        root = root->parent().get();
    }
    if (!control || at < root->start_lsn()) {
        return Status::NotFound("no history of timeline " + timeline.id().ToString() + " at " +
                                    at.ToString() + ": it begins at " +
                                    root->start_lsn().ToString(),
                                "Name an LSN at or after " + root->start_lsn().ToString() + ".");
    }
    return ClusterState::FromControlFile(
        std::as_bytes(std::span(control->data(), control->size())), root->start_lsn());
}

}  // namespace

Status ApplyWal(Timeline& timeline, Lsn at, uint64_t system_identifier,
                const std::function<Result<bool>(const DecodedRecord&)>& stop_before,
                ClusterState* state) {
    RecordAssembler assembler(state->record_end, state->record_start, system_identifier);
    const std::string context =
        "timeline " + timeline.id().ToString() + ", state at " + at.ToString();
    // Up to here every record must be there; behind it is what may still be arriving.
    const Lsn ingested = std::min(at, timeline.last_record_end());
    std::string buffer;
    DecodedRecord decoded;
    for (Lsn position = state->record_end; position < at;) {
        // Never across a segment border: the next segment may not exist yet.
        uint64_t size = std::min(
            {kReadSize, at - position, kWalSegmentSize - position.value % kWalSegmentSize});
        // Nor across the branch point, where another timeline's WAL begins.
        if (position < timeline.start_lsn()) {
            size = std::min(size, timeline.start_lsn() - position);
        }
        buffer.resize(size);
        Status status = timeline.wal().Read(
            position, std::as_writable_bytes(std::span(buffer.data(), buffer.size())));
        if (!status.ok()) {
            if (status.code() == StatusCode::kNotFound && position >= ingested) {
                break;
            }
            return status.WithContext(context);
        }
        assembler.Feed(std::as_bytes(std::span(buffer.data(), buffer.size())));
        position = position + size;

        RecordAssembler::Record record;
        RecordAssembler::Outcome outcome;
        while ((outcome = assembler.NextRecord(&record)) == RecordAssembler::Outcome::kRecord) {
            ZENITH_RETURN_IF_ERROR(
                DecodeRecord(record.start, record.end, record.bytes, &decoded));
            if (stop_before) {
                ZENITH_ASSIGN_OR_RETURN(const bool stop, stop_before(decoded));
                if (stop) {
                    return Status::Ok();
                }
            }
            ZENITH_RETURN_IF_ERROR(state->Apply(decoded));
        }
        if (outcome == RecordAssembler::Outcome::kEndOfWal) {
            // Fine behind what was ingested: the rest has not arrived. Before that it is damage.
            if (assembler.last_end() < ingested) {
                return Status::Corruption("WAL ends at " + assembler.last_end().ToString() + ": " +
                                          assembler.end_reason())
                    .WithContext(context);
            }
            break;
        }
    }
    return Status::Ok();
}

Result<ClusterState> ClusterStateAt(Timeline& timeline, Lsn at, uint64_t system_identifier) {
    ZENITH_ASSIGN_OR_RETURN(ClusterState state, SavedState(timeline, at));
    ZENITH_RETURN_IF_ERROR(ApplyWal(timeline, at, system_identifier, nullptr, &state));
    return state;
}

}  // namespace zenith
