#include "pageserver/timelines/timeline_manager.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <utility>

#include "common/base/log.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/timelines/timeline_manager_impl.h"
#include "pageserver/wal_receiver/compute_wal_source.h"

namespace zenith {

Status NoLonger(const TimelineId& id) {
    return Status::NotFound("timeline " + id.ToString() + " has been deleted");
}

TimelineManagerImpl::TimelineManagerImpl(const Repository& repository, RepoConfig config,
                                         ComputeAccess access, const LayerOptions& options,
                                         UniqueFd wake_fd)
    : repository_(repository),
      config_(std::move(config)),
      access_(std::move(access)),
      options_(options),
      wake_fd_(std::move(wake_fd)),
      retention_{config_.pitr_interval_seconds, config_.retain_bytes} {}

TimelineManagerImpl::~TimelineManagerImpl() { Shutdown(); }

Status TimelineManagerImpl::ShuttingDown() const {
    if (shut_down_.load()) {
        return Status::Unavailable("the page server is shutting down");
    }
    return Status::Ok();
}

void TimelineManagerImpl::Sleep(int milliseconds) {
    pollfd wake = {wake_fd_.get(), POLLIN, 0};
    (void)poll(&wake, 1, milliseconds);  // an early return only means an early next look
}

std::shared_ptr<TimelineRuntime> TimelineManagerImpl::FindRuntime(const TimelineId& id) {
    std::lock_guard lock(map_mutex_);
    auto found = runtimes_.find(id);
    return found == runtimes_.end() ? nullptr : found->second;
}

std::shared_ptr<TimelineRuntime> TimelineManagerImpl::FindOrMakeRuntime(const TimelineId& id) {
    std::lock_guard lock(map_mutex_);
    std::shared_ptr<TimelineRuntime>& runtime = runtimes_[id];
    if (runtime == nullptr) {
        runtime = std::make_shared<TimelineRuntime>();
    }
    return runtime;
}

// ---- loading ------------------------------------------------------------------------------------

Result<TimelineManagerImpl::Loaded> TimelineManagerImpl::Load(const TimelineId& id) {
    // From `id` up to the first ancestor that is loaded, then down again. No two timelines are
    // locked at once, so loads of relatives cannot block each other for good.
    std::vector<TimelineId> missing;
    std::set<TimelineId> seen;
    Loaded ancestor;
    TimelineId current = id;
    while (true) {
        if (std::shared_ptr<TimelineRuntime> runtime = FindRuntime(current); runtime != nullptr) {
            std::lock_guard lock(runtime->state_mutex);
            if (runtime->loaded != nullptr) {
                runtime->last_used = Clock::now();
                ancestor = {runtime, runtime->loaded};
                break;
            }
        }
        if (!seen.insert(current).second) {
            return Status::Corruption("timeline " + current.ToString() + " is its own ancestor");
        }
        auto file = repository_.ReadTimeline(current);
        if (!file.ok()) {
            return current == id ? file.status()
                                 : file.status().WithContext("could not load an ancestor of "
                                                             "timeline " + id.ToString());
        }
        missing.push_back(current);
        if (!file->ancestor.valid()) {
            break;
        }
        current = file->ancestor;
    }
    while (!missing.empty()) {
        ZENITH_ASSIGN_OR_RETURN(ancestor, LoadOne(missing.back(), ancestor.files.get()));
        missing.pop_back();
    }
    return ancestor;
}

Result<TimelineManagerImpl::Loaded> TimelineManagerImpl::LoadOne(const TimelineId& id,
                                                                 const LoadedTimeline* parent) {
    ZENITH_RETURN_IF_ERROR(ShuttingDown());
    std::shared_ptr<TimelineRuntime> runtime = FindOrMakeRuntime(id);
    std::lock_guard operation(runtime->operation_mutex);
    {
        std::lock_guard lock(runtime->state_mutex);
        if (runtime->deleted) {
            return NoLonger(id);
        }
        if (runtime->loaded != nullptr) {
            runtime->last_used = Clock::now();
            return Loaded{runtime, runtime->loaded};
        }
    }
    // Here, where nobody else can raise its term.
    ZENITH_ASSIGN_OR_RETURN(TimelineFile file, repository_.ReadTimeline(id));
    auto loaded = LoadTimeline(repository_, file, parent, options_, &shut_down_);
    if (!loaded.ok()) {
        ZENITH_RETURN_IF_ERROR(ShuttingDown());
        return loaded.status().WithContext("could not load timeline " + id.ToString());
    }
    std::lock_guard lock(runtime->state_mutex);
    if (runtime->deleted) {
        return NoLonger(id);
    }
    runtime->loaded = *std::move(loaded);
    runtime->file = file;
    runtime->last_used = Clock::now();
    return Loaded{runtime, runtime->loaded};
}

Result<std::shared_ptr<Timeline>> TimelineManagerImpl::Get(const TimelineId& id) {
    ZENITH_ASSIGN_OR_RETURN(Loaded loaded, Load(id));
    return loaded.files->timeline;
}

Result<ClusterState> TimelineManagerImpl::StateAt(const TimelineId& id, std::optional<Lsn> lsn) {
    ZENITH_ASSIGN_OR_RETURN(Loaded loaded, Load(id));
    Timeline& timeline = *loaded.files->timeline;
    Lsn end = timeline.last_record_end();
    if (lsn.has_value() && *lsn > end) {
        return Status::NotFound("LSN " + lsn->ToString() + " is after the end of timeline " +
                                id.ToString() + " at " + end.ToString());
    }
    if (lsn.has_value()) {
        ZENITH_RETURN_IF_ERROR(timeline.CheckReadable(*lsn));
    }
    return ClusterStateAt(timeline, lsn.value_or(end), loaded.files->system_identifier);
}

Result<std::vector<TimelineInfo>> TimelineManagerImpl::List() {
    ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineId> ids, repository_.ListTimelines());
    std::vector<TimelineInfo> result;
    for (const TimelineId& id : ids) {
        TimelineInfo info;
        auto file = repository_.ReadTimeline(id);
        if (file.status().code() == StatusCode::kNotFound) {
            continue;  // deleted meanwhile
        }
        ZENITH_RETURN_IF_ERROR(file.status());
        info.file = *file;
        if (std::shared_ptr<TimelineRuntime> runtime = FindRuntime(id); runtime != nullptr) {
            std::lock_guard lock(runtime->state_mutex);
            if (runtime->loaded != nullptr) {
                info.loaded = true;
                info.last_record_end = runtime->loaded->timeline->last_record_end();
                info.flush_lsn = info.last_record_end;
                info.readable_from = runtime->loaded->timeline->readable_from();
                info.ingest_error = runtime->loaded->follower->error().message();
                info.problem = runtime->loaded->follower->problem();
            }
            if (runtime->receiver != nullptr) {
                info.flush_lsn = runtime->receiver->durable_end();
                info.receiving = runtime->receiver->streaming();
                // What stops commits counts more than what stops layer files.
                if (StorageProblem problem = runtime->receiver->problem();
                    problem.going_on() || !info.problem.going_on()) {
                    info.problem = problem.what.empty() ? info.problem : problem;
                }
            }
        }
        result.push_back(std::move(info));
    }
    return result;
}

