// The checks of one timeline's files, each of which reads every byte: snapshot, layers, WAL.
//
// Threads  one thread. Reads only.
#pragma once

#include <map>
#include <optional>

#include "common/base/lsn.h"
#include "common/repo/repository.h"
#include "pageserver/inspect/findings.h"
#include "pageserver/inspect/timeline_tree.h"

namespace zenith {

struct FilesCheck {
    const Repository* repository = nullptr;
    const TimelineNode* node = nullptr;
    // For a branch: the start of the record before the branch point, when it is known.
    Lsn record_before_start;
    uint64_t system_identifier = 0;  // 0: not known
    bool server_runs = false;
};

struct CheckedFiles {
    uint64_t records = 0;
    // The end of the last record that can be read and is not in doubt: what a reader may ingest.
    Lsn end;
    // Of the timeline's points: the start of the record that ends there.
    std::map<Lsn, Lsn> record_before;
};

CheckedFiles CheckTimelineFiles(const FilesCheck& check, Findings* findings,
                                const Progress& progress);

// Something that changes whenever the files that count do: text of the manifest. Empty: there is
// none.
std::string LayerStamp(const Repository& repository, const TimelineId& id);

}  // namespace zenith
