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

struct WorkerPool::State {
    // The gate to the current task: its number, whether one may still enter, how many have.
    static constexpr std::uint64_t kOpen = std::uint64_t{1} << 31;
    static constexpr std::uint64_t kEntered = kOpen - 1;

    int threads = 1;
    int pauses = kPauses;
    // Each group is a cache line of its own: what one thread writes while others poll or take
    // chunks must not be beside what those read all the time.
    alignas(64) std::atomic<std::uint64_t> gate{0};  // workers poll it
    const std::function<void(int, int)>* task = nullptr;
    alignas(64) std::atomic<std::uint32_t> generation{0};  // tasks so far; workers sleep on it
    alignas(64) std::atomic<std::uint32_t> finished{0};    // workers that entered and are through
    alignas(64) std::atomic<std::int64_t> next{0};         // parallelFor's next chunk
    alignas(64) std::atomic<bool> stop{false};
    std::atomic<bool> failed{false};
    std::mutex failureMutex;
    std::exception_ptr failure;
    std::vector<std::thread> workers;

    void perform(int thread) noexcept {
        try {
            (*task)(thread, threads);
        } catch (...) {
            const std::lock_guard lock(failureMutex);
            if (!failure)
                failure = std::current_exception();
            failed.store(true, std::memory_order_relaxed);
        }
    }

    bool enter(std::uint32_t number) {
        std::uint64_t now = gate.load(std::memory_order_acquire);
        while (now >> 32 == number && (now & kOpen))
            if (gate.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel))
                return true;
        return false;
    }

    void work(int thread) {
        std::uint32_t seen = 0;
        while (true) {
            const auto number = [&] {
                return static_cast<std::uint32_t>(gate.load(std::memory_order_acquire) >> 32);
            };
            if (!spin(pauses, [&] { return number() != seen; }))
                generation.wait(seen, std::memory_order_acquire);
            if (stop.load(std::memory_order_relaxed))
                return;
            // Where the gate was seen before `generation` followed, the task is done already.
            const std::uint32_t now = number();
            if (std::exchange(seen, now) == now || !enter(now))
                continue;
            perform(thread);
            finished.fetch_add(1, std::memory_order_acq_rel);
            finished.notify_one();
        }
    }

    void awaitFinished(std::uint32_t count) {
        while (!spin(pauses, [&] { return finished.load(std::memory_order_acquire) == count; })) {
            const std::uint32_t now = finished.load(std::memory_order_acquire);
            if (now != count)
                finished.wait(now, std::memory_order_acquire);
        }
    }

    /// Runs the task on this thread and on workers; unless `everyone` has to take part, on those
    /// that come before this thread is through. A worker that sleeps, or waits for a processor,
    /// then keeps nobody waiting.
    void run(const std::function<void(int, int)>& what, bool everyone) {
        task = &what;
        failed.store(false, std::memory_order_relaxed);
        finished.store(0, std::memory_order_relaxed);
        const std::uint32_t number = generation.load(std::memory_order_relaxed) + 1;
        gate.store(std::uint64_t{number} << 32 | kOpen, std::memory_order_release);
        generation.store(number, std::memory_order_release);
        generation.notify_all();
        perform(0);
        if (everyone)
            awaitFinished(static_cast<std::uint32_t>(threads - 1));
        awaitFinished(static_cast<std::uint32_t>(gate.fetch_and(~kOpen, std::memory_order_acq_rel) &
                                                 kEntered));
        if (failed.load(std::memory_order_relaxed)) {
            const std::exception_ptr caught = std::exchange(failure, nullptr);
            std::rethrow_exception(caught);
        }
    }
};

WorkerPool::WorkerPool(int threads) : m_state(std::make_unique<State>()) {
    m_state->threads = threads > 0 ? threads : availableProcessors();
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

void WorkerPool::run(const std::function<void(int, int)>& task) {
    if (m_state->threads == 1)
        return task(0, 1);
    m_state->run(task, true);
}

void WorkerPool::parallelFor(std::int64_t count, std::int64_t grain,
                             const std::function<void(std::int64_t, std::int64_t, int)>& body) {
    if (count <= 0)
        return;
    grain = std::max<std::int64_t>(1, grain);
    State& s = *m_state;
    if (s.threads == 1 || count <= grain)
        return body(0, count, 0);
    s.next.store(0, std::memory_order_relaxed);
    const auto task = [&](int thread, int) {
        while (!s.failed.load(std::memory_order_relaxed)) {
            const std::int64_t begin = s.next.fetch_add(grain, std::memory_order_relaxed);
            if (begin >= count)
                return;
            body(begin, std::min(begin + grain, count), thread);
        }
    };
    // By reference: a decoder step makes thousands of these, none may allocate.
    s.run(std::ref(task), false);
}

}  // namespace fettle::kernels
