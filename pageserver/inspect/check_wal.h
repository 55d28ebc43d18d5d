// The check of one timeline's WAL segment files, byte for byte: page headers, the chain of records
// with their checksums, the padding between them, and what lies before the first and behind the
// last of them.
//
// Memory   a few megabytes, whatever the amount of WAL.
// Threads  one thread. The files may grow meanwhile; what is behind `durable` is judged only when
//          nobody writes.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "pageserver/inspect/findings.h"

namespace zenith {

struct WalCheck {
    TimelineId timeline;
    std::string directory;
    // Where the timeline begins; for a branch a record boundary before which there is nothing in
    // its files, for a root one that its cluster's own WAL leads up to.
    Lsn start;
    bool is_root = false;
    // For a branch: the start of the record that ends at `start`, when it is known.
    Lsn previous_record;
    // Up to here everything must be there: the durable position, the end of the layers, the points
    // that branches and tags name.
    Lsn needed_to;
    // The oldest WAL a layer refers to, or the end of the layers: what is older may have been
    // removed. Invalid: all of it is needed.
    Lsn needed_from;
    // The page server is not running: nothing but zeroes or the beginning of a record may be behind
    // the last whole record.
    bool judge_end = true;
    uint64_t system_identifier = 0;  // 0: not known
    // Positions that must be the end of a record, as far as the WAL there still is reaches.
    std::set<Lsn> boundaries;
};

struct WalCheckResult {
    Lsn first;  // the first record boundary the files have; invalid: no WAL
    Lsn end;    // of the last whole record; `start` when there is none
    uint64_t records = 0;
    // For each of `boundaries` that was found: the start of the record that ends there.
    std::map<Lsn, Lsn> record_before;
};

WalCheckResult CheckWal(const WalCheck& check, Findings* findings, const Progress& progress);

}  // namespace zenith
