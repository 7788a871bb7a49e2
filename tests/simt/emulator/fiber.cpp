#include "tests/simt/emulator/fiber.h"

#include <cstdint>
#include <cstdlib>
#include <new>

#ifndef __x86_64__
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FETTLE_SIMT_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#ifdef __x86_64__
// switchStack(save, load): keeps the registers that a callee must keep, swaps the stacks. Kernels
// do not touch the floating-point control words, so these stay as they are.
extern "C" void fettleSimtSwitchStack(void** save, void* load);
asm(R"(
.text
.globl fettleSimtSwitchStack
.type fettleSimtSwitchStack, @function
fettleSimtSwitchStack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size fettleSimtSwitchStack, .-fettleSimtSwitchStack
)");
#endif

namespace fettle::simt {
namespace {

constexpr std::size_t kStackBytes = 128 * 1024;
Fiber* g_running = nullptr;

#ifdef __x86_64__
void* g_schedulerStack = nullptr;
#else
ucontext_t g_scheduler;
#endif
#ifdef __SANITIZE_ADDRESS__
const void* g_schedulerBottom = nullptr;
std::size_t g_schedulerBytes = 0;
#endif
#ifdef FETTLE_SIMT_TSAN
void* g_schedulerFiber = nullptr;
#endif

}  // namespace

struct Fiber::Context {
    std::unique_ptr<std::byte[]> stack{new std::byte[kStackBytes]};
    const std::function<void()>* body = nullptr;
#ifdef __x86_64__
    void* top = nullptr;
#else
    ucontext_t registers;
#endif
#ifdef __SANITIZE_ADDRESS__
    void* fakeStack = nullptr;
#endif
#ifdef FETTLE_SIMT_TSAN
    // A fiber is a thread to the sanitizer, and a switch orders nothing: that is the barriers'.
    void* seen = nullptr;
    bool ended = false;
    void forget() {
        if (seen)
            __tsan_destroy_fiber(seen);
        seen = nullptr;
    }
    Context() = default;
    ~Context() {
        forget();
    }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
#endif
};

Fiber::Fiber() : m_context(std::make_unique<Context>()) {}
Fiber::~Fiber() = default;

void Fiber::enter() {
    Fiber* self = g_running;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &g_schedulerBottom, &g_schedulerBytes);
#endif
    (*self->m_context->body)();
    self->leave(true);
    std::abort();  // a finished fiber was resumed
}

void Fiber::start(const std::function<void()>& body) {
    Context& c = *m_context;
    c.body = &body;
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(c.stack.get(), kStackBytes);  // frames of an abandoned run
    c.fakeStack = nullptr;
#endif
#ifdef FETTLE_SIMT_TSAN
    if (!c.ended)  // frames of an abandoned run
        c.forget();
    if (!c.seen)
        c.seen = __tsan_create_fiber(0);
    c.ended = false;
#endif
#ifdef __x86_64__
    auto end = reinterpret_cast<std::uintptr_t>(c.stack.get() + kStackBytes);
    auto* top = reinterpret_cast<void**>(end & ~std::uintptr_t{15});
    *--top = nullptr;  // where enter() would return to: it never does
    *--top = reinterpret_cast<void*>(&Fiber::enter);
    for (int i = 0; i < 6; ++i)
        *--top = nullptr;
    c.top = top;
#else
    getcontext(&c.registers);
    c.registers.uc_stack.ss_sp = c.stack.get();
    c.registers.uc_stack.ss_size = kStackBytes;
    c.registers.uc_link = nullptr;
    makecontext(&c.registers, &Fiber::enter, 0);
#endif
}

void Fiber::resume() {
    Context& c = *m_context;
    g_running = this;
#ifdef __SANITIZE_ADDRESS__
    void* fakeStack = nullptr;
    __sanitizer_start_switch_fiber(&fakeStack, c.stack.get(), kStackBytes);
#endif
#ifdef FETTLE_SIMT_TSAN
    g_schedulerFiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(c.seen, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef __x86_64__
    fettleSimtSwitchStack(&g_schedulerStack, c.top);
#else
    swapcontext(&g_scheduler, &c.registers);
#endif
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fakeStack, nullptr, nullptr);
#endif
}

void Fiber::suspend() {
    leave(false);
}

void Fiber::leave([[maybe_unused]] bool forGood) {
    Context& c = *m_context;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(forGood ? nullptr : &c.fakeStack, g_schedulerBottom,
                                   g_schedulerBytes);
#endif
#ifdef FETTLE_SIMT_TSAN
    c.ended = forGood;
    __tsan_switch_to_fiber(g_schedulerFiber, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef __x86_64__
    fettleSimtSwitchStack(&c.top, g_schedulerStack);
#else
    swapcontext(&c.registers, &g_scheduler);
#endif
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(c.fakeStack, nullptr, nullptr);
#endif
}

}  // namespace fettle::simt
