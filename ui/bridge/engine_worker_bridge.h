// EngineBridge over the real engine: owns two engine threads, one for runs and one for short
// questions (inspect, histogram, estimate, scoring a page of text), so that the window's answers
// never wait behind a run of an hour.
#pragma once

#include <QTimer>
#include <functional>
#include <memory>

#include "ui/bridge/engine_bridge.h"
#include "ui/bridge/event_queue.h"

namespace fettle {
class EngineWorker;
}

namespace fettle::ui {

class EngineWorkerBridge : public EngineBridge {
    Q_OBJECT

public:
    /// Events reach the window at most so often; 33 ms is 30 times a second.
    static constexpr int kFlushMs = 33;

    /// `recorder` stores results: it gets each event of a run before that event is queued to the
    /// window, on the thread where it happened (the engine's; for JobQueued, JobPaused and
    /// JobResumed the GUI thread).
    explicit EngineWorkerBridge(std::function<void(const JobEvent&)> recorder, int threads = 0,
                                QObject* parent = nullptr);
    ~EngineWorkerBridge() override;

    JobId post(JobRequest request) override;
    void cancel(JobId job) override;
    void pause(JobId job) override;
    void resume(JobId job) override;
    void finishEarly(JobId job) override;
    const std::vector<TechniqueDescriptor>& techniques() const override;
    std::vector<DeviceInfo> devices() const override;
    bool hasBfloat16() const override;
    void useBfloat16(bool use) override;

private:
    EngineWorker& workerOf(JobId job) const;
    EngineWorker& questions();
    void receive(JobEvent event);
    void flush();

    std::function<void(const JobEvent&)> m_recorder;
    int m_threads;
    bool m_bfloat16 = false;
    std::vector<TechniqueDescriptor> m_techniques;
    EventQueue m_events;
    QTimer m_timer;
    std::unique_ptr<EngineWorker> m_runs;
    std::unique_ptr<EngineWorker> m_questions;  ///< made when first asked
};

}  // namespace fettle::ui
