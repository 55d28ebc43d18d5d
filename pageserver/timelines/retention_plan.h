// What of the timelines has to stay: who refers to whom. Pure functions over what the repository
// says; the LSNs that time and size ask for are the caller's.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/repo/repository.h"

namespace zenith {

struct RetentionFacts {
    struct Tag {
        std::string name;
        TimelineId timeline;  // whose history holds the point: never a descendant's
        Lsn lsn;
    };
    std::map<TimelineId, TimelineFile> timelines;
    std::map<TimelineId, std::vector<std::string>> branches;  // names of a timeline
    std::vector<Tag> tags;
    // Points that connected readers use, on the timeline that holds them.
    std::multimap<TimelineId, Lsn> held;

    bool named(const TimelineId& id) const { return branches.contains(id); }
};

// Reads references and timelines; fails when one of them cannot be read, because it might need what
// would be removed. kCorruption without any branch: the references are lost, not deleted.
Result<RetentionFacts> ReadRetentionFacts(const Repository& repository);

// The timeline among `id` and its ancestors whose history holds `lsn`: before its start a timeline is
// its ancestor.
TimelineId HolderOf(const RetentionFacts& facts, TimelineId id, Lsn lsn);

// Timelines that no branch, tag, reader or remaining timeline refers to, children before parents.
// Roots only when they are in `roots`: a root without a name may be an import that is not named yet.
std::vector<TimelineId> UnreferencedTimelines(const RetentionFacts& facts,
                                              const std::set<TimelineId>& roots = {});

// The LSNs of `id` that somebody needs, ascending, each once: branch points of the timelines that are
// not in `removed`, tags, readers.
std::vector<Lsn> NeededPoints(const RetentionFacts& facts, const TimelineId& id,
                              const std::set<TimelineId>& removed);

}  // namespace zenith
