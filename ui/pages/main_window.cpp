#include "ui/pages/main_window.h"

#include <QAction>
#include <QActionGroup>
#include <QApplication>
#include <QCloseEvent>
#include <QDockWidget>
#include <QDragEnterEvent>
#include <QDropEvent>
#include <QLabel>
#include <QMenu>
#include <QMenuBar>
#include <QMessageBox>
#include <QMimeData>
#include <QProgressBar>
#include <QSettings>
#include <QSignalBlocker>
#include <QStatusBar>
#include <QTabBar>
#include <QTabWidget>
#include <QUndoGroup>
#include <QUndoStack>
#include <QVBoxLayout>
#include <algorithm>
#include <utility>

#include "ui/bridge/engine_text.h"
#include "ui/bridge/job_controller.h"
#include "ui/models/recipe_model.h"
#include "ui/models/run_queue_model.h"
#include "ui/pages/advisor_page.h"
#include "ui/pages/allocation_page.h"
#include "ui/pages/compare_page.h"
#include "ui/pages/draft_lab_page.h"
#include "ui/pages/explore_page.h"
#include "ui/pages/export_page.h"
#include "ui/pages/library_page.h"
#include "ui/pages/model_view.h"
#include "ui/pages/playground_page.h"
#include "ui/pages/recipe_page.h"
#include "ui/pages/runs_page.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/run_setup_panel.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

constexpr int kLayoutVersion = 1;
constexpr const char* kBfloat16Setting = "engine/bfloat16";

/// A tab's page until it is first shown.
class PendingPage : public QWidget {
public:
    using QWidget::QWidget;
};

QString metricText(const RunResult& result, const char* id) {
    for (const Measurement& metric : result.metrics) {
        if (metric.name == id) {
            const MetricInfo* info = findMetric(id);
            return QStringLiteral("%1 %2").arg(
                engineText(info ? info->title : id).toLower(),
                QString::fromStdString(formatMetric(id, metric.value)));
        }
    }
    return {};
}

}  // namespace

MainWindow::MainWindow(JobController* jobs, QWidget* parent)
    : QMainWindow(parent),
      m_jobs(jobs),
      m_queue(new RunQueueModel(this)),
      m_messages(new MessageBar(this)),
      m_tabs(new QTabWidget(this)) {
    setObjectName(QStringLiteral("MainWindow"));
    setWindowTitle(tr("Fettle"));
    setWindowIcon(QIcon(QStringLiteral(":/icons/fettle.svg")));
    setAcceptDrops(true);
    setMinimumSize(900, 560);
    resize(1280, 800);
    buildCentre();
    buildDocks();
    buildMenus();
    buildStatusBar();
    connectPages();
    restoreLayout();
}

MainWindow::~MainWindow() = default;

void MainWindow::buildCentre() {
    auto* centre = new QWidget(this);
    auto* column = new QVBoxLayout(centre);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(0);
    column->addWidget(m_messages);
    m_tabs->setDocumentMode(true);
    m_tabs->tabBar()->setAccessibleName(tr("Pages"));
    column->addWidget(m_tabs, 1);
    setCentralWidget(centre);
    m_recipe = new RecipePage(m_jobs, this);
    m_tabs->addTab(m_recipe, themedIcon(QStringLiteral("recipe"), IconTint::Muted), tr("Recipe"));
    m_tabs->addTab(new PendingPage(this), themedIcon(QStringLiteral("inspect"), IconTint::Muted),
                   tr("Inspect"));
    m_tabs->addTab(new PendingPage(this), themedIcon(QStringLiteral("explore"), IconTint::Muted),
                   tr("Explore"));
    m_tabs->addTab(new PendingPage(this), themedIcon(QStringLiteral("compare"), IconTint::Muted),
                   tr("Compare"));
    m_tabs->addTab(new PendingPage(this), themedIcon(QStringLiteral("export"), IconTint::Muted),
                   tr("Export"));
    m_tabs->addTab(new PendingPage(this), themedIcon(QStringLiteral("advisor"), IconTint::Muted),
                   tr("Advisor"));
    m_tabs->addTab(new PendingPage(this), themedIcon(QStringLiteral("playground"), IconTint::Muted),
                   tr("Playground"));
    m_tabs->addTab(new PendingPage(this), themedIcon(QStringLiteral("precision"), IconTint::Muted),
                   tr("Precision"));
    m_tabs->addTab(new PendingPage(this), themedIcon(QStringLiteral("drafts"), IconTint::Muted),
                   tr("Drafts"));
    connect(m_tabs, &QTabWidget::currentChanged, this, [this](int tab) {
        makePage(tab);
        chooseHistory();
    });
}

