// Numbers of the snapshot file's format, shared by reader and writer: snapshot_file_format.md says
// what they mean, when the version is raised and what a reader does with another one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/pgformat/page_format.h"

namespace zenith {

inline constexpr char kSnapshotMagic[9] = "ZNTHSNAP";
inline constexpr uint32_t kSnapshotVersion = 1;
inline constexpr size_t kSnapshotHeaderSize = kPageSize;
inline constexpr size_t kSnapshotHeaderChecksumOffset = kSnapshotHeaderSize - 4;

// Stored in the file: do not renumber.
enum class SnapshotSection : uint32_t {
    kRelations = 1,
    kPageTable = 2,
    kDatabases = 3,
    kBlobs = 4,
    kSlru = 5,
};
inline constexpr size_t kSnapshotSectionCount = 5;

inline constexpr size_t kSnapshotRelationEntrySize = 32;
inline constexpr size_t kSnapshotPageEntrySize = 8;
inline constexpr size_t kSnapshotDatabaseEntrySize = 8;
inline constexpr size_t kSnapshotSlruEntrySize = 24;

inline constexpr uint64_t SnapshotPageOffset(uint64_t slot) {
    return kSnapshotHeaderSize + slot * kPageSize;
}

}  // namespace zenith
