#include "app/gui/application.h"

#include <QMetaObject>
#include <QThread>
#include <QTimer>

#include "app/core/logging.h"
#include "app/core/paths.h"
#include "app/core/run_recorder.h"
#include "app/gui/database_experiment_service.h"
#include "ui/bridge/engine_worker_bridge.h"
#include "ui/bridge/job_controller.h"
#include "ui/pages/main_window.h"

// Outside any namespace, as Q_INIT_RESOURCE asks for.
static void initResourceFile() {
    Q_INIT_RESOURCE(resources);
}

namespace fettle::app {

void initGuiResources() {
    initResourceFile();
}

GuiApplication::GuiApplication(const std::filesystem::path& database, QObject* parent)
    : QObject(parent), m_service(std::make_unique<DatabaseExperimentService>(database)) {
    // What the GUI thread itself reports (queued, paused) changes nothing worth storing; the
    // recorder's waiting for the disk stays on the engine thread.
    const auto record = [this, gui = QThread::currentThread()](const JobEvent& event) {
        RunRecorder* recorder = m_recorderInUse.load();
        if (recorder && QThread::currentThread() != gui) {
            recorder->handle(event);
        }
    };
    m_engine = std::make_unique<ui::EngineWorkerBridge>(record);
    connect(m_engine.get(), &ui::EngineBridge::jobEvent, m_service.get(),
            &DatabaseExperimentService::follow);
    m_jobs = new ui::JobController(m_engine.get(), m_service.get(), this);
    m_window = std::make_unique<ui::MainWindow>(m_jobs);
    connect(m_service.get(), &DatabaseExperimentService::opened, this,
            &GuiApplication::databaseOpened);
    connect(m_service.get(), &ui::ExperimentService::problemOccurred, m_window.get(),
            [this](const QString& message) {
                m_window->messages()->show(ui::MessageBar::Kind::Error, tr("Database"), message);
            });
}

GuiApplication::~GuiApplication() {
    m_window.reset();
    m_engine.reset();
    m_recorderInUse = nullptr;
}

void GuiApplication::show() {
    m_window->show();
    QTimer::singleShot(0, this, [this] { m_service->open(); });
}

void GuiApplication::databaseOpened() {
    if (m_service->isOpen() && !m_service->readOnly()) {
        const auto report = [this](const std::string& message) {
            QMetaObject::invokeMethod(
                m_service.get(),
                [this, text = QString::fromStdString(message)] {
                    emit m_service->problemOccurred(text);
                },
                Qt::QueuedConnection);
        };
        m_recorder = std::make_unique<RunRecorder>(m_service->path(),
                                                   artifactsRootFor(m_service->path()), report);
        m_recorderInUse = m_recorder.get();
    }
    m_window->loadData();
    emit ready();
}

}  // namespace fettle::app
