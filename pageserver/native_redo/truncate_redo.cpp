// What XLOG_SMGR_TRUNCATE clears in the last kept page of a relation's maps. Source: smgr_redo() of
// storage.c, visibilitymap_prepare_truncate(), FreeSpaceMapPrepareTruncateRel(),
// fsm_truncate_avail(). As there, the page's LSN stays as it is.
#include <algorithm>
#include <cstring>

#include "common/base/byte_reader.h"
#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/native_redo/page_bytes.h"
#include "pageserver/native_redo/slru_redo.h"

namespace zenith {

namespace {

void ClearVisibilityTail(PageSpan page, BlockNumber heap_blocks) {
    const uint32_t in_page = heap_blocks % kHeapBlocksPerVmPage;
    const size_t byte = kPageHeaderSize + in_page / 4;
    const int kept_bits = static_cast<int>(in_page % 4) * 2;
    StoreAt<uint8_t>(page, byte,
                     static_cast<uint8_t>(LoadAt<uint8_t>(page, byte) & ((1 << kept_bits) - 1)));
    std::memset(page.data() + byte + 1, 0, kPageSize - byte - 1);
}

void ClearFreeSpaceTail(PageSpan page, BlockNumber heap_blocks) {
    const size_t slot = heap_blocks % kFsmSlotsPerPage;
    uint8_t* nodes = reinterpret_cast<uint8_t*>(page.data()) + kFsmNodesOffset;
    uint8_t* first = nodes + kFsmNonLeafNodesPerPage + slot;
    uint8_t* end = nodes + kFsmNodesPerPage;
    if (std::all_of(first, end, [](uint8_t value) { return value == 0; })) {
        return;
    }
    std::fill(first, end, uint8_t{0});
    // Every upper node is the larger of its two children.
    for (size_t node = kFsmNonLeafNodesPerPage; node-- > 0;) {
        const size_t left = 2 * node + 1;
        uint8_t value = 0;
        for (size_t child = left; child <= left + 1 && child < kFsmNodesPerPage; child++) {
            value = std::max(value, nodes[child]);
        }
        nodes[node] = value;
    }
}

}  // namespace

Status ApplyToTruncatedMapPage(const DecodedRecord& record, const PageKey& key, PageSpan page) {
    if (record.rmgr != Rmgr::kSmgr || record.rmgr_info() != kSmgrTruncate) {
        return DoesNotFit(record, key);
    }
    ByteReader reader(record.main_data);
    const BlockNumber blocks = reader.U32Le();
    RelFileNode node;
    node.spc = reader.U32Le();
    node.db = reader.U32Le();
    node.rel = reader.U32Le();
    if (!reader.ok() || node != key.node) {
        return DoesNotFit(record, key);
    }
    if (key.fork == Fork::kVm && key.block == blocks / kHeapBlocksPerVmPage) {
        ClearVisibilityTail(page, blocks);
        return Status::Ok();
    }
    if (key.fork == Fork::kFsm && key.block == FsmLeafBlock(blocks / kFsmSlotsPerPage)) {
        ClearFreeSpaceTail(page, blocks);
        return Status::Ok();
    }
    return DoesNotFit(record, key);
}

}  // namespace zenith
