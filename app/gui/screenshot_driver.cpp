#include "app/gui/screenshot_driver.h"

#include <QApplication>
#include <QCheckBox>
#include <QComboBox>
#include <QDir>
#include <QDockWidget>
#include <QFile>
#include <QLineEdit>
#include <QPixmap>
#include <QPlainTextEdit>
#include <QTabWidget>
#include <QTableView>
#include <QTextStream>
#include <QTimer>
#include <QTreeView>
#include <algorithm>
#include <memory>
#include <utility>

#include "app/gui/application.h"
#include "app/gui/database_experiment_service.h"
#include "ui/bridge/advisor_controller.h"
#include "ui/bridge/job_controller.h"
#include "ui/charts/model_graph.h"
#include "ui/models/recipe_model.h"
#include "ui/models/run_queue_model.h"
#include "ui/pages/advisor_page.h"
#include "ui/pages/compare_own_text.h"
#include "ui/pages/compare_page.h"
#include "ui/pages/compare_tokens.h"
#include "ui/pages/draft_lab_page.h"
#include "ui/pages/export_page.h"
#include "ui/pages/library_page.h"
#include "ui/pages/main_window.h"
#include "ui/pages/model_layers.h"
#include "ui/pages/model_view.h"
#include "ui/pages/playground_page.h"
#include "ui/pages/recipe_page.h"
#include "ui/pages/runs_page.h"
#include "ui/widgets/histogram_view.h"
#include "ui/widgets/run_setup_panel.h"
#include "ui/widgets/targets_form.h"

