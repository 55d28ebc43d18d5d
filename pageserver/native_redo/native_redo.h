// Redo of what PostgreSQL's own redo process is not asked for: SLRU pages (transaction status,
// multixacts, commit timestamps) and the tails that XLOG_SMGR_TRUNCATE clears in the last kept page
// of a visibility map or free space map.
//
// Source: clog.c, multixact.c, commit_ts.c, storage.c, visibilitymap.c, freespace.c of PostgreSQL
// 15.18. Thread rule: none, pure functions over the caller's page.
#pragma once

#include "common/base/result.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"
#include "pageserver/wal_decoder/decoded_record.h"

namespace zenith {

// Applies what `record` does to page `key`. Requires: the ingester referenced `record` for `key`
// with kRefNative. kCorruption when the record does not fit the key.
Status ApplyNative(const DecodedRecord& record, const PageKey& key, PageSpan page);

}  // namespace zenith
