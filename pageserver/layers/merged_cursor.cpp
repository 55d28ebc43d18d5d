#include "pageserver/layers/merged_cursor.h"

namespace zenith {

Result<std::unique_ptr<MergedCursor>> MergedCursor::Open(
    const std::vector<std::shared_ptr<const DeltaLayerFile>>& layers,
    std::optional<DeltaBlockKind> only, Lsn upto, const std::atomic<bool>* cancel) {
    std::unique_ptr<MergedCursor> merged(new MergedCursor(upto, cancel));
    for (const auto& layer : layers) {
        Input input;
        ZENITH_ASSIGN_OR_RETURN(input.cursor, layer->NewCursor(only));
        merged->inputs_.push_back(std::move(input));
    }
    return merged;
}

Result<bool> MergedCursor::NextKey() {
    if (cancel_ != nullptr && cancel_->load(std::memory_order_relaxed)) {
        return Status::Unavailable("rewriting layers was cancelled");
    }
    if (started_) {
        // Counted to the end, not skipped.
        for (;;) {
            ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, NextEntry());
            if (entry == nullptr) {
                break;
            }
        }
    }
    const Input* first = nullptr;
    for (Input& input : inputs_) {
        if (!started_ || input.selected) {
            ZENITH_ASSIGN_OR_RETURN(input.more, input.cursor->NextKey());
            input.selected = false;
        }
        if (input.more &&
            (first == nullptr || input.cursor->kind() < first->cursor->kind() ||
             (input.cursor->kind() == first->cursor->kind() &&
              input.cursor->key() < first->cursor->key()))) {
            first = &input;
        }
    }
    started_ = true;
    if (first == nullptr) {
        return false;
    }
    kind_ = first->cursor->kind();
    key_ = first->cursor->key();
    for (Input& input : inputs_) {
        input.selected =
            input.more && input.cursor->kind() == kind_ && input.cursor->key() == key_;
    }
    next_input_ = 0;
    return true;
}

Result<const DeltaEntry*> MergedCursor::NextEntry() {
    for (; next_input_ < inputs_.size(); next_input_++) {
        if (!inputs_[next_input_].selected) {
            continue;
        }
        for (;;) {
            ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry,
                                    inputs_[next_input_].cursor->NextEntry());
            if (entry == nullptr) {
                break;
            }
            page_entries_ += kind_ == DeltaBlockKind::kPages ? 1 : 0;
            if (entry->lsn <= upto_) {
                return entry;
            }
        }
    }
    return nullptr;
}

}  // namespace zenith
