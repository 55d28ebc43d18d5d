// What has to stay of a timeline, and removing the rest.
#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "common/base/log.h"
#include "common/base/time.h"
#include "pageserver/timelines/timeline_manager_impl.h"
#include "pageserver/wal_ingest/time_lookup.h"

namespace zenith {

namespace {

// Space that the files below a directory take.
uint64_t BytesBelow(const std::string& directory) {
    std::error_code error;
    uint64_t bytes = 0;
    std::filesystem::recursive_directory_iterator it(directory, error), end;
    for (; !error && it != end; it.increment(error)) {
        std::error_code gone;  // a file that goes meanwhile counts nothing
        const uint64_t size = it->is_regular_file(gone) ? it->file_size(gone) : 0;
        bytes += gone ? 0 : size;
    }
    return bytes;
}

}  // namespace

RetentionSettings TimelineManagerImpl::retention() const {
    std::lock_guard lock(metadata_mutex_);
    return retention_;
}

Status TimelineManagerImpl::SetRetention(const RetentionSettings& settings) {
    if (settings.pitr_interval_seconds < 0) {
        return Status::InvalidArgument("pitr_interval must not be negative");
    }
    {
        std::lock_guard lock(metadata_mutex_);
        ZENITH_ASSIGN_OR_RETURN(RepoConfig config, repository_.ReadConfig());
        config.pitr_interval_seconds = settings.pitr_interval_seconds;
        config.retain_bytes = settings.retain_bytes;
        ZENITH_RETURN_IF_ERROR(repository_.WriteConfig(config));
        retention_ = settings;
        look_again_.clear();
        did_not_pay_.clear();
    }
    housekeeping_wake_.notify_all();
    return Status::Ok();
}

Result<RetentionFacts> TimelineManagerImpl::Facts() {
    ZENITH_ASSIGN_OR_RETURN(RetentionFacts facts, ReadRetentionFacts(repository_));
    const Clock::time_point now = Clock::now();
    std::erase_if(leases_, [&](const auto& entry) {
        return entry.second.ends.has_value() && *entry.second.ends <= now;
    });
    for (const auto& [number, lease] : leases_) {
        facts.held.emplace(lease.timeline, lease.lsn);
    }
    return facts;
}

Result<Lsn> TimelineManagerImpl::HorizonOf(const LoadedTimeline& files) const {
    const RetentionSettings settings = retention();
    Timeline& timeline = *files.timeline;
    const Lsn tip = timeline.last_record_end();
    Lsn horizon = tip;
    if (settings.pitr_interval_seconds > 0) {
        ZENITH_ASSIGN_OR_RETURN(
            horizon, LsnKnownOlderThan(timeline,
                                       NowMicros() - settings.pitr_interval_seconds *
                                                         kMicrosPerSecond,
                                       files.system_identifier));
    }
    if (settings.retain_bytes > 0) {
        horizon = std::min(horizon, tip - std::min(tip.value, settings.retain_bytes));
    }
    return std::max(horizon, timeline.readable_from());
}

Result<Timeline::Retention> TimelineManagerImpl::Plan(const RetentionFacts& facts,
                                                      const Loaded& loaded, Lsn horizon,
                                                      bool compute_runs) const {
    const TimelineId& id = loaded.files->timeline->id();
    auto found = facts.timelines.find(id);
    if (found == facts.timelines.end()) {
        return NoLonger(id);
    }
    const std::vector<TimelineId> removed = UnreferencedTimelines(facts);
    Timeline::Retention retention;
    retention.points = NeededPoints(facts, id, {removed.begin(), removed.end()});
    const Lsn start = found->second.compute_start_lsn;
    if (compute_runs && start.valid()) {
        retention.points.insert(
            std::lower_bound(retention.points.begin(), retention.points.end(), start), start);
    }
    retention.horizon = horizon;
    if (!facts.named(id) && !retention.points.empty() && !compute_runs) {
        retention.ends_at_horizon = true;
        retention.horizon = retention.points.back();
    }
    auto& points = retention.points;
    points.erase(std::lower_bound(points.begin(), points.end(), retention.horizon), points.end());
    points.erase(std::unique(points.begin(), points.end()), points.end());
    LoadedTimeline& files = *loaded.files;
    retention.state_at = [&files](Lsn lsn) -> Result<std::string> {
        ZENITH_ASSIGN_OR_RETURN(ClusterState state,
                                ClusterStateAt(*files.timeline, lsn, files.system_identifier));
        return state.Serialize();
    };
    return retention;
}

Status TimelineManagerImpl::FlushNow(const Loaded& loaded) {
    TimelineRuntime& runtime = *loaded.runtime;
    for (;;) {
        ZENITH_RETURN_IF_ERROR(ShuttingDown());
        std::shared_ptr<WalReceiver> receiver;
        {
            std::lock_guard operation(runtime.operation_mutex);
            std::lock_guard lock(runtime.state_mutex);
            if (runtime.deleted) {
                return NoLonger(loaded.files->timeline->id());
            }
            receiver = runtime.receiver;
            if (receiver == nullptr) {
                if (!loaded.files->follower->error().ok()) {
                    return Status::Ok();
                }
                loaded.files->follower->Flush();
                return loaded.files->timeline->WaitForFlush();
            }
        }
        Status flushed = receiver->Flush();
        std::lock_guard lock(runtime.state_mutex);
        if (flushed.ok() || runtime.receiver == receiver) {
            return flushed;
        }
        // It was stopped under us: the compute is being started or deleted. Who comes next may not
        // have flushed.
    }
}

Result<GarbageReport> TimelineManagerImpl::CollectGarbage(const TimelineId& id, bool dry_run) {
    {
        std::lock_guard metadata(metadata_mutex_);
        ZENITH_ASSIGN_OR_RETURN(RetentionFacts facts, Facts());
        if (!facts.timelines.contains(id)) {
            return repository_.ReadTimeline(id).status();
        }
        const std::vector<TimelineId> unreferenced = UnreferencedTimelines(facts);
        if (std::find(unreferenced.begin(), unreferenced.end(), id) != unreferenced.end()) {
            GarbageReport report;
            report.timeline = id;
            report.removed = true;
            report.retention.removed_bytes = BytesBelow(repository_.TimelineDirectory(id));
            // Its descendants are in the list as well, and before it.
            for (const TimelineId& gone : unreferenced) {
                if (!dry_run) {
                    ZENITH_RETURN_IF_ERROR(RemoveTimeline(gone));
                }
                if (gone == id) {
                    break;
                }
            }
            return report;
        }
    }
    bool was_loaded = false;
    if (std::shared_ptr<TimelineRuntime> runtime = FindRuntime(id); runtime != nullptr) {
        std::lock_guard lock(runtime->state_mutex);
        was_loaded = runtime->loaded != nullptr;
    }
    Result<GarbageReport> report = [&]() -> Result<GarbageReport> {
        ZENITH_ASSIGN_OR_RETURN(Loaded loaded, Load(id));
        return CollectLoaded(loaded, id, dry_run ? Collect::kDryRun : Collect::kWhatWorks);
    }();
    if (!was_loaded) {
        Unload(id, /*only_idle=*/false);
    }
    return report;
}

Result<GarbageReport> TimelineManagerImpl::CollectLoaded(const Loaded& loaded, const TimelineId& id,
                                                         Collect how) {
    const bool dry_run = how == Collect::kDryRun;
    std::lock_guard collecting(loaded.runtime->collect_mutex);
    ZENITH_RETURN_IF_ERROR(ShuttingDown());
    // Only what is in files can be removed.
    ZENITH_RETURN_IF_ERROR(FlushNow(loaded));
    ZENITH_ASSIGN_OR_RETURN(const Lsn horizon, HorizonOf(*loaded.files));
    // Asks over the network, so without the lock; a compute that comes meanwhile starts at the tip,
    // which stays.
    const bool compute_runs = ComputeMayRun(*loaded.runtime, id);
    Timeline::Retention retention;
    bool lost_points = false;
    {
        std::lock_guard metadata(metadata_mutex_);
        ZENITH_ASSIGN_OR_RETURN(RetentionFacts facts, Facts());
        // Without a name nobody is let write, also one that was to begin and never called.
        ZENITH_ASSIGN_OR_RETURN(
            retention, Plan(facts, loaded, horizon, compute_runs && facts.named(id)));
        retention.dry_run = dry_run;
        retention.only_if_worthwhile = how == Collect::kWhatIsWorthIt;
        if (!dry_run) {
            announced_[id] = {retention.horizon, retention.points, retention.ends_at_horizon};
            lost_points = lost_points_.erase(id) > 0;
        }
    }
    auto applied = loaded.files->timeline->ApplyRetention(retention);
    if (!dry_run) {
        std::lock_guard metadata(metadata_mutex_);
        announced_.erase(id);
        if (FindRuntime(id) != loaded.runtime) {
            return NoLonger(id);
        }
        if (!applied.ok() && lost_points) {
            lost_points_.insert(id);
        }
    }
    if (!applied.ok()) {
        return applied.status().WithContext("could not collect garbage of timeline " +
                                            id.ToString());
    }
    if (!dry_run && applied->removed_bytes + applied->written_bytes > 0) {
        spdlog::info("timelines: {} can be read from {} on and at {} points before; freed {} bytes, "
                     "wrote {}",
                     id.ToString(), applied->readable_from.ToString(), retention.points.size(),
                     applied->removed_bytes, applied->written_bytes);
    }
    GarbageReport report;
    report.timeline = id;
    report.retention = *applied;
    return report;
}

}  // namespace zenith
