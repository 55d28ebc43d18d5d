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
inline constexpr uint32_t kDeltaLayerVersion = 1;
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

}  // namespace zenith
