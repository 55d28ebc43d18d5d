// WalFollower: takes a timeline's WAL from its segment files to the ingester, in batches, and knows
// how far it got. The same code catches up when a timeline is loaded and follows a receiver.
//
// Reading the WAL back instead of handing records from thread to thread keeps memory bounded
// whatever the distance between the two; the bytes are in the page cache.
// Threads  one at a time; error() from any thread.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/wal_ingest/cluster_state.h"
#include "pageserver/wal_ingest/ingester.h"
#include "pageserver/wal_receiver/storage_problem.h"

namespace zenith {

class WalFollower {
  public:
    // `state` is the cluster state at timeline.last_record_end(). `timeline` outlives the follower.
    WalFollower(Timeline& timeline, ClusterState state, uint64_t system_identifier);

    // Ingests everything up to `limit`, the end of a whole record that is in the WAL.
    Status IngestUpTo(Lsn limit);
    // Ingests every valid record there is.
    Status IngestToEnd();
    // Begins to write what is in memory only to a layer file, as Ingest does when the timeline
    // wants it. Nothing happens when there is nothing new. Requires: error() is OK.
    void Flush();
    // Waits until it is written.
    Status WaitForFlush();
    // True from Flush() to WaitForFlush(): how it ended is not known yet.
    bool flush_begun() const { return flush_begun_; }
    // True while what was ingested last is not on its way to a file.
    bool unflushed() const { return last_end() > flushed_to_; }
    // What of it is in layer files already; of a timeline that was loaded.
    void SetFlushed(Lsn lsn) { flushed_to_ = lsn; }
    // Ingest ends with kUnavailable soon after `stop` (may be null) is set; error() stays OK.
    void SetStop(const std::atomic<bool>* stop) { stop_ = stop; }
    // What kept history from going to files.
    StorageProblem problem() const;
    // Ingest does not flush beyond `limit` (kMaxLsn at first): the WAL after it may not be on disk.
    void SetFlushLimit(Lsn limit) { flush_limit_ = limit; }
    // The end and the start of the last whole record in the WAL, ingested or not.
    struct Position {
        Lsn end;
        Lsn start;
    };
    Result<Position> FindEndOfWal() const;

    // End and start of the last record ingested.
    Lsn last_end() const { return ingester_.state().record_end; }
    Lsn last_start() const { return ingester_.state().record_start; }
    const ClusterState& state() const { return ingester_.state(); }
    uint64_t system_identifier() const { return system_identifier_; }
    // Why IngestUpTo stopped for good; OK while it works. Once set, every call returns it: nothing
    // is skipped.
    Status error() const;
    // Sets error(), for a reason found elsewhere; returns it.
    Status Refuse(Status status) { return Fail(std::move(status)); }

  private:
    Status Ingest(std::optional<Lsn> limit);
    Status Fail(Status status);

    Timeline& timeline_;
    const uint64_t system_identifier_;
    Ingester ingester_;
    Lsn flush_limit_ = kMaxLsn;
    Lsn flushed_to_;
    bool flush_begun_ = false;
    const std::atomic<bool>* stop_ = nullptr;
    mutable std::mutex mutex_;
    Status error_;  // guarded by mutex_
    StorageProblem problem_;  // guarded by mutex_
};

}  // namespace zenith
