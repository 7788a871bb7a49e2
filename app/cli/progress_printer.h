// Shows how far a job is on standard error: a bar that redraws itself on a terminal, plain lines
// elsewhere. Called on one thread at a time (the engine thread, or the thread that runs a command
// directly).
#pragma once

#include <string>

#include "engine/core/run_control.h"
#include "engine/experiment/job_values.h"

namespace fettle::cli {

class ProgressPrinter : public ProgressSink {
public:
    ProgressPrinter();
    ~ProgressPrinter() override;

    /// Put before each line, e.g. "2 of 6: int4-g32".
    void setTitle(const std::string& title) { m_title = title; }
    void progress(const JobProgress& progress) override;
    void log(JobLog::Level level, const std::string& text) override;
    void series(const SeriesPoint&) override {}
    void metric(const Measurement&) override {}
    void stepFinished(const StepReport& step) override;
    /// Text of a generation, streamed to standard output.
    void text(const std::string& piece) override;
    void streamText(bool on) { m_streamText = on; }
    /// Takes the bar away.
    void clear();

private:
    void drawBar(const JobProgress& progress);
    void line(const std::string& text);

    bool m_terminal;
    bool m_shown = false;
    bool m_streamText = false;
    std::string m_title;
    std::string m_phase;
    double m_lastPrint = -1e9;
    double m_phaseStart = 0;
};

}  // namespace fettle::cli
