// One function for each SLRU area and for the truncation tails; ApplyNative() picks among them.
// Each requires that `block` is the page's number in its area or fork, and returns kCorruption
// when the record cannot change such a page.
#pragma once

#include "common/base/result.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"
#include "pageserver/wal_decoder/decoded_record.h"

namespace zenith {

Status ApplyToClogPage(const DecodedRecord& record, BlockNumber block, PageSpan page);
Status ApplyToCommitTsPage(const DecodedRecord& record, BlockNumber block, PageSpan page);
Status ApplyToMultiOffsetsPage(const DecodedRecord& record, BlockNumber block, PageSpan page);
Status ApplyToMultiMembersPage(const DecodedRecord& record, BlockNumber block, PageSpan page);
// The last kept page of a visibility map or free space map after XLOG_SMGR_TRUNCATE.
Status ApplyToTruncatedMapPage(const DecodedRecord& record, const PageKey& key, PageSpan page);

// "WAL record at 0/15FFB08 does not change page 3 of pg_xact"
Status DoesNotFit(const DecodedRecord& record, const PageKey& key);

}  // namespace zenith
