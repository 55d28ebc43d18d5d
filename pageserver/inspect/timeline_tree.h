// TimelineTree: the timelines of a repository and what refers to them, as far as their files can be
// read; what cannot is a finding. Parents come before children.
//
// Threads  one thread; a plain value.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/repo/repository.h"
#include "pageserver/inspect/findings.h"

namespace zenith {

struct TimelineNode {
    TimelineFile file;
    std::vector<TimelineId> children;  // ascending
    // LSNs that branches and tags name and that are read from this timeline, so after its start (a
    // root's: or at it), and the file that names them.
    std::multimap<Lsn, std::string> points;
};

struct TimelineTree {
    std::map<TimelineId, TimelineNode> nodes;
    std::vector<TimelineId> roots;
    // Timelines that are there but cannot be read, or hang on one that cannot.
    std::set<TimelineId> unreadable;
};

struct TreeCheck {
    bool server_runs = false;
};

// Reads refs/ and timelines/*/timeline.json, and says what is wrong with them.
TimelineTree ReadTimelineTree(const Repository& repository, const TreeCheck& check,
                              Findings* findings);

// "*.tmp": what an interrupted write leaves; while the page server runs, maybe one that is being
// written.
bool IsTemporary(const std::string& name);

}  // namespace zenith
