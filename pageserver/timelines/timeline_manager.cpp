#include "pageserver/timelines/timeline_manager.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "common/base/log.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/timelines/compute_access.h"
#include "pageserver/timelines/loaded_timeline.h"
#include "pageserver/wal_receiver/compute_wal_source.h"
#include "pageserver/wal_receiver/wal_receiver.h"

namespace zenith {

namespace {

using Clock = std::chrono::steady_clock;

// A compute that was killed is noticed within milliseconds; one that streams for so long after its
// server stopped answering is only slow.
constexpr int kStreamEndGraceMs = 2000;
constexpr int kFlushTimeoutMs = 10000;
constexpr int kBusyTimeoutMs = 10000;
constexpr int kBusyPollMs = 100;

// What is known of one timeline at run time. Lock operation_mutex before state_mutex.
struct Runtime {
    // Held for a whole load, grant, callmemaybe or deletion.
    std::mutex operation_mutex;
    // Held for moments. Guards the rest.
    std::mutex state_mutex;
    std::shared_ptr<LoadedTimeline> loaded;
    std::shared_ptr<WalReceiver> receiver;
    TimelineFile file;
    bool deleted = false;
    // Guarded by operation_mutex: how far the receivers so far have acknowledged WAL.
    Lsn acknowledged;
};

Status NoLonger(const TimelineId& id) {
    return Status::NotFound("timeline " + id.ToString() + " has been deleted");
}

class TimelineManagerImpl : public TimelineManager {
  public:
    TimelineManagerImpl(const Repository& repository, RepoConfig config, ComputeAccess access,
                        const LayerOptions& options, UniqueFd wake_fd)
        : repository_(repository),
          config_(std::move(config)),
          access_(std::move(access)),
          options_(options),
          wake_fd_(std::move(wake_fd)) {}
    ~TimelineManagerImpl() override { Shutdown(); }

    const RepoConfig& config() const override { return config_; }
    Result<std::shared_ptr<Timeline>> Get(const TimelineId& id) override;
    Result<ClusterState> StateAt(const TimelineId& id, std::optional<Lsn> lsn) override;
    Result<TimelineFile> CreateTimeline(const TimelinePoint& point) override;
    Result<Lsn> PinPoint(const TimelinePoint& point) override;
    Status DeleteTimeline(const TimelineId& id) override;
    Result<WriteGrant> GrantWriter(const TimelineId& id) override;
    Status CallMeMaybe(const TimelineId& id, uint64_t term, const std::string& connstr) override;
    Result<std::vector<TimelineInfo>> List() override;
    void Shutdown() override;

  private:
    struct Loaded {
        std::shared_ptr<Runtime> runtime;
        std::shared_ptr<LoadedTimeline> files;
    };
    struct Pinned {
        TimelineId timeline;
        Lsn lsn;
    };

    std::shared_ptr<Runtime> FindRuntime(const TimelineId& id);
    std::shared_ptr<Runtime> FindOrMakeRuntime(const TimelineId& id);
    Result<Loaded> Load(const TimelineId& id);
    Result<Loaded> LoadOne(const TimelineFile& file, const LoadedTimeline* parent);
    // The rest requires that operation_mutex of the runtime is held.
    // Ends the receiver, if any, and ingests all whole records. OK when a record cannot be
    // ingested: see follower->error().
    Status StopReceiver(Runtime& runtime);
    Status StartReceiver(Runtime& runtime, const std::string& connstr);
    Status RefuseWhileComputeLives(Runtime& runtime, const TimelineId& id);

    // Has a running compute flush and waits until everything it had committed is ingested.
    Status CatchUpWithCompute(const Loaded& loaded, const TimelineId& id);
    Result<Pinned> Pin(const TimelinePoint& point);
    Status ShuttingDown() const;
    void Sleep(int milliseconds);

    const Repository& repository_;
    const RepoConfig config_;
    const ComputeAccess access_;
    const LayerOptions options_;
    const UniqueFd wake_fd_;  // readable from Shutdown() on
    std::atomic<bool> shut_down_{false};

