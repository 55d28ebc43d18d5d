// The computes of the timelines: terms, and the receivers of their WAL.
#include <algorithm>
#include <chrono>
#include <utility>

#include "common/base/log.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/timelines/timeline_manager_impl.h"
#include "pageserver/wal_receiver/compute_wal_source.h"

namespace zenith {

namespace {

// A compute that was killed is noticed within milliseconds; one that streams for so long after its
// server stopped answering is only slow.
constexpr int kStreamEndGraceMs = 2000;
constexpr int kFlushTimeoutMs = 10000;
constexpr int kBusyTimeoutMs = 10000;
constexpr int kBusyPollMs = 100;

}  // namespace

Status TimelineManagerImpl::StopReceiver(TimelineRuntime& runtime) {
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

Status TimelineManagerImpl::RefuseUnnamed(const TimelineId& id) const {
    ZENITH_ASSIGN_OR_RETURN(auto branches, repository_.ListBranches());
    bool named = branches.empty();
    for (const auto& [name, branch] : branches) {
        named = named || branch == id;
    }
    if (!named) {
        return Status::Refused("timeline " + id.ToString() + " has no branch any more",
                               "Make a branch of it with \"zenith branch NAME " + id.ToString() +
                                   "\" and start a compute on that.");
    }
    return Status::Ok();
}

Status TimelineManagerImpl::StartReceiver(TimelineRuntime& runtime, const std::string& connstr) {
    // A compute that seemed to be gone when its branch was deleted. Branches that cannot be read are
    // no reason to receive nothing.
    if (Status named = RefuseUnnamed(runtime.file.id); named.code() == StatusCode::kRefused) {
        return named;
    }
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
    ZENITH_RETURN_IF_ERROR(repository_.ReadTimeline(id).status());
    // A compute repeats its call every second or so. While the first is worked on (a long load), the
    // others would only pile up.
    std::shared_ptr<TimelineRuntime> runtime = FindOrMakeRuntime(id);
    const std::string call = std::to_string(term) + " " + connstr;
    {
        std::lock_guard lock(runtime->state_mutex);
        if (runtime->calling == call) {
            return Status::Unavailable("timeline " + id.ToString() + " is being loaded",
                                       "Call again.");
        }
        runtime->calling = call;
    }
    Status status = CallNow(id, term, connstr);
    std::lock_guard lock(runtime->state_mutex);
    if (runtime->calling == call) {
        runtime->calling.clear();
    }
    return status;
}

Status TimelineManagerImpl::CallNow(const TimelineId& id, uint64_t term,
                                    const std::string& connstr) {
    ZENITH_ASSIGN_OR_RETURN(Loaded loaded, Load(id));
    TimelineRuntime& runtime = *loaded.runtime;
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

Status TimelineManagerImpl::RefuseWhileComputeLives(TimelineRuntime& runtime, const TimelineId& id) {
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
    TimelineRuntime& runtime = *loaded.runtime;
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
    ZENITH_RETURN_IF_ERROR(RefuseUnnamed(id));  // before its receiver is stopped
    ZENITH_RETURN_IF_ERROR(RefuseWhileComputeLives(runtime, id));

    ZENITH_RETURN_IF_ERROR(StopReceiver(runtime));
    WalFollower& follower = *loaded.files->follower;
    ZENITH_RETURN_IF_ERROR(follower.error());
    // Behind the last whole record may be the beginning of one that never became whole.
    ZENITH_RETURN_IF_ERROR(loaded.files->timeline->wal().TruncateAfter(follower.last_end()));

    file.term++;
    file.compute_connstr.clear();
    file.compute_start_lsn = follower.last_end();
    {
        // With the lock, so that a collection sees either the compute or an LSN it may not take.
        std::lock_guard metadata(metadata_mutex_);
        ZENITH_RETURN_IF_ERROR(CheckKept(*loaded.files->timeline, file.compute_start_lsn));
        ZENITH_RETURN_IF_ERROR(RefuseUnnamed(id));
        ZENITH_RETURN_IF_ERROR(repository_.WriteTimeline(file));
    }
    {
        std::lock_guard lock(runtime.state_mutex);
        runtime.file = file;
    }
    spdlog::info("timelines: term {} of timeline {} begins at {}", file.term, id.ToString(),
                 follower.last_end().ToString());
    return WriteGrant{file.term, follower.state()};
}

Status TimelineManagerImpl::CatchUpWithCompute(const Loaded& loaded, const TimelineId& id) {
    TimelineRuntime& runtime = *loaded.runtime;
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

bool TimelineManagerImpl::ComputeMayRun(TimelineRuntime& runtime, const TimelineId& id) {
    TimelineFile file;
    {
        std::lock_guard lock(runtime.state_mutex);
        if (runtime.receiver != nullptr && runtime.receiver->streaming()) {
            return true;
        }
        file = runtime.file;
    }
    if (!file.compute_start_lsn.valid()) {
        return false;
    }
    // One that has not called yet may be starting.
    return file.compute_connstr.empty() ||
           access_.probe(file.compute_connstr, id, file.term, wake_fd_.get()) !=
               ComputeLiveness::kGone;
}

}  // namespace zenith
