// TimelineManager: the timelines of one repository at run time. Loads a timeline on first use
// (ingesting the WAL that is in no layer file), creates branches, raises terms, starts and stops WAL
// receivers, removes the history that nobody needs any more.
//
// Names     a branch file or a tag is written and removed by a function that the caller gives, while
//           garbage collection cannot decide: so nothing is collected that a new name refers to.
// Threads  every method from any thread. Two operations on one timeline wait for each other; on
//          different timelines they do not.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/repo/repository.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/layers/timeline_layers.h"
#include "pageserver/wal_ingest/cluster_state.h"
#include "pageserver/wal_receiver/storage_problem.h"

namespace zenith {

struct TimelineInfo {
    TimelineFile file;
    bool loaded = false;
    Lsn last_record_end;   // when loaded
    Lsn flush_lsn;         // when loaded
    bool receiving = false;  // a compute's WAL is streaming right now
    std::string ingest_error;  // why ingest stopped; empty when it did not
    // What keeps WAL or history from being stored just now (a full disk), or did so last.
    StorageProblem problem;
    Lsn readable_from;  // when loaded: from here on every LSN can be read
};

struct RetentionSettings {
    int64_t pitr_interval_seconds = kDefaultPitrIntervalSeconds;
    uint64_t retain_bytes = 0;
};

// What garbage collection did to one timeline, or would do.
struct GarbageReport {
    TimelineId timeline;
    bool removed = false;  // nobody referred to it
    Timeline::RetentionReport retention;
    Status status;  // why it failed
};

class TimelineManager {
  public:
    // `repository` outlives the manager.
    // `options`: what all timelines share; when their history in memory goes to layer files.
    static Result<std::unique_ptr<TimelineManager>> Open(const Repository& repository,
                                                         const LayerOptions& options = {});
    virtual ~TimelineManager() = default;

    virtual const RepoConfig& config() const = 0;

    // The timeline with its ancestors, loaded when it is not. kNotFound for an unknown id.
    virtual Result<std::shared_ptr<Timeline>> Get(const TimelineId& id) = 0;

    // The exact cluster state at the newest record boundary <= lsn (nullopt: the tip).
    virtual Result<ClusterState> StateAt(const TimelineId& id, std::optional<Lsn> lsn) = 0;

    // Makes a new timeline that starts at `point`. At a tip with a running compute: first has the
    // compute flush everything committed so far and waits until it is here. Returns its file.
    // `write_name` (may be empty) writes the branch file; when it fails there is no timeline.
    virtual Result<TimelineFile> CreateTimeline(
        const TimelinePoint& point,
        const std::function<Status(const TimelineFile&)>& write_name = {}) = 0;
    // The LSN `point` stands for now (flushing a running compute as above for a tip), rounded down
    // to a record boundary, and the timeline that holds it: before its start a timeline is its
    // ancestor. kNotFound outside of the retained history, naming the oldest LSN there is.
    // `write_name` (may be empty) writes the tag.
    virtual Result<TimelinePoint> PinPoint(
        const TimelinePoint& point,
        const std::function<Status(const TimelinePoint&)>& write_name = {}) = 0;
    // The timeline loses its name: `remove_name` (may be empty) removes it. Refused when a compute
    // runs on it. A timeline that others descend from, or that has tags, stays until the last of
    // them is gone; its history behind their points goes.
    virtual Status DeleteTimeline(const TimelineId& id,
                                  const std::function<Status()>& remove_name = {}) = 0;
    // Runs `remove_name`, which removes a tag of a timeline at `point`, and then what only it kept.
    virtual Status ReleasePoint(const TimelinePoint& point,
                                const std::function<Status()>& remove_name) = 0;
    // Keeps `lsn` readable until the object goes, and `linger_seconds` longer. kNotFound when it is
    // gone already, or not reached.
    virtual Result<std::shared_ptr<void>> HoldLsn(const TimelineId& id, Lsn lsn,
                                                  int linger_seconds) = 0;

    // ---- retention ------------------------------------------------------------------------------
    virtual RetentionSettings retention() const = 0;
    // Durable in config.json; counts from the next collection on.
    virtual Status SetRetention(const RetentionSettings& settings) = 0;
    // Removes what nobody needs of `id`, or the timeline itself; dry_run: only says what it would
    // remove. Nothing changes for readers of what is kept.
    virtual Result<GarbageReport> CollectGarbage(const TimelineId& id, bool dry_run) = 0;
    // Starts the thread that does this by itself, writes idle history to files and unloads
    // timelines that nobody uses; until Shutdown().
    virtual void StartHousekeeping() = 0;

    struct WriteGrant {
        uint64_t term;
        ClusterState state;  // at the tip: where the new compute starts
    };
    // For a read-write base backup: refuses while a compute lives (kRefused with a hint), else ends
    // the old receiver, finds the last whole record, cuts off what is behind it, raises the term
    // durably.
    virtual Result<WriteGrant> GrantWriter(const TimelineId& id) = 0;

    // callmemaybe: start (or keep) the receiver for the compute of `term` at `connstr`. kRefused
    // for a term that is not the current one.
    virtual Status CallMeMaybe(const TimelineId& id, uint64_t term, const std::string& connstr) = 0;

    virtual Result<std::vector<TimelineInfo>> List() = 0;
    // Stops all receivers and housekeeping; used at shutdown.
    virtual void Shutdown() = 0;
    // After Shutdown(): writes what is in memory to files, so that the next start has nothing to do.
    virtual void FlushAll() = 0;
};

}  // namespace zenith
