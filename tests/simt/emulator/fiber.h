// A thread of control with a stack of its own, resumed and suspended by hand. On x86-64 a switch is
// a dozen instructions; elsewhere it goes through ucontext, which makes two system calls. All
// fibers belong to one operating-system thread. Exceptions must not leave a fiber.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace fettle::simt {

class Fiber {
public:
    Fiber();
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    /// Makes the next resume() begin `body`, which must outlive it. What ran before is forgotten.
    void start(const std::function<void()>& body);
    /// Runs the fiber until it suspends or its body returns.
    void resume();
    /// Back to the caller of resume(). Called on the fiber itself.
    void suspend();

private:
    struct Context;
    static void enter();
    void leave(bool forGood);
    std::unique_ptr<Context> m_context;
};

}  // namespace fettle::simt
