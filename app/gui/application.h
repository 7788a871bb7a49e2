// Builds and connects everything: database, recorder, engine, window. One per process, on the GUI
// thread.
#pragma once

#include <QObject>
#include <atomic>
#include <filesystem>
#include <memory>

namespace fettle::ui {
class EngineWorkerBridge;
class JobController;
class MainWindow;
}  // namespace fettle::ui

namespace fettle::app {

class DatabaseExperimentService;
class RunRecorder;

class GuiApplication : public QObject {
    Q_OBJECT

public:
    explicit GuiApplication(const std::filesystem::path& database, QObject* parent = nullptr);
    ~GuiApplication() override;

    /// Shows the window at once; database, library and devices follow.
    void show();
    ui::MainWindow* window() const { return m_window.get(); }
    ui::JobController* jobs() const { return m_jobs; }
    DatabaseExperimentService* experiments() const { return m_service.get(); }

signals:
    void ready();  ///< the database is open and the library shown

private:
    void databaseOpened();

    // Destroyed in the reverse order: window, engine threads, recorder, database.
    std::unique_ptr<DatabaseExperimentService> m_service;
    std::unique_ptr<RunRecorder> m_recorder;
    std::atomic<RunRecorder*> m_recorderInUse{nullptr};  ///< read on the engine thread
    std::unique_ptr<ui::EngineWorkerBridge> m_engine;
    ui::JobController* m_jobs;
    std::unique_ptr<ui::MainWindow> m_window;
};

/// Makes icons, themes and presets available; before the first widget.
void initGuiResources();

}  // namespace fettle::app
