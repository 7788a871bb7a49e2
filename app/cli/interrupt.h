// Ctrl-C and SIGTERM as a stop token. The first asks the running job to stop at its next
// cancellation point, a second ends the process at once. SIGUSR1, which batch systems send before a
// time limit, ends training early and keeps what there is.
#pragma once

#include <functional>
#include <stop_token>

namespace fettle::cli {

class Interrupt {
public:
    /// Call once, before any other thread starts: the signals are blocked and one thread waits for
    /// them.
    static void install();
    static std::stop_token token();

    /// While it lives, `action` runs on SIGUSR1, on the thread that waits for signals.
    class FinishHandler {
    public:
        explicit FinishHandler(std::function<void()> action);
        ~FinishHandler();
        FinishHandler(const FinishHandler&) = delete;
        FinishHandler& operator=(const FinishHandler&) = delete;
    };
};

}  // namespace fettle::cli
