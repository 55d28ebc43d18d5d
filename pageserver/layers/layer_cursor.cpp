#include "pageserver/layers/layer_cursor.h"

#include "pageserver/layers/delta_layer_blocks.h"

namespace zenith {

LayerCursor::LayerCursor(std::shared_ptr<const DeltaLayerBlocks> blocks,
                         std::optional<DeltaBlockKind> only)
    : blocks_(std::move(blocks)),
      next_block_(only ? blocks_->Kind(*only).begin : 0),
      end_block_(only ? blocks_->Kind(*only).end : blocks_->size()) {}

LayerCursor::~LayerCursor() = default;

Result<bool> LayerCursor::NextGroup() {
    while (block_ == nullptr || !block_->NextGroup()) {
        if (block_ != nullptr && !block_->ok()) {
            return blocks_->Damaged(next_block_ - 1);
        }
        if (next_block_ == end_block_) {
            block_ = nullptr;
            entries_.clear();
            next_entry_ = 0;
            return false;
        }
        ZENITH_RETURN_IF_ERROR(blocks_->ReadBlock(next_block_, &bytes_));
        block_kind_ = blocks_->KindOf(next_block_);
        block_ = std::make_unique<DeltaBlock>(block_kind_, bytes_, blocks_->start(),
                                              blocks_->end());
        next_block_++;
        // The first group is the one of the index, so blocks are in order when groups are.
        if (!block_->NextGroup()) {
            return blocks_->Damaged(next_block_ - 1);
        }
        block_->Entries(kMaxLsn, &entries_);
        if (entries_.empty() || block_->key() != blocks_->FirstKey(next_block_ - 1) ||
            entries_.front().lsn != blocks_->FirstLsn(next_block_ - 1)) {
            return blocks_->Corrupt(blocks_->Offset(next_block_ - 1),
                                    "a block is not as the index says");
        }
        next_entry_ = 0;
        return true;
    }
    block_->Entries(kMaxLsn, &entries_);
    if (!block_->ok()) {
        return blocks_->Damaged(next_block_ - 1);
    }
    next_entry_ = 0;
    return true;
}

Result<bool> LayerCursor::NextKey() {
    // The rest of the key's entries.
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, NextEntry());
        if (entry == nullptr) {
            break;
        }
    }
    if (!at_group_) {
        ZENITH_ASSIGN_OR_RETURN(at_group_, NextGroup());
        if (!at_group_) {
            return false;
        }
    }
    at_group_ = false;
    kind_ = block_kind_;
    key_ = block_->key();
    last_lsn_ = Lsn();
    return true;
}

Result<const DeltaEntry*> LayerCursor::NextEntry() {
    if (at_group_ || block_ == nullptr) {
        return nullptr;
    }
    if (next_entry_ == entries_.size()) {
        ZENITH_ASSIGN_OR_RETURN(bool more, NextGroup());
        if (!more) {
            return nullptr;
        }
        const int order =
            block_kind_ != kind_ ? 1 : std::string_view(block_->key()).compare(key_);
        if (order < 0 || (order == 0 && entries_.front().lsn < last_lsn_)) {
            return blocks_->Corrupt(blocks_->Offset(next_block_ - 1),
                                    "the entries of a block are out of order");
        }
        if (order > 0) {
            at_group_ = true;
            return nullptr;
        }
    }
    DeltaEntry& entry = entries_[next_entry_++];
    last_lsn_ = entry.lsn;
    if (kind_ == DeltaBlockKind::kPages && DeltaPageWhat(entry.number) == kDeltaPageImage) {
        if (entry.image.file >= blocks_->image_table().size()) {
            return blocks_->Corrupt(blocks_->Offset(next_block_ - 1),
                                    "an entry refers to no image file of this layer");
        }
        entry.image.file = blocks_->image_table()[entry.image.file];
    }
    return &entry;
}

}  // namespace zenith
