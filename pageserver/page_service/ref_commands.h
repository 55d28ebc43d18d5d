// RefCommands: branches and tags, the names of points in time. Joins the repository's reference
// files with the timelines they name.
//
// Order     a timeline is made before the branch file that names it and removed after it, so that
//           a branch file without its timeline never stays behind. A timeline that a crash leaves
//           without a branch is removed by housekeeping.
// Threads   all methods from any thread. Two operations on one name: the second is refused. Names are
//           written and removed inside the manager's calls, so that it collects nothing they need.
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
    // Refuses the last branch and one with a running compute. What branches and tags made of it
    // need of its history stays.
    Status DeleteBranch(const std::string& name);
    Status ListTags(WireSession& session);
    Status CreateTag(const std::string& name, const std::string& point, WireSession& session);
    Status DeleteTag(const std::string& name);

  private:
    // Holds a name while an operation on it is under way.
    class NameHold;

    Status CheckNewName(const std::string& name) const;

    const Repository& repository_;
    TimelineManager& manager_;
    std::mutex mutex_;
    std::set<std::string> busy_names_;  // guarded by mutex_
};

}  // namespace zenith