void TimelineManagerImpl::Shutdown() {
    shut_down_.store(true);
    uint64_t one = 1;
    while (write(wake_fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
    }
    {
        std::lock_guard lock(housekeeping_mutex_);
    }
    housekeeping_wake_.notify_all();
    if (housekeeping_.joinable()) {
        housekeeping_.join();
    }
    for (const auto& [id, runtime] : Runtimes()) {
        std::shared_ptr<WalReceiver> receiver;
        {
            std::lock_guard lock(runtime->state_mutex);
            receiver = runtime->receiver;
        }
        if (receiver != nullptr) {
            receiver->Stop();
        }
    }
}

void TimelineManagerImpl::FlushAll() {
    std::vector<Loaded> flushing;
    for (const auto& [id, runtime] : Runtimes()) {
        std::lock_guard operation(runtime->operation_mutex);
        std::lock_guard lock(runtime->state_mutex);
        if (runtime->loaded != nullptr && runtime->loaded->follower->error().ok()) {
            runtime->loaded->follower->Flush();
            flushing.push_back({runtime, runtime->loaded});
        }
    }
    for (const Loaded& loaded : flushing) {
        if (Status status = loaded.files->timeline->WaitForFlush(); !status.ok()) {
            spdlog::warn("timelines: {}; the next start reads its WAL again", status.message());
        }
    }
}

std::vector<std::pair<TimelineId, std::shared_ptr<TimelineRuntime>>>
TimelineManagerImpl::Runtimes() {
    std::lock_guard lock(map_mutex_);
    return {runtimes_.begin(), runtimes_.end()};
}

Result<std::unique_ptr<TimelineManager>> OpenTimelineManager(const Repository& repository,
                                                             ComputeAccess access,
                                                             const LayerOptions& options) {
    ZENITH_ASSIGN_OR_RETURN(RepoConfig config, repository.ReadConfig());
    UniqueFd wake_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_fd.valid()) {
        return ErrnoStatus("create", "eventfd", errno);
    }
    return std::unique_ptr<TimelineManager>(std::make_unique<TimelineManagerImpl>(
        repository, std::move(config), std::move(access), options, std::move(wake_fd)));
}

Result<std::unique_ptr<TimelineManager>> TimelineManager::Open(const Repository& repository,
                                                               const LayerOptions& options) {
    ComputeAccess access;
    access.connect = ConnectToComputeWal;
    access.probe = ProbeCompute;
    access.flush = FlushCompute;
    return OpenTimelineManager(repository, std::move(access), options);
}

}  // namespace zenith
