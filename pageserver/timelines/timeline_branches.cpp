// Points in time, and the timelines and names made of them.
#include <algorithm>
#include <ctime>
#include <utility>

#include "common/base/log.h"
#include "common/base/time.h"
#include "common/base/time_text.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/timelines/timeline_manager_impl.h"
#include "pageserver/wal_ingest/time_lookup.h"

namespace zenith {

namespace {

constexpr const char* kRetentionHint =
    "\"zenith retention\" shows how long history is kept; tags and branches keep single points.";

std::shared_ptr<Timeline> HolderOf(std::shared_ptr<Timeline> timeline, Lsn lsn) {
    while (timeline->parent() != nullptr && lsn < timeline->start_lsn()) {
        timeline = timeline->parent();
    }
    return timeline;
}

}  // namespace

Result<Lsn> TimelineManagerImpl::LsnOfTime(const Loaded& loaded, const TimelinePoint& point) {
    if (const int64_t now = NowMicros(); *point.time > now) {
        return Status::NotFound(FormatTimeMicros(*point.time) + " is in the future, it is " +
                                    FormatTimeMicros(now) + " now",
                                "A time without a zone is local time.");
    }
    Timeline& timeline = *loaded.files->timeline;
    Lsn end = point.lsn.value_or(Lsn());
    if (!point.lsn) {
        ZENITH_RETURN_IF_ERROR(CatchUpWithCompute(loaded, point.timeline));
        end = timeline.last_record_end();
    }
    ZENITH_RETURN_IF_ERROR(timeline.CheckReadable(end));
    return LsnAtTime(timeline, *point.time, end, loaded.files->system_identifier);
}

Result<TimelineManagerImpl::Pinned> TimelineManagerImpl::Pin(const TimelinePoint& point) {
    ZENITH_ASSIGN_OR_RETURN(Loaded loaded, Load(point.timeline));
    Timeline& timeline = *loaded.files->timeline;
    if (!point.lsn.has_value() && !point.time.has_value()) {
        ZENITH_RETURN_IF_ERROR(CatchUpWithCompute(loaded, point.timeline));
        return Pinned{loaded, loaded.files->timeline, timeline.last_record_end()};
    }
    Lsn lsn = point.lsn.value_or(Lsn());
    if (point.time.has_value()) {
        ZENITH_ASSIGN_OR_RETURN(lsn, LsnOfTime(loaded, point));
    }
    // PostgreSQL's insert position after a record that fills a page is past the next page's header.
    Lsn page = lsn - lsn.value % kWalPageSize;
    if (lsn == WalRecordStartAt(page)) {
        lsn = page;
    }
    if (lsn > timeline.last_record_end()) {
        ZENITH_RETURN_IF_ERROR(CatchUpWithCompute(loaded, point.timeline));
    }
    if (lsn > timeline.last_record_end()) {
        return Status::NotFound("LSN " + lsn.ToString() + " is after the end of timeline " +
                                    point.timeline.ToString() + " at " +
                                    timeline.last_record_end().ToString(),
                                "Give an LSN that the branch has reached, or none for its tip.");
    }
    std::shared_ptr<Timeline> holder = HolderOf(loaded.files->timeline, lsn);
    // Between two records stands for the end of the first. Of a retained point nothing around it may
    // be left, but it is the end of a record.
    Status readable = holder->CheckReadable(lsn);
    auto state = ClusterStateAt(*holder, lsn, loaded.files->system_identifier);
    if (!state.ok()) {
        return readable.ok() ? state.status() : readable.WithHint(kRetentionHint);
    }
    if (state->record_end != lsn) {
        readable = holder->CheckReadable(state->record_end);
    }
    if (!readable.ok()) {
        return readable.WithHint(kRetentionHint);
    }
    return Pinned{loaded, holder, state->record_end};
}

Status TimelineManagerImpl::CheckKept(const Timeline& holder, Lsn lsn) const {
    auto found = announced_.find(holder.id());
    if (found != announced_.end()) {
        const Announced& kept = found->second;
        const bool too_old = lsn < kept.horizon &&
                             !std::binary_search(kept.points.begin(), kept.points.end(), lsn);
        if (too_old || (kept.ends_at_horizon && lsn > kept.horizon)) {
            return Status::NotFound("LSN " + lsn.ToString() + " of timeline " +
                                        holder.id().ToString() + " is being removed: the " +
                                        (too_old ? "oldest" : "newest") + " one that is kept is " +
                                        kept.horizon.ToString(),
                                    kRetentionHint);
        }
    }
    Status readable = holder.CheckReadable(lsn);
    return readable.ok() ? readable : readable.WithHint(kRetentionHint);
}

Result<TimelinePoint> TimelineManagerImpl::PinPoint(
    const TimelinePoint& point, const std::function<Status(const TimelinePoint&)>& write_name) {
    ZENITH_ASSIGN_OR_RETURN(Pinned pinned, Pin(point));
    TimelinePoint result{pinned.holder->id(), pinned.lsn};
    if (write_name) {
        std::lock_guard lock(metadata_mutex_);
        ZENITH_RETURN_IF_ERROR(repository_.ReadTimeline(result.timeline).status());
        ZENITH_RETURN_IF_ERROR(CheckKept(*pinned.holder, pinned.lsn));
        ZENITH_RETURN_IF_ERROR(write_name(result));
    }
    return result;
}

Result<TimelineFile> TimelineManagerImpl::CreateTimeline(
    const TimelinePoint& point, const std::function<Status(const TimelineFile&)>& write_name) {
    ZENITH_ASSIGN_OR_RETURN(Pinned pinned, Pin(point));
    TimelineFile file;
    file.id = TimelineId::Random();
    file.ancestor = pinned.holder->id();
    file.ancestor_lsn = pinned.lsn;
    file.created_at = std::time(nullptr);
    std::lock_guard lock(metadata_mutex_);
    ZENITH_RETURN_IF_ERROR(repository_.ReadTimeline(file.ancestor).status());
    ZENITH_RETURN_IF_ERROR(CheckKept(*pinned.holder, pinned.lsn));
    ZENITH_RETURN_IF_ERROR(repository_.WriteTimeline(file));
    if (write_name) {
        Status named = write_name(file);
        if (!named.ok()) {
            if (Status undone = repository_.RemoveTimeline(file.id); !undone.ok()) {
                spdlog::warn("timelines: {} stays without a name until housekeeping: {}",
                             file.id.ToString(), undone.message());
            }
            return named;
        }
    }
    spdlog::info("timelines: made {} of {} at {}", file.id.ToString(), file.ancestor.ToString(),
                 file.ancestor_lsn.ToString());
    return file;
}

Status TimelineManagerImpl::DeleteTimeline(const TimelineId& id,
                                           const std::function<Status()>& remove_name) {
    ZENITH_ASSIGN_OR_RETURN(TimelineFile file, repository_.ReadTimeline(id));
    std::shared_ptr<TimelineRuntime> runtime = FindOrMakeRuntime(id);
    std::lock_guard operation(runtime->operation_mutex);
    std::shared_ptr<WalReceiver> receiver;
    {
        std::lock_guard lock(runtime->state_mutex);
        if (runtime->deleted) {
            return NoLonger(id);
        }
        if (runtime->loaded == nullptr) {
            runtime->file = file;  // for the probe; a load reads it again
        }
        receiver = runtime->receiver;
    }
    ZENITH_RETURN_IF_ERROR(RefuseWhileComputeLives(*runtime, id));
    std::lock_guard metadata(metadata_mutex_);
    if (remove_name) {
        ZENITH_RETURN_IF_ERROR(remove_name());
    }
    if (receiver != nullptr) {
        // What it has not stored was never acknowledged, and nobody will write here any more.
        Status stopped = StopReceiver(*runtime);
        if (!stopped.ok()) {
            spdlog::warn("timelines: {}", stopped.message());
        }
    }
    lost_points_.insert(id);
    RemoveUnreferenced(id);
    return Status::Ok();
}

Status TimelineManagerImpl::ReleasePoint(const TimelinePoint& point,
                                         const std::function<Status()>& remove_name) {
    std::lock_guard metadata(metadata_mutex_);
    ZENITH_RETURN_IF_ERROR(remove_name());
    lost_points_.insert(point.timeline);
    RemoveUnreferenced(point.timeline);
    return Status::Ok();
}

void TimelineManagerImpl::RemoveUnreferenced(const TimelineId& root) {
    auto facts = Facts();
    if (!facts.ok()) {
        // They only take space.
        spdlog::warn("timelines: kept timelines that may have no branch: {}",
                     facts.status().message());
        return;
    }
    // A root that comes without a name and goes with its last reference: the one at the top of what
    // was deleted.
    TimelineId top = root;
    for (size_t steps = 0; steps < facts->timelines.size(); steps++) {
        auto found = facts->timelines.find(top);
        if (found == facts->timelines.end() || !found->second.ancestor.valid()) {
            break;
        }
        top = found->second.ancestor;
    }
    for (const TimelineId& id : UnreferencedTimelines(*facts, std::set<TimelineId>{top})) {
        if (Status status = RemoveTimeline(id); !status.ok()) {
            spdlog::warn("timelines: could not remove {}, which has no name: {}", id.ToString(),
                         status.message());
            return;
        }
    }
}

Status TimelineManagerImpl::RemoveTimeline(const TimelineId& id) {
    ZENITH_ASSIGN_OR_RETURN(TimelineFile file, repository_.ReadTimeline(id));
    std::shared_ptr<TimelineRuntime> runtime = FindOrMakeRuntime(id);
    std::shared_ptr<WalReceiver> receiver;
    {
        std::lock_guard lock(runtime->state_mutex);
        runtime->deleted = true;
        receiver = std::exchange(runtime->receiver, nullptr);
    }
    if (receiver != nullptr) {
        receiver->Stop();
    }
    Status removed = repository_.RemoveTimeline(id);
    {
        std::lock_guard lock(runtime->state_mutex);
        runtime->deleted = removed.ok();
    }
    ZENITH_RETURN_IF_ERROR(removed);
    {
        // Its last reader may hold the runtime and what is loaded a little longer.
        std::lock_guard lock(map_mutex_);
        runtimes_.erase(id);
    }
    announced_.erase(id);
    look_again_.erase(id);
    lost_points_.erase(id);
    did_not_pay_.erase(id);
    if (file.ancestor.valid()) {
        lost_points_.insert(file.ancestor);
    }
    spdlog::info("timelines: removed {}", id.ToString());
    return Status::Ok();
}

Result<std::shared_ptr<void>> TimelineManagerImpl::HoldLsn(const TimelineId& id, Lsn lsn,
                                                           int linger_seconds) {
    ZENITH_ASSIGN_OR_RETURN(Pinned pinned, Pin({id, lsn}));
    std::lock_guard lock(metadata_mutex_);
    ZENITH_RETURN_IF_ERROR(CheckKept(*pinned.holder, pinned.lsn));
    const uint64_t number = next_lease_++;
    leases_[number] = {pinned.holder->id(), pinned.lsn, std::nullopt};
    return std::shared_ptr<void>(nullptr, [this, number, linger_seconds](void*) {
        std::lock_guard metadata(metadata_mutex_);
        if (linger_seconds > 0) {
            leases_[number].ends = Clock::now() + std::chrono::seconds(linger_seconds);
        } else {
            leases_.erase(number);
        }
    });
}

}  // namespace zenith
