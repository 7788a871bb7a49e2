// Runs jobs of the command line on the engine thread, the same one that the window uses, and waits
// for them.
#pragma once

#include <chrono>
#include <functional>
#include <variant>

#include "app/cli/command_line.h"
#include "app/cli/interrupt.h"
#include "app/cli/progress_printer.h"
#include "engine/backend/backend.h"
#include "engine/experiment/job_values.h"
#include "engine/job/engine_worker.h"

namespace fettle::cli {

class EngineSession {
public:
    using Listener = std::function<void(const JobEvent&)>;

    /// `listener` sees every event before it is shown, on the engine thread; it stores what is to
    /// be kept.
    explicit EngineSession(const CommandLine& line, Listener listener = {});

    ProgressPrinter& printer() { return m_printer; }
    /// Runs one job to its end. Throws EngineError for a failed job, Cancelled for an interrupted
    /// one.
    template <typename Result>
    Result run(JobRequest request) {
        return std::get<Result>(
            wait(std::move(request), std::chrono::steady_clock::time_point::max()));
    }
    /// The same, cancelled when it takes longer than `seconds` (may be infinite).
    template <typename Result>
    Result runWithin(JobRequest request, double seconds) {
        return std::get<Result>(wait(std::move(request), deadlineAfter(seconds)));
    }

private:
    using End = std::variant<std::monostate, JobFinished, JobFailed, JobCancelled>;

    using Deadline = std::chrono::steady_clock::time_point;

    static Deadline deadlineAfter(double seconds);
    JobResult wait(JobRequest request, Deadline deadline);
    void handle(const JobEvent& event);
    void end(End end);

    Listener m_listener;
    ProgressPrinter m_printer;
    std::mutex m_mutex;
    std::condition_variable m_changed;
    End m_end;
    EngineWorker m_worker;  // last: its thread calls handle()
};

/// Runs `work` on this thread for the commands that look inside a model (logits, tokenize, bench):
/// same backend, same progress, same interruption.
template <typename Work>
auto runDirectly(const CommandLine& line, Work work) {
    requireDevice(line);
    ProgressPrinter printer;
    RunControl control(Interrupt::token(), nullptr, printer);
    const std::unique_ptr<Backend> backend = makeBackend(line.device, line.threads);
    backend->useProducts(line.products);
    return work(*backend, control);
}

}  // namespace fettle::cli
