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
    int threads = 1;
    int pauses = kPauses;
    const std::function<void(int, int)>* task = nullptr;
    alignas(64) std::atomic<std::uint32_t> generation{
        0};  // bumped once per run(); workers wait on it
    alignas(64) std::atomic<std::uint32_t> pending{
        0};  // workers that have not finished the current run()
    alignas(64) std::atomic<std::int64_t> next{0};  // parallelFor's next chunk
    std::atomic<bool> stop{false};
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

    void work(int thread) {
        std::uint32_t seen = 0;
        while (true) {
            const auto changed = [&] { return generation.load(std::memory_order_acquire) != seen; };
            if (!spin(pauses, changed))
                generation.wait(seen, std::memory_order_acquire);
            if (!changed())
                continue;
            ++seen;
            if (stop.load(std::memory_order_relaxed))
                return;
            perform(thread);
            if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1)
                pending.notify_one();
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
    State& s = *m_state;
    if (s.threads == 1)
        return task(0, 1);
    s.task = &task;
    s.failed.store(false, std::memory_order_relaxed);
    s.pending.store(static_cast<std::uint32_t>(s.threads - 1), std::memory_order_relaxed);
    s.generation.fetch_add(1, std::memory_order_release);
    s.generation.notify_all();
    s.perform(0);
    while (!spin(s.pauses, [&] { return s.pending.load(std::memory_order_acquire) == 0; })) {
        const std::uint32_t left = s.pending.load(std::memory_order_acquire);
        if (left != 0)
            s.pending.wait(left, std::memory_order_acquire);
    }
    if (s.failed.load(std::memory_order_relaxed)) {
        const std::exception_ptr failure = std::exchange(s.failure, nullptr);
        std::rethrow_exception(failure);
    }
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
    run(std::ref(
        task));  // by reference: a decoder step makes thousands of these, none may allocate
}

}  // namespace fettle::kernels
