// How long work hears "stop" and "pause" and says how far it is. Passed down by reference; never
// stored.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <string>

#include "engine/core/error.h"

namespace fettle {

/// Receives what a job has to say. Called on the engine thread.
class ProgressSink {
public:
    virtual ~ProgressSink() = default;
    virtual void progress(const JobProgress& progress) = 0;
    virtual void log(JobLog::Level level, const std::string& text) = 0;
    virtual void series(const SeriesPoint& point) = 0;
    virtual void metric(const Measurement& metric) = 0;
    virtual void stepFinished(const StepReport& step) = 0;
    virtual void text(const std::string& piece) = 0;
    /// Text together with the tokens it came as, for those who show them.
    virtual void tokens(const std::string& piece, const std::vector<TokenPiece>&) { text(piece); }
};

/// A sink that keeps nothing, for tests and short calls.
class NullProgress : public ProgressSink {
public:
    void progress(const JobProgress&) override {}
    void log(JobLog::Level, const std::string&) override {}
    void series(const SeriesPoint&) override {}
    void metric(const Measurement&) override {}
    void stepFinished(const StepReport&) override {}
    void text(const std::string&) override {}
};

/// Shared between the thread that runs a job and the threads that may pause it or end it early.
class PauseGate {
public:
    void pause();
    void resume();
    bool paused() const { return m_paused.load(std::memory_order_relaxed); }
    /// Blocks while paused; returns at once when `stop` is requested.
    void wait(const std::stop_token& stop);

    /// Asks the running job to end what it trains now and to go on with what it has. Does nothing
    /// while the job trains nothing.
    void finishEarly() { m_finish = m_finishable.load(); }
    /// Whether the job can end early and keep what there is; taking it back forgets the wish.
    void setFinishable(bool on);
    bool finishable() const { return m_finishable.load(std::memory_order_relaxed); }
    bool finishRequested() const { return m_finish.load(std::memory_order_relaxed); }

private:
    std::atomic<bool> m_paused{false};
    std::atomic<bool> m_finishable{false};
    std::atomic<bool> m_finish{false};
    std::mutex m_mutex;
    std::condition_variable_any m_changed;
};

/// A phase of the job occupies [begin, begin+share) of its progress bar.
class RunControl {
public:
    RunControl(std::stop_token stop, PauseGate* gate, ProgressSink& sink)
        : m_stop(std::move(stop)), m_gate(gate), m_sink(&sink) {}

    /// The cancellation point: every loop that can take over 50 ms calls it. Throws Cancelled.
    void check() const;
    bool cancelled() const { return m_stop.stop_requested(); }
    /// See PauseGate. Without a gate nobody can ask.
    void setFinishable(bool on) const;
    bool finishRequested() const { return m_gate && m_gate->finishRequested(); }
    ProgressSink& sink() const { return *m_sink; }
    void info(const std::string& text) const { m_sink->log(JobLog::Level::Info, text); }
    void warn(const std::string& text) const { m_sink->log(JobLog::Level::Warning, text); }

    /// The same stop and pause, another listener, a progress bar of its own.
    RunControl nested(ProgressSink& sink) const { return {m_stop, m_gate, sink}; }

    /// Opens a phase that takes `share` of the whole job, starting where the previous one ended.
    void beginPhase(const std::string& name, double share);
    /// `fraction` of the current phase; drops reports that come within 50 ms of the last. Also a
    /// cancellation point.
    void progress(double fraction, const std::string& detail = {}, double tokensPerSecond = 0);

private:
    std::stop_token m_stop;
    PauseGate* m_gate;
    ProgressSink* m_sink;
    std::string m_phase;
    double m_begin = 0;
    double m_share = 0;
    double m_startSeconds = -1;
    double m_lastReport = -1;
};

/// Seconds on a steady clock, for measuring spans.
double steadySeconds();

}  // namespace fettle
