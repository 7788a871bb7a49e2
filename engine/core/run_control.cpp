#include "engine/core/run_control.h"

#include <algorithm>
#include <chrono>

namespace fettle {

namespace {
constexpr double kReportInterval =
    0.05;  // seconds; faster than the eye, slow enough to cost nothing
}

double steadySeconds() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

void PauseGate::pause() {
    m_paused = true;
}

void PauseGate::resume() {
    {
        std::lock_guard lock(m_mutex);
        m_paused = false;
    }
    m_changed.notify_all();
}

void PauseGate::wait(const std::stop_token& stop) {
    std::unique_lock lock(m_mutex);
    m_changed.wait(lock, stop, [this] { return !m_paused.load(); });
}

void PauseGate::setFinishable(bool on) {
    m_finish = false;
    m_finishable = on;
}

void RunControl::setFinishable(bool on) const {
    if (m_gate)
        m_gate->setFinishable(on);
}

void RunControl::check() const {
    if (m_gate && m_gate->paused())
        m_gate->wait(m_stop);
    if (m_stop.stop_requested())
        throw Cancelled();
}

void RunControl::beginPhase(const std::string& name, double share) {
    m_begin = std::min(1.0, m_begin + m_share);
    m_share = share;
    m_phase = name;
    if (m_startSeconds < 0)
        m_startSeconds = steadySeconds();
    m_lastReport = -1;
    progress(0);
}

void RunControl::progress(double fraction, const std::string& detail, double tokensPerSecond) {
    check();
    const double now = steadySeconds();
    if (m_lastReport >= 0 && now - m_lastReport < kReportInterval)
        return;
    m_lastReport = now;
    const double whole = std::clamp(m_begin + m_share * fraction, 0.0, 1.0);
    const double elapsed = now - m_startSeconds;
    // Too little evidence gives wild guesses, so nothing is promised in the first percent.
    const double left = whole > 0.01 && elapsed > 0.2 ? elapsed / whole * (1 - whole) : -1;
    m_sink->progress({m_phase, whole, tokensPerSecond, left, detail,
                      m_gate && m_gate->finishable() && !m_gate->finishRequested()});
}

}  // namespace fettle
