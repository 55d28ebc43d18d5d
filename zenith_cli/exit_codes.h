// What the program's exit status means. Scripts rely on it: do not renumber.
#pragma once

namespace zenith {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;       // the command line is wrong; nothing was done
inline constexpr int kExitNotRunning = 3;  // "pageserver status": it is not running
inline constexpr int kExitInterrupted = 130;

}  // namespace zenith
