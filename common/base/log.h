// Logging of the page server and the CLI: spdlog behind one include. Lines look like PostgreSQL's
// log with the folder's name as prefix; messages are lower case without a final period.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace zenith {

// Sends the log to `path` (appending), or to stderr when empty. Call once, before threads start.
void InitLog(const std::string& path);

}  // namespace zenith
