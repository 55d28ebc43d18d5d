// What libpq and a server say went wrong, as our Status.
//
// Threads  any; nothing is kept.
#pragma once

#include <string_view>

#include "common/base/status.h"

struct pg_result;

namespace zenith {

// The code a caller would act on for an SQLSTATE of a server; kInternal when there is none better.
StatusCode StatusCodeOfSqlState(std::string_view sqlstate);

// libpq gives one text for a connection it could not make: a line of what failed (with the
// server's "FATAL:  ..." in it), then lines of detail, hint or advice. kUnavailable; null is allowed.
Status ConnectionStatus(const char* error_message);

// Of a result that is an error: the server's, or ConnectionStatus when libpq made it itself.
Status ResultStatus(const pg_result* result);

}  // namespace zenith
