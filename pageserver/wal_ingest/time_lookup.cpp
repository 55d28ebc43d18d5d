#include "pageserver/wal_ingest/time_lookup.h"

#include <optional>
#include <utility>

#include "common/base/time.h"
#include "common/base/time_text.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/wal_decoder/xact_record.h"
#include "pageserver/wal_ingest/ingester.h"

namespace zenith {

namespace {

// Closer than two saved states are there is nothing to find.
constexpr uint64_t kNear = 4096;

// The newest saved state in [low.record_end, high] that `wanted` accepts. `low` is accepted, and
// between an accepted and a refused state there is no refused and no accepted one.
Result<ClusterState> NewestSavedState(Timeline& timeline, ClusterState low, Lsn high,
                                      const std::function<bool(const ClusterState&)>& wanted) {
    // Between low.record_end and `bottom` there is no accepted state that was saved.
    Lsn bottom = low.record_end;
    while (bottom < high && high - bottom > kNear) {
        const Lsn middle = bottom + (high - bottom) / 2;
        ZENITH_ASSIGN_OR_RETURN(std::optional<Timeline::VersionedBlob> saved,
                                timeline.GetVersionedBlob(kClusterStateBlobKey, middle));
        if (!saved || saved->lsn <= low.record_end) {
            bottom = middle;
            continue;
        }
        ZENITH_ASSIGN_OR_RETURN(ClusterState state, ClusterState::Parse(saved->value));
        if (wanted(state)) {
            low = std::move(state);
            bottom = middle;
        } else {
            high = saved->lsn;
        }
    }
    return low;
}

}  // namespace

Result<Lsn> LsnAtTime(Timeline& timeline, int64_t time, Lsn end, uint64_t system_identifier) {
    Timeline* holder = &timeline;
    while (holder->parent() != nullptr && end < holder->start_lsn()) {
        holder = holder->parent().get();
    }
    ZENITH_ASSIGN_OR_RETURN(ClusterState at_end, ClusterStateAt(*holder, end, system_identifier));
    if (at_end.newest_commit_time <= time) {
        return at_end.record_end;
    }
    ClusterState low;
    while (true) {
        const Lsn begin = std::min(holder->readable_from(), end);
        ZENITH_ASSIGN_OR_RETURN(low, ClusterStateAt(*holder, begin, system_identifier));
        if (low.newest_commit_time <= time) {
            break;
        }
        Timeline* parent = holder->parent().get();
        if (parent == nullptr || begin != holder->start_lsn() || parent->readable_from() > begin) {
            return Status::NotFound(
                "the history of timeline " + timeline.id().ToString() + " does not reach back to " +
                    FormatTimeMicros(time) + ": the oldest point is " + begin.ToString() + " at " +
                    FormatTimeMicros(low.newest_commit_time),
                "Name a time after that, or the LSN.");
        }
        holder = parent;
        end = begin;
    }
    ZENITH_ASSIGN_OR_RETURN(low, NewestSavedState(*holder, low, end, [&](const ClusterState& state) {
                                return state.newest_commit_time <= time;
                            }));
    auto is_later_commit = [&](const DecodedRecord& record) -> Result<bool> {
        ZENITH_ASSIGN_OR_RETURN(const std::optional<int64_t> changed, TransactionChangeTime(record));
        return changed && *changed > time;
    };
    ZENITH_RETURN_IF_ERROR(ApplyWal(*holder, end, system_identifier, is_later_commit, &low));
    return low.record_end;
}

Result<Lsn> LsnKnownOlderThan(Timeline& timeline, int64_t time, uint64_t system_identifier) {
    const Lsn begin = timeline.readable_from();
    const Lsn end = timeline.last_record_end();
    if (begin >= end) {
        return begin;
    }
    ZENITH_ASSIGN_OR_RETURN(const ClusterState first,
                            ClusterStateAt(timeline, begin, system_identifier));
    if (first.newest_time > time) {
        return begin;
    }
    ZENITH_ASSIGN_OR_RETURN(const ClusterState last,
                            NewestSavedState(timeline, first, end, [&](const ClusterState& state) {
                                return state.newest_time <= time;
                            }));
    if (last.newest_time == first.newest_time) {
        return begin;
    }
    // What was written after the record with that time may be newer than `time`.
    ZENITH_ASSIGN_OR_RETURN(const ClusterState before,
                            NewestSavedState(timeline, first, last.record_end,
                                             [&](const ClusterState& state) {
                                                 return state.newest_time < last.newest_time;
                                             }));
    return before.record_end;
}

}  // namespace zenith
