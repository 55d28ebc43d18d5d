// RewriteLayers: several delta layer files become one: a plain merge, or what retention leaves.
//
// Merge      every entry of the inputs, in order. Only postings are copied; records and images stay
//            where they are.
// Retention  what the retained points and the end of the new layer need, and nothing else: of each
//            page the versions they see, as images, so that the WAL before can go.
// Both write the same bytes each time (a dry run writes the files and removes them).
// Memory     bounded whatever the number of entries and keys of a merge; for retention 24 bytes for
//            each entry of one page since its last image, the truncations of one relation, and a
//            batch of images.
// Threads    one thread for a call; the inputs may be read meanwhile.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/layers/delta_layer_writer.h"
#include "pageserver/layers/page_imager.h"

namespace zenith {

class Timeline;

// What lies below the oldest layer: the initial snapshot, the parent. "Maybe" is true.
class HistoryBelow {
  public:
    virtual ~HistoryBelow() = default;
    virtual Result<bool> MayHaveDatabase(const DatabaseKey& db) const = 0;
    virtual Result<bool> MayHaveRelation(const RelForkKey& rel) const = 0;
    virtual Result<bool> MayHaveSlruPage(SlruKind kind, BlockNumber block) const = 0;
    virtual Result<bool> MayHaveBlob(const std::string& key) const = 0;
};

struct RewriteRetention {
    // Ascending, each below the end of the new layer (which is always retained).
    std::vector<Lsn> points;
    // The value of blob cluster_state exactly as of a point or the end of the new layer; asked where
    // the inputs have none of exactly that LSN. Null: only what the inputs have.
    std::function<Result<std::string>(Lsn)> state_at;
    // Makes the images, of versions of `timeline`. Null: records stay, and so must the WAL.
    PageImager* imager = nullptr;
    Timeline* timeline = nullptr;
    // Null: anything may be there.
    const HistoryBelow* below = nullptr;
    // Image files of which less than this part is in use are not referred to any more: what is in
    // use is copied.
    double min_image_use = 0.5;
    ImageFiles* images = nullptr;  // null: nothing is copied
};

struct RewrittenLayer {
    WrittenLayer layer;
    uint64_t dropped_versions = 0;  // of pages: entries that are gone
    uint64_t made_images = 0;
    uint64_t copied_images = 0;
    uint64_t failed_images = 0;     // their records stay
};

// `inputs` are oldest first without gaps and begin where the new layer does; the new layer ends
// where the last one ends, or, with retention, before: what is later is left out then.
// Nothing is left behind after a failure. `cancel`, which may be null, is looked at now and then:
// kUnavailable when it is set.
Result<RewrittenLayer> RewriteLayers(
    const std::vector<std::shared_ptr<const DeltaLayerFile>>& inputs, const NewLayer& layer,
    const RewriteRetention* retention, const std::atomic<bool>* cancel = nullptr);

}  // namespace zenith