void MainWindow::buildDocks() {
    m_library = new LibraryPage(m_jobs, this);
    m_libraryDock = new QDockWidget(tr("Library"), this);
    m_libraryDock->setObjectName(QStringLiteral("LibraryDock"));
    m_libraryDock->setWidget(m_library);
    addDockWidget(Qt::LeftDockWidgetArea, m_libraryDock);
    m_runs = new RunsPage(m_queue, m_jobs, this);
    m_runsDock = new QDockWidget(tr("Runs"), this);
    m_runsDock->setObjectName(QStringLiteral("RunsDock"));
    m_runsDock->setWidget(m_runs);
    addDockWidget(Qt::BottomDockWidgetArea, m_runsDock);
    setCorner(Qt::BottomLeftCorner, Qt::LeftDockWidgetArea);
    setDockNestingEnabled(true);
    resizeDocks({m_libraryDock}, {250}, Qt::Horizontal);
    resizeDocks({m_runsDock}, {200}, Qt::Vertical);
}

void MainWindow::buildMenus() {
    QMenu* file = menuBar()->addMenu(tr("&File"));
    const auto add = [this](QMenu* menu, const char* icon, const QString& text,
                            const QKeySequence& keys, auto slot) {
        QAction* action = menu->addAction(icon ? themedIcon(QLatin1String(icon)) : QIcon(), text);
        action->setShortcut(keys);
        connect(action, &QAction::triggered, this, slot);
        return action;
    };
    add(file, "folder", tr("Add model &folder…"), QKeySequence::Open,
        [this] { m_library->chooseFolder(); });
    add(file, "file", tr("&Add files…"), QKeySequence(tr("Ctrl+Shift+O")),
        [this] { m_library->chooseFiles(); });
    file->addSeparator();
    add(file, nullptr, tr("Open &recipe…"), QKeySequence(tr("Ctrl+E")),
        [this] { m_recipe->openRecipe(); });
    add(file, "save", tr("&Save recipe…"), QKeySequence::Save, [this] { m_recipe->saveRecipe(); });
    file->addSeparator();
    QAction* quit =
        add(file, nullptr, tr("&Quit"), QKeySequence(tr("Ctrl+Q")), [this] { close(); });
    quit->setMenuRole(QAction::QuitRole);

    QMenu* edit = menuBar()->addMenu(tr("&Edit"));
    m_history = new QUndoGroup(this);
    m_history->addStack(m_recipe->model()->undoStack());
    chooseHistory();
    QAction* undo = m_history->createUndoAction(this, tr("&Undo"));
    undo->setShortcut(QKeySequence::Undo);
    undo->setIcon(themedIcon(QStringLiteral("undo")));
    QAction* redo = m_history->createRedoAction(this, tr("&Redo"));
    redo->setShortcut(QKeySequence::Redo);
    redo->setIcon(themedIcon(QStringLiteral("redo")));
    edit->addActions({undo, redo});
    buildRunMenu();
    buildViewMenu();

    QMenu* help = menuBar()->addMenu(tr("&Help"));
    QAction* keys = add(help, "help", tr("&Keyboard shortcuts"), QKeySequence::HelpContents,
                        [this] { showHelp(); });
    keys->setShortcuts({QKeySequence(QKeySequence::HelpContents), QKeySequence(tr("?"))});
    add(help, nullptr, tr("Help on &techniques"), QKeySequence(tr("Shift+F1")), [this] {
        const auto& techniques = m_jobs->engine()->techniques();
        showHelp(techniques.empty() ? QString() : QString::fromStdString(techniques.front().id));
    });
    add(help, "recipe", tr("&Examples…"), {}, [this] { showExamples(); });
    add(help, nullptr, tr("&Tour of the window"), {}, [this] { startTour(); });
    add(help, nullptr, tr("&About Fettle"), {}, [this] { showAbout(); });
}

