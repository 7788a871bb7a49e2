// A fixed team of threads for kernels. The caller takes part in the work, so a pool of n runs n-1
// threads. Workers spin briefly between calls (decoding makes thousands of short parallel sections
// a second) and then sleep.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace fettle::kernels {

class WorkerPool {
public:
    /// `threads` <= 0 takes the number of processors this process may use.
    explicit WorkerPool(int threads = 0);
    ~WorkerPool();
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;

    int threads() const;
    /// Splits [0, count) into chunks of whole `grain`s and runs body(begin, end, thread) over them;
    /// chunks go to whoever is free, so results must not depend on which thread computes what.
    /// Where there are very many chunks they are made larger. One caller at a time; not reentrant.
    void parallelFor(
        std::int64_t count, std::int64_t grain,
        const std::function<void(std::int64_t begin, std::int64_t end, int thread)>& body);

private:
    struct State;
    std::unique_ptr<State> m_state;
};

}  // namespace fettle::kernels
