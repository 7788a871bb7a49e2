// Passes on what training reports and adds, after each validation, how much of what the steps
// before lost is won back, with the lines it lies between.
#pragma once

#include <string>

#include "engine/core/run_control.h"
#include "engine/technique/quantized_training.h"

namespace fettle {

class RecoverySink : public ProgressSink {
public:
    /// Perplexities on the text held back: before training, and the original's. `before` names the
    /// line of the former: "validation_perplexity_" + before.
    RecoverySink(ProgressSink& outer, double lost, double full, std::string before)
        : m_outer(outer), m_lost(lost), m_full(full), m_before(std::move(before)) {}
    void progress(const JobProgress& p) override { m_outer.progress(p); }
    void log(JobLog::Level level, const std::string& text) override { m_outer.log(level, text); }
    void series(const SeriesPoint& point) override {
        m_outer.series(point);
        if (point.name != "validation_perplexity")
            return;
        m_outer.series({"recovery", point.step, recoveredShare(m_lost, m_full, point.value)});
        m_outer.series({"validation_perplexity_original", point.step, m_full});
        m_outer.series({"validation_perplexity_" + m_before, point.step, m_lost});
    }
    void metric(const Measurement& metric) override { m_outer.metric(metric); }
    void stepFinished(const StepReport& step) override { m_outer.stepFinished(step); }
    void text(const std::string& piece) override { m_outer.text(piece); }

private:
    ProgressSink& m_outer;
    double m_lost, m_full;
    std::string m_before;
};

}  // namespace fettle
