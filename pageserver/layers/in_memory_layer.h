// InMemoryLayer: the index of the WAL that is not in any file yet: for every page the records that
// touch it, for every relation its sizes and truncations, for every database its fate, and blobs.
//
// Writing    in the order of the WAL: the LSNs passed in never fall.
// Not here   what things were before this layer began: the caller resolves that (timeline.cpp) and
//            tells the layer only what changes.
// Threads    as Layer: any number of readers, or one writer.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "pageserver/layers/floor_index.h"
#include "pageserver/layers/layer.h"
#include "pageserver/layers/layer_memory.h"
#include "pageserver/layers/page_versions.h"

namespace zenith {

class LayerSink;

class InMemoryLayer final : public Layer {
  public:
    // `wal` holds the records that are put here; it is only passed on to readers. `memory` may be
    // null.
    explicit InMemoryLayer(const WalStorage* wal, LayerMemory* memory = nullptr)
        : wal_(wal), memory_(memory) {}
    ~InMemoryLayer() override;
    InMemoryLayer(const InMemoryLayer&) = delete;
    InMemoryLayer& operator=(const InMemoryLayer&) = delete;

    // ---- reading: see Layer -------------------------------------------------------------------
    Result<SearchStep> SearchPage(const PageKey& key, Lsn at, PageHistory* history) const override;
    Result<SearchStep> SearchSize(const RelForkKey& rel, Lsn at,
                                  std::optional<BlockNumber>* blocks) const override;
    Result<SearchStep> SearchBlob(const std::string& key, Lsn at,
                                  std::optional<Timeline::VersionedBlob>* blob) const override;
    Result<SearchStep> SearchDatabase(const DatabaseKey& db, Lsn at, bool* exists) const override;
    Status VisitCuts(
        Lsn at,
        const std::function<void(const DatabaseKey&, const DatabaseCut&)>& visit) const override;
    Status VisitRelations(const DatabaseKey* only, Lsn at,
                          const std::function<void(const RelForkKey&, std::optional<BlockNumber>)>&
                              visit) const override;
    Status VisitDatabases(
        Lsn at, const std::function<void(const DatabaseKey&, bool)>& visit) const override;
    Status VisitBlobs(std::string_view prefix, Lsn at,
                      const std::function<void(const std::string&, Lsn, const std::string*)>& visit)
        const override;
    Status VisitSlruPages(SlruKind kind, Lsn at,
                          const std::function<void(BlockNumber, bool)>& visit) const override;

    // ---- writing ------------------------------------------------------------------------------
    // The size of a relation fork at the tip, kept so that a record that does not change it costs
    // no search. kUnknown until SetSize() or RememberSize(), and again after a cut of its database.
    enum class Known { kUnknown, kAbsent, kExists };
    struct TipSize {
        Known known = Known::kUnknown;
        BlockNumber blocks = 0;
    };
    TipSize GetTipSize(const RelForkKey& rel);
    // The size was found elsewhere; not a change.
    void RememberSize(const RelForkKey& rel, std::optional<BlockNumber> blocks);
    // A change of size; nullopt: the fork ceases to exist.
    void SetSize(const RelForkKey& rel, Lsn lsn, std::optional<BlockNumber> blocks);
    // Ends the history of the fork's blocks >= `blocks`.
    void AddFloor(const RelForkKey& rel, Lsn lsn, BlockNumber blocks);
    // One more version of a page, whose fork the caller has made big enough.
    void AddRecord(const PageKey& key, Lsn start, Lsn end, uint8_t ref_flags);
    void AddImage(const PageKey& key, Lsn end, ConstPageSpan image);
    void AddTombstone(const PageKey& key, Lsn end);

    void CutDatabase(const DatabaseKey& db, const DatabaseCut& cut);
    void SetDatabaseExists(const DatabaseKey& db, Lsn lsn, bool exists);
    // As GetTipSize: nullopt when not known here.
    std::optional<bool> GetTipDatabaseExists(const DatabaseKey& db);
    void RememberDatabaseExists(const DatabaseKey& db, bool exists);

    void SetBlob(const std::string& key, Lsn lsn, std::optional<std::string> value);

    // Gives everything to `sink`, in its order. Sorts pointers to all pages of one relation at a
    // time.
    Status Export(LayerSink* sink) const;

    // What the index takes, for deciding when to move it into a file.
    size_t memory_bytes() const { return bytes_; }
    // Charges what has come since the last call to the common memory.
    void ChargeMemory();

  private:
    struct SizeVersion {
        Lsn lsn;
        BlockNumber blocks;
        bool exists;
    };
    struct ExistenceVersion {
        Lsn lsn;
        bool exists;
    };
    struct DatabaseHistory {
        std::vector<DatabaseCut> cuts;
        std::vector<ExistenceVersion> existence;
        std::optional<bool> tip_exists;

        const DatabaseCut* NewestCut(Lsn at) const;
    };
    struct RelationHistory {
        BlockMap pages;
        std::vector<SizeVersion> sizes;
        FloorIndex floors;
        // The relation's database, stable in databases_; null for shared relations.
        DatabaseHistory* database = nullptr;
        TipSize tip;
        size_t tip_cuts = 0;  // database->cuts.size() that `tip` holds for
    };
    struct BlobVersion {
        Lsn lsn;
        std::optional<std::string> value;
    };
    using SlruPages = std::map<BlockNumber, std::vector<PageVersion>>;

    const DatabaseCut* NewestCut(const DatabaseKey& db, Lsn at) const;
    RelationHistory& RelationForWriting(const RelForkKey& rel);
    const SlruPages& Slru(SlruKind kind) const;
    void AddVersion(const PageKey& key, PageVersion version);
    // Adds versions with LSNs in [low, at]; true when nothing older is needed.
    bool CollectVersions(std::span<const PageVersion> versions, Lsn low, Lsn at,
                         const DatabaseKey& db, PageHistory* history) const;
    Status ExportPage(const PageKey& key, std::span<const PageVersion> versions,
                      LayerSink* sink) const;
    static const SizeVersion* NewestSize(const RelationHistory& relation, Lsn at);

    DatabaseHistory& DatabaseForWriting(const DatabaseKey& db);

    const WalStorage* const wal_;
    LayerMemory* const memory_;
    size_t charged_bytes_ = 0;
    size_t bytes_ = 0;
    std::unordered_map<RelForkKey, RelationHistory> relations_;
    std::unordered_map<DatabaseKey, DatabaseHistory> databases_;
    std::map<std::string, std::vector<BlobVersion>, std::less<>> blobs_;
    std::array<SlruPages, std::size(kSlruKinds)> slru_;
    std::vector<std::unique_ptr<PageBuffer>> images_;
    // The relation written last; elements of relations_ do not move.
    RelForkKey last_written_key_;
    RelationHistory* last_written_ = nullptr;
};

}  // namespace zenith
