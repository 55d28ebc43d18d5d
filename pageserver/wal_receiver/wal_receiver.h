// WalReceiver: receives the WAL of one timeline from its compute, makes it durable, acknowledges
// it, and has it ingested.
//
// Two threads: one talks to the compute and writes WAL (a commit there waits for nothing else), one
// ingests what is durable. So last_record_end() of the timeline is never ahead of the disk.
// A stream that breaks is taken up again, after 50 ms to 1 s, at the end of the last whole durable
// record, until Stop(): only a new term ends a receiver, because a compute that is merely out of
// reach goes on writing.
// Failures  a failed write or fsync (a full disk) is never acknowledged; the stream starts over after
//           a pause until it works again, problem() says what it is. When a record cannot be ingested,
//           ingest stops there for good (follower.error()) and so does the stream: commits wait rather
//           than be acknowledged into a history that nobody could read.
// Threads   every method from any thread; Stop() returns when both threads are gone.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/wal_receiver/wal_follower.h"
#include "pageserver/wal_receiver/wal_intake.h"
#include "pageserver/wal_receiver/storage_problem.h"
#include "pageserver/wal_receiver/wal_source.h"

namespace zenith {

class WalReceiver {
  public:
    // Continues at `from`, the last whole record that is durable. `timeline` and `follower` outlive
    // the receiver; nobody else uses the follower or appends to the timeline's WAL until Stop() has
    // returned.
    static Result<std::unique_ptr<WalReceiver>> Create(WalSourceTarget target, Timeline& timeline,
                                                       WalFollower& follower,
                                                       WalFollower::Position from,
                                                       WalSourceConnector connector);
    ~WalReceiver();
    WalReceiver(const WalReceiver&) = delete;
    WalReceiver& operator=(const WalReceiver&) = delete;

    void Start();
    void Stop();

    const WalSourceTarget& target() const { return target_; }
    // True while WAL streams.
    bool streaming() const { return streaming_.load(); }
    // Waits until streaming() is `wanted`; false after the timeout.
    bool WaitForStreaming(bool wanted, int timeout_ms);
    // End of the last whole record on disk.
    Lsn durable_end() const;
    // Has the ingest thread write what is in memory to a layer file, and waits for it. kUnavailable
    // when the receiver is stopped.
    Status Flush();
    // What keeps WAL from being stored, or did so last.
    StorageProblem problem() const;

  private:
    WalReceiver(WalSourceTarget target, Timeline& timeline, WalFollower& follower,
                WalFollower::Position from, WalSourceConnector connector, UniqueFd wake_fd);

    void ReceiveLoop();
    void IngestLoop();
    // Connects and streams until the stream breaks or Stop().
    Status StreamOnce();
    Status Stream(WalSource& source);
    // Waits while ingest is too far behind, keeping the peer informed.
    Status WaitForIngest(WalSource& source);
    Status Reply(WalSource& source, bool ask);
    void PublishDurable();
    void SetStreaming(bool streaming);
    // Sleeps, or returns early at Stop().
    void Pause(int milliseconds);
    // What ingest does besides ingesting; ingest thread only, without the lock.
    void FlushWhenWanted(std::chrono::steady_clock::time_point last_ingest, bool idle);
    void ReportBroken(const Status& status);
    // The outcome of storing WAL, handed through: remembers why it failed.
    Status Stored(Status status);
    void NoteHealed();

    const WalSourceTarget target_;
    Timeline& timeline_;
    WalFollower& follower_;
    const WalSourceConnector connector_;
    const UniqueFd wake_fd_;  // readable from Stop() on

    WalIntake intake_;  // receiver thread only
    Lsn applied_sent_;  // receiver thread only
    std::string last_problem_;  // receiver thread only: not logged twice in a row

    std::atomic<bool> stop_{false};
    std::atomic<bool> streaming_{false};
    mutable std::mutex mutex_;
    std::condition_variable changed_;  // durable_end_, streaming_, stop_, ingest progress
    Lsn durable_end_;                  // guarded by mutex_
    StorageProblem problem_;           // guarded by mutex_
    // Guarded by mutex_: flushes asked for, and those done with the outcome of the last.
    uint64_t flushes_wanted_ = 0;
    uint64_t flushes_done_ = 0;
    Status flush_status_;
    std::mutex join_mutex_;            // held while Stop() joins: it may be called twice at once
    std::thread receive_thread_;
    std::thread ingest_thread_;
};

}  // namespace zenith
