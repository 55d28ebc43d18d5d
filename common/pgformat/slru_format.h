// Where things stand in the SLRU areas: transaction status, multixacts, commit timestamps.
//
// Source: clog.c, multixact.c and commit_ts.c of PostgreSQL 15; their macros are private, so
// pg_headers_check.cpp can prove the types and limits they are built from. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

using TransactionId = uint32_t;
using MultiXactId = uint32_t;
using MultiXactOffset = uint32_t;  // counts members; wraps at 2^32

inline constexpr TransactionId kFirstNormalXid = 3;
inline constexpr MultiXactId kFirstMultiXactId = 1;

// TransactionIdPrecedes(): permanent ids come before all others, the rest compare modulo 2^32.
inline bool XidPrecedes(TransactionId a, TransactionId b) {
    if (a < kFirstNormalXid || b < kFirstNormalXid) {
        return a < b;
    }
    return static_cast<int32_t>(a - b) < 0;
}
// MultiXactIdPrecedes(), MultiXactOffsetPrecedes().
inline bool MultiPrecedes(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

// ---- pg_xact: two bits for each transaction ---------------------------------------------------
inline constexpr uint32_t kXidsPerClogPage = kPageSize * 4;
enum class XidStatus : uint8_t { kInProgress = 0, kCommitted = 1, kAborted = 2, kSubCommitted = 3 };
inline BlockNumber ClogPage(TransactionId xid) { return xid / kXidsPerClogPage; }

// ---- pg_commit_ts: time (8 bytes) and origin (2 bytes) for each transaction --------------------
inline constexpr size_t kCommitTsEntrySize = 10;
inline constexpr uint32_t kXidsPerCommitTsPage = kPageSize / kCommitTsEntrySize;
inline BlockNumber CommitTsPage(TransactionId xid) { return xid / kXidsPerCommitTsPage; }

// ---- pg_multixact/offsets: where each multixact's members begin --------------------------------
inline constexpr uint32_t kMultisPerOffsetsPage = kPageSize / 4;
inline BlockNumber MultiOffsetsPage(MultiXactId multi) { return multi / kMultisPerOffsetsPage; }
inline MultiXactId NextMulti(MultiXactId multi) {
    return multi + 1 < kFirstMultiXactId ? kFirstMultiXactId : multi + 1;
}
inline MultiXactId PreviousMulti(MultiXactId multi) {
    return multi == kFirstMultiXactId ? 0xFFFFFFFFu : multi - 1;
}

// ---- pg_multixact/members: groups of four flag bytes and four transaction ids ------------------
inline constexpr uint32_t kMembersPerGroup = 4;
inline constexpr size_t kMemberGroupSize = 20;
inline constexpr uint32_t kMemberGroupsPerPage = kPageSize / kMemberGroupSize;
inline constexpr uint32_t kMembersPerPage = kMemberGroupsPerPage * kMembersPerGroup;
inline BlockNumber MultiMembersPage(MultiXactOffset offset) { return offset / kMembersPerPage; }
// Byte offsets in the page of a member's flag byte and of its transaction id.
inline size_t MemberFlagByte(MultiXactOffset offset) {
    return (offset / kMembersPerGroup) % kMemberGroupsPerPage * kMemberGroupSize +
           offset % kMembersPerGroup;
}
inline size_t MemberXidByte(MultiXactOffset offset) {
    return (offset / kMembersPerGroup) % kMemberGroupsPerPage * kMemberGroupSize +
           kMembersPerGroup + offset % kMembersPerGroup * 4;
}

inline BlockNumber SlruSegment(BlockNumber page) { return page / kSlruPagesPerSegment; }

// The PagePrecedes callbacks: is page `a` older than `b`, every id on it being so? Not meant for
// members, which are cut by segment range and never by comparison.
inline bool SlruPagePrecedes(SlruKind kind, BlockNumber a, BlockNumber b) {
    switch (kind) {
        case SlruKind::kXact: {
            uint32_t x = a * kXidsPerClogPage + kFirstNormalXid + 1;
            uint32_t y = b * kXidsPerClogPage + kFirstNormalXid + 1;
            return XidPrecedes(x, y) && XidPrecedes(x, y + kXidsPerClogPage - 1);
        }
        case SlruKind::kCommitTs: {
            uint32_t x = a * kXidsPerCommitTsPage + kFirstNormalXid + 1;
            uint32_t y = b * kXidsPerCommitTsPage + kFirstNormalXid + 1;
            return XidPrecedes(x, y) && XidPrecedes(x, y + kXidsPerCommitTsPage - 1);
        }
        case SlruKind::kMultiOffsets: {
            uint32_t x = a * kMultisPerOffsetsPage + kFirstMultiXactId + 1;
            uint32_t y = b * kMultisPerOffsetsPage + kFirstMultiXactId + 1;
            return MultiPrecedes(x, y) && MultiPrecedes(x, y + kMultisPerOffsetsPage - 1);
        }
        case SlruKind::kMultiMembers: {
            uint32_t x = a * kMembersPerPage;
            uint32_t y = b * kMembersPerPage;
            return MultiPrecedes(x, y) && MultiPrecedes(x, y + kMembersPerPage - 1);
        }
    }
    return false;
}
// SlruMayDeleteSegment(): may the segment that holds `page` go when `cutoff` is the oldest page
// still needed?
inline bool SlruMayDeleteSegmentOf(SlruKind kind, BlockNumber page, BlockNumber cutoff) {
    BlockNumber first = SlruSegment(page) * kSlruPagesPerSegment;
    return SlruPagePrecedes(kind, first, cutoff) &&
           SlruPagePrecedes(kind, first + kSlruPagesPerSegment - 1, cutoff);
}

// ---- free space map: fsm_internals.h, freespace.c ---------------------------------------------
inline constexpr size_t kFsmNodesPerPage = kPageSize - kPageHeaderSize - 4;
inline constexpr size_t kFsmNonLeafNodesPerPage = kPageSize / 2 - 1;
inline constexpr uint32_t kFsmSlotsPerPage = kFsmNodesPerPage - kFsmNonLeafNodesPerPage;
inline constexpr size_t kFsmNodesOffset = kPageHeaderSize + 4;  // fp_nodes, past fp_next_slot
// fsm_logical_to_physical() of the bottom page `leaf` of a three-level tree.
inline BlockNumber FsmLeafBlock(uint32_t leaf) {
    uint32_t pages = 0;
    for (int level = 0; level < 3; level++) {
        pages += leaf + 1;
        leaf /= kFsmSlotsPerPage;
    }
    return pages - 1;
}

}  // namespace zenith