void MainWindow::buildRunMenu() {
    QMenu* run = menuBar()->addMenu(tr("&Run"));
    const auto add = [this, run](const char* icon, const QString& text, const char* keys,
                                 auto slot) {
        QAction* action = run->addAction(icon ? themedIcon(QLatin1String(icon)) : QIcon(), text);
        action->setShortcut(QKeySequence(QLatin1String(keys)));
        connect(action, &QAction::triggered, this, slot);
    };
    add("play", tr("&Run recipe"), "Ctrl+R", [this] { m_recipe->run(); });
    add("sweep", tr("&Sweep parameters…"), "Ctrl+Shift+R", [this] { m_recipe->sweep(); });
    add(nullptr, tr("Measure &baseline"), "Ctrl+B", [this] { m_recipe->runBaseline(); });
    run->addSeparator();
    add("pause", tr("&Pause or resume the chosen run"), "Ctrl+P",
        [this] { m_runs->togglePause(); });
    add("save", tr("Stop &training early and keep it"), "Ctrl+Shift+K",
        [this] { m_runs->keepCurrent(); });
    add("stop", tr("&Cancel the chosen run"), "Ctrl+.", [this] { m_runs->cancelCurrent(); });
    add(nullptr, tr("Cancel &all runs"), "Ctrl+Shift+.", [this] { m_runs->cancelAll(); });
    run->addSeparator();
    run->addAction(makeBfloat16Action());
    run->setToolTipsVisible(true);
}

QAction* MainWindow::makeBfloat16Action() {
    auto* action = new QAction(tr("&Multiply in bfloat16"), this);
    action->setObjectName(QStringLiteral("bfloat16"));
    action->setCheckable(true);
    action->setEnabled(m_jobs->engine()->hasBfloat16());
    action->setToolTip(
        action->isEnabled()
            ? tr("Rounds activations where weights are in bfloat16, as other runtimes do: half the "
                 "arithmetic for prompts and drafts. Off: float32, the same on every processor.")
            : tr("This processor has no products of bfloat16 (AVX512_BF16)."));
    connect(action, &QAction::toggled, this, [this](bool on) {
        m_jobs->engine()->useBfloat16(on);
        showDevice();
    });
    connect(action, &QAction::triggered, this,
            [](bool on) { QSettings().setValue(QLatin1String(kBfloat16Setting), on); });
    m_bfloat16 = action;
    return action;
}

void MainWindow::buildViewMenu() {
    QMenu* view = menuBar()->addMenu(tr("&View"));
    for (int tab = 0; tab < m_tabs->count(); ++tab) {
        QAction* action = view->addAction(tr("&%1 %2").arg(tab + 1).arg(m_tabs->tabText(tab)));
        action->setShortcut(QKeySequence(QStringLiteral("Ctrl+%1").arg(tab + 1)));
        action->setProperty(kPageProperty, tab);
        connect(action, &QAction::triggered, this,
                [this, tab] { showPage(static_cast<Page>(tab)); });
    }
    view->addSeparator();
    m_paletteAction = view->addAction(tr("&Find a command…"));
    m_paletteAction->setShortcut(QKeySequence(tr("Ctrl+K")));
    connect(m_paletteAction, &QAction::triggered, this, &MainWindow::openPalette);
    QAction* library = m_libraryDock->toggleViewAction();
    library->setShortcut(QKeySequence(tr("Ctrl+L")));
    QAction* runs = m_runsDock->toggleViewAction();
    runs->setShortcut(QKeySequence(tr("Ctrl+J")));
    view->addActions({library, runs});
    view->addSeparator();
    QMenu* theme = view->addMenu(tr("&Theme"));
    auto* group = new QActionGroup(this);
    const std::pair<Theme::Mode, QString> modes[] = {{Theme::Mode::System, tr("As the &system")},
                                                     {Theme::Mode::Light, tr("&Light")},
                                                     {Theme::Mode::Dark, tr("&Dark")}};
    for (const auto& [mode, text] : modes) {
        QAction* action = theme->addAction(text);
        action->setCheckable(true);
        action->setChecked(Theme::instance()->mode() == mode);
        group->addAction(action);
        connect(action, &QAction::triggered, this, [chosen = mode] {
            Theme::instance()->setMode(chosen);
            QSettings().setValue(QStringLiteral("theme"), Theme::toString(chosen));
        });
    }
    QAction* reset = view->addAction(tr("&Reset layout"));
    connect(reset, &QAction::triggered, this, &MainWindow::resetLayout);
}

