// RefCommands: branches and tags, the names of points in time. Joins the repository's reference
// files with the timelines they name.
//
// Order     a timeline is made before the branch file that names it and removed after it, so that
//           a branch file without its timeline never stays behind. A timeline that a crash leaves
//           without a branch is removed at the next start (Repository::RemoveUnnamedTimelines).
// Threads   all methods from any thread. Two operations on one name: the second is refused. Tagging
//           and deleting wait for each other: no tag stays on a timeline that goes.
// Errors    as Repository and TimelineManager give them; kRefused with a hint for what must be done
//           first.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "common/base/result.h"
#include "common/base/status.h"
#include "common/pgwire/wire_server.h"
#include "common/repo/repository.h"
#include "pageserver/timelines/timeline_manager.h"

namespace zenith {

// Text forms of values in rows: "t" and "f"; UTC as 2026-11-22T10:00:00Z; null for what is not.
std::string BoolText(bool value);
std::optional<std::string> TimeText(int64_t unix_seconds);
std::optional<std::string> IdText(const TimelineId& id);
std::optional<std::string> LsnText(Lsn lsn);

class RefCommands {
  public:
    // Both outlive the object.
    RefCommands(const Repository& repository, TimelineManager& manager)
        : repository_(repository), manager_(manager) {}

    Status ListBranches(WireSession& session);
    Status CreateBranch(const std::string& name, const std::string& point, WireSession& session);
    // Refuses main, a branch with a running compute, with branches made from it, or with tags.
    Status DeleteBranch(const std::string& name);
    Status ListTags(WireSession& session);
    Status CreateTag(const std::string& name, const std::string& point, WireSession& session);
    Status DeleteTag(const std::string& name);

  private:
    // Holds a name while an operation on it is under way.
    class NameHold;

    Status CheckNewName(const std::string& name) const;
    // Requires: tag_mutex_ is held until the timeline has been removed.
    Status CheckDeletable(const std::string& name, const TimelineId& id);

    const Repository& repository_;
    TimelineManager& manager_;
    // Held from the look at a timeline's tags to its removal, and from the look at the timeline to
    // the writing of a tag on it. Taken before mutex_.
    std::mutex tag_mutex_;
    std::mutex mutex_;
    std::set<std::string> busy_names_;  // guarded by mutex_
};

}  // namespace zenith
