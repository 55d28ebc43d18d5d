// Computes as a table for people and programs.
#pragma once

#include "common/base/result.h"
#include "common/repo/repository.h"
#include "zenith_cli/output.h"

namespace zenith {

Result<Table> ComputeTable(const Repository& repository);

}  // namespace zenith
