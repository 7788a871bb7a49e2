// EngineBridge over the real engine: owns the EngineWorker and its thread.
#pragma once

#include <functional>
#include <memory>

#include "ui/bridge/engine_bridge.h"

namespace fettle {
class EngineWorker;
}

namespace fettle::ui {

class EngineWorkerBridge : public EngineBridge {
    Q_OBJECT

public:
    /// `recorder` is called on the engine thread before an event is queued to the window; it stores results.
    explicit EngineWorkerBridge(std::function<void(const JobEvent&)> recorder, int threads = 0, QObject* parent = nullptr);
    ~EngineWorkerBridge() override;

    JobId post(JobRequest request) override;
    void cancel(JobId job) override;
    void pause(JobId job) override;
    void resume(JobId job) override;
    const std::vector<TechniqueDescriptor>& techniques() const override;
    std::vector<DeviceInfo> devices() const override;

private:
    std::unique_ptr<EngineWorker> m_worker;
    std::vector<TechniqueDescriptor> m_techniques;
};

}  // namespace fettle::ui
