#include "app/cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <mutex>
#include <thread>

#include "app/cli/command_line.h"

namespace fettle::cli {

namespace {

std::stop_source& source() {
    static std::stop_source instance;
    return instance;
}

struct Finish {
    std::mutex mutex;
    std::function<void()> action;
};
Finish& finish() {
    static Finish instance;
    return instance;
}

void waitForSignals(const sigset_t& signals) {
    for (bool first = true;;) {
        int received = 0;
        if (sigwait(&signals, &received) != 0)
            return;
        if (received == SIGUSR1) {
            const std::scoped_lock lock(finish().mutex);
            if (finish().action)
                finish().action();
            continue;
        }
        if (!first)
            _exit(kExitCancelled);
        first = false;
        source().request_stop();
    }
}

}  // namespace

void Interrupt::install() {
    source();
    finish();
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // inherited by every thread to come
    std::thread([signals] { waitForSignals(signals); }).detach();
}

std::stop_token Interrupt::token() {
    return source().get_token();
}

Interrupt::FinishHandler::FinishHandler(std::function<void()> action) {
    const std::scoped_lock lock(finish().mutex);
    finish().action = std::move(action);
}

Interrupt::FinishHandler::~FinishHandler() {
    const std::scoped_lock lock(finish().mutex);
    finish().action = nullptr;
}

}  // namespace fettle::cli
