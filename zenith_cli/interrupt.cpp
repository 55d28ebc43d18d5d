#include "zenith_cli/interrupt.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

namespace zenith {

namespace {
int interrupt_pipe[2] = {-1, -1};
volatile sig_atomic_t interrupted = 0;

void OnSignal(int) {
    int saved = errno;
    interrupted = 1;
    // A full pipe is readable already, which is all that matters.
    [[maybe_unused]] ssize_t n = write(interrupt_pipe[1], "x", 1);
    errno = saved;
}
}  // namespace

void InstallInterruptHandlers() {
    signal(SIGPIPE, SIG_IGN);
    if (pipe2(interrupt_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        return;  // without the pipe the signals keep their default action
    }
    struct sigaction action = {};
    action.sa_handler = OnSignal;
    sigemptyset(&action.sa_mask);
    for (int number : {SIGINT, SIGTERM, SIGHUP}) {
        struct sigaction old = {};
        // A signal the caller ignores (nohup) stays ignored.
        if (sigaction(number, nullptr, &old) == 0 && old.sa_handler != SIG_IGN) {
            sigaction(number, &action, nullptr);
        }
    }
}

void RestoreSignals() {
    signal(SIGPIPE, SIG_DFL);
    for (int number : {SIGINT, SIGTERM, SIGHUP}) {
        struct sigaction old = {};
        if (sigaction(number, nullptr, &old) == 0 && old.sa_handler == OnSignal) {
            signal(number, SIG_DFL);
        }
    }
}

int InterruptFd() {
    return interrupt_pipe[0];
}

bool Interrupted() {
    return interrupted != 0;
}

Status CheckInterrupted() {
    return Interrupted() ? Status::Unavailable("interrupted") : Status::Ok();
}

}  // namespace zenith
