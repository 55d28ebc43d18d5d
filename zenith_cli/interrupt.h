// Interrupt: SIGINT, SIGTERM and SIGHUP turned into an event that every wait of the CLI watches, so
// that a command that is interrupted takes back what it half made and then ends.
//
// Thread rule: the CLI has one thread.
#pragma once

#include "common/base/status.h"

namespace zenith {

// Call once, early in main. Also ignores SIGPIPE.
void InstallInterruptHandlers();
// Puts the default actions back, for a program that takes our place (exec).
void RestoreSignals();
// Readable from the first signal on; nothing is ever read from it. -1 before the installation.
int InterruptFd();
bool Interrupted();
// kUnavailable "interrupted" after a signal, else OK.
Status CheckInterrupted();

}  // namespace zenith
