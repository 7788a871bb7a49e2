#include "app/cli/engine_session.h"

#include <stop_token>

namespace fettle::cli {

namespace {

template <typename... Functions>
struct Overloaded : Functions... {
    using Functions::operator()...;
};

}  // namespace

EngineSession::EngineSession(const CommandLine& line, Listener listener)
    : m_listener((requireDevice(line), std::move(listener))),
      m_worker([this](const JobEvent& event) { handle(event); }, line.threads, line.device) {
    m_worker.useBfloat16(line.products == kernels::Products::BFloat16);
}

void EngineSession::handle(const JobEvent& event) {
    if (m_listener)
        m_listener(event);
    const Overloaded show{
        [this](const JobProgress& e) { m_printer.progress(e); },
        [this](const JobLog& e) { m_printer.log(e.level, e.text); },
        [this](const JobStepFinished& e) { m_printer.stepFinished(e.step); },
        [this](const JobText& e) { m_printer.text(e.piece); },
        [this](const JobFinished& e) { end(e); },
        [this](const JobFailed& e) { end(e); },
        [this](const JobCancelled& e) { end(e); },
        [](const auto&) {},
    };
    std::visit(show, event.body);
}

void EngineSession::end(End end) {
    m_printer.clear();
    {
        std::lock_guard lock(m_mutex);
        m_end = std::move(end);
    }
    m_changed.notify_one();
}

EngineSession::Deadline EngineSession::deadlineAfter(double seconds) {
    constexpr double kLongest = 1e9;  // some thirty years: no deadline
    if (!(seconds < kLongest))
        return Deadline::max();
    return std::chrono::steady_clock::now() +
           std::chrono::duration_cast<Deadline::duration>(std::chrono::duration<double>(seconds));
}

JobResult EngineSession::wait(JobRequest request, Deadline deadline) {
    {
        std::lock_guard lock(m_mutex);
        m_end = std::monostate{};
    }
    const JobId job = m_worker.post(std::move(request));
    const std::stop_callback cancel(Interrupt::token(), [this, job] { m_worker.cancel(job); });
    const Interrupt::FinishHandler finish([this, job] { m_worker.finishEarly(job); });
    std::unique_lock lock(m_mutex);
    const auto ended = [this] { return !std::holds_alternative<std::monostate>(m_end); };
    if (deadline == Deadline::max()) {
        m_changed.wait(lock, ended);
    } else if (!m_changed.wait_until(lock, deadline, ended)) {
        m_worker.cancel(job);
        m_changed.wait(lock, ended);
    }
    if (const auto* failed = std::get_if<JobFailed>(&m_end))
        throw EngineError(failed->error.kind, failed->error.message);
    if (std::holds_alternative<JobCancelled>(m_end))
        throw Cancelled();
    return std::move(std::get<JobFinished>(m_end).result);
}

}  // namespace fettle::cli
