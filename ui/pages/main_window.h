// The window: Library dock, tabs for Recipe, Inspect, Explore, Compare and Export, Runs dock,
// message bar, status bar. Heavy pages are made when first shown. GUI thread only.
#pragma once

#include <QMainWindow>
#include <QPointer>
#include <functional>
#include <vector>

#include "engine/experiment/run_values.h"
#include "ui/bridge/experiment_service.h"
#include "ui/models/palette_model.h"
#include "ui/widgets/message_bar.h"

class QDockWidget;
class QLabel;
class QProgressBar;
class QSystemTrayIcon;
class QTabWidget;
class QUndoGroup;

namespace fettle::ui {

class AdvisorPage;
class AllocationPage;
class CommandPalette;
class ComparePage;
class DraftLabPage;
class ExamplesDialog;
class ExplorePage;
class ExportPage;
class HelpDialog;
class JobController;
class LibraryPage;
class ModelView;
class PlaygroundPage;
class RecipePage;
class RunQueueModel;
class RunsPage;
class Tour;

class MainWindow : public QMainWindow {
    Q_OBJECT

public:
    enum class Page {
        Recipe,
        Inspect,
        Explore,
        Compare,
        Export,
        Advisor,
        Playground,
        Precision,
        Drafts
    };

    explicit MainWindow(JobController* jobs, QWidget* parent = nullptr);
    ~MainWindow() override;

    /// Reads library, experiments and devices. Called once the window is on screen, so that it
    /// shows at once.
    void loadData();

    void showPage(Page page);
    void inspect(const QString& path);
    void showExperiment(qint64 id);
    void compare(const std::vector<qint64>& ids);
    /// The Precision page with the scores that an experiment holds.
    void allocateBits(qint64 id);
    void openPalette();
    /// Everything that the palette offers now.
    std::vector<PaletteEntry> paletteEntries();
    /// A recipe, or what the library takes.
    void openFile(const QString& path);
    /// The help, at a technique or, without one, at the keys.
    void showHelp(const QString& technique = {});
    /// The bundled recipes, to be opened or run.
    void showExamples();
    /// A few hints about the window.
    void startTour();
    /// The tour, unless it was seen before.
    void startTourOnce();
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
    DraftLabPage* draftLab();
    ComparePage* comparePage();
    CommandPalette* commandPalette() const { return m_palette; }
    HelpDialog* help() const;
    Tour* tour() const;
    ExamplesDialog* examples() const;
    QDockWidget* libraryDock() const { return m_libraryDock; }
    QDockWidget* runsDock() const { return m_runsDock; }

protected:
    void closeEvent(QCloseEvent* event) override;
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dropEvent(QDropEvent* event) override;

private:
    /// Marks the actions of the View menu that open a page; holds its tab.
    static constexpr auto kPageProperty = "fettlePage";

    void buildCentre();
    void buildDocks();
    void buildMenus();
    void buildRunMenu();
    QAction* makeBfloat16Action();
    void buildViewMenu();
    void buildStatusBar();
    void connectPages();
    void makePage(int tab);
    ExplorePage* makeExplorePage();
    AdvisorPage* makeAdvisorPage();
    AllocationPage* makeAllocationPage();
    DraftLabPage* makeDraftLabPage();
    void makeModelView();
    void excludeTensors(const QStringList& weights);
    void pinScheme(const QStringList& weights, const QString& scheme);
    void dropLayer(int layer, bool drop);
    void showDevice();
    void chooseHistory();
    void updateActivity();
    void refreshInterrupted();
    void reportRun(qint64 experiment, const RunResult& result);
    void notify(const QString& title, const QString& text);
    void addActionEntries(std::vector<PaletteEntry>& entries);
    void addTechniqueEntries(std::vector<PaletteEntry>& entries);
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
    DraftLabPage* m_draftLab = nullptr;
    ComparePage* m_compare = nullptr;
    QDockWidget* m_libraryDock = nullptr;
    QDockWidget* m_runsDock = nullptr;
    QLabel* m_device = nullptr;
    QLabel* m_activity = nullptr;
    QProgressBar* m_activityBar = nullptr;
    CommandPalette* m_palette = nullptr;
    QAction* m_paletteAction = nullptr;
    QAction* m_bfloat16 = nullptr;
    QPointer<HelpDialog> m_help;
    QPointer<Tour> m_tour;
    QPointer<ExamplesDialog> m_examples;
    QSystemTrayIcon* m_tray = nullptr;
    QUndoGroup* m_history = nullptr;  ///< what Undo takes back: the page in front decides
    bool m_loaded = false;
};

}  // namespace fettle::ui