namespace fettle::app {

using Page = ui::MainWindow::Page;

constexpr int kSettleMs = 450;  ///< layouts, debounced estimates and chart animations come to rest
constexpr int kPollMs = 100;
constexpr int kGiveUpMs = 600'000;
constexpr std::size_t kPicturedRuns = 4;
constexpr double kPicturedBits = 4.5;
constexpr auto kOwnText =
    "Once upon a time there was a little girl named Lily. She had a red ball and she liked to play "
    "with it in the garden. One day the ball rolled under the big old tree, and a friendly dog "
    "came "
    "to help her. They looked and looked until they found it, and then they played together.";

namespace {

/// Numbers for pictures: enough to lie apart, not precise.
MeasureOptions quickMeasure() {
    MeasureOptions measure;
    measure.maxTokens = 2048;
    measure.promptTokens = 64;
    measure.newTokens = 32;
    measure.repeats = 2;
    return measure;
}

}  // namespace

ScreenshotDriver::ScreenshotDriver(GuiApplication* application, QString folder, QObject* parent)
    : QObject(parent), m_application(application), m_folder(std::move(folder)) {
    QDir().mkpath(m_folder);
    connect(application, &GuiApplication::ready, this, [this] {
        plan();
        QTimer::singleShot(kSettleMs, this, &ScreenshotDriver::next);
    });
}

void ScreenshotDriver::add(const QString& what, std::function<void()> act,
                           std::function<bool()> done) {
    m_steps.push_back({what, std::move(act), std::move(done)});
}

void ScreenshotDriver::plan() {
    ui::MainWindow* window = m_application->window();
    ui::RecipePage* recipe = window->recipe();
    const auto idle = [window] { return window->queue()->activeCount() == 0; };

    add(QStringLiteral("recipe-empty"), [window] { window->showPage(Page::Recipe); });
    add(QStringLiteral("explore-empty"), [window] { window->showPage(Page::Explore); });
    add(QStringLiteral("precision-empty"), [window] { window->showPage(Page::Precision); });
    add(QStringLiteral("export-empty"), [window] { window->showPage(Page::Export); });
    add(
        QStringLiteral("inspect"), [window] { window->inspect(QStringLiteral("demo")); },
        [window] { return window->modelView()->histogram()->hasHistogram(); });
    add(QStringLiteral("recipe"), [window, recipe] {
        window->showPage(Page::Recipe);
        const auto& presets = recipe->presets();
        if (!presets.empty()) {
            recipe->model()->setRecipe(
                presets.size() > 3 ? presets[2].first : presets.front().first,
                QStringLiteral("preset"));
        }
    });
    add(QStringLiteral("running"), [this, recipe] {
        recipe->setup()->setMeasure(quickMeasure());
        recipe->setup()->setTasksPath(fewTasks());
        std::vector<Recipe> recipes;
        for (const auto& [preset, help] : recipe->presets()) {
            // Pictures do not wait for training.
            const bool quick =
                std::all_of(preset.steps.begin(), preset.steps.end(),
                            [](const RecipeStep& step) { return step.technique == "ptq"; });
            if (quick && recipes.size() < kPicturedRuns) {
                recipes.push_back(preset);
            }
        }
        recipe->queueRecipes(recipes);
    });
    add(
        QStringLiteral("finished"), [] {}, idle);
    add(QStringLiteral("runs-log"), [window] {
        for (QTabWidget* tabs : window->runs()->findChildren<QTabWidget*>()) {
            tabs->setCurrentIndex(1);
        }
    });
    add(QStringLiteral("explore"), [this, window] {
        window->messages()->clear();
        window->runsDock()->hide();
        const ui::ExperimentList records = m_application->experiments()->experiments();
        window->showExperiment(records.empty() ? 0 : records.back().id);
    });
    planCompare();
    add(
        QStringLiteral("export"),
        [this, window, idle] {
            window->showPage(Page::Export);
            window->exportPage()->setDestination(
                QDir(m_folder).filePath(QStringLiteral("exported-model")));
            window->exportPage()->run();
        },
        idle);
    planPrecision();
    planAdvisor();
    planPlayground();
    add(QStringLiteral("message"), [window] {
        window->library()->addPaths({QStringLiteral("/nowhere/model.gguf")});
        window->showPage(Page::Recipe);
    });
}

// Bits where they are needed, from scores that the demo's own run leaves.
void ScreenshotDriver::planPrecision() {
    ui::MainWindow* window = m_application->window();
    add(
        QStringLiteral("precision-running"),
        [window] {
            Recipe mixed;
            mixed.name = "mixed precision";
            mixed.steps = {{"ptq",
                            {{"target_bits", kPicturedBits},
                             {"sensitivity", "fisher"},
                             {"calibration_tokens", 4096}}}};
            window->recipe()->queueRecipes({mixed});
        },
        [window] { return window->queue()->activeCount() == 0; });
    add(QStringLiteral("precision"), [this, window] {
        window->messages()->clear();
        window->runsDock()->hide();
        const ui::ExperimentList records = m_application->experiments()->experiments();
        window->allocateBits(records.empty() ? 0 : records.back().id);
    });
}

void ScreenshotDriver::planAdvisor() {
    ui::MainWindow* window = m_application->window();
    add(QStringLiteral("advisor-empty"), [window] { window->showPage(Page::Advisor); });
    add(
        QStringLiteral("advisor"),
        [this, window] {
            ui::AdvisorPage* page = window->advisor();
            page->setup()->setMeasure(quickMeasure());
            page->setup()->setTasksPath(fewTasks());
            const auto set = [page](const char* target, const char* text) {
                page->form()->field(QLatin1String(target))->setText(QLatin1String(text));
            };
            set("max-perplexity-increase", "1%");
            set("min-speedup", "");
            set("max-memory", "3 MiB");
            page->start();
        },
        [window] { return !window->advisor()->controller()->isRunning(); });
}

void ScreenshotDriver::planPlayground() {
    ui::MainWindow* window = m_application->window();
    add(QStringLiteral("playground-empty"), [window] { window->showPage(Page::Playground); });
    add(
        QStringLiteral("playground"),
        [window] {
            ui::PlaygroundPage* page = window->playground();
            page->addColumn(QStringLiteral("demo"));
            page->columns().back()->setDraft(QStringLiteral("ngram"));
            page->plainToo()->setChecked(true);
            page->run();
        },
        [window] { return !window->playground()->isRunning(); });
    add(QStringLiteral("drafts-empty"), [window] { window->showPage(Page::Drafts); });
    add(
        QStringLiteral("drafts"),
        [window] {
            ui::DraftLabPage* page = window->draftLab();
            MeasureOptions measure;
            measure.promptTokens = 48;
            measure.newTokens = 32;
            measure.repeats = 1;
            page->setup()->setMeasure(measure);
            page->moreDrafts()->setText(QStringLiteral("demo-draft, /nowhere/model"));
            page->tryDrafts();
        },
        [window] { return !window->draftLab()->isRunning(); });
}

// Every part of the Compare page, with the newest experiments; then a model by layer.
void ScreenshotDriver::planCompare() {
    ui::MainWindow* window = m_application->window();
    add(QStringLiteral("compare"), [this, window] {
        std::vector<qint64> ids;
        const ui::ExperimentList records = m_application->experiments()->experiments();
        for (auto record = records.rbegin(); record != records.rend(); ++record) {
            const bool finished = record->status == ExperimentStatus::Finished;
            if (finished && (record->isBaseline() || ids.size() < 2)) {
                ids.push_back(record->id);
            }
        }
        window->compare(ids);
    });
    const int parts = window->comparePage()->tabs()->count();
    for (int part = 1; part < parts; ++part) {
        add(QStringLiteral("compare-%1")
                .arg(window->comparePage()->tabs()->tabText(part).toLower().remove(
                    QLatin1Char('&'))),
            [window, part] { window->comparePage()->tabs()->setCurrentIndex(part); });
    }
    add(
        QStringLiteral("compare-own-text"),
        [window] {
            ui::ComparePage* page = window->comparePage();
            page->tabs()->setCurrentWidget(page->tokens());
            page->tokens()->experimentChoice()->setCurrentIndex(1);
            page->tokens()->sourceChoice()->setCurrentIndex(1);
            page->tokens()->ownText()->text()->setPlainText(QString::fromUtf8(kOwnText));
            page->tokens()->ownText()->run();
        },
        [window] { return !window->comparePage()->tokens()->ownText()->isRunning(); });
    add(QStringLiteral("inspect-graph"), [window] {
        window->inspect(QStringLiteral("demo"));
        ui::ModelLayers* layers = window->modelView()->layers();
        window->modelView()->views()->setCurrentWidget(layers);
        // Coloured by what the last run lost where.
        layers->sourceChoice()->setCurrentIndex(std::min(1, layers->sourceChoice()->count() - 1));
        layers->graph()->setOpen(1, true);
    });
    add(QStringLiteral("inspect-layers"),
        [window] { window->modelView()->layers()->views()->setCurrentIndex(1); });
    add(QStringLiteral("inspect-memory"),
        [window] { window->modelView()->layers()->views()->setCurrentIndex(2); });
}

// The first tasks of the demo: pictures need numbers, not precise ones.
QString ScreenshotDriver::fewTasks() const {
    for (const ui::LibraryItem& item : m_application->experiments()->library()) {
        QFile all(item.path);
        QFile few(QDir(m_folder).filePath(QStringLiteral("few-tasks.jsonl")));
        if (item.kind != ui::LibraryItem::Kind::Tasks || !all.open(QIODevice::ReadOnly) ||
            !few.open(QIODevice::WriteOnly)) {
            continue;
        }
        for (int line = 0; line < 8 && !all.atEnd(); ++line) {
            few.write(all.readLine());
        }
        return few.fileName();
    }
    return {};
}

void ScreenshotDriver::save(const QString& name) {
    const QString file = QDir(m_folder).filePath(
        QStringLiteral("%1-%2.png").arg(++m_number, 2, 10, QLatin1Char('0')).arg(name));
    m_application->window()->grab().save(file);
    QTextStream(stdout) << file << Qt::endl;
}

void ScreenshotDriver::next() {
    if (m_steps.empty()) {
        QDir(QDir(m_folder).filePath(QStringLiteral("exported-model"))).removeRecursively();
        QApplication::exit(0);
        return;
    }
    const auto step = std::make_shared<Step>(std::move(m_steps.front()));
    m_steps.pop_front();
    step->act();
    auto* poll = new QTimer(this);
    poll->setInterval(kPollMs);
    const auto waited = std::make_shared<int>(0);
    connect(poll, &QTimer::timeout, this, [this, step, poll, waited] {
        *waited += kPollMs;
        const bool settled = *waited >= kSettleMs && (!step->done || step->done());
        if (!settled && *waited < kGiveUpMs) {
            return;
        }
        poll->deleteLater();
        poll->stop();
        QTimer::singleShot(kSettleMs, this, [this, step] {
            save(step->what);
            next();
        });
    });
    poll->start();
}

}  // namespace fettle::app
