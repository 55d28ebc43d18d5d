// Timeline: the whole history of one branch: what every page, relation size and piece of cluster
// metadata was at every LSN, as far as this timeline and its ancestors keep it.
//
// Purpose   the one place that answers "what was X at LSN L"; wal_ingest writes it, reconstruct
//           and page_service read it.
// Values    WAL is the value store: a page version is a reference to the WAL record that made it,
//           or an image. Everything else (relation sizes, blobs) is stored as decoded.
// LSNs      A version's LSN is the END of the record that made it. A version is visible at L when
//           its LSN <= L. Readers pass L between records freely; it means "newest at or before".
// Ancestors A read that finds nothing here goes on in the parent at min(L, ancestor_lsn).
// Threads   Reads may come from any number of threads. There is one writer at a time (the ingest
//           thread); its calls between BeginRecords() and CommitRecords() become visible to readers
//           together. All methods lock internally.
// Errors    kCorruption for damaged files, naming file, offset, timeline and LSN; kNotFound for an
//           LSN before the history, naming the oldest one; kUnavailable when an ancestor has not
//           been ingested up to the branch point (never a page without its older half). A failure
//           that a writing call meets fails the batch and every read after it.
// Order     Within one record, what ends something (truncate, drop, clone) is called before what
//           the record puts in its place: a version and the cut that have the same LSN both count.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

class WalStorage;

// How a WAL record contributes to a page. Combined as bits.
enum RecordRefFlags : uint8_t {
    // The record rebuilds the page from nothing (WILL_INIT or an image to apply): older versions
    // are not needed.
    kRefWillInit = 1,
    // The record is applied by our own code (SLRU change, truncation tail), not by PostgreSQL redo.
    kRefNative = 2,
};

// A reference to one WAL record: [start, end). `wal` says whose WAL holds it and outlives the ref
// (the Timeline it came from keeps it).
struct RecordRef {
    const WalStorage* wal = nullptr;
    Lsn start;
    Lsn end;
    uint8_t flags = 0;
    // Tablespace and database under which the record names the page. They differ from the key that
    // was asked for when the page came with a copy of its database (CloneDatabase): redo has to
    // look for this one in the record. {0, 0} for an SLRU page.
    DatabaseKey database{};
};

// Everything needed to rebuild one page at one LSN.
struct PageHistory {
    // What the records apply to. No base: zeroes.
    std::optional<PageBuffer> base;
    // LSN the base is valid at; invalid (0) when there is no base.
    Lsn base_lsn;
    // Oldest first.
    std::vector<RecordRef> records;
    // The base was made by the page server in the place of records: not the initial snapshot's page.
    bool base_is_image = false;
    // Keeps the WAL of the records from being removed.
    std::vector<std::shared_ptr<const void>> pins;

    // Asked for by the caller: to look no further when the record that ends here is found (the
    // caller has that version; the record then is the first one) ...
    Lsn known;
    // ... to be told base_lsn, not the base ...
    bool skip_base = false;
    // ... and to go on to the records that images stand for, where there are any, until so many
    // records have been found. 0: not at all.
    size_t records_before_image = 0;

    // For whoever searches. Up to here records may be gone, and images are all there is.
    Lsn images_count_until;
    bool PassesOver(Lsn image) const {
        return records.size() < records_before_image && image > images_count_until;
    }

    // False when the page does not exist at that LSN: never written, truncated, dropped.
    bool exists() const { return base.has_value() || !records.empty(); }
};

struct RelationEntry {
    RelForkKey rel;
    BlockNumber blocks = 0;
};

class Timeline {
  public:
    virtual ~Timeline() = default;

    virtual const TimelineId& id() const = 0;
    // Null for a root timeline.
    virtual const std::shared_ptr<Timeline>& parent() const = 0;
    // LSN where this timeline begins: the branch point, or the initial snapshot's LSN for a root.
    virtual Lsn start_lsn() const = 0;
    virtual WalStorage& wal() = 0;

