// The window: Library dock, tabs for Recipe, Inspect, Explore, Compare and Export, Runs dock,
// message bar, status bar. Heavy pages are made when first shown. GUI thread only.
#pragma once

#include <QMainWindow>
#include <functional>

#include "engine/experiment/run_values.h"
#include "ui/bridge/experiment_service.h"
#include "ui/widgets/message_bar.h"

class QDockWidget;
class QLabel;
class QProgressBar;
class QTabWidget;
class QUndoGroup;

namespace fettle::ui {

class AdvisorPage;
class AllocationPage;
class ComparePage;
class ExplorePage;
class ExportPage;
class JobController;
class LibraryPage;
class ModelView;
class PlaygroundPage;
class RecipePage;
class RunQueueModel;
class RunsPage;

class MainWindow : public QMainWindow {
    Q_OBJECT

public:
    enum class Page { Recipe, Inspect, Explore, Compare, Export, Advisor, Playground, Precision };

    explicit MainWindow(JobController* jobs, QWidget* parent = nullptr);
    ~MainWindow() override;

    /// Reads library, experiments and devices. Called once the window is on screen, so that it
    /// shows at once.
    void loadData();

    void showPage(Page page);
    void inspect(const QString& path);
    void showExperiment(qint64 id);
    void compare(const std::vector<qint64>& ids);
    void saveLayout() const;
    void restoreLayout();
    void resetLayout();

    QTabWidget* tabs() const { return m_tabs; }
    LibraryPage* library() const { return m_library; }
    RecipePage* recipe() const { return m_recipe; }
    RunsPage* runs() const { return m_runs; }
    RunQueueModel* queue() const { return m_queue; }
    MessageBar* messages() const { return m_messages; }
    ExportPage* exportPage();
    ModelView* modelView();
    AdvisorPage* advisor();
    AllocationPage* allocation();
    PlaygroundPage* playground();
    ComparePage* comparePage();
    QDockWidget* libraryDock() const { return m_libraryDock; }
    QDockWidget* runsDock() const { return m_runsDock; }

protected:
    void closeEvent(QCloseEvent* event) override;
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dropEvent(QDropEvent* event) override;

private:
    void buildCentre();
    void buildDocks();
    void buildMenus();
    void buildRunMenu();
    void buildViewMenu();
    void buildStatusBar();
    void connectPages();
    void makePage(int tab);
    ExplorePage* makeExplorePage();
    AdvisorPage* makeAdvisorPage();
    AllocationPage* makeAllocationPage();
    void excludeTensors(const QStringList& weights);
    void showDevice();
    void chooseHistory();
    void updateActivity();
    void refreshInterrupted();
    void reportRun(qint64 experiment, const RunResult& result);
    void showShortcuts();
    void showAbout();

    JobController* m_jobs;
    RunQueueModel* m_queue;
    MessageBar* m_messages;
    QTabWidget* m_tabs;
    LibraryPage* m_library = nullptr;
    RecipePage* m_recipe = nullptr;
    RunsPage* m_runs = nullptr;
    ExportPage* m_export = nullptr;
    ModelView* m_modelView = nullptr;
    ExplorePage* m_explore = nullptr;
    AdvisorPage* m_advisor = nullptr;
    AllocationPage* m_allocation = nullptr;
    PlaygroundPage* m_playground = nullptr;
    ComparePage* m_compare = nullptr;
    QDockWidget* m_libraryDock = nullptr;
    QDockWidget* m_runsDock = nullptr;
    QLabel* m_device = nullptr;
    QLabel* m_activity = nullptr;
    QProgressBar* m_activityBar = nullptr;
    QUndoGroup* m_history = nullptr;  ///< what Undo takes back: the page in front decides
    bool m_loaded = false;
};

}  // namespace fettle::ui
