// PageVersion and BlockMap: where the history of the pages of one relation fork is kept in memory.
//
// The index of recent WAL has millions of entries, so this is built for few bytes: 16 for a
// version, 24 for a page's slot in a hash table, and the first version lives in the slot itself.
// Thread rule: as a standard container.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "common/base/lsn.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

// One version of a page: a WAL record, an image kept aside, or a tombstone. Records begin on
// multiples of 8 (MAXALIGN), which leaves three bits of the start for the kind.
class PageVersion {
  public:
    static PageVersion Record(Lsn start, Lsn end, uint8_t ref_flags) {
        return PageVersion(end, start.value | (ref_flags & kRecordFlags));
    }
    static PageVersion Image(Lsn end, uint64_t image_index) {
        return PageVersion(end, image_index << 3 | kAside | kImage);
    }
    static PageVersion Tombstone(Lsn end) { return PageVersion(end, kAside); }

    Lsn end() const { return end_; }
    bool is_record() const { return (rest_ & kAside) == 0; }
    bool is_image() const { return (rest_ & (kAside | kImage)) == (kAside | kImage); }
    bool is_tombstone() const { return (rest_ & (kAside | kImage)) == kAside; }
    // Records only.
    Lsn start() const { return Lsn(rest_ & ~7ull); }
    uint8_t ref_flags() const { return static_cast<uint8_t>(rest_ & kRecordFlags); }
    // Images only.
    uint64_t image_index() const { return rest_ >> 3; }

    bool operator==(const PageVersion&) const = default;

  private:
    static constexpr uint64_t kRecordFlags = 3;  // kRefWillInit | kRefNative
    static constexpr uint64_t kAside = 4;
    static constexpr uint64_t kImage = 1;  // together with kAside

    PageVersion(Lsn end, uint64_t rest) : end_(end), rest_(rest) {}

    Lsn end_;
    uint64_t rest_;
};
static_assert(sizeof(PageVersion) == 16);

// Block number -> versions in the order they were appended. An open-addressing hash table: blocks
// are neither dense (random updates of a big table) nor sparse (a bulk load) as a rule.
class BlockMap {
  public:
    BlockMap() = default;
    BlockMap(BlockMap&& other) noexcept
        : slots_(std::move(other.slots_)),
          used_(std::exchange(other.used_, 0)),
          heap_bytes_(std::exchange(other.heap_bytes_, 0)) {
        other.slots_.clear();
    }
    BlockMap& operator=(BlockMap&& other) noexcept {
        std::swap(slots_, other.slots_);
        std::swap(used_, other.used_);
        std::swap(heap_bytes_, other.heap_bytes_);
        return *this;
    }
    ~BlockMap() {
        for (Slot& slot : slots_) {
            if (slot.count > 1) {
                std::allocator<PageVersion>().deallocate(slot.many, std::bit_ceil(slot.count));
            }
        }
    }

    // Oldest first; empty when there is none. Valid until the next Append.
    std::span<const PageVersion> Find(BlockNumber block) const {
        if (slots_.empty()) {
            return {};
        }
        const Slot& slot = slots_[Probe(slots_, block)];
        if (slot.block == kNoBlock) {
            return {};
        }
        return {slot.count == 1 ? &slot.one : slot.many, slot.count};
    }

    // Requires: version.end() >= that of the block's earlier versions. Repeating the last version
    // changes nothing.
    void Append(BlockNumber block, PageVersion version) {
        if ((used_ + 1) * 4 > slots_.size() * 3) {
            Grow();
        }
        Slot& slot = slots_[Probe(slots_, block)];
        if (slot.block == kNoBlock) {
            slot.block = block;
            slot.count = 1;
            slot.one = version;
            used_++;
            return;
        }
        PageVersion* versions = slot.count == 1 ? &slot.one : slot.many;
        if (versions[slot.count - 1] == version) {
            return;
        }
        // The capacity is not stored: it is the next power of two.
        if (std::has_single_bit(slot.count)) {
            size_t capacity = slot.count * 2ull;
            PageVersion* bigger = std::allocator<PageVersion>().allocate(capacity);
            std::uninitialized_copy_n(versions, slot.count, bigger);
            if (slot.count > 1) {
                std::allocator<PageVersion>().deallocate(slot.many, slot.count);
            }
            heap_bytes_ += (capacity - (slot.count > 1 ? slot.count : 0)) * sizeof(PageVersion);
            slot.many = bigger;
            versions = bigger;
        }
        std::construct_at(versions + slot.count, version);
        slot.count++;
    }

    template <typename Function>
    void ForEach(Function&& function) const {
        for (const Slot& slot : slots_) {
            if (slot.block != kNoBlock) {
                function(slot.block, std::span<const PageVersion>(
                                         slot.count == 1 ? &slot.one : slot.many, slot.count));
            }
        }
    }

    size_t memory_bytes() const { return slots_.capacity() * sizeof(Slot) + heap_bytes_; }

  private:
    static constexpr BlockNumber kNoBlock = 0xFFFFFFFF;  // InvalidBlockNumber: no page has it
    struct Slot {
        Slot() : many(nullptr) {}
        BlockNumber block = kNoBlock;
        uint32_t count = 0;
        union {
            PageVersion one;    // count == 1
            PageVersion* many;  // count > 1: owned, freed by BlockMap
        };
    };
    static_assert(sizeof(Slot) == 24);

    // Index of the block's slot, or of the free one where it would go. Requires: a free slot.
    static size_t Probe(const std::vector<Slot>& slots, BlockNumber block) {
        size_t mask = slots.size() - 1;
        size_t i = (block * 0x9E3779B97F4A7C15ull >> 32) & mask;
        while (slots[i].block != block && slots[i].block != kNoBlock) {
            i = (i + 1) & mask;
        }
        return i;
    }
    void Grow() {
        std::vector<Slot> bigger(slots_.empty() ? 4 : slots_.size() * 2);
        for (const Slot& slot : slots_) {
            if (slot.block != kNoBlock) {
                bigger[Probe(bigger, slot.block)] = slot;
            }
        }
        slots_ = std::move(bigger);
    }

    std::vector<Slot> slots_;  // size is a power of two, or 0
    size_t used_ = 0;
    size_t heap_bytes_ = 0;
};

}  // namespace zenith
