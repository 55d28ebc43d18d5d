// DeepCheck: what no checksum shows. Every reference of a layer to a WAL record leads to a whole
// record that names the page, and every page that can be asked for can be rebuilt, into something
// that is a page.
//
// A version that is seen from several points, or from a branch as well as from its parent, is
// rebuilt once: where it is the newest.
// Threads  one thread. Memory: a batch of pages.
#pragma once

#include <cstdint>
#include <vector>

#include "pageserver/inspect/findings.h"
#include "pageserver/inspect/open_read_only.h"
#include "pageserver/reconstruct/redo_applier.h"

namespace zenith {

struct DeepCheck {
    const Repository* repository = nullptr;
    const ReadOnlyTimeline* opened = nullptr;
    // Beside the tip: the LSNs of this timeline that branches and tags name.
    std::vector<Lsn> points;
    RedoApplier* redo = nullptr;
};

// The number of pages rebuilt.
uint64_t CheckDeeply(const DeepCheck& check, Findings* findings, const Progress& progress);

// What is wrong with a relation page that is read at `at`, as PageIsVerifiedExtended() of bufpage.c
// sees it; null: nothing.
const char* WrongWithPage(ConstPageSpan page, Lsn at);

}  // namespace zenith
