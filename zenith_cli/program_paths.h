// Where the programs are that the CLI starts.
#pragma once

#include <string>

#include "common/base/result.h"

namespace zenith {

// Notes where our own program is. Call first in main: after giving up root /proc/self/exe cannot be
// read any more.
void RememberOwnProgram(const char* argv0);

// The page server: beside the zenith program, or in ../libexec/zenith from there.
Result<std::string> FindPageServerProgram();

// The directory with PostgreSQL 15's programs: `wanted` if not empty, else Debian's, else what
// pg_config in the PATH says. Checks that initdb and postgres are there and of that version.
Result<std::string> FindPostgresBindir(const std::string& wanted);

// True when the extension's library is where this PostgreSQL looks for it.
bool ExtensionIsInstalled(const std::string& bindir);

}  // namespace zenith