    std::mutex map_mutex_;
    std::unordered_map<TimelineId, std::shared_ptr<Runtime>> runtimes_;  // guarded by map_mutex_
    // Held while a timeline is written or removed, so that no child is made of a dying parent.
    std::mutex metadata_mutex_;
};

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

std::shared_ptr<Runtime> TimelineManagerImpl::FindRuntime(const TimelineId& id) {
    std::lock_guard lock(map_mutex_);
    auto found = runtimes_.find(id);
    return found == runtimes_.end() ? nullptr : found->second;
}

std::shared_ptr<Runtime> TimelineManagerImpl::FindOrMakeRuntime(const TimelineId& id) {
    std::lock_guard lock(map_mutex_);
    std::shared_ptr<Runtime>& runtime = runtimes_[id];
    if (runtime == nullptr) {
        runtime = std::make_shared<Runtime>();
    }
    return runtime;
}

// ---- loading ------------------------------------------------------------------------------------

Result<TimelineManagerImpl::Loaded> TimelineManagerImpl::Load(const TimelineId& id) {
    // From `id` up to the first ancestor that is loaded, then down again. No two timelines are
    // locked at once, so loads of relatives cannot block each other for good.
    std::vector<TimelineFile> missing;
    std::set<TimelineId> seen;
    Loaded ancestor;
    TimelineId current = id;
    while (true) {
        if (std::shared_ptr<Runtime> runtime = FindRuntime(current); runtime != nullptr) {
            std::lock_guard lock(runtime->state_mutex);
            if (runtime->loaded != nullptr) {
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
        missing.push_back(*file);
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

Result<TimelineManagerImpl::Loaded> TimelineManagerImpl::LoadOne(const TimelineFile& file,
                                                                 const LoadedTimeline* parent) {
    ZENITH_RETURN_IF_ERROR(ShuttingDown());
    std::shared_ptr<Runtime> runtime = FindOrMakeRuntime(file.id);
    std::lock_guard operation(runtime->operation_mutex);
    {
        std::lock_guard lock(runtime->state_mutex);
        if (runtime->deleted) {
            return NoLonger(file.id);
        }
        if (runtime->loaded != nullptr) {
            return Loaded{runtime, runtime->loaded};
        }
    }
    auto loaded = LoadTimeline(repository_, file, parent, options_);
    if (!loaded.ok()) {
        return loaded.status().WithContext("could not load timeline " + file.id.ToString());
    }
    std::lock_guard lock(runtime->state_mutex);
    runtime->loaded = *std::move(loaded);
    runtime->file = file;
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
    return ClusterStateAt(timeline, lsn.value_or(end), loaded.files->system_identifier);
}

// ---- computes -----------------------------------------------------------------------------------

Status TimelineManagerImpl::StopReceiver(Runtime& runtime) {
    std::shared_ptr<WalReceiver> receiver;
    std::shared_ptr<LoadedTimeline> loaded;
    {
        std::lock_guard lock(runtime.state_mutex);
        receiver = std::move(runtime.receiver);
        runtime.receiver = nullptr;
        loaded = runtime.loaded;
    }
    if (receiver != nullptr) {
        receiver->Stop();
    }
    // What came after the last acknowledgement, too; durable before it can be seen. Also without a
    // receiver: an earlier call may have failed half way, and the WAL's end decides what is cut.
    WalStorage& wal = loaded->timeline->wal();
    if (receiver != nullptr) {
        runtime.acknowledged = std::max(runtime.acknowledged, receiver->durable_end());
    }
    if (Status synced = wal.Sync(); !synced.ok()) {
        // What could not be written may be gone although it can still be read: only what was
        // acknowledged counts.
        spdlog::error("timelines: {}; cutting it off", synced.message());
        const Lsn keep = std::max(runtime.acknowledged, loaded->follower->last_end());
        ZENITH_RETURN_IF_ERROR(wal.TruncateAfter(keep));
    }
    Status status = loaded->follower->IngestToEnd();
    if (!loaded->follower->error().ok()) {
        return Status::Ok();
    }
    ZENITH_RETURN_IF_ERROR(status);
    if (loaded->follower->last_end() < runtime.acknowledged) {
        return Status::Corruption("WAL of timeline " + loaded->timeline->id().ToString() +
                                  " ends at " + loaded->follower->last_end().ToString() +
                                  " although it was acknowledged up to " +
                                  runtime.acknowledged.ToString());
    }
    return Status::Ok();
}

Status TimelineManagerImpl::StartReceiver(Runtime& runtime, const std::string& connstr) {
    ZENITH_RETURN_IF_ERROR(StopReceiver(runtime));
    std::lock_guard lock(runtime.state_mutex);
    LoadedTimeline& loaded = *runtime.loaded;
    // Where ingest has stopped the WAL goes on, and what was acknowledged is not sent again.
    WalFollower::Position from{loaded.follower->last_end(), loaded.follower->last_start()};
    if (!loaded.follower->error().ok()) {
        ZENITH_ASSIGN_OR_RETURN(from, loaded.follower->FindEndOfWal());
    }
    WalSourceTarget target;
    target.timeline = runtime.file.id;
    target.term = runtime.file.term;
    target.system_identifier = loaded.system_identifier;
    target.connstr = connstr;
    ZENITH_ASSIGN_OR_RETURN(std::unique_ptr<WalReceiver> receiver,
                            WalReceiver::Create(std::move(target), *loaded.timeline,
                                                *loaded.follower, from, access_.connect));
    // Shutdown() sets its flag before it looks at receivers under this lock: either it sees this
    // one or this sees the flag.
    ZENITH_RETURN_IF_ERROR(ShuttingDown());
    receiver->Start();
    runtime.receiver = std::move(receiver);
    return Status::Ok();
}

Status TimelineManagerImpl::CallMeMaybe(const TimelineId& id, uint64_t term,
                                        const std::string& connstr) {
    ZENITH_RETURN_IF_ERROR(ConnstrWith(connstr, {}).status());
    ZENITH_ASSIGN_OR_RETURN(Loaded loaded, Load(id));
    Runtime& runtime = *loaded.runtime;
    std::lock_guard operation(runtime.operation_mutex);
    TimelineFile file;
    {
        std::lock_guard lock(runtime.state_mutex);
        if (runtime.deleted) {
            return NoLonger(id);
        }
        if (term != runtime.file.term) {
            return Status::Refused("timeline " + id.ToString() + " is at term " +
                                       std::to_string(runtime.file.term) +
                                       ", the compute has term " + std::to_string(term),
                                   "Another compute has taken over this timeline; destroy this one "
                                   "with \"zenith pg destroy\" or restart it with "
                                   "\"zenith pg start\".");
        }
        if (runtime.receiver != nullptr && runtime.receiver->target().connstr == connstr &&
            runtime.receiver->target().term == term) {
            return Status::Ok();
        }
        file = runtime.file;
    }
    if (file.compute_connstr != connstr) {
        file.compute_connstr = connstr;
        ZENITH_RETURN_IF_ERROR(repository_.WriteTimeline(file));
        std::lock_guard lock(runtime.state_mutex);
        runtime.file = file;
    }
    return StartReceiver(runtime, connstr);
}

Status TimelineManagerImpl::RefuseWhileComputeLives(Runtime& runtime, const TimelineId& id) {
    std::shared_ptr<WalReceiver> receiver;
    TimelineFile file;
    {
        std::lock_guard lock(runtime.state_mutex);
        receiver = runtime.receiver;
        file = runtime.file;
    }
    if (file.compute_connstr.empty()) {
        return Status::Ok();
    }
    const char* hint =
        "Use \"zenith pg list\" to find it and \"zenith pg stop\" to stop it, or make a branch.";
    switch (access_.probe(file.compute_connstr, id, file.term, wake_fd_.get())) {
        case ComputeLiveness::kLives:
            return Status::Refused("a compute runs on timeline " + id.ToString() + " at " +
                                       file.compute_connstr,
                                   hint);
        case ComputeLiveness::kBusy:
            return Status::Refused("the server at " + file.compute_connstr +
                                       ", where the compute of timeline " + id.ToString() +
                                       " was last seen, is starting or stopping",
                                   "Wait a moment and repeat the command.");
        case ComputeLiveness::kGone:
            break;
    }
    ZENITH_RETURN_IF_ERROR(ShuttingDown());  // it ends a probe, too
    if (receiver != nullptr && !receiver->WaitForStreaming(false, kStreamEndGraceMs)) {
        return Status::Refused("a compute streams WAL of timeline " + id.ToString() + " from " +
                                   file.compute_connstr,
                               hint);
    }
    return Status::Ok();
}

Result<TimelineManager::WriteGrant> TimelineManagerImpl::GrantWriter(const TimelineId& id) {
    ZENITH_ASSIGN_OR_RETURN(Loaded loaded, Load(id));
    Runtime& runtime = *loaded.runtime;
    std::lock_guard operation(runtime.operation_mutex);
    ZENITH_RETURN_IF_ERROR(ShuttingDown());
    TimelineFile file;
    {
        std::lock_guard lock(runtime.state_mutex);
        if (runtime.deleted) {
            return NoLonger(id);
        }
        // The file on disk: it may name a compute that has not called since the page server began.
        file = runtime.file;
    }
    ZENITH_RETURN_IF_ERROR(RefuseWhileComputeLives(runtime, id));

    ZENITH_RETURN_IF_ERROR(StopReceiver(runtime));
    WalFollower& follower = *loaded.files->follower;
    ZENITH_RETURN_IF_ERROR(follower.error());
    // Behind the last whole record may be the beginning of one that never became whole.
    ZENITH_RETURN_IF_ERROR(loaded.files->timeline->wal().TruncateAfter(follower.last_end()));

    file.term++;
    file.compute_connstr.clear();
    ZENITH_RETURN_IF_ERROR(repository_.WriteTimeline(file));
    {
        std::lock_guard lock(runtime.state_mutex);
        runtime.file = file;
    }
    spdlog::info("timelines: term {} of timeline {} begins at {}", file.term, id.ToString(),
                 follower.last_end().ToString());
    return WriteGrant{file.term, follower.state()};
}

// ---- branches -----------------------------------------------------------------------------------

Status TimelineManagerImpl::CatchUpWithCompute(const Loaded& loaded, const TimelineId& id) {
    Runtime& runtime = *loaded.runtime;
    ZENITH_RETURN_IF_ERROR(loaded.files->follower->error());
    TimelineFile file;
    std::shared_ptr<WalReceiver> receiver;
    auto refresh = [&] {
        std::lock_guard lock(runtime.state_mutex);
        file = runtime.file;
        receiver = runtime.receiver;
    };
    refresh();
    bool lives = receiver != nullptr && receiver->streaming();
    Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(kBusyTimeoutMs);
    while (!lives && !file.compute_connstr.empty()) {
        ComputeLiveness found =
            access_.probe(file.compute_connstr, id, file.term, wake_fd_.get());
        ZENITH_RETURN_IF_ERROR(ShuttingDown());
        if (found == ComputeLiveness::kGone) {
            break;  // all it ever acknowledged is here
        }
        if (found == ComputeLiveness::kLives) {
            // After a restart of the page server, before the compute called again.
            std::lock_guard operation(runtime.operation_mutex);
            refresh();
            if (receiver == nullptr && !file.compute_connstr.empty()) {
                ZENITH_RETURN_IF_ERROR(StartReceiver(runtime, file.compute_connstr));
                refresh();
            }
            lives = true;
        } else if (Clock::now() > deadline) {
            return Status::Unavailable("the compute of timeline " + id.ToString() + " at " +
                                           file.compute_connstr + " is still starting or stopping",
                                       "Repeat the command when it runs or is stopped.");
        } else {
            Sleep(kBusyPollMs);
            refresh();
        }
    }
    Timeline& timeline = *loaded.files->timeline;
    if (lives) {
        auto flushed = access_.flush(file.compute_connstr, kFlushTimeoutMs, wake_fd_.get());
        if (flushed.ok()) {
            ZENITH_RETURN_IF_ERROR(timeline.WaitForLsn(*flushed, kFlushTimeoutMs));
        } else {
            ZENITH_RETURN_IF_ERROR(ShuttingDown());
            if (access_.probe(file.compute_connstr, id, file.term, wake_fd_.get()) !=
                ComputeLiveness::kGone) {
                return flushed.status()
                    .WithContext("could not have the compute at " + file.compute_connstr +
                                 " flush its WAL")
                    .WithHint("Look into the compute's log, or stop it with \"zenith pg stop\".");
            }
        }
        refresh();
    }
    if (receiver != nullptr) {
        ZENITH_RETURN_IF_ERROR(timeline.WaitForLsn(receiver->durable_end(), kFlushTimeoutMs));
    }
    return loaded.files->follower->error();
}

Result<TimelineManagerImpl::Pinned> TimelineManagerImpl::Pin(const TimelinePoint& point) {
    ZENITH_ASSIGN_OR_RETURN(Loaded loaded, Load(point.timeline));
    Timeline& timeline = *loaded.files->timeline;
    if (!point.lsn.has_value()) {
        ZENITH_RETURN_IF_ERROR(CatchUpWithCompute(loaded, point.timeline));
        return Pinned{point.timeline, timeline.last_record_end()};
    }
    Lsn lsn = *point.lsn;
    // PostgreSQL's insert position after a record that fills a page is past the next page's header.
    Lsn page = lsn - lsn.value % kWalPageSize;
    if (lsn == WalRecordStartAt(page)) {
        lsn = page;
    }
    if (lsn > timeline.last_record_end()) {
        ZENITH_RETURN_IF_ERROR(CatchUpWithCompute(loaded, point.timeline));
    }
    if (lsn > timeline.last_record_end()) {
        return Status::NotFound("LSN " + point.lsn->ToString() + " is after the end of timeline " +
                                    point.timeline.ToString() + " at " +
                                    timeline.last_record_end().ToString(),
                                "Give an LSN that the branch has reached, or none for its tip.");
    }
    // Before its start a timeline is its ancestor.
    std::shared_ptr<Timeline> holder = loaded.files->timeline;
    while (holder->parent() != nullptr && lsn < holder->start_lsn()) {
        holder = holder->parent();
    }
    ZENITH_ASSIGN_OR_RETURN(ClusterState state,
                            ClusterStateAt(*holder, lsn, loaded.files->system_identifier));
    return Pinned{holder->id(), state.record_end};
}

Result<Lsn> TimelineManagerImpl::PinPoint(const TimelinePoint& point) {
    ZENITH_ASSIGN_OR_RETURN(Pinned pinned, Pin(point));
    return pinned.lsn;
}

Result<TimelineFile> TimelineManagerImpl::CreateTimeline(const TimelinePoint& point) {
    ZENITH_ASSIGN_OR_RETURN(Pinned pinned, Pin(point));
    TimelineFile file;
    file.id = TimelineId::Random();
    file.ancestor = pinned.timeline;
    file.ancestor_lsn = pinned.lsn;
    file.created_at = std::time(nullptr);
    std::lock_guard lock(metadata_mutex_);
    ZENITH_RETURN_IF_ERROR(repository_.ReadTimeline(file.ancestor).status());
    ZENITH_RETURN_IF_ERROR(repository_.WriteTimeline(file));
    spdlog::info("timelines: made {} of {} at {}", file.id.ToString(), file.ancestor.ToString(),
                 file.ancestor_lsn.ToString());
    return file;
}

Status TimelineManagerImpl::DeleteTimeline(const TimelineId& id) {
    ZENITH_ASSIGN_OR_RETURN(TimelineFile file, repository_.ReadTimeline(id));
    std::shared_ptr<Runtime> runtime = FindOrMakeRuntime(id);
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
    ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineId> ids, repository_.ListTimelines());
    for (const TimelineId& other : ids) {
        auto child = repository_.ReadTimeline(other);
        // An unreadable file might be a child's.
        ZENITH_RETURN_IF_ERROR(child.status());
        if (child->ancestor == id) {
            return Status::Refused("timeline " + other.ToString() + " descends from timeline " +
                                       id.ToString(),
                                   "Delete the branches made of it first.");
        }
    }
    if (receiver != nullptr) {
        receiver->Stop();
    }
    ZENITH_RETURN_IF_ERROR(repository_.RemoveTimeline(id));
    {
        std::lock_guard lock(runtime->state_mutex);
        runtime->deleted = true;
        runtime->receiver = nullptr;
        // `loaded` stays until the last reader of the runtime is gone.
    }
    std::lock_guard lock(map_mutex_);
    runtimes_.erase(id);
    spdlog::info("timelines: deleted {}", id.ToString());
    return Status::Ok();
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
        if (std::shared_ptr<Runtime> runtime = FindRuntime(id); runtime != nullptr) {
            std::lock_guard lock(runtime->state_mutex);
            if (runtime->loaded != nullptr) {
                info.loaded = true;
                info.last_record_end = runtime->loaded->timeline->last_record_end();
                info.flush_lsn = info.last_record_end;
                info.ingest_error = runtime->loaded->follower->error().message();
            }
            if (runtime->receiver != nullptr) {
                info.flush_lsn = runtime->receiver->durable_end();
                info.receiving = runtime->receiver->streaming();
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
    std::vector<std::shared_ptr<Runtime>> runtimes;
    {
        std::lock_guard lock(map_mutex_);
        for (const auto& [id, runtime] : runtimes_) {
            runtimes.push_back(runtime);
        }
    }
    for (const std::shared_ptr<Runtime>& runtime : runtimes) {
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

}  // namespace

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
