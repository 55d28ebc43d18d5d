// What "zenith start" and "zenith pageserver start", and their opposites, have in common.
#pragma once

#include "common/repo/repository.h"
#include "zenith_cli/page_server.h"

namespace CLI {
class App;
}

namespace zenith {

// Each says what it did; the exit code.
Result<int> StartPageServer(const Repository& repository);
Result<int> StopPageServer(const Repository& repository, StopMode mode);

// Adds --mode fast|immediate. `mode` outlives the parser.
void AddStopModeOption(CLI::App& command, StopMode& mode);

}  // namespace zenith
