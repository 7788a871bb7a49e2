#include "ui/bridge/engine_worker_bridge.h"

#include <QElapsedTimer>
#include <QMetaObject>
#include <utility>

#include "engine/core/devices.h"
#include "engine/job/engine_worker.h"
#include "engine/technique/technique.h"

namespace fettle::ui {
namespace {

/// Marks the job ids of the second worker; the workers number their jobs from 1.
constexpr JobId kQuestionBit = JobId{1} << 62;
/// A flush hands over events for at most so long, then lets the window breathe.
constexpr int kFlushBudgetMs = 8;
constexpr std::size_t kFlushBatch = 16;

bool isQuestion(const JobRequest& request) {
    return std::holds_alternative<InspectRequest>(request) ||
           std::holds_alternative<HistogramRequest>(request) ||
           std::holds_alternative<EstimateRequest>(request) ||
           std::holds_alternative<EvaluateRequest>(request);  // a text of a page or two
}

}  // namespace

EngineWorkerBridge::EngineWorkerBridge(std::function<void(const JobEvent&)> recorder, int threads,
                                       QObject* parent)
    : EngineBridge(parent),
      m_recorder(std::move(recorder)),
      m_threads(threads),
      m_techniques(techniqueDescriptors()) {
    m_timer.setSingleShot(true);
    m_timer.setInterval(kFlushMs);
    connect(&m_timer, &QTimer::timeout, this, &EngineWorkerBridge::flush);
    m_runs =
        std::make_unique<EngineWorker>([this](const JobEvent& event) { receive(event); }, threads);
}

EngineWorkerBridge::~EngineWorkerBridge() {
    m_questions.reset();  // first the threads, then what their events need
    m_runs.reset();
}

EngineWorker& EngineWorkerBridge::questions() {
    if (!m_questions) {
        const auto handler = [this](const JobEvent& event) {
            JobEvent marked = event;
            marked.job |= kQuestionBit;
            receive(std::move(marked));
        };
        m_questions = std::make_unique<EngineWorker>(handler, m_threads);
        m_questions->useBfloat16(m_bfloat16);
    }
    return *m_questions;
}

EngineWorker& EngineWorkerBridge::workerOf(JobId job) const {
    return (job & kQuestionBit) != 0 && m_questions ? *m_questions : *m_runs;
}

JobId EngineWorkerBridge::post(JobRequest request) {
    if (isQuestion(request)) {
        return questions().post(std::move(request)) | kQuestionBit;
    }
    return m_runs->post(std::move(request));
}

void EngineWorkerBridge::cancel(JobId job) {
    workerOf(job).cancel(job & ~kQuestionBit);
}
void EngineWorkerBridge::pause(JobId job) {
    workerOf(job).pause(job & ~kQuestionBit);
}
void EngineWorkerBridge::resume(JobId job) {
    workerOf(job).resume(job & ~kQuestionBit);
}
void EngineWorkerBridge::finishEarly(JobId job) {
    workerOf(job).finishEarly(job & ~kQuestionBit);
}

const std::vector<TechniqueDescriptor>& EngineWorkerBridge::techniques() const {
    return m_techniques;
}

bool EngineWorkerBridge::hasBfloat16() const {
    return EngineWorker::hasBfloat16();
}

void EngineWorkerBridge::useBfloat16(bool use) {
    m_bfloat16 = use;
    m_runs->useBfloat16(use);
    if (m_questions) {
        m_questions->useBfloat16(use);
    }
}

std::vector<DeviceInfo> EngineWorkerBridge::devices() const {
    std::vector<DeviceInfo> devices;
    for (const DeviceSummary& device : listDevices()) {
        devices.push_back({QString::fromStdString(device.id), QString::fromStdString(device.name),
                           QString::fromStdString(device.isa), device.memoryBytes, device.usable,
                           QString::fromStdString(device.reason)});
    }
    return devices;
}

void EngineWorkerBridge::receive(JobEvent event) {
    if (m_recorder && event.experiment != 0) {
        m_recorder(event);
    }
    if (m_events.push(std::move(event))) {
        QMetaObject::invokeMethod(
            this,
            [this] {
                if (!m_timer.isActive()) {
                    m_timer.start();
                }
            },
            Qt::QueuedConnection);
    }
}

void EngineWorkerBridge::flush() {
    QElapsedTimer clock;
    clock.start();
    while (clock.elapsed() < kFlushBudgetMs) {
        const std::vector<JobEvent> batch = m_events.take(kFlushBatch);
        if (batch.empty()) {
            return;
        }
        for (const JobEvent& event : batch) {
            emit jobEvent(event);
        }
    }
    if (!m_events.empty()) {
        m_timer.start();
    }
}

}  // namespace fettle::ui
