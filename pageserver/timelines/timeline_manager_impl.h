// TimelineManagerImpl: private to this folder; its functions are in timeline_manager.cpp (loading,
// listing), timeline_computes.cpp (terms, receivers), timeline_branches.cpp (points, names),
// garbage_collection.cpp and housekeeping.cpp.
//
// Locks, in the order in which they are taken: a runtime's collect_mutex, a runtime's operation_mutex,
// metadata_mutex_, a runtime's state_mutex, map_mutex_. Never two timelines' of one kind.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "common/base/unique_fd.h"
#include "pageserver/timelines/compute_access.h"
#include "pageserver/timelines/loaded_timeline.h"
#include "pageserver/timelines/retention_plan.h"
#include "pageserver/timelines/timeline_manager.h"
#include "pageserver/wal_receiver/wal_receiver.h"

namespace zenith {

// What is known of one timeline at run time.
struct TimelineRuntime {
    // Held for a whole garbage collection of the timeline.
    std::mutex collect_mutex;
    // Held for a whole load, unload, grant, callmemaybe or deletion.
    std::mutex operation_mutex;
    // Held for moments. Guards the rest.
    std::mutex state_mutex;
    std::shared_ptr<LoadedTimeline> loaded;
    std::shared_ptr<WalReceiver> receiver;
    TimelineFile file;
    bool deleted = false;
    std::string calling;  // the callmemaybe that is being worked on
    std::chrono::steady_clock::time_point last_used;
    // Guarded by operation_mutex: how far the receivers so far have acknowledged WAL.
    Lsn acknowledged;
};

class TimelineManagerImpl : public TimelineManager {
  public:
    TimelineManagerImpl(const Repository& repository, RepoConfig config, ComputeAccess access,
                        const LayerOptions& options, UniqueFd wake_fd);
    ~TimelineManagerImpl() override;

    const RepoConfig& config() const override { return config_; }
    Result<std::shared_ptr<Timeline>> Get(const TimelineId& id) override;
    Result<ClusterState> StateAt(const TimelineId& id, std::optional<Lsn> lsn) override;
    Result<TimelineFile> CreateTimeline(
        const TimelinePoint& point,
        const std::function<Status(const TimelineFile&)>& write_name) override;
    Result<TimelinePoint> PinPoint(
        const TimelinePoint& point,
        const std::function<Status(const TimelinePoint&)>& write_name) override;
    Status DeleteTimeline(const TimelineId& id,
                          const std::function<Status()>& remove_name) override;
    Status ReleasePoint(const TimelinePoint& point,
                        const std::function<Status()>& remove_name) override;
    Result<std::shared_ptr<void>> HoldLsn(const TimelineId& id, Lsn lsn,
                                          int linger_seconds) override;
    RetentionSettings retention() const override;
    Status SetRetention(const RetentionSettings& settings) override;
    Result<GarbageReport> CollectGarbage(const TimelineId& id, bool dry_run) override;
    void StartHousekeeping() override;
    Result<WriteGrant> GrantWriter(const TimelineId& id) override;
    Status CallMeMaybe(const TimelineId& id, uint64_t term, const std::string& connstr) override;
    Result<std::vector<TimelineInfo>> List() override;
    void Shutdown() override;
    void FlushAll() override;

  private:
    using Clock = std::chrono::steady_clock;

    struct Loaded {
        std::shared_ptr<TimelineRuntime> runtime;
        std::shared_ptr<LoadedTimeline> files;
    };
    // What a garbage collection under way will leave before its horizon.
    struct Announced {
        Lsn horizon;
        std::vector<Lsn> points;
        bool ends_at_horizon = false;
    };
    // What a collection is for.
    enum class Collect {
        kDryRun,
        kWhatWorks,      // somebody asked for it
        kWhatIsWorthIt,  // housekeeping: nothing where that would write as much as it frees
    };
    struct Lease {
        TimelineId timeline;
        Lsn lsn;
        std::optional<Clock::time_point> ends;  // set when its holder has gone
    };

    // ---- loading
    std::shared_ptr<TimelineRuntime> FindRuntime(const TimelineId& id);
    std::shared_ptr<TimelineRuntime> FindOrMakeRuntime(const TimelineId& id);
    Result<Loaded> Load(const TimelineId& id);
    Result<Loaded> LoadOne(const TimelineId& id, const LoadedTimeline* parent);
    Status ShuttingDown() const;
    void Sleep(int milliseconds);

