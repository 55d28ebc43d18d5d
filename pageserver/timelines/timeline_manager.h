// TimelineManager: the timelines of one repository at run time. Loads a timeline on first use
// (ingesting the WAL that is in no layer file), creates branches, raises terms, starts and stops WAL receivers.
//
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

namespace zenith {

struct TimelineInfo {
    TimelineFile file;
    bool loaded = false;
    Lsn last_record_end;   // when loaded
    Lsn flush_lsn;         // when loaded
    bool receiving = false;  // a compute's WAL is streaming right now
    std::string ingest_error;  // why ingest stopped; empty when it did not
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
    virtual Result<TimelineFile> CreateTimeline(const TimelinePoint& point) = 0;
    // The LSN `point` stands for now (flushing a running compute as above for a tip), rounded down
    // to a record boundary. kNotFound outside of the retained history.
    virtual Result<Lsn> PinPoint(const TimelinePoint& point) = 0;
    // Refused when a compute runs on it or another timeline descends from it.
    virtual Status DeleteTimeline(const TimelineId& id) = 0;

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
    // Stops all receivers; used at shutdown.
    virtual void Shutdown() = 0;
};

}  // namespace zenith