    // End of the last ingested record; start_lsn() when there is none yet.
    virtual Lsn last_record_end() const = 0;
    // Waits until last_record_end() >= lsn; kUnavailable after the timeout.
    virtual Status WaitForLsn(Lsn lsn, int timeout_ms) = 0;

    // From here on every LSN can be read. Before it, what garbage collection left can: the
    // retained points.
    virtual Lsn readable_from() const { return start_lsn(); }
    // OK when pages of this timeline can be asked for at `at` (or at the ancestors' LSN it stands
    // for); else kNotFound, naming the oldest LSN that can.
    virtual Status CheckReadable(Lsn) const { return Status::Ok(); }

    // ---- reading ----------------------------------------------------------------------------
    virtual Result<PageHistory> CollectPage(const PageKey& key, Lsn at) = 0;
    // As CollectPage for a caller that has the version `known` of the page, if it still counts: then
    // the history may begin with the record that ends there, which is already in that version.
    virtual Result<PageHistory> CollectPageSince(const PageKey& key, Lsn /*known*/, Lsn at) {
        return CollectPage(key, at);
    }
    // As CollectPage for a caller that does not believe in images: instead of one that a layer made
    // the history has the records it stands for, and so begins with the initial snapshot or a record
    // that needs no base. An image is its base only where retention has removed the records
    // (base_is_image), and behind `max_records` records or a little more, which bounds the history.
    // Relation pages: what an SLRU page's images stand for is not looked up by page.
    virtual Result<PageHistory> CollectPageFromWal(const PageKey& key, Lsn at,
                                                   size_t /*max_records*/) {
        return CollectPage(key, at);
    }
    // nullopt: the fork does not exist at that LSN.
    virtual Result<std::optional<BlockNumber>> RelationSize(const RelForkKey& rel, Lsn at) = 0;
    // Every relation fork that exists at `at`, in no particular order.
    virtual Result<std::vector<RelationEntry>> ListRelations(Lsn at) = 0;
    // Pages of an SLRU that exist at `at`, ascending.
    virtual Result<std::vector<BlockNumber>> ListSlruPages(SlruKind kind, Lsn at) = 0;
    // Databases (tablespace, oid) whose directory exists at `at`; never db 0.
    virtual Result<std::vector<DatabaseKey>> ListDatabases(Lsn at) = 0;
    // Small named values; see blob_keys.h for the names. nullopt: does not exist.
    virtual Result<std::optional<std::string>> GetBlob(const std::string& key, Lsn at) = 0;
    // All blobs whose key starts with `prefix`.
    virtual Result<std::map<std::string, std::string>> ListBlobs(const std::string& prefix,
                                                                 Lsn at) = 0;
    // The newest version of blob `key` at or before `at` together with its LSN.
    struct VersionedBlob {
        Lsn lsn;
        std::string value;
    };
    virtual Result<std::optional<VersionedBlob>> GetVersionedBlob(const std::string& key,
                                                                  Lsn at) = 0;