void MainWindow::buildStatusBar() {
    m_device = new QLabel(this);
    m_device->setAccessibleName(tr("Device"));
    m_activity = new QLabel(tr("Idle"), this);
    m_activity->setAccessibleName(tr("Activity"));
    m_activityBar = new QProgressBar(this);
    m_activityBar->setRange(0, 1000);
    m_activityBar->setFixedWidth(120);
    m_activityBar->setTextVisible(false);
    m_activityBar->setAccessibleName(tr("Progress of the running job"));
    m_activityBar->hide();
    statusBar()->addWidget(m_device);
    statusBar()->addPermanentWidget(m_activity);
    statusBar()->addPermanentWidget(m_activityBar);
    statusBar()->setSizeGripEnabled(false);
}

void MainWindow::connectPages() {
    const auto error = [this](const QString& title, const QString& text) {
        m_messages->show(MessageBar::Kind::Error, title, text);
    };
    connect(m_library, &LibraryPage::errorOccurred, this, error);
    connect(m_library, &LibraryPage::inspectRequested, this, &MainWindow::inspect);
    connect(m_library, &LibraryPage::modelChosen, this, [this](const QString& path) {
        m_recipe->useModel(path);
        showPage(Page::Recipe);
    });
    connect(m_recipe, &RecipePage::errorOccurred, this, error);
    connect(m_recipe, &RecipePage::fileChosen, this,
            [this](const QString& path) { m_library->addPaths({path}); });
    connect(m_recipe, &RecipePage::runsQueued, this, [this] { m_runsDock->show(); });
    connect(m_runs, &RunsPage::experimentRequested, this, &MainWindow::showExperiment);
    connect(m_jobs, &JobController::failed, this, error);
    connect(m_jobs, &JobController::failed, this, &MainWindow::notify);
    connect(m_jobs, &JobController::runFinished, this, &MainWindow::reportRun);
    connect(m_jobs, &JobController::jobPosted, m_queue, &RunQueueModel::track);
    connect(m_jobs->engine(), &EngineBridge::jobEvent, m_queue, &RunQueueModel::handle);
    connect(m_queue, &RunQueueModel::activeChanged, this, &MainWindow::updateActivity);
    connect(m_queue, &QAbstractItemModel::dataChanged, this, &MainWindow::updateActivity);
    connect(m_jobs->experiments(), &ExperimentService::experimentsReset, this,
            &MainWindow::refreshInterrupted);
    connect(m_jobs->experiments(), &ExperimentService::libraryChanged, m_recipe,
            &RecipePage::reloadLibrary);
}

void MainWindow::loadData() {
    if (m_loaded) {
        return;
    }
    m_loaded = true;
    m_library->reload();
    m_recipe->reloadLibrary();
    refreshInterrupted();
    m_bfloat16->setChecked(m_bfloat16->isEnabled() &&
                           QSettings().value(QLatin1String(kBfloat16Setting)).toBool());
    showDevice();
    const QString notice = m_jobs->experiments()->openingNotice();
    if (!notice.isEmpty()) {
        m_messages->show(
            m_jobs->experiments()->readOnly() ? MessageBar::Kind::Warning : MessageBar::Kind::Error,
            tr("Database"), notice);
    }
}

void MainWindow::refreshInterrupted() {
    m_queue->setInterrupted(m_jobs->experiments()->experiments());
}

