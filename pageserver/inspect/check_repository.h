// CheckRepository: everything fsck looks at, in one call. Reads only.
//
// Threads  one thread. The page server may run: files that count do not change, and what goes away
//          meanwhile (a merged layer, a deleted branch) is told from damage by looking again.
// Memory   bounded: the index of one timeline's newest WAL with `deep`, buffers otherwise.
#pragma once

#include "common/repo/repository.h"
#include "pageserver/inspect/findings.h"
#include "pageserver/reconstruct/redo_applier.h"

namespace zenith {

struct FsckOptions {
    // Also: does every layer entry lead to a record that names its page, and can every page be
    // rebuilt? Null: no. Applies records; outlives the call.
    RedoApplier* deep = nullptr;
    Progress progress;
};

struct FsckReport {
    Findings findings;
    uint64_t timelines = 0;
    uint64_t records = 0;  // of WAL
    uint64_t pages = 0;    // rebuilt
};

// An error when there is nothing to check: no repository, or one of another format version.
Result<FsckReport> CheckRepository(const Repository& repository, const FsckOptions& options);

// Whether a page server serves the repository now.
bool PageServerRuns(const Repository& repository);

}  // namespace zenith
