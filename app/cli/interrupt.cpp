#include "app/cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <thread>

#include "app/cli/command_line.h"

namespace fettle::cli {

namespace {

std::stop_source& source() {
    static std::stop_source instance;
    return instance;
}

void waitForSignals(const sigset_t& signals) {
    for (bool first = true;; first = false) {
        int received = 0;
        if (sigwait(&signals, &received) != 0)
            return;
        if (!first)
            _exit(kExitCancelled);
        source().request_stop();
    }
}

}  // namespace

void Interrupt::install() {
    source();
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // inherited by every thread to come
    std::thread([signals] { waitForSignals(signals); }).detach();
}

std::stop_token Interrupt::token() {
    return source().get_token();
}

}  // namespace fettle::cli
