// Names of what a cluster consists of: relation forks, pages, SLRU pages.
//
// Source: storage/relfilenode.h, common/relpath.h, access/{clog,multixact,commit_ts}.h of
// PostgreSQL 15. Plain values, no thread rule.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace zenith {

using Oid = uint32_t;
using BlockNumber = uint32_t;

enum class Fork : uint8_t { kMain = 0, kFsm = 1, kVm = 2, kInit = 3 };
inline constexpr int kForkCount = 4;

// One relation's files: tablespace, database (0 for shared relations), relfilenode.
struct RelFileNode {
    Oid spc = 0;
    Oid db = 0;
    Oid rel = 0;
    auto operator<=>(const RelFileNode&) const = default;
};

struct RelForkKey {
    RelFileNode node;
    Fork fork = Fork::kMain;
    auto operator<=>(const RelForkKey&) const = default;
    // "1663/5/16384", or "1663/5/16384_vm" for other forks: for messages.
    std::string ToString() const;
};

// One database in one tablespace: the directory base/<db> or pg_tblspc/<spc>/PG_15.../<db>.
struct DatabaseKey {
    Oid spc = 0;
    Oid db = 0;
    auto operator<=>(const DatabaseKey&) const = default;
};

// The SLRU areas that are in WAL. Values are stored in snapshot files: do not renumber.
enum class SlruKind : uint8_t { kXact = 1, kMultiOffsets = 2, kMultiMembers = 3, kCommitTs = 4 };
inline constexpr SlruKind kSlruKinds[] = {SlruKind::kXact, SlruKind::kMultiOffsets,
                                          SlruKind::kMultiMembers, SlruKind::kCommitTs};
// Directory below the data directory: "pg_xact", "pg_multixact/offsets", ...
const char* SlruDirectory(SlruKind kind);

// A page of 8192 bytes with history: a relation block or an SLRU page.
// An SLRU page is written as spc = db = 0, rel = its SlruKind, and is_slru = true.
struct PageKey {
    RelFileNode node;
    Fork fork = Fork::kMain;
    bool is_slru = false;
    BlockNumber block = 0;

    static PageKey Relation(const RelForkKey& rel, BlockNumber block) {
        return PageKey{rel.node, rel.fork, false, block};
    }
    static PageKey Slru(SlruKind kind, BlockNumber page) {
        return PageKey{{0, 0, static_cast<Oid>(kind)}, Fork::kMain, true, page};
    }
    RelForkKey relation() const { return {node, fork}; }
    SlruKind slru_kind() const { return static_cast<SlruKind>(node.rel); }
    auto operator<=>(const PageKey&) const = default;
    // "block 12 of relation 1663/5/16384" or "page 3 of pg_xact": for messages.
    std::string ToString() const;
};

// Path of a relation segment below the data directory, as relpathperm() and _mdfd_segpath() build
// it: "base/5/16384_vm.1", "global/1262", "pg_tblspc/16390/PG_15_202209061/5/16391".
std::string RelationSegmentPath(const RelForkKey& rel, uint32_t segment);
// "base/5", "global" (db 0), "pg_tblspc/<spc>/PG_15_202209061/<db>".
std::string DatabaseDirectory(const DatabaseKey& db);

inline size_t HashCombine(size_t seed, uint64_t v) {
    v *= 0x9E3779B97F4A7C15ull;
    v ^= v >> 32;
    return (seed ^ v) * 0xFF51AFD7ED558CCDull;
}

}  // namespace zenith

template <>
struct std::hash<zenith::RelFileNode> {
    size_t operator()(const zenith::RelFileNode& n) const {
        return zenith::HashCombine(
            zenith::HashCombine(n.spc, (static_cast<uint64_t>(n.db) << 32) | n.rel), 1);
    }
};
template <>
struct std::hash<zenith::RelForkKey> {
    size_t operator()(const zenith::RelForkKey& k) const {
        return zenith::HashCombine(std::hash<zenith::RelFileNode>()(k.node),
                                   static_cast<uint64_t>(k.fork));
    }
};
template <>
struct std::hash<zenith::DatabaseKey> {
    size_t operator()(const zenith::DatabaseKey& k) const {
        return zenith::HashCombine(k.spc, k.db);
    }
};
template <>
struct std::hash<zenith::PageKey> {
    size_t operator()(const zenith::PageKey& k) const {
        return zenith::HashCombine(
            std::hash<zenith::RelForkKey>()({k.node, k.fork}),
            (static_cast<uint64_t>(k.is_slru) << 32) | k.block);
    }
};
