// DeltaBlock: one block of a delta layer file, taken apart: groups of entries of one key. Reads only
// what the grammar of layer_file_format.md allows. The bytes must outlive the block.
//
// Thread rule: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/lsn.h"
#include "common/pgformat/relation_key.h"
#include "pageserver/layers/delta_layer_format.h"
#include "pageserver/layers/image_file.h"

namespace zenith {

// What all kinds of entries have to say.
struct DeltaEntry {
    Lsn lsn;
    // cuts: 1 with a source; databases: 1 exists; sizes: blocks + 1 or 0; floors: blocks;
    // blobs: 0 dropped; pages: extent and what (DeltaPageExtent, DeltaPageWhat).
    uint64_t number = 0;
    DatabaseKey source;      // cuts
    ImagePlace image;        // pages: of an image; in a block `file` is a place in the file's table
    std::string_view value;  // blobs
};

class DeltaBlock {
  public:
    // `start` and `end` are the file's LSNs.
    DeltaBlock(DeltaBlockKind kind, std::string_view bytes, Lsn start, Lsn end)
        : kind_(kind), bytes_(bytes), start_(start), end_(end) {}

    // The next group; false at the end of the block, or when ok() is false.
    bool NextGroup();
    // False for good after bytes that do not follow the grammar.
    bool ok() const { return ok_; }

    // Of the group. The key is valid until the next one.
    const std::string& key() const { return key_; }
    // Its entries with LSNs up to `at`, oldest first; on damage empty, and ok() is false.
    void Entries(Lsn at, std::vector<DeltaEntry>* entries);

  private:
    uint64_t Varint(size_t limit);
    bool Fail() {
        ok_ = false;
        return false;
    }
    bool ReadEntry(Lsn previous, size_t limit, DeltaEntry* entry);
    bool KeyIsValid() const;

    const DeltaBlockKind kind_;
    const std::string_view bytes_;
    const Lsn start_;
    const Lsn end_;
    bool ok_ = true;
    size_t position_ = 0;  // of the next byte to read
    size_t group_end_ = 0;
    size_t entries_begin_ = 0;
    uint64_t count_ = 0;
    std::string key_;
};

// A varint at *position of `bytes`, below `limit`; false when there is none.
bool ReadVarint(std::string_view bytes, size_t limit, size_t* position, uint64_t* value);

}  // namespace zenith
