// Numbers, keys and varints of the delta layer file, shared by reader and writer:
// layer_file_format.md says what they mean, when the version is raised and what a reader does with
// another one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

inline constexpr char kDeltaLayerMagic[9] = "ZNTHDLTA";
inline constexpr uint32_t kDeltaLayerVersion = 2;
inline constexpr size_t kDeltaLayerHeaderSize = 128;
inline constexpr size_t kDeltaLayerHeaderChecksumOffset = kDeltaLayerHeaderSize - 4;
inline constexpr size_t kDeltaLayerBlockSize = 8192;  // where a block ends
inline constexpr size_t kMaxVarintSize = 10;

// Stored in the file: do not renumber.
enum class DeltaBlockKind : uint8_t {
    kCuts = 1,
    kDatabases = 2,
    kSizes = 3,
    kFloors = 4,
    kBlobs = 5,
    kPages = 6,
};
inline constexpr size_t kDeltaBlockKindCount = 6;

// What a page entry is; 0 to 3 are RecordRefFlags. Stored in the file: do not renumber.
inline constexpr uint64_t kDeltaPageWhatBits = 3;
inline constexpr uint64_t kDeltaPageTombstone = 4;
inline constexpr uint64_t kDeltaPageImage = 5;
inline uint64_t DeltaPageWhat(uint64_t number) { return number & ((1u << kDeltaPageWhatBits) - 1); }
inline uint64_t DeltaPageExtent(uint64_t number) { return number >> kDeltaPageWhatBits; }

inline constexpr size_t kDatabaseKeySize = 8;
inline constexpr size_t kRelationKeySize = 13;
inline constexpr size_t kPageKeySize = 17;

inline void AppendVarint(std::string* out, uint64_t value) {
    while (value >= 0x80) {
        out->push_back(static_cast<char>(value | 0x80));
        value >>= 7;
    }
    out->push_back(static_cast<char>(value));
}

inline void AppendKeyNumber(std::string* out, uint32_t value) {
    const char bytes[4] = {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
                           static_cast<char>(value >> 8), static_cast<char>(value)};
    out->append(bytes, sizeof bytes);
}
// Requires: offset + 4 bytes.
inline uint32_t KeyNumber(std::string_view key, size_t offset) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        value = value << 8 | static_cast<uint8_t>(key[offset + i]);
    }
    return value;
}

inline std::string EncodeKey(const DatabaseKey& db) {
    std::string key;
    AppendKeyNumber(&key, db.spc);
    AppendKeyNumber(&key, db.db);
    return key;
}
inline std::string EncodeKey(const RelForkKey& rel) {
    std::string key = EncodeKey(DatabaseKey{rel.node.spc, rel.node.db});
    AppendKeyNumber(&key, rel.node.rel);
    key.push_back(static_cast<char>(rel.fork));
    return key;
}
inline std::string EncodeKey(const PageKey& page) {
    std::string key = EncodeKey(page.relation());
    AppendKeyNumber(&key, page.block);
    return key;
}
// Requires: a key of kDatabaseKeySize or more bytes, kRelationKeySize or more.
inline DatabaseKey DecodeDatabaseKey(std::string_view key) {
    return {KeyNumber(key, 0), KeyNumber(key, 4)};
}
inline RelForkKey DecodeRelationKey(std::string_view key) {
    return {{KeyNumber(key, 0), KeyNumber(key, 4), KeyNumber(key, 8)},
            static_cast<Fork>(static_cast<uint8_t>(key[12]))};
}

// An SLRU page has tablespace 0, which no relation has.
inline PageKey DecodePageKey(std::string_view key) {
    const RelForkKey rel = DecodeRelationKey(key);
    return PageKey{rel.node, rel.fork, rel.node.spc == 0, KeyNumber(key, kRelationKeySize)};
}

// The key of a page, and of its relation, without an allocation.
class EncodedPageKey {
  public:
    explicit EncodedPageKey(const PageKey& page) {
        size_t at = 0;
        for (uint32_t number : {page.node.spc, page.node.db, page.node.rel}) {
            Put(at, number);
            at += 4;
        }
        bytes_[at] = static_cast<char>(page.fork);
        Put(at + 1, page.block);
    }
    std::string_view page() const { return {bytes_, sizeof bytes_}; }
    std::string_view relation() const { return {bytes_, kRelationKeySize}; }

  private:
    void Put(size_t at, uint32_t value) {
        for (int i = 0; i < 4; i++) {
            bytes_[at + static_cast<size_t>(i)] = static_cast<char>(value >> (24 - 8 * i));
        }
    }
    char bytes_[kPageKeySize];
};

}  // namespace zenith
