// The data directory of a redo process: the few files without which "postgres --single" does not
// get as far as loading the zenith library. The process keeps nothing in it.
//
// Threads  any; each call works on its own directory.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "common/base/result.h"

namespace zenith {

// Who owns the directory and runs the process, when not we ourselves.
struct RedoUser {
    uid_t uid;
    gid_t gid;
};
// `name` when we are root, nullopt (ourselves) otherwise. kNotFound: no such user.
Result<std::optional<RedoUser>> FindRedoUser(const std::string& name);

// Makes a new data directory in `work_dir` and returns its path; nothing is left after a failure.
Result<std::string> MakeRedoDataDirectory(const std::string& work_dir, const std::string& library,
                                          bool hint_bits_logged,
                                          const std::optional<RedoUser>& owner);

// Removes the directory and, when the process did not end in an orderly way, the System V shared
// memory segment it left behind. Requires: the process has ended.
void RemoveRedoDataDirectory(const std::string& directory);

// Removes every data directory of a redo process in `work_dir`, left by an earlier page server.
void RemoveLeftoverRedoDirectories(const std::string& work_dir);

}  // namespace zenith