void MainWindow::showDevice() {
    QStringList texts;
    QStringList unusable;
    for (const DeviceInfo& device : m_jobs->engine()->devices()) {
        const QString memory =
            QString::fromStdString(formatBytes(static_cast<double>(device.memoryBytes)));
        if (device.usable) {
            texts << QStringLiteral("%1 · %2 · %3").arg(device.name, device.isa, memory);
            if (device.id == QLatin1String("cpu") && m_bfloat16->isChecked()) {
                texts.back() += tr(" · bfloat16");
            }
        } else {
            unusable << QStringLiteral("%1: %2").arg(
                device.name.isEmpty() ? device.id : device.name, device.reason);
        }
    }
    m_device->setText(texts.join(QStringLiteral("   ")));
    m_device->setToolTip((texts + unusable).join(QLatin1Char('\n')));
}

void MainWindow::updateActivity() {
    const int active = m_queue->activeCount();
    int running = -1;
    for (int row = 0; row < m_queue->rowCount() && running < 0; ++row) {
        const RunEntry::State state = m_queue->entry(row).state;
        running = state == RunEntry::State::Running || state == RunEntry::State::Paused ? row : -1;
    }
    if (active == 0) {
        m_activity->setText(tr("Idle"));
        m_activityBar->hide();
        return;
    }
    const QString waiting =
        active > 1 ? tr(" · %1 waiting").arg(active - (running >= 0 ? 1 : 0)) : QString();
    m_activity->setText((running >= 0 ? m_queue->entry(running).title : tr("Starting")) + waiting);
    m_activityBar->setVisible(running >= 0);
    if (running >= 0) {
        m_activityBar->setValue(
            static_cast<int>(std::max(0.0, m_queue->entry(running).fraction) * 1000));
    }
}

void MainWindow::reportRun(qint64 experiment, const RunResult& result) {
    if (m_queue->activeCount() > 1) {
        return;  // more runs follow: only the last one speaks up
    }
    const auto record = m_jobs->experiments()->experiment(experiment);
    QStringList facts;
    for (const char* id : {"perplexity", "bits_per_weight", "decode_tokens_per_s"}) {
        const QString text = metricText(result, id);
        if (!text.isEmpty()) {
            facts << text;
        }
    }
    const QString title =
        tr("%1 finished").arg(record ? QString::fromStdString(record->name) : tr("Run"));
    m_messages->show(MessageBar::Kind::Success, title, facts.join(QStringLiteral(", ")), tr("Show"),
                     [this, experiment] { showExperiment(experiment); });
    notify(title, facts.join(QStringLiteral(", ")));
}

void MainWindow::chooseHistory() {
    const bool explore = m_explore && m_tabs->currentWidget() == m_explore;
    m_history->setActiveStack(explore ? m_explore->undoStack() : m_recipe->model()->undoStack());
}

void MainWindow::makePage(int tab) {
    if (tab < 0 || !dynamic_cast<PendingPage*>(m_tabs->widget(tab))) {
        return;
    }
    QWidget* page = nullptr;
    const auto error = [this](const QString& title, const QString& text) {
        m_messages->show(MessageBar::Kind::Error, title, text);
    };
    switch (static_cast<Page>(tab)) {
        case Page::Inspect:
            makeModelView();
            page = m_modelView;
            break;
        case Page::Explore:
            page = m_explore = makeExplorePage();
            m_history->addStack(m_explore->undoStack());
            break;
        case Page::Compare:
            page = m_compare = new ComparePage(m_jobs, this);
            break;
        case Page::Export:
            m_export = new ExportPage(m_jobs, this);
            connect(m_export, &ExportPage::errorOccurred, this, error);
            page = m_export;
            break;
        case Page::Advisor:
            page = m_advisor = makeAdvisorPage();
            break;
        case Page::Precision:
            page = m_allocation = makeAllocationPage();
            break;
        case Page::Playground:
            m_playground = new PlaygroundPage(m_jobs, this);
            connect(m_playground, &PlaygroundPage::errorOccurred, this, error);
            page = m_playground;
            break;
        case Page::Drafts:
            page = m_draftLab = makeDraftLabPage();
            break;
        case Page::Recipe:
            return;
    }
    const QSignalBlocker block(m_tabs);
    const QIcon icon = m_tabs->tabIcon(tab);
    const QString text = m_tabs->tabText(tab);
    const int current = m_tabs->currentIndex();
    QWidget* pending = m_tabs->widget(tab);
    m_tabs->removeTab(tab);
    m_tabs->insertTab(tab, page, icon, text);
    m_tabs->setCurrentIndex(current);
    pending->deleteLater();
    if (page == m_modelView && tab == current) {
        // The tab was opened by hand: begin with the model of the recipe.
        const QString path = m_recipe->setup()->modelPath();
        if (!path.isEmpty()) {
            m_modelView->inspect(path);
        }
    }
}

