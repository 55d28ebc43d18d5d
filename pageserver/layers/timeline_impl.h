// TimelineImpl: the Timeline of MakeTimeline(): a layer in memory that is written to, above layers
// that do not change any more (at most one of them in memory, on its way into a file), above the
// initial snapshot (for a root) or the parent timeline (for a branch). Private to this folder.
//
// Locks   mutex_ guards the pointer generation_ and the contents of the open layer. It is taken for
//         one question to the open layer at a time and never while reading a file or asking the
//         parent; a read that needs several steps is consistent all the same: it uses one
//         generation of the layers, what lies at or below an LSN does not change there once it is
//         committed, and listings cap their LSN at what is committed when they begin. The order is
//         child before parent. The writer holds mutex_ from BeginRecords() to CommitRecords();
//         reads made by the writer's own thread meanwhile skip it. (That is the one case of a file
//         read under the lock: the size of a relation that is touched for the first time since a
//         flush.)
//         rewrite_mutex_ (one merge or retention at a time) comes before publish_mutex_ (the
//         manifest), that before mutex_.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
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
#include "pageserver/layers/layer_generation.h"
#include "pageserver/layers/layer_rewriter.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/layers/timeline_layers.h"
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
                 std::unique_ptr<SnapshotFile> snapshot, std::unique_ptr<WalStorage> wal,
                 TimelineLayers layers);
    ~TimelineImpl() override;

    const TimelineId& id() const override { return id_; }
    const std::shared_ptr<Timeline>& parent() const override { return parent_; }
    Lsn start_lsn() const override { return start_lsn_; }
    WalStorage& wal() override { return *wal_; }
    Lsn last_record_end() const override { return Lsn(last_record_end_.load()); }
    Status WaitForLsn(Lsn lsn, int timeout_ms) override;

    Lsn readable_from() const override;
    Status CheckReadable(Lsn at) const override;

    Result<PageHistory> CollectPage(const PageKey& key, Lsn at) override;
    Result<PageHistory> CollectPageSince(const PageKey& key, Lsn known, Lsn at) override;
    Result<PageHistory> CollectPageFromWal(const PageKey& key, Lsn at,
                                           size_t max_records) override;
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

    bool WantsFlush() override;
    void Flush() override;
    Status WaitForFlush() override;

    Result<RetentionReport> ApplyRetention(const Retention& retention) override;

    Result<std::optional<BlockNumber>> WriterRelationSize(const RelForkKey& rel) override;
    Result<PageHistory> WriterCollectPage(const PageKey& key) override;
    Result<std::vector<BlockNumber>> WriterListSlruPages(SlruKind kind) override;

  private:
    // Holds mutex_ shared, unless this thread is the writer and holds it anyway.
    class ReadLock;
    class Below;  // timeline_retention.cpp

    // What a read sees of one timeline. The open layer in it only under a ReadLock.
    using View = std::shared_ptr<const LayerGeneration>;
    using Cuts = std::vector<std::pair<DatabaseKey, DatabaseCut>>;

    // Relations of one database: (relfilenode, fork) -> blocks.
    using DatabaseRelations = std::map<std::pair<Oid, Fork>, BlockNumber>;
    using RelationMap = std::unordered_map<DatabaseKey, DatabaseRelations>;
    using BlobMap = std::map<std::string, VersionedBlob, std::less<>>;

    // kNotFound when `at` is older than all history; the failure of a writer, if there was one.
    Status CheckUsable(Lsn at) const;
    // kUnavailable when the parent has not been ingested up to min(at, start_lsn()).
    Status CheckParentReaches(Lsn at) const;
    // `at`, but at most the last committed record; the writer's own reads see everything.
    Lsn Committed(Lsn at) const;
    // kNotFound when `at` is a stretch of this timeline that retention has removed. LSNs of the
    // ancestors are for them to judge.
    Status CheckRetained(const LayerGeneration& generation, Lsn at) const;
    // The newest generation, if `at` can be read there.
    Result<View> Look(Lsn at) const;

    // Searches: own layers, then the snapshot or the parent. They begin in `view`, or, without one,
    // in the newest generation.
    Status FindPage(PageKey key, Lsn at, View view, PageHistory* history) const;
    Result<std::optional<BlockNumber>> FindSize(RelForkKey rel, Lsn at) const;
    Result<std::optional<VersionedBlob>> FindBlob(std::string key, Lsn at, View view) const;
    Result<bool> FindDatabase(const DatabaseKey& db, Lsn at) const;

    // Listings: add to or take from *out what exists at `at`, ancestors first.
    Status CollectRelations(const View& view, const DatabaseKey* only, Lsn at,
                            RelationMap* out) const;
    Status CollectDatabases(const View& view, Lsn at, std::set<DatabaseKey>* out) const;
    Status CollectBlobs(const View& view, const std::string& prefix, Lsn at, BlobMap* out) const;
    // What the cuts of databases do to *out.
    Status CutBlobs(const View& view, const std::string& prefix, const Cuts& cuts,
                    BlobMap* out) const;
    Status CollectSlruPages(const View& view, SlruKind kind, Lsn at,
                            std::set<BlockNumber>* out) const;
    // The parent's view at min(at, start_lsn()), which becomes *at.
    Result<View> LookInParent(Lsn* at) const;

    // search(layer) for the open layer, then for older ones while the step says kOlder. *view is
    // what is searched; without one it becomes the newest.
    template <typename Search>
    Result<SearchStep> SearchLayers(Lsn at, View* view, Search&& search) const;
    // visit(layer), with a lock when the layer needs one. Number 0 is the open layer, then come the
    // older ones.
    template <typename Visit>
    Status VisitLayer(const View& view, size_t number, Visit&& visit) const;
    // What the layer says was cut.
    Result<Cuts> CutsOf(const View& view, size_t number, Lsn at) const;

    // ---- layers in files: timeline_flush.cpp, timeline_imaging.cpp -----------------------------
    View Newest() const;
    NewLayer MakeNewLayer(Lsn start, Lsn end);
    // In the background: writes `layer`, the history from `start` to `end`, and puts the file in
    // its place.
    void WriteLayer(std::shared_ptr<const InMemoryLayer> layer, Lsn start, Lsn end);
    Result<WrittenLayer> MakeLayerFile(const InMemoryLayer& layer, const NewLayer& place);
    Result<std::shared_ptr<const DeltaLayerFile>> OpenLayerFile(const WrittenLayer& written) const;
    // Removes files that were written for nothing.
    void DiscardLayer(const LayerManifest::Entry& entry);
    // Bytes of the records that a read of `key` as of `at` replays.
    Result<uint64_t> ReplayBytes(const PageKey& key, Lsn at) const;
    class ImagingSink;

    // Makes a change of the layers count: the manifest first, then what reads see. `change` is
    // called with mutex_ held. `replaced_files` go when nobody reads them any more.
    Status Publish(const std::function<void(LayerManifest*)>& change_manifest,
                   const std::function<void(LayerGeneration*)>& change,
                   const LayerFiles* replaced_files);

    // ---- rewriting: timeline_merge.cpp, timeline_retention.cpp. With rewrite_mutex_. ------------
    void PostMerge();
    void Merge();
    // The new layer is in no manifest yet.
    Result<std::shared_ptr<const DeltaLayerFile>> Rewrite(const LayerFiles& inputs, Lsn end,
                                                          const RewriteRetention* retention,
                                                          RewrittenLayer* report);
    // Puts `output` (null: nothing) in the place of `inputs`, adjacent layers.
    static void ReplaceLayers(const LayerFiles& inputs,
                              const std::shared_ptr<const DeltaLayerFile>& output,
                              LayerGeneration* generation);
    // The same for good; the other two, which may be null, change the rest.
    Status PublishRewrite(const LayerFiles& inputs,
                          const std::shared_ptr<const DeltaLayerFile>& output,
                          const std::function<void(LayerManifest*)>& change_manifest,
                          const std::function<void(LayerGeneration*)>& change);
    // WAL before this is in nobody's way; invalid: keep everything.
    Lsn OldestWal(const LayerGeneration& generation) const;
    // Image files of `before` that `after` does not refer to.
    std::vector<std::shared_ptr<const ImageFile>> UnusedImages(const LayerGeneration& before,
                                                               const LayerGeneration& after) const;
    ObsoleteFiles MakeObsolete(const LayerFiles& replaced, const LayerGeneration& before,
                               const LayerGeneration& after) const;
    Result<RetentionReport> ApplyRetentionLocked(const Retention& retention);

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

    const std::string layer_directory_;
    const LayerOptions options_;
    const std::unique_ptr<LayerWorker> own_worker_;  // when the options have none
    LayerWorker* const worker_;
    const std::shared_ptr<ImageFiles> images_;
    const std::shared_ptr<LayerRemover> remover_;

    mutable WriterFirstMutex mutex_;
    View generation_;                      // guarded by mutex_, never null
    std::shared_ptr<InMemoryLayer> open_;  // generation_->open; the writer's
    // The thread between BeginRecords() and CommitRecords().
    std::atomic<std::thread::id> writer_;
    Lsn record_start_;  // writer only
    Lsn record_end_;    // writer only
    Lsn previous_end_;  // writer only: record_end_ before the current record
    bool abandoned_ = false;  // writer only

    // What the files on disk are.
    std::mutex publish_mutex_;
    LayerManifest manifest_;            // guarded by publish_mutex_
    std::atomic<uint64_t> next_file_;   // numbers handed out, also to attempts that failed
    std::mutex rewrite_mutex_;          // held while layers are merged or garbage is collected
    std::atomic<bool> merge_posted_{false};
    std::atomic<bool> stopping_{false};
    std::chrono::steady_clock::time_point merge_retry_at_;  // guarded by rewrite_mutex_

    // Flushing. The writer's.
    Lsn open_start_;                                    // where *open_ begins
    std::chrono::steady_clock::time_point open_since_;  // about when its first record came
    // The layer that is being written, or was last: what is not in a file yet is in generation_.
    std::weak_ptr<const InMemoryLayer> frozen_;
    Lsn frozen_start_;
    Lsn frozen_end_;
    // The job's while flushing_, else the writer's.
    std::mutex flush_mutex_;
    std::condition_variable flushed_;
    std::atomic<bool> flushing_{false};  // changes under flush_mutex_
    Status flush_status_;
    std::chrono::steady_clock::time_point retry_at_;

    Status failure_;  // set once, before failed_
    std::atomic<bool> failed_{false};

    std::atomic<uint64_t> last_record_end_;
    std::mutex wait_mutex_;
    std::condition_variable advanced_;
    std::atomic<int> waiters_{0};
};

class TimelineImpl::ReadLock {
  public:
    explicit ReadLock(const TimelineImpl& timeline)
        : mutex_(timeline.writer_.load(std::memory_order_relaxed) == std::this_thread::get_id()
                     ? nullptr
                     : &timeline.mutex_) {
        if (mutex_ != nullptr) {
            mutex_->lock_shared();
        }
    }
    ~ReadLock() {
        if (mutex_ != nullptr) {
            mutex_->unlock_shared();
        }
    }
    ReadLock(const ReadLock&) = delete;
    ReadLock& operator=(const ReadLock&) = delete;

  private:
    WriterFirstMutex* const mutex_;
};

}  // namespace zenith
