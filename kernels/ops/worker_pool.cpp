#include "kernels/ops/worker_pool.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace fettle::kernels {
namespace {

// Some tens of microseconds of polling, then sleep: long enough to bridge the serial pieces between
// two parallel sections of a decoder layer, short enough to cost nothing that matters when more
// threads than processors run. There is no yielding in between: on a busy machine a thread that
// yields waits for a time slice of everybody else.
constexpr int kPauses = 6000;
constexpr int kMostThreads = 1024;

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/// Polls `pauses` times until `done()`; false when patience ran out.
template <class Done>
bool spin(int pauses, const Done& done) {
    for (int i = 0; i < pauses; ++i) {
        if (done())
            return true;
        pause();
    }
    return done();
}

int availableProcessors() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

// A loop is a ticket: its number, how many chunks it has, how many were given out. Who adds one to
// the ticket has taken a chunk, or has come too late: nobody enters or leaves, so that a short loop
// costs the other threads two cache lines, the ticket's and that of what they have done. A loop is
// over when every chunk was done by somebody; a worker that sleeps, or waits for a processor, keeps
// nobody waiting.
struct WorkerPool::State {
    using Body = std::function<void(std::int64_t, std::int64_t, int)>;

    struct Ticket {
        std::uint64_t bits;
        std::uint32_t number() const { return static_cast<std::uint32_t>(bits >> 32); }
        std::int64_t chunks() const { return static_cast<std::int64_t>(bits >> 16 & 0xFFFF); }
        std::int64_t given() const { return static_cast<std::int64_t>(bits & 0xFFFF); }
        bool holds() const { return given() < chunks(); }
    };
    // Leaves room for one vain attempt of every thread.
    static constexpr std::int64_t kMostChunks = 1 << 14;

    int threads = 1;
    int pauses = kPauses;
    // Each group is a cache line of its own: what one thread writes while others poll must not be
    // beside what those read all the time. What there is to do lies beside the ticket: who has got
    // a chunk has got that, too. It changes only when no chunk is out.
    alignas(64) std::atomic<std::uint64_t> ticket{0};
    const Body* body = nullptr;
    std::int64_t count = 0, grain = 1;
    alignas(64) std::atomic<std::uint64_t> done{0};        // chunks that workers did so far
    alignas(64) std::atomic<std::uint32_t> generation{0};  // loops so far; workers sleep on it
    alignas(64) std::atomic<bool> stop{false};
    std::atomic<bool> failed{false};
    std::mutex failureMutex;
    std::exception_ptr failure;
    std::vector<std::thread> workers;

    Ticket look() const { return {ticket.load(std::memory_order_acquire)}; }
    Ticket take() { return {ticket.fetch_add(1, std::memory_order_acq_rel)}; }

    /// Once one has failed the others are not begun.
    void perform(std::int64_t chunk, int thread) noexcept {
        if (failed.load(std::memory_order_relaxed))
            return;
        try {
            (*body)(chunk * grain, std::min((chunk + 1) * grain, count), thread);
        } catch (...) {
            const std::lock_guard lock(failureMutex);
            if (!failure)
                failure = std::current_exception();
            failed.store(true, std::memory_order_relaxed);
        }
    }

    /// Chunks until none is left; returns how many it did and which loop it was.
    std::int64_t performAll(int thread, std::uint32_t& number) {
        std::int64_t count = 0;
        while (true) {
            const Ticket mine = take();
            // As long as what this thread did is not counted the loop cannot end.
            if (count == 0)
                number = mine.number();
            if (!mine.holds())
                return count;
            perform(mine.given(), thread);
            ++count;
        }
    }

    void work(int thread) {
        std::uint32_t seen = 0;
        while (true) {
            if (!spin(pauses, [&] { return look().number() != seen; }))
                generation.wait(seen, std::memory_order_acquire);
            if (stop.load(std::memory_order_relaxed))
                return;
            // Where the ticket was seen before `generation` followed, there may be nothing left.
            const Ticket now = look();
            if (std::exchange(seen, now.number()) == now.number() || !now.holds())
                continue;
            if (const std::int64_t mine = performAll(thread, seen)) {
                done.fetch_add(static_cast<std::uint64_t>(mine), std::memory_order_acq_rel);
                done.notify_one();
            }
        }
    }

    void awaitDone(std::uint64_t chunks) {
        while (!spin(pauses, [&] { return done.load(std::memory_order_acquire) == chunks; })) {
            const std::uint64_t now = done.load(std::memory_order_acquire);
            if (now != chunks)
                done.wait(now, std::memory_order_acquire);
        }
    }

    void run(std::int64_t chunks) {
        const std::uint64_t before = done.load(std::memory_order_relaxed);
        std::uint32_t number = generation.load(std::memory_order_relaxed) + 1;
        ticket.store(std::uint64_t{number} << 32 | static_cast<std::uint64_t>(chunks) << 16,
                     std::memory_order_release);
        generation.store(number, std::memory_order_release);
        generation.notify_all();
        const std::int64_t mine = performAll(0, number);
        awaitDone(before + static_cast<std::uint64_t>(chunks - mine));
        if (failed.load(std::memory_order_relaxed)) {
            failed.store(false, std::memory_order_relaxed);
            std::rethrow_exception(std::exchange(failure, nullptr));
        }
    }
};

WorkerPool::WorkerPool(int threads) : m_state(std::make_unique<State>()) {
    m_state->threads = std::min(threads > 0 ? threads : availableProcessors(), kMostThreads);
    // With more threads than processors, who polls keeps those from running that it waits for.
    if (m_state->threads > availableProcessors())
        m_state->pauses = 0;
    try {
        for (int i = 1; i < m_state->threads; ++i)
            m_state->workers.emplace_back([state = m_state.get(), i] { state->work(i); });
    } catch (const std::exception&) {
        // The system refused more threads: go on with those that started.
        m_state->threads = static_cast<int>(m_state->workers.size()) + 1;
    }
}

WorkerPool::~WorkerPool() {
    m_state->stop.store(true, std::memory_order_relaxed);
    m_state->generation.fetch_add(1, std::memory_order_release);
    m_state->generation.notify_all();
    for (std::thread& worker : m_state->workers)
        worker.join();
}

int WorkerPool::threads() const {
    return m_state->threads;
}

void WorkerPool::parallelFor(std::int64_t count, std::int64_t grain,
                             const std::function<void(std::int64_t, std::int64_t, int)>& body) {
    if (count <= 0)
        return;
    grain = std::max<std::int64_t>(1, grain);
    State& s = *m_state;
    if (s.threads == 1 || count <= grain)
        return body(0, count, 0);
    const auto chunks = [&] { return (count + grain - 1) / grain; };
    while (chunks() > State::kMostChunks)
        grain *= 2;
    s.body = &body;
    s.count = count;
    s.grain = grain;
    s.run(chunks());
}

}  // namespace fettle::kernels
