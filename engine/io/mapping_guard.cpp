#include "engine/io/mapping_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

namespace fettle::detail {
namespace {

// The handler may only touch lock-free atomics, so the table has a fixed size.
struct Slot {
    std::atomic<std::uintptr_t> begin{0};
    std::atomic<std::uintptr_t> end{0};
    std::atomic<bool> damaged{false};
};
constexpr std::size_t kSlots = 1024;
std::array<Slot, kSlots> g_slots;
std::mutex g_mutex;
struct sigaction g_previous;
std::uintptr_t g_page = 4096;

void onBusError(int signal, siginfo_t* info, void* context) {
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    for (Slot& slot : g_slots) {
        const std::uintptr_t begin = slot.begin.load(std::memory_order_acquire);
        if (begin == 0 || address < begin || address >= slot.end.load(std::memory_order_acquire))
            continue;
        void* page = reinterpret_cast<void*>(address / g_page * g_page);
        if (mmap(page, g_page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
            MAP_FAILED)
            break;
        slot.damaged.store(true, std::memory_order_release);
        return;
    }
    if (g_previous.sa_flags & SA_SIGINFO) {
        g_previous.sa_sigaction(signal, info, context);
    } else if (g_previous.sa_handler != SIG_DFL && g_previous.sa_handler != SIG_IGN) {
        g_previous.sa_handler(signal);
    } else {
        // Back to the default: the access repeats and ends the process as it would have without us.
        ::signal(signal, SIG_DFL);
    }
}

void installHandler() {
    g_page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = onBusError;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &g_previous);
}

}  // namespace

int watchMapping(const void* data, std::size_t bytes) {
    static std::once_flag once;
    std::call_once(once, installHandler);
    std::lock_guard lock(g_mutex);
    for (std::size_t i = 0; i < kSlots; ++i) {
        Slot& slot = g_slots[i];
        if (slot.begin.load(std::memory_order_relaxed) != 0)
            continue;
        slot.damaged.store(false, std::memory_order_relaxed);
        slot.end.store(reinterpret_cast<std::uintptr_t>(data) + bytes, std::memory_order_release);
        slot.begin.store(reinterpret_cast<std::uintptr_t>(data), std::memory_order_release);
        return static_cast<int>(i);
    }
    return -1;
}

void unwatchMapping(int slot) {
    if (slot < 0)
        return;
    std::lock_guard lock(g_mutex);
    g_slots[static_cast<std::size_t>(slot)].begin.store(0, std::memory_order_release);
}

bool mappingDamaged(int slot) {
    return slot >= 0 &&
           g_slots[static_cast<std::size_t>(slot)].damaged.load(std::memory_order_acquire);
}

}  // namespace fettle::detail
