// MergedCursor: several delta layer files of one timeline read as if they were one. Their LSNs do not
// overlap, so the entries of a key simply follow on each other.
//
// Memory and threads as LayerCursor, for each file.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "pageserver/layers/delta_layer_file.h"

namespace zenith {

class MergedCursor {
  public:
    // `layers` are oldest first. Entries after `upto` are left out. `cancel` (may be null) ends it
    // with kUnavailable.
    static Result<std::unique_ptr<MergedCursor>> Open(
        const std::vector<std::shared_ptr<const DeltaLayerFile>>& layers,
        std::optional<DeltaBlockKind> only, Lsn upto, const std::atomic<bool>* cancel);

    // As LayerCursor; a key may turn out to have no entries.
    Result<bool> NextKey();
    DeltaBlockKind kind() const { return kind_; }
    const std::string& key() const { return key_; }
    Result<const DeltaEntry*> NextEntry();

    // Entries of pages that were read or left out so far.
    uint64_t page_entries() const { return page_entries_; }

  private:
    struct Input {
        std::unique_ptr<LayerCursor> cursor;
        bool more = false;      // it stands at a key
        bool selected = false;  // at the current one
    };

    MergedCursor(Lsn upto, const std::atomic<bool>* cancel) : upto_(upto), cancel_(cancel) {}

    const Lsn upto_;
    const std::atomic<bool>* const cancel_;
    std::vector<Input> inputs_;
    DeltaBlockKind kind_ = DeltaBlockKind::kCuts;
    std::string key_;
    size_t next_input_ = 0;
    bool started_ = false;
    uint64_t page_entries_ = 0;
};

}  // namespace zenith