ExportPage* MainWindow::exportPage() {
    makePage(static_cast<int>(Page::Export));
    return m_export;
}

AdvisorPage* MainWindow::advisor() {
    makePage(static_cast<int>(Page::Advisor));
    return m_advisor;
}

AllocationPage* MainWindow::allocation() {
    makePage(static_cast<int>(Page::Precision));
    return m_allocation;
}

PlaygroundPage* MainWindow::playground() {
    makePage(static_cast<int>(Page::Playground));
    return m_playground;
}

DraftLabPage* MainWindow::draftLab() {
    makePage(static_cast<int>(Page::Drafts));
    return m_draftLab;
}

ModelView* MainWindow::modelView() {
    makePage(static_cast<int>(Page::Inspect));
    return m_modelView;
}

ComparePage* MainWindow::comparePage() {
    makePage(static_cast<int>(Page::Compare));
    return m_compare;
}

void MainWindow::compare(const std::vector<qint64>& ids) {
    showPage(Page::Compare);
    m_compare->compare(ids);
}

void MainWindow::showPage(Page page) {
    makePage(static_cast<int>(page));
    m_tabs->setCurrentIndex(static_cast<int>(page));
    chooseHistory();
}

void MainWindow::inspect(const QString& path) {
    showPage(Page::Inspect);
    if (m_modelView->path() != path) {
        m_modelView->inspect(path);
    }
}

void MainWindow::showExperiment(qint64 id) {
    showPage(Page::Explore);
    m_explore->select({id});
}

void MainWindow::saveLayout() const {
    QSettings settings;
    settings.setValue(QStringLiteral("window/geometry"), saveGeometry());
    settings.setValue(QStringLiteral("window/state"), saveState(kLayoutVersion));
    settings.setValue(QStringLiteral("window/tab"), m_tabs->currentIndex());
}

void MainWindow::restoreLayout() {
    const QSettings settings;
    restoreGeometry(settings.value(QStringLiteral("window/geometry")).toByteArray());
    restoreState(settings.value(QStringLiteral("window/state")).toByteArray(), kLayoutVersion);
}

void MainWindow::resetLayout() {
    QSettings settings;
    settings.remove(QStringLiteral("window"));
    for (QDockWidget* dock : {m_libraryDock, m_runsDock}) {
        dock->setFloating(false);
        dock->show();
    }
    addDockWidget(Qt::LeftDockWidgetArea, m_libraryDock);
    addDockWidget(Qt::BottomDockWidgetArea, m_runsDock);
    resizeDocks({m_libraryDock}, {250}, Qt::Horizontal);
    resizeDocks({m_runsDock}, {200}, Qt::Vertical);
}

void MainWindow::closeEvent(QCloseEvent* event) {
    saveLayout();
    event->accept();
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event) {
    if (!LibraryPage::pathsOf(event->mimeData()).isEmpty()) {
        event->acceptProposedAction();
    }
}

void MainWindow::dropEvent(QDropEvent* event) {
    event->acceptProposedAction();
    m_libraryDock->show();
    m_library->addPaths(LibraryPage::pathsOf(event->mimeData()));
}

void MainWindow::showAbout() {
    auto* box =
        new QMessageBox(QMessageBox::NoIcon, tr("About Fettle"), {}, QMessageBox::Close, this);
    box->setAttribute(Qt::WA_DeleteOnClose);
    box->setIconPixmap(windowIcon().pixmap(64, 64));
    box->setText(tr("<h3>Fettle %1</h3><p>Makes language models smaller and faster, and shows what "
                    "that costs.</p>")
                     .arg(QApplication::applicationVersion().toHtmlEscaped()));
    box->open();
}

}  // namespace fettle::ui
