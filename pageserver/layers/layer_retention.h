// RetentionFilter: what of several layers the retained points and the end of the new layer need. The
// half of RewriteLayers() that leaves something out. Private to this folder.
//
// A version at LSN l is visible at a point p when l <= p and nothing in (l, p] took its place: a
// newer version, a floor that covers the block, a cut of the database. What the record at l itself
// cut off does not count: what a record puts survives what the same record cuts off.
//
// Thread rule: one thread.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "pageserver/layers/floor_index.h"
#include "pageserver/layers/layer_rewriter.h"
#include "pageserver/layers/merged_cursor.h"

namespace zenith {

class RetentionFilter {
  public:
    using Layers = std::vector<std::shared_ptr<const DeltaLayerFile>>;

    // All outlive the filter; `cancel` may be null. `writer` null: only counts.
    RetentionFilter(const Layers& inputs, const LayerManifest::Entry& range,
                    const RewriteRetention& retention, const std::atomic<bool>* cancel,
                    DeltaLayerWriter* writer);

    Status Run();

    // Image files to copy from rather than refer to.
    void CopyFrom(std::unordered_set<uint64_t> files) { copy_from_ = std::move(files); }
    // How many bytes of each image file are in use, after Run().
    const std::map<uint64_t, uint64_t>& image_use() const { return image_use_; }
    // Everything but `layer`, after Run().
    const RewrittenLayer& report() const { return report_; }

  private:
    using Points = std::vector<Lsn>;  // ascending, never empty

    struct Record {
        Lsn lsn;
        uint64_t number;  // as in DeltaEntry
    };
    // A version of a page: what it is rebuilt from, as far as these layers have it.
    struct Version {
        Lsn lsn;
        std::optional<ImagePlace> image;  // the base
        bool tombstone = false;           // the base is nothing
        Lsn base_lsn;
        std::vector<Record> records;      // after the base

        bool wants_image() const { return !records.empty(); }
    };
    struct KeptVersion {
        PageKey key;
        Version version;
        Lsn seen_at;  // the first point that sees it: there it can be read
    };

    Status ReadCuts();
    void FindPoints();
    const Points& PointsOf(const DatabaseKey& db) const;
    const DatabaseCut* NewestCut(const DatabaseKey& db, Lsn at) const;
    // True when a version at `lsn` that is replaced at `end` is visible at one of the points.
    bool Visible(const DatabaseKey& db, Lsn lsn, Lsn end) const;
    // Nothing of this kind is older than the inputs, neither below nor in a database copied from.
    Result<bool> NothingBelow(const DatabaseKey& db, const Result<bool>& below) const;

    Status Cuts(MergedCursor* cursor);
    Status Databases(MergedCursor* cursor);
    Status Sizes(MergedCursor* cursor);
    Status Floors(MergedCursor* cursor);
    Status Blobs(MergedCursor* cursor);
    // The blob cluster_state exactly at the points; the cursor is at its key, or null.
    Status ClusterState(MergedCursor* cursor);
    // Calls emit(entry) for those of the cursor's entries that a point sees; skips those for which
    // gone(entry) holds while nothing was emitted, if `droppable`. Returns the number of emitted.
    template <typename Gone, typename Emit>
    Result<uint64_t> Values(MergedCursor* cursor, const DatabaseKey& db, bool droppable,
                            Gone&& gone, Emit&& emit);

    Status Pages(MergedCursor* cursor);
    Status LoadFloors(const std::string& relation_key);
    Status Keep(const PageKey& key, const Version& version, Lsn seen_at);
    // Makes the images of what was kept, and writes it.
    Status WriteKept();
    Status WriteRecords(const KeptVersion& kept);
    Status WriteImage(const PageKey& key, Lsn lsn, const ImagePlace& place);

    const Layers& inputs_;
    const LayerManifest::Entry range_;
    const RewriteRetention& retention_;
    const std::atomic<bool>* const cancel_;
    DeltaLayerWriter* const writer_;

    Points base_points_;  // and the end of the layer
    std::unordered_map<DatabaseKey, Points> points_;  // of those that also have others
    std::map<DatabaseKey, std::vector<DatabaseCut>> cuts_;
    std::unordered_set<DatabaseKey> copies_;          // have a cut with a source
    std::unordered_set<RelForkKey> vanished_;         // at no point is there anything of it
    bool state_done_ = false;

    // Of the relation whose pages are at hand.
    std::unique_ptr<MergedCursor> floor_cursor_;
    bool at_floors_ = false;
    std::string floors_of_;
    FloorIndex floors_;

    std::vector<KeptVersion> kept_;  // to be written
    size_t wanted_images_ = 0;
    size_t kept_records_ = 0;
    // What was written last.
    PageKey written_key_;
    Lsn written_lsn_;
    bool kept_any_ = false;  // of the page at hand

    std::unordered_set<uint64_t> copy_from_;
    std::map<uint64_t, uint64_t> image_use_;
    uint64_t written_entries_ = 0;  // of pages
    RewrittenLayer report_;
};

}  // namespace zenith
