// LayerCursor: everything in a delta layer file, one entry at a time, in the order of the file:
// cuts, databases, sizes, floors, blobs, pages; within each by key, then by LSN. For merging,
// retention, and whoever wants to look inside.
//
// Memory   one block of the file, whatever the file's size and the number of entries of a key.
// Threads  one thread. The layer stays open while the cursor lives.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "pageserver/layers/delta_layer_block.h"
#include "pageserver/layers/delta_layer_format.h"
#include "pageserver/layers/image_file.h"

namespace zenith {

class DeltaLayerBlocks;

class LayerCursor {
  public:
    // All of the file, or what it has of one kind.
    explicit LayerCursor(std::shared_ptr<const DeltaLayerBlocks> blocks,
                         std::optional<DeltaBlockKind> only = std::nullopt);
    ~LayerCursor();

    // Goes to the first entry of the next key; what is left of the one before is passed over.
    // False at the end of the file. Bytes that are damaged or out of order: kCorruption, and
    // the cursor is of no more use.
    Result<bool> NextKey();
    // Requires: NextKey() said true.
    DeltaBlockKind kind() const { return kind_; }
    const std::string& key() const { return key_; }

    // The next entry of the key; null after its last one. Valid until the next call. For an image,
    // entry->image says where it is, entry->image.file being the number of the image file.
    Result<const DeltaEntry*> NextEntry();

  private:
    // Makes the next group of the file the current one; false at the end.
    Result<bool> NextGroup();

    const std::shared_ptr<const DeltaLayerBlocks> blocks_;
    DeltaBlockKind kind_ = DeltaBlockKind::kCuts;
    std::string key_;
    bool at_group_ = false;    // a group has been read that NextKey() has not handed out
    size_t next_block_ = 0;
    size_t end_block_ = 0;
    std::string bytes_;        // of the block
    std::unique_ptr<DeltaBlock> block_;
    DeltaBlockKind block_kind_ = DeltaBlockKind::kCuts;
    std::vector<DeltaEntry> entries_;  // of the group
    size_t next_entry_ = 0;
    Lsn last_lsn_;             // of the group before
};

}  // namespace zenith
