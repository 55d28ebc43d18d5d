#include "pageserver/native_redo/native_redo.h"

#include "pageserver/native_redo/slru_redo.h"

namespace zenith {

Status DoesNotFit(const DecodedRecord& record, const PageKey& key) {
    return Status::Corruption("WAL record at " + record.start.ToString() + " does not change " +
                              key.ToString());
}

Status ApplyNative(const DecodedRecord& record, const PageKey& key, PageSpan page) {
    if (!key.is_slru) {
        return ApplyToTruncatedMapPage(record, key, page);
    }
    switch (key.slru_kind()) {
        case SlruKind::kXact:
            return ApplyToClogPage(record, key.block, page);
        case SlruKind::kMultiOffsets:
            return ApplyToMultiOffsetsPage(record, key.block, page);
        case SlruKind::kMultiMembers:
            return ApplyToMultiMembersPage(record, key.block, page);
        case SlruKind::kCommitTs:
            return ApplyToCommitTsPage(record, key.block, page);
    }
    return DoesNotFit(record, key);
}

}  // namespace zenith
