// FloorIndex: the truncations of one relation fork, asked "which was the newest one up to this LSN
// that cut off this block?" in logarithmic time, however many there were.
//
// A truncation to `blocks` ends the history of every block >= `blocks`; a drop is a truncation to
// 0. Thread rule: as a standard container.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/lsn.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

class FloorIndex {
  public:
    // Requires: lsn >= that of every earlier Add.
    void Add(Lsn lsn, BlockNumber blocks) {
        // The nearest earlier floor with fewer blocks: the next candidate for a block that this one
        // leaves alone. Those in between leave it alone too.
        int32_t lower = blocks == 0 ? kNone : Covering(Last(), blocks - 1);
        uint32_t depth = lower == kNone ? 0 : floors_[lower].depth + 1;
        // Every floor also knows one further down its line of `lower`s, at distances that make a
        // walk logarithmic (skew-binary jump pointers, as in Myers' applicative random-access
        // stack).
        int32_t jump = lower;
        if (lower != kNone) {
            const Floor& next = floors_[lower];
            if (next.jump != kNone) {
                const Floor& after = floors_[next.jump];
                if (after.jump != kNone &&
                    next.depth - after.depth == after.depth - floors_[after.jump].depth) {
                    jump = after.jump;
                }
            }
        }
        floors_.push_back(Floor{lsn, blocks, depth, lower, jump});
    }

    std::optional<Lsn> Newest(Lsn at, BlockNumber block) const {
        if (floors_.empty()) {
            return std::nullopt;
        }
        auto after = std::upper_bound(floors_.begin(), floors_.end(), at,
                                      [](Lsn l, const Floor& f) { return l < f.lsn; });
        int32_t found = Covering(static_cast<int32_t>(after - floors_.begin()) - 1, block);
        if (found == kNone) {
            return std::nullopt;
        }
        return floors_[found].lsn;
    }

    // function(lsn, blocks), in the order in which they were added, until one fails.
    template <typename Function>
    auto ForEach(Function&& function) const -> decltype(function(Lsn(), BlockNumber())) {
        for (const Floor& floor : floors_) {
            if (auto status = function(floor.lsn, floor.blocks); !status.ok()) {
                return status;
            }
        }
        return {};
    }

    size_t memory_bytes() const { return floors_.capacity() * sizeof(Floor); }

  private:
    static constexpr int32_t kNone = -1;
    struct Floor {
        Lsn lsn;
        BlockNumber blocks;
        uint32_t depth;  // number of `lower`s that follow
        int32_t lower;
        int32_t jump;
    };

    int32_t Last() const { return static_cast<int32_t>(floors_.size()) - 1; }
    // The newest floor at or before index `i` with blocks <= block.
    int32_t Covering(int32_t i, BlockNumber block) const {
        while (i != kNone && floors_[i].blocks > block) {
            int32_t jump = floors_[i].jump;
            i = jump != kNone && floors_[jump].blocks > block ? jump : floors_[i].lower;
        }
        return i;
    }

    std::vector<Floor> floors_;
};

}  // namespace zenith
