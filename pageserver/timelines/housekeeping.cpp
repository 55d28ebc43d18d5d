// What the page server does by itself: collect garbage, write idle history to files, unload timelines
// that nobody uses.
#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "common/base/time.h"
#include "pageserver/layers/timeline_layers.h"
#include "pageserver/timelines/timeline_manager_impl.h"
#include "pageserver/wal_ingest/time_lookup.h"

namespace zenith {

namespace {

// Retention rewrites what stays below the horizon, so it waits until that pays: until as much has
// expired as four WAL segments, or a quarter of what is kept. With less than a segment the layers
// see no point, nor with less than what they would have to write; they are asked again when a
// quarter more has expired.
constexpr uint64_t kMuchExpired = 64ull << 20;
constexpr uint64_t kLittleExpired = 16ull << 20;
constexpr uint64_t kExpiredShare = 4;
// Timelines that are loaded only to be looked at, in one round.
constexpr int kLoadsPerRound = 4;
// A timeline that nobody has used for so long is unloaded; at once when there are more of them, or
// when memory gets scarce.
constexpr std::chrono::seconds kUnloadAfter(120);
constexpr size_t kMostIdle = 64;
// At least so often one looks at a timeline of which something can expire.
constexpr int64_t kLongestLook = 3600 * kMicrosPerSecond;
constexpr int64_t kShortestLook = 60 * kMicrosPerSecond;

}  // namespace

void TimelineManagerImpl::StartHousekeeping() {
    housekeeping_ = std::thread([this] { HousekeepingLoop(); });
}

void TimelineManagerImpl::HousekeepingLoop() {
    const std::chrono::seconds period(config_.gc_period_seconds);
    std::unique_lock lock(housekeeping_mutex_);
    while (!shut_down_.load()) {
        // Changed settings wake it as well.
        housekeeping_wake_.wait_for(lock, period);
        if (shut_down_.load()) {
            return;
        }
        lock.unlock();
        KeepHouse();
        lock.lock();
    }
}

void TimelineManagerImpl::KeepHouse() {
    {
        std::lock_guard metadata(metadata_mutex_);
        auto facts = Facts();
        std::vector<TimelineId> unreferenced;
        if (facts.ok()) {
            unreferenced = UnreferencedTimelines(*facts);
        } else {
            spdlog::warn("timelines: nothing is collected: {}", facts.status().message());
        }
        for (const TimelineId& id : unreferenced) {
            if (Status status = RemoveTimeline(id); !status.ok()) {
                spdlog::warn("timelines: could not remove {}, which has no name: {}",
                             id.ToString(), status.message());
                break;
            }
        }
    }
    CollectWhatIsWorthIt();
    UnloadIdle();
    FlushIdle();
}

void TimelineManagerImpl::CollectWhatIsWorthIt() {
    std::vector<std::pair<TimelineId, bool>> candidates;  // and whether they have to be loaded
    std::set<TimelineId> named;
    {
        std::lock_guard metadata(metadata_mutex_);
        auto facts = Facts();
        if (!facts.ok()) {
            return;
        }
        const int64_t now = NowMicros();
        int loads = 0;
        for (const auto& [id, file] : facts->timelines) {
            if (facts->named(id)) {
                named.insert(id);
            }
            std::shared_ptr<TimelineRuntime> runtime = FindRuntime(id);
            bool loaded = false;
            if (runtime != nullptr) {
                std::lock_guard lock(runtime->state_mutex);
                loaded = runtime->loaded != nullptr;
            }
            if (!loaded) {
                // Nothing in a timeline is older than itself.
                auto look = look_again_.find(id);
                const int64_t at =
                    look != look_again_.end()
                        ? look->second
                        : (file.created_at + retention_.pitr_interval_seconds) * kMicrosPerSecond;
                if ((now < at && !lost_points_.contains(id)) || ++loads > kLoadsPerRound) {
                    continue;
                }
            }
            candidates.emplace_back(id, !loaded);
        }
    }
    for (const auto& [id, unload] : candidates) {
        if (shut_down_.load()) {
            return;
        }
        {
            auto loaded = Load(id);
            if (!loaded.ok()) {
                spdlog::warn("timelines: {}", loaded.status().message());
            } else if (IsWorthIt(*loaded, id, named.contains(id))) {
                const Lsn from = loaded->files->timeline->readable_from();
                auto report = CollectLoaded(*loaded, id, Collect::kWhatIsWorthIt);
                if (!report.ok() && !shut_down_.load()) {
                    spdlog::warn("timelines: {}", report.status().message());
                }
                NoteWhetherItPaid(*loaded, id, from);
            }
        }
        if (unload) {
            Unload(id, /*only_idle=*/false);
        }
    }
}

bool TimelineManagerImpl::IsWorthIt(const Loaded& loaded, const TimelineId& id, bool named) {
    Timeline& timeline = *loaded.files->timeline;
    auto horizon = HorizonOf(*loaded.files);
    if (!horizon.ok()) {
        spdlog::warn("timelines: {}", horizon.status().message());
        return false;
    }
    const Lsn tip = timeline.last_record_end();
    const uint64_t expired = *horizon - std::min(*horizon, timeline.readable_from());
    const uint64_t kept = tip - std::min(tip, *horizon);
    std::lock_guard metadata(metadata_mutex_);
    // While nothing is written everything has expired one interval from now at the latest.
    const int64_t interval = retention_.pitr_interval_seconds * kMicrosPerSecond;
    look_again_[id] = *horizon >= tip ? INT64_MAX
                                      : NowMicros() + std::clamp(interval / 8, kShortestLook,
                                                                 kLongestLook);
    if (lost_points_.contains(id)) {
        if (!named || timeline.readable_from() > timeline.start_lsn()) {
            return true;
        }
        lost_points_.erase(id);  // nothing before them has been removed
    }
    auto before = did_not_pay_.find(id);
    if (before != did_not_pay_.end() && expired < before->second + before->second / 4) {
        return false;
    }
    return expired >= kMuchExpired ||
           (expired >= kLittleExpired && expired >= kept / kExpiredShare);
}

void TimelineManagerImpl::NoteWhetherItPaid(const Loaded& loaded, const TimelineId& id, Lsn from) {
    auto horizon = HorizonOf(*loaded.files);
    std::lock_guard metadata(metadata_mutex_);
    if (!horizon.ok() || loaded.files->timeline->readable_from() > from ||
        FindRuntime(id) != loaded.runtime) {
        did_not_pay_.erase(id);
    } else {
        did_not_pay_[id] = *horizon - std::min(*horizon, from);
    }
}

void TimelineManagerImpl::FlushIdle() {
    for (const auto& [id, runtime] : Runtimes()) {
        std::unique_lock operation(runtime->operation_mutex, std::try_to_lock);
        if (!operation.owns_lock()) {
            continue;  // next time
        }
        std::shared_ptr<LoadedTimeline> loaded;
        {
            std::lock_guard lock(runtime->state_mutex);
            // A receiver does it itself; without one, whoever has the operation lock may write.
            if (runtime->receiver == nullptr && !runtime->deleted) {
                loaded = runtime->loaded;
            }
        }
        if (loaded == nullptr || !loaded->follower->error().ok() ||
            !loaded->timeline->WantsFlush()) {
            continue;
        }
        loaded->follower->Flush();
        (void)loaded->follower->WaitForFlush();  // it is logged, and the follower's problem()
    }
}

void TimelineManagerImpl::UnloadIdle() {
    struct Idle {
        Clock::time_point last_used;
        TimelineId id;
    };
    std::vector<Idle> idle;
    for (const auto& [id, runtime] : Runtimes()) {
        std::lock_guard lock(runtime->state_mutex);
        if (runtime->loaded != nullptr && runtime->receiver == nullptr &&
            runtime->loaded.use_count() == 1 && runtime->loaded->timeline.use_count() == 1) {
            idle.push_back({runtime->last_used, id});
        }
    }
    std::sort(idle.begin(), idle.end(),
              [](const Idle& a, const Idle& b) { return a.last_used < b.last_used; });
    const LayerMemory* memory = options_.memory;
    const Clock::time_point now = Clock::now();
    for (size_t i = 0; i < idle.size(); i++) {
        const bool scarce =
            memory != nullptr && memory->used_bytes.load() > memory->limit_bytes / 4 * 3;
        if (now - idle[i].last_used < kUnloadAfter && idle.size() - i <= kMostIdle && !scarce) {
            break;
        }
        Unload(idle[i].id, /*only_idle=*/true);
    }
}

bool TimelineManagerImpl::Unload(const TimelineId& id, bool only_idle) {
    std::shared_ptr<TimelineRuntime> runtime = FindRuntime(id);
    if (runtime == nullptr) {
        return false;
    }
    std::unique_lock operation(runtime->operation_mutex, std::defer_lock);
    if (only_idle) {
        if (!operation.try_lock()) {
            return false;  // somebody needs it
        }
    } else {
        operation.lock();
    }
    std::shared_ptr<LoadedTimeline> unloaded;
    {
        // Nobody takes another reference without this lock.
        std::lock_guard lock(runtime->state_mutex);
        if (runtime->loaded == nullptr || runtime->receiver != nullptr ||
            runtime->loaded.use_count() > 1 || runtime->loaded->timeline.use_count() > 1) {
            return false;
        }
        unloaded = std::move(runtime->loaded);
        runtime->loaded = nullptr;
    }
    // The operation lock keeps others from loading it before its last file is there.
    if (unloaded->follower->error().ok()) {
        unloaded->follower->Flush();
    }
    if (Status status = unloaded->follower->WaitForFlush(); !status.ok()) {
        // It stays, as does what it holds in memory.
        std::lock_guard lock(runtime->state_mutex);
        runtime->loaded = std::move(unloaded);
        return false;
    }
    unloaded.reset();
    spdlog::debug("timelines: unloaded {}", id.ToString());
    return true;
}

}  // namespace zenith
