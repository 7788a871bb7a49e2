// Ctrl-C and SIGTERM as a stop token. The first asks the running job to stop at its next
// cancellation point, a second ends the process at once.
#pragma once

#include <stop_token>

namespace fettle::cli {

class Interrupt {
public:
    /// Call once, before any other thread starts: the signals are blocked and one thread waits for
    /// them.
    static void install();
    static std::stop_token token();
};

}  // namespace fettle::cli
