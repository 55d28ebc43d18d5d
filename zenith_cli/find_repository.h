// Which repository a command works on: --repo-dir, else ZENITH_REPO_DIR, else the nearest .zenith
// from the working directory upwards.
#pragma once

#include <string>

#include "common/base/result.h"

namespace zenith {

// The absolute path of an existing repository. `option` is --repo-dir, empty when not given.
Result<std::string> FindRepository(const std::string& option);

// Where "zenith init" makes one: --repo-dir, else ZENITH_REPO_DIR, else .zenith here. Absolute.
Result<std::string> NewRepositoryPath(const std::string& option);

}  // namespace zenith
