// TimelineImpl: the Timeline of MakeTimeline(): a layer in memory, above the initial snapshot (for
// a root) or the parent timeline (for a branch). Private to this folder.
//
// Locks   mutex_ guards layer_. It is taken for one question to the layer at a time and never while
//         reading a file or asking the parent; a read that needs several steps is consistent all
//         the same, because what lies at or below an LSN does not change once it is committed, and
//         listings cap their LSN at what is committed when they begin. The order is child before
//         parent. The writer holds mutex_ from BeginRecords() to CommitRecords(); reads made by the
//         writer's own thread meanwhile skip it.
#pragma once

#include <pthread.h>

#include <atomic>
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

#include "pageserver/layers/in_memory_layer.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {

// std::shared_mutex prefers readers: under constant reads ingest would never get in. This one lets
// a waiting writer go first, and the readers that waited meanwhile before the next writer.
class WriterFirstMutex {
  public:
    WriterFirstMutex() {
        pthread_rwlockattr_t attributes;
        pthread_rwlockattr_init(&attributes);
        pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        pthread_rwlock_init(&lock_, &attributes);
        pthread_rwlockattr_destroy(&attributes);
    }
    ~WriterFirstMutex() { pthread_rwlock_destroy(&lock_); }
    WriterFirstMutex(const WriterFirstMutex&) = delete;
    WriterFirstMutex& operator=(const WriterFirstMutex&) = delete;

    void lock() { pthread_rwlock_wrlock(&lock_); }
    void lock_shared() { pthread_rwlock_rdlock(&lock_); }
    void unlock() { pthread_rwlock_unlock(&lock_); }
    void unlock_shared() { pthread_rwlock_unlock(&lock_); }

  private:
    pthread_rwlock_t lock_;
};

class TimelineImpl final : public Timeline {
  public:
    TimelineImpl(TimelineId id, Lsn start_lsn, std::shared_ptr<Timeline> parent,
                 std::unique_ptr<SnapshotFile> snapshot, std::unique_ptr<WalStorage> wal);

    const TimelineId& id() const override { return id_; }
    const std::shared_ptr<Timeline>& parent() const override { return parent_; }
    Lsn start_lsn() const override { return start_lsn_; }
    WalStorage& wal() override { return *wal_; }
    Lsn last_record_end() const override { return Lsn(last_record_end_.load()); }
    Status WaitForLsn(Lsn lsn, int timeout_ms) override;

    Result<PageHistory> CollectPage(const PageKey& key, Lsn at) override;
    Result<std::optional<BlockNumber>> RelationSize(const RelForkKey& rel, Lsn at) override;
    Result<std::vector<RelationEntry>> ListRelations(Lsn at) override;
    Result<std::vector<BlockNumber>> ListSlruPages(SlruKind kind, Lsn at) override;
    Result<std::vector<DatabaseKey>> ListDatabases(Lsn at) override;
    Result<std::optional<std::string>> GetBlob(const std::string& key, Lsn at) override;
    Result<std::map<std::string, std::string>> ListBlobs(const std::string& prefix,
                                                         Lsn at) override;
    Result<std::optional<VersionedBlob>> GetVersionedBlob(const std::string& key, Lsn at) override;

    void BeginRecords() override;
    void StartRecord(Lsn start, Lsn end) override;
    void PutRecord(const PageKey& key, uint8_t ref_flags) override;
    void PutImage(const PageKey& key, ConstPageSpan image) override;
    void DropPage(const PageKey& key) override;
    void CreateRelation(const RelForkKey& rel) override;
    void TruncateRelation(const RelForkKey& rel, BlockNumber blocks) override;
    void DropRelation(const RelFileNode& node) override;
    void CreateDatabase(const DatabaseKey& db) override;
    void CloneDatabase(const DatabaseKey& db, const DatabaseKey& source) override;
    void DropDatabase(const DatabaseKey& db) override;
    void PutBlob(const std::string& key, std::string value) override;
    void DropBlob(const std::string& key) override;
    void AbandonRecord() override;
    void CommitRecords() override;

    Result<std::optional<BlockNumber>> WriterRelationSize(const RelForkKey& rel) override;
    Result<PageHistory> WriterCollectPage(const PageKey& key) override;
    Result<std::vector<BlockNumber>> WriterListSlruPages(SlruKind kind) override;

  private:
    // Holds mutex_ shared, unless this thread is the writer and holds it anyway.
    class ReadLock;

    // Relations of one database: (relfilenode, fork) -> blocks.
    using DatabaseRelations = std::map<std::pair<Oid, Fork>, BlockNumber>;
    using RelationMap = std::unordered_map<DatabaseKey, DatabaseRelations>;
    using BlobMap = std::map<std::string, VersionedBlob, std::less<>>;

    // kNotFound when `at` is older than all history; the failure of a writer, if there was one.
    Status CheckReadable(Lsn at) const;
    // kUnavailable when the parent has not been ingested up to min(at, start_lsn()).
    Status CheckParentReaches(Lsn at) const;
    // `at`, but at most the last committed record; the writer's own reads see everything.
    Lsn Committed(Lsn at) const;

    // Searches: own layer, then the snapshot or the parent. They take no LSN check.
    Status FindPage(PageKey key, Lsn at, PageHistory* history) const;
    Result<std::optional<BlockNumber>> FindSize(RelForkKey rel, Lsn at) const;
    Result<std::optional<VersionedBlob>> FindBlob(std::string key, Lsn at) const;
    Result<bool> FindDatabase(const DatabaseKey& db, Lsn at) const;

    // Listings: add to or take from *out what exists at `at`, ancestors first.
    Status CollectRelations(const DatabaseKey* only, Lsn at, RelationMap* out) const;
    Status CollectDatabases(Lsn at, std::set<DatabaseKey>* out) const;
    Status CollectBlobs(const std::string& prefix, Lsn at, BlobMap* out) const;
    Status CollectSlruPages(SlruKind kind, Lsn at, std::set<BlockNumber>* out) const;
    Result<std::vector<std::pair<DatabaseKey, DatabaseCut>>> CutsAt(Lsn at) const;

    // The writer's view of a fork's size; nullopt: does not exist.
    std::optional<BlockNumber> TipSize(const RelForkKey& rel);
    bool TipDatabaseExists(const DatabaseKey& db);
    void EnsureSize(const RelForkKey& rel, BlockNumber blocks);
    void DropFork(const RelForkKey& rel);
    // The writer's calls cannot report a failure (of asking the parent): it fails every read from
    // then on, since what they would return may be wrong.
    void NoteWriterFailure(const Status& status);

    const TimelineId id_;
    const Lsn start_lsn_;
    const std::shared_ptr<Timeline> parent_;
    const TimelineImpl* const parent_impl_;  // the same as parent_
    const std::unique_ptr<SnapshotFile> snapshot_;
    const std::unique_ptr<WalStorage> wal_;
    const Lsn oldest_lsn_;  // start_lsn() of the root

    mutable WriterFirstMutex mutex_;
    InMemoryLayer layer_;  // guarded by mutex_
    // The thread between BeginRecords() and CommitRecords().
    std::atomic<std::thread::id> writer_;
    Lsn record_start_;  // writer only
    Lsn record_end_;    // writer only
    Lsn previous_end_;  // writer only: record_end_ before the current record
    bool abandoned_ = false;  // writer only

    Status failure_;  // set once, before failed_
    std::atomic<bool> failed_{false};

    std::atomic<uint64_t> last_record_end_;
    std::mutex wait_mutex_;
    std::condition_variable advanced_;
    std::atomic<int> waiters_{0};
};

}  // namespace zenith
