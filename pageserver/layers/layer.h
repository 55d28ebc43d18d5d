// Layer: a stretch of one timeline's history that can be asked by key and LSN. A read asks the
// timeline's layers from the newest (in memory) to the oldest, then the ancestor's.
//
// What a layer knows cuts off what is older: a truncation ends the history of the blocks behind it,
// the drop or the cloning of a database ends the history of everything in it. An answer therefore
// says where to go on.
//
// Order within one record: what a record puts survives what the same record cuts off.
// Threads  const methods may run at the same time; the owner keeps writers apart from readers.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/pgformat/relation_key.h"
#include "pageserver/layers/timeline.h"

namespace zenith {

// A database (in one tablespace) lost all it held before `lsn`, and is a copy of `source` as of
// just before `lsn`, or empty.
struct DatabaseCut {
    Lsn lsn;
    std::optional<DatabaseKey> source;
};

// Where a search goes on after a layer.
struct SearchStep {
    enum class Next {
        kOlder,   // in the next older layer, or the ancestor
        kDone,    // nowhere: the answer is complete
        kSource,  // in database `source` of this timeline, at `at`, from the newest layer on
    };
    Next next = Next::kOlder;
    DatabaseKey source;
    Lsn at;

    static SearchStep Older() { return {}; }
    static SearchStep Done() { return {Next::kDone, {}, {}}; }
    // Just before the cut: what the same record did to the source does not count, and the LSN
    // always falls, so that a search ends.
    static SearchStep After(const DatabaseCut& cut) {
        if (!cut.source) {
            return Done();
        }
        return {Next::kSource, *cut.source, cut.lsn - 1};
    }
};

class Layer {
  public:
    virtual ~Layer() = default;

    // Adds to *history the versions of `key` at or before `at`: records newest first (the caller
    // turns them round), and the base if there is one.
    virtual Result<SearchStep> SearchPage(const PageKey& key, Lsn at,
                                          PageHistory* history) const = 0;
    // *blocks is set when the step is kDone; nullopt: the fork does not exist.
    virtual Result<SearchStep> SearchSize(const RelForkKey& rel, Lsn at,
                                          std::optional<BlockNumber>* blocks) const = 0;
    // *blob is set when the step is kDone; nullopt: there is none.
    virtual Result<SearchStep> SearchBlob(const std::string& key, Lsn at,
                                          std::optional<Timeline::VersionedBlob>* blob) const = 0;
    // *exists is set when the step is kDone.
    virtual Result<SearchStep> SearchDatabase(const DatabaseKey& db, Lsn at,
                                              bool* exists) const = 0;

    // Listings name what this layer says at `at`, newest word only, for what it says anything
    // about. Cuts come first: what they end in older layers goes before anything else is added.
    virtual Status VisitCuts(
        Lsn at, const std::function<void(const DatabaseKey&, const DatabaseCut&)>& visit) const = 0;
    // `only`: restrict to one database; null for all.
    virtual Status VisitRelations(
        const DatabaseKey* only, Lsn at,
        const std::function<void(const RelForkKey&, std::optional<BlockNumber>)>& visit) const = 0;
    virtual Status VisitDatabases(
        Lsn at, const std::function<void(const DatabaseKey&, bool exists)>& visit) const = 0;
    // The value is null for a dropped blob.
    virtual Status VisitBlobs(std::string_view prefix, Lsn at,
                              const std::function<void(const std::string& key, Lsn lsn,
                                                       const std::string* value)>& visit) const = 0;
    virtual Status VisitSlruPages(
        SlruKind kind, Lsn at,
        const std::function<void(BlockNumber, bool exists)>& visit) const = 0;
};

}  // namespace zenith
