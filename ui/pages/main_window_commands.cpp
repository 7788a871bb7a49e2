// MainWindow: the command palette and what it offers, the help, the tour.
#include <QAction>
#include <QApplication>
#include <QDockWidget>
#include <QFileInfo>
#include <QSettings>
#include <QSystemTrayIcon>
#include <QTabBar>
#include <QTabWidget>

#include "ui/bridge/engine_text.h"
#include "ui/bridge/job_controller.h"
#include "ui/models/experiment_comparison.h"
#include "ui/models/recipe_model.h"
#include "ui/pages/action_list.h"
#include "ui/pages/examples_dialog.h"
#include "ui/pages/help_dialog.h"
#include "ui/pages/library_page.h"
#include "ui/pages/main_window.h"
#include "ui/pages/recipe_page.h"
#include "ui/pages/runs_page.h"
#include "ui/widgets/command_palette.h"
#include "ui/widgets/recent_files.h"
#include "ui/widgets/tour.h"

namespace fettle::ui {
namespace {

using Kind = PaletteEntry::Kind;

constexpr auto kTourSeen = "tour/seen";

QString firstSentence(const std::string& text) {
    const QString all = QString::fromStdString(text);
    const auto end = all.indexOf(QStringLiteral(". "));
    return end < 0 ? all : all.left(end + 1);
}

QString aboutExperiment(const ExperimentRecord& record) {
    QStringList about{QString::fromStdString(record.summary()),
                      QString::fromStdString(record.modelName), statusTitle(record.status)};
    for (const std::string& tag : record.annotations.tags) {
        about << QString::fromStdString(tag);
    }
    about.removeAll(QString());
    return about.join(QStringLiteral(" · "));
}

}  // namespace

void MainWindow::addActionEntries(std::vector<PaletteEntry>& entries) {
    for (const ListedAction& listed : listActions(*this, *m_tabs)) {
        QAction* action = listed.action;
        if (action == m_paletteAction) {
            continue;  // it is open
        }
        PaletteEntry entry;
        const QVariant page = action->property(kPageProperty);
        entry.kind = page.isValid() ? Kind::Page : Kind::Action;
        entry.title = page.isValid() ? m_tabs->tabText(page.toInt()) : actionTitle(*action);
        entry.detail = page.isValid() ? QString() : listed.place;
        entry.keys = actionKeys(*action);
        entry.enabled = action->isEnabled();
        entry.run = [this, action = QPointer<QAction>(action), tab = listed.tab,
                     owner = QPointer<QWidget>(listed.owner)] {
            if (tab >= 0) {
                showPage(static_cast<Page>(tab));
            }
            if (owner) {
                owner->setFocus(Qt::OtherFocusReason);
            }
            if (action) {
                action->trigger();
            }
        };
        entries.push_back(std::move(entry));
    }
}

void MainWindow::addTechniqueEntries(std::vector<PaletteEntry>& entries) {
    for (const TechniqueDescriptor& technique : m_jobs->engine()->techniques()) {
        const QString title = engineText(technique.title);
        entries.push_back({Kind::Technique,
                           tr("Add to the recipe: %1").arg(title),
                           firstSentence(technique.help),
                           {},
                           true,
                           [this, id = technique.id] {
                               showPage(Page::Recipe);
                               m_recipe->model()->addStep(id);
                           }});
        entries.push_back({Kind::Help,
                           tr("About %1").arg(title),
                           QString::fromStdString(technique.id),
                           {},
                           true,
                           [this, id = QString::fromStdString(technique.id)] { showHelp(id); }});
    }
}

std::vector<PaletteEntry> MainWindow::paletteEntries() {
    std::vector<PaletteEntry> entries;
    addActionEntries(entries);
    addTechniqueEntries(entries);
    for (const LibraryItem& item : m_jobs->experiments()->library()) {
        if (item.kind == LibraryItem::Kind::Model) {
            entries.push_back(
                {Kind::Model, item.name, item.detail, {}, !item.missing, [this, path = item.path] {
                     m_recipe->useModel(path);
                     showPage(Page::Recipe);
                 }});
        }
    }
    for (const QString& path : recentFiles()) {
        const QFileInfo info(path);
        entries.push_back(
            {Kind::File, info.fileName(), info.absolutePath(), {}, true, [this, path] {
                 openFile(path);
             }});
    }
    const ExperimentList records = m_jobs->experiments()->experiments();
    for (auto record = records.rbegin(); record != records.rend(); ++record) {
        entries.push_back({Kind::Experiment,
                           QString::fromStdString(record->name),
                           aboutExperiment(*record),
                           {},
                           true,
                           [this, id = record->id] { showExperiment(id); }});
    }
    return entries;
}

void MainWindow::openPalette() {
    if (!m_palette) {
        m_palette = new CommandPalette(this);
    }
    m_palette->open(paletteEntries());
}

void MainWindow::openFile(const QString& path) {
    if (path.endsWith(QStringLiteral(".json"), Qt::CaseInsensitive)) {
        showPage(Page::Recipe);
        m_recipe->loadRecipeFile(path);
    } else {
        m_libraryDock->show();
        m_library->addPaths({path});
    }
}

void MainWindow::showHelp(const QString& technique) {
    // Pages say what they do once they are there; the sheet is to be whole.
    for (int tab = 0; tab < m_tabs->count(); ++tab) {
        makePage(tab);
    }
    std::vector<const QWidget*> parts;
    for (const QWidget* widget : findChildren<QWidget*>()) {
        if (!widget->accessibleDescription().isEmpty() && !widget->accessibleName().isEmpty() &&
            widget->focusPolicy() != Qt::NoFocus) {
            parts.push_back(widget);
        }
    }
    delete m_help;  // actions and colours may have changed since
    m_help = new HelpDialog(shortcutsHtml(listActions(*this, *m_tabs), parts),
                            m_jobs->engine()->techniques(), this);
    m_help->showAt(technique);
}

void MainWindow::showExamples() {
    delete m_examples;
    m_examples = new ExamplesDialog(m_recipe->presets(), m_jobs->engine()->techniques(), this);
    m_examples->setAttribute(Qt::WA_DeleteOnClose);
    connect(m_examples, &ExamplesDialog::chosen, this, [this](const Recipe& recipe, bool run) {
        showPage(Page::Recipe);
        m_recipe->model()->setRecipe(recipe, tr("use example"));
        if (run) {
            m_recipe->run();
        }
    });
    m_examples->open();
}

// Somebody who waits for a run looks elsewhere meanwhile.
void MainWindow::notify(const QString& title, const QString& text) {
    if (isActiveWindow()) {
        return;
    }
    QApplication::alert(this);
    if (!QSystemTrayIcon::isSystemTrayAvailable() || !QSystemTrayIcon::supportsMessages()) {
        return;
    }
    if (!m_tray) {
        m_tray = new QSystemTrayIcon(windowIcon(), this);
        m_tray->setToolTip(windowTitle());
        connect(m_tray, &QSystemTrayIcon::messageClicked, this, [this] {
            activateWindow();
            raise();
        });
    }
    m_tray->show();
    m_tray->showMessage(title, text);
}

void MainWindow::startTour() {
    if (m_tour) {
        return;
    }
    QSettings().setValue(QLatin1String(kTourSeen), true);
    m_libraryDock->show();
    m_runsDock->show();
    showPage(Page::Recipe);
    const auto placeOf = [this](QWidget* part) {
        return [this, part] { return QRect(part->mapTo(this, QPoint(0, 0)), part->size()); };
    };
    const auto tabPlace = [this](Page page) {
        return [this, page] {
            const QRect tab = m_tabs->tabBar()->tabRect(static_cast<int>(page));
            return QRect(m_tabs->tabBar()->mapTo(this, tab.topLeft()), tab.size());
        };
    };
    m_tour = new Tour(
        this,
        {{tr("Models and texts"),
          tr("A small demo model is here already. Drop a Hugging Face folder or a .gguf file to "
             "add "
             "your own."),
          placeOf(m_libraryDock)},
         {tr("What is to be done to a model"),
          tr("Add steps, set them up, and see what they will cost in memory and time before "
             "anything runs. Ctrl+R runs the recipe."),
          placeOf(m_tabs)},
         {tr("Work goes on behind the window"),
          tr("Runs wait here in a queue. Each can be paused, cancelled and resumed, also after a "
             "crash."),
          placeOf(m_runsDock)},
         {tr("What it was worth"),
          tr("Every run becomes a point: speed, size and accuracy against the model as it was, "
             "with "
             "the ones that nothing beats marked."),
          tabPlace(Page::Explore)},
         {tr("Everything by a few letters"),
          tr("Ctrl+K finds actions, pages, techniques, models and experiments. F1 shows all keys."),
          {}}});
}

HelpDialog* MainWindow::help() const {
    return m_help;
}

ExamplesDialog* MainWindow::examples() const {
    return m_examples;
}

Tour* MainWindow::tour() const {
    return m_tour;
}

void MainWindow::startTourOnce() {
    if (!QSettings().value(QLatin1String(kTourSeen), false).toBool()) {
        startTour();
    }
}

}  // namespace fettle::ui