    // ---- writing (one writer) -----------------------------------------------------------------
    // Takes the writer's lock; readers see nothing of what follows until CommitRecords().
    virtual void BeginRecords() = 0;
    // Names the record that the following Put/Create/... calls belong to. LSNs only grow.
    virtual void StartRecord(Lsn start, Lsn end) = 0;
    // The current record changes `key`. A relation fork is created, and grows to hold the block.
    virtual void PutRecord(const PageKey& key, uint8_t ref_flags) = 0;
    // A literal image as of the current record's end, of an SLRU page, to bound replay. (Of a relation
    // page an image always stands for records; those are made by layers.)
    virtual void PutImage(const PageKey& key, ConstPageSpan image) = 0;
    // An SLRU page ceases to exist.
    virtual void DropPage(const PageKey& key) = 0;
    // The fork exists from now on, with 0 blocks if it did not exist before.
    virtual void CreateRelation(const RelForkKey& rel) = 0;
    // Blocks >= `blocks` cease to exist; later extension does not bring them back. Never grows.
    virtual void TruncateRelation(const RelForkKey& rel, BlockNumber blocks) = 0;
    // All forks of the relation cease to exist.
    virtual void DropRelation(const RelFileNode& node) = 0;
    // The directory exists from now on (also called for the first relation of a database in a
    // tablespace, as PostgreSQL makes the directory then).
    virtual void CreateDatabase(const DatabaseKey& db) = 0;
    // `db` becomes a copy of `source` as of just before the current record; nothing is copied.
    // Its relation map and files ("file/base/<db>/...") come along.
    virtual void CloneDatabase(const DatabaseKey& db, const DatabaseKey& source) = 0;
    // The database's directory and all relations in it cease to exist, its relation map and files
    // too.
    virtual void DropDatabase(const DatabaseKey& db) = 0;
    virtual void PutBlob(const std::string& key, std::string value) = 0;
    // Dropping a tablespace's blob also drops the databases in it (the directories that
    // PostgreSQL removes with the tablespace).
    virtual void DropBlob(const std::string& key) = 0;
    // The current record cannot be ingested: the last record is the one before it again, and
    // last_record_end() never gets to this one's end. What it has put stays behind that end, out of
    // sight of whoever reads at an LSN that was reached; so no other record may follow.
    virtual void AbandonRecord() = 0;
    // Makes everything since BeginRecords() visible and moves last_record_end().
    virtual void CommitRecords() = 0;

    // ---- flushing (the writer, between CommitRecords() and BeginRecords()) -----------------------
    // True when what is in memory should go to a layer file. The writer then saves whatever it
    // needs to go on from last_record_end() as blobs of that LSN, and calls Flush().
    virtual bool WantsFlush() { return false; }
    // Begins a new stretch of history; the one until now is written to a file in the background
    // and read from memory meanwhile. A failure to write is logged, and WantsFlush() after a while.
    // Requires: all records up to last_record_end() are whole and committed.
    virtual void Flush() {}
    // Waits until nothing is being written; what went wrong, if something did.
    virtual Status WaitForFlush() { return Status::Ok(); }

    // ---- retention ------------------------------------------------------------------------------
    // What of the history stays. One call at a time; reads and the writer go on meanwhile.
    struct Retention {
        // From here on everything. Rounded down to where it is cheap (the end of a layer), so a
        // little more may stay. Not after last_record_end().
        Lsn horizon;
        // Before the horizon, exactly these LSNs stay readable: ascending, record boundaries, each
        // readable now.
        std::vector<Lsn> points;
        // Nobody can ask for anything after the horizon: the timeline lost its last name, and
        // `horizon` is the last point its branches need. What is behind it goes, exactly from there;
        // nothing will be written to the timeline any more.
        bool ends_at_horizon = false;
        // The value of blob cluster_state as of one of the points, or the horizon: after the call
        // the WAL it could be worked out from may be gone.
        std::function<Result<std::string>(Lsn)> state_at;
        // Only say what would be freed.
        bool dry_run = false;
        // Do nothing where that would write about as much as it frees: for calls that come often.
        bool only_if_worthwhile = false;
    };
    struct RetentionReport {
        Lsn readable_from;           // what readable_from() is, or would be, afterwards
        uint64_t removed_bytes = 0;  // of files: layers, images, WAL
        uint64_t written_bytes = 0;  // of the files that replace them
        uint64_t dropped_versions = 0;  // of pages
    };
    virtual Result<RetentionReport> ApplyRetention(const Retention&) {
        return Status::Internal("this timeline keeps everything");
    }

    // What the writer itself sees while it writes: including uncommitted changes.
    virtual Result<std::optional<BlockNumber>> WriterRelationSize(const RelForkKey& rel) = 0;
    virtual Result<PageHistory> WriterCollectPage(const PageKey& key) = 0;
    virtual Result<std::vector<BlockNumber>> WriterListSlruPages(SlruKind kind) = 0;
};

}  // namespace zenith
