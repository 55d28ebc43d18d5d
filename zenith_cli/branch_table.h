// Branches as a table for people and programs.
#pragma once

#include <string>

#include "common/base/result.h"
#include "common/pqclient/pq_connection.h"
#include "common/repo/repository.h"
#include "zenith_cli/output.h"

namespace zenith {

// From the page server's branch_list. In the text form a branch stands below the one it came from,
// indented.
Result<Table> BranchTable(const PqRows& rows);
Table NoBranches();

// The branch on a timeline, or the id itself when it has none.
std::string NameOfTimeline(const Repository& repository, const std::string& timeline);

}  // namespace zenith