    // ---- computes. What takes a runtime here, but for ComputeMayRun(), requires that its
    // operation_mutex is held.
    // Ends the receiver, if any, and ingests all whole records. OK when a record cannot be
    // ingested: see follower->error().
    Status StopReceiver(TimelineRuntime& runtime);
    Status StartReceiver(TimelineRuntime& runtime, const std::string& connstr);
    // kRefused when the timeline's branch has been deleted: nobody writes to it any more.
    Status RefuseUnnamed(const TimelineId& id) const;
    Status RefuseWhileComputeLives(TimelineRuntime& runtime, const TimelineId& id);
    Status CallNow(const TimelineId& id, uint64_t term, const std::string& connstr);
    // Has a running compute flush and waits until everything it had committed is ingested.
    Status CatchUpWithCompute(const Loaded& loaded, const TimelineId& id);
    // Whether the compute that was granted the timeline last may still run.
    bool ComputeMayRun(TimelineRuntime& runtime, const TimelineId& id);

    // ---- points
    struct Pinned {
        Loaded loaded;  // of the timeline that was asked for
        std::shared_ptr<Timeline> holder;
        Lsn lsn;
    };
    Result<Pinned> Pin(const TimelinePoint& point);
    Result<Lsn> LsnOfTime(const Loaded& loaded, const TimelinePoint& point);
    // Requires metadata_mutex_: whether a name may refer to the point.
    Status CheckKept(const Timeline& holder, Lsn lsn) const;
    // Requires metadata_mutex_. Removes the timelines nobody refers to any more, `root` too.
    void RemoveUnreferenced(const TimelineId& root);
    // Requires metadata_mutex_, and that nobody refers to the timeline.
    Status RemoveTimeline(const TimelineId& id);

    // ---- retention
    // Requires metadata_mutex_.
    Result<RetentionFacts> Facts();
    // What has to stay of a loaded timeline by time and size; everything after it stays.
    Result<Lsn> HorizonOf(const LoadedTimeline& files) const;
    Result<Timeline::Retention> Plan(const RetentionFacts& facts, const Loaded& loaded,
                                     Lsn horizon, bool compute_runs) const;
    Result<GarbageReport> CollectLoaded(const Loaded& loaded, const TimelineId& id, Collect how);
    // Everything up to now goes to a file.
    Status FlushNow(const Loaded& loaded);

    // ---- housekeeping
    void HousekeepingLoop();
    void KeepHouse();
    void CollectWhatIsWorthIt();
    bool IsWorthIt(const Loaded& loaded, const TimelineId& id, bool named);
    // After a collection of what was readable from `from` on.
    void NoteWhetherItPaid(const Loaded& loaded, const TimelineId& id, Lsn from);
    // Writes to files what nobody's receiver does: of timelines that are only read.
    void FlushIdle();
    void UnloadIdle();
    bool Unload(const TimelineId& id, bool only_idle);
    std::vector<std::pair<TimelineId, std::shared_ptr<TimelineRuntime>>> Runtimes();

    const Repository& repository_;
    const RepoConfig config_;
    const ComputeAccess access_;
    const LayerOptions options_;
    const UniqueFd wake_fd_;  // readable from Shutdown() on
    std::atomic<bool> shut_down_{false};

    std::mutex map_mutex_;
    // Guarded by map_mutex_.
    std::unordered_map<TimelineId, std::shared_ptr<TimelineRuntime>> runtimes_;

    // Held while timelines and names are written or removed and while a collection announces what it
    // will leave, so that nothing is made of what is about to go.
    mutable std::mutex metadata_mutex_;
    // The rest is guarded by metadata_mutex_.
    RetentionSettings retention_;
    std::map<TimelineId, Announced> announced_;
    std::map<uint64_t, Lease> leases_;
    uint64_t next_lease_ = 0;
    std::set<TimelineId> lost_points_;  // timelines that fewer names refer to than when last collected
    // When a timeline that is not loaded has to be looked at, by NowMicros(); nothing expires in it
    // before.
    std::map<TimelineId, int64_t> look_again_;
    // How much had expired when collecting it did not pay; more has to before it is tried again.
    std::map<TimelineId, uint64_t> did_not_pay_;

    std::mutex housekeeping_mutex_;
    std::condition_variable housekeeping_wake_;
    std::thread housekeeping_;
};

Status NoLonger(const TimelineId& id);

}  // namespace zenith
