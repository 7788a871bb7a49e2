#include "ui/pages/recipe_page.h"

#include <QDir>
#include <QFile>
#include <QFileDialog>
#include <QFileInfo>
#include <QFrame>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineEdit>
#include <QMenu>
#include <QPushButton>
#include <QSaveFile>
#include <QScrollArea>
#include <QScrollBar>
#include <QSignalBlocker>
#include <QSpinBox>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>
#include <exception>

#include "ui/bridge/engine_text.h"
#include "ui/bridge/job_controller.h"
#include "ui/models/recipe_model.h"
#include "ui/widgets/empty_state.h"
#include "ui/widgets/estimate_panel.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/recent_files.h"
#include "ui/widgets/recipe_editor.h"
#include "ui/widgets/run_setup_panel.h"
#include "ui/widgets/sweep_dialog.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

constexpr int kSideWidth = 336;

/// Offers a height that is enough for its content's width: a form is scrolled up and down, never
/// sideways.
QScrollArea* scrollerFor(QWidget* content, QWidget* parent) {
    auto* scroll = new QScrollArea(parent);
    setStyleClass(content, "page");
    scroll->setWidget(content);
    scroll->setWidgetResizable(true);
    scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    scroll->setFrameShape(QFrame::NoFrame);
    scroll->viewport()->setAutoFillBackground(false);
    return scroll;
}

QString runName(const Recipe& recipe) {
    if (!recipe.name.empty()) {
        return QString::fromStdString(recipe.name);
    }
    ExperimentRecord record;
    record.recipe = recipe;
    return QString::fromStdString(record.summary());
}

}  // namespace

RecipePage::RecipePage(JobController* jobs, QWidget* parent)
    : QWidget(parent),
      m_jobs(jobs),
      m_model(new RecipeModel(jobs->engine()->techniques(), this)),
      m_editor(new RecipeEditor(m_model, this)),
      m_setup(new RunSetupPanel(this)),
      m_estimate(new EstimatePanel(this)) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(kGapWide, 12, kGapWide, 12);
    column->setSpacing(12);
    column->addWidget(buildBar());
    auto* row = new QHBoxLayout;
    row->setSpacing(kGapWide);
    row->addWidget(scrollerFor(m_editor, this), 1);
    row->addWidget(buildSide());
    column->addLayout(row, 1);

    m_quiet.setSingleShot(true);
    m_quiet.setInterval(kValidateMs);
    connect(&m_quiet, &QTimer::timeout, this, &RecipePage::askEstimate);
    connect(m_model, &RecipeModel::recipeChanged, this, &RecipePage::changed);
    connect(m_model, &RecipeModel::headerChanged, this, [this] {
        const QSignalBlocker blockName(m_name);
        const QSignalBlocker blockSeed(m_seed);
        if (m_name->text() != QString::fromStdString(m_model->recipe().name)) {
            m_name->setText(QString::fromStdString(m_model->recipe().name));
        }
        m_seed->setValue(static_cast<int>(m_model->recipe().seed));
    });
    connect(m_setup, &RunSetupPanel::changed, this, &RecipePage::changed);
    connect(m_setup, &RunSetupPanel::fileChosen, this, &RecipePage::fileChosen);
    connect(m_editor, &RecipeEditor::sweepRequested, this, &RecipePage::sweep);
    connect(jobs, &JobController::runFinished, this,
            [this](qint64 experiment, const RunResult& result) {
                const auto record = m_jobs->experiments()->experiment(experiment);
                m_estimate->setOutcome(record ? QString::fromStdString(record->name) : tr("run"),
                                       result);
            });
    EmptyState* empty = m_editor->emptyState();
    const std::size_t offered = std::min<std::size_t>(3, presets().size());
    for (std::size_t i = 0; i < offered; ++i) {
        const Recipe recipe = presets()[i].first;
        QPushButton* button = empty->addAction(QString::fromStdString(recipe.name));
        button->setToolTip(presets()[i].second);
        connect(button, &QPushButton::clicked, this,
                [this, recipe] { m_model->setRecipe(recipe, tr("use preset")); });
    }
    changed();
}

QWidget* RecipePage::buildBar() {
    auto* bar = new QWidget(this);
    auto* row = new QHBoxLayout(bar);
    row->setContentsMargins(0, 0, 0, 0);
    row->setSpacing(kGap);
    m_name = new QLineEdit(bar);
    m_name->setPlaceholderText(tr("Name of the recipe (made from its steps when empty)"));
    m_name->setAccessibleName(tr("Name of the recipe"));
    setStyleClass(m_name, "title-edit");
    connect(m_name, &QLineEdit::textEdited, this,
            [this](const QString& name) { m_model->setHeader(name, m_model->recipe().seed); });
    m_seed = new QSpinBox(bar);
    m_seed->setRange(0, 1'000'000'000);
    m_seed->setPrefix(tr("Seed "));
    m_seed->setMaximumWidth(112);
    m_seed->setValue(1);
    m_seed->setAccessibleName(tr("Seed"));
    m_seed->setToolTip(tr("The same recipe, data and seed give the same result."));
    connect(m_seed, &QSpinBox::valueChanged, this, [this](int seed) {
        m_model->setHeader(QString::fromStdString(m_model->recipe().name),
                           static_cast<quint64>(seed));
    });

    const auto menuButton = [&](const char* icon, const QString& text) {
        auto* button = new QPushButton(themedIcon(QLatin1String(icon)), text, bar);
        setStyleClass(button, "menu");
        auto* menu = new QMenu(button);
        menu->setToolTipsVisible(true);
        button->setMenu(menu);
        return button;
    };
    QPushButton* add = menuButton("add", tr("Add s&tep"));
    fillTechniques(add->menu());
    QPushButton* preset = menuButton("recipe", tr("Prese&ts"));
    fillPresets(preset->menu());
    row->addWidget(m_name, 1);
    row->addWidget(m_seed);
    const std::pair<const char*, QAction*> history[] = {
        {"undo", m_model->undoStack()->createUndoAction(this, tr("Undo"))},
        {"redo", m_model->undoStack()->createRedoAction(this, tr("Redo"))},
    };
    for (const auto& [icon, action] : history) {
        auto* button = new QToolButton(bar);
        action->setIcon(themedIcon(QLatin1String(icon)));
        button->setDefaultAction(action);
        button->setToolButtonStyle(Qt::ToolButtonIconOnly);
        row->addWidget(button);
    }
    row->addWidget(preset);
    row->addWidget(add);
    return bar;
}

QWidget* RecipePage::buildSide() {
    auto* side = new QWidget(this);
    side->setFixedWidth(kSideWidth);
    auto* column = new QVBoxLayout(side);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(10);
    auto* card = new QFrame(side);
    setStyleClass(card, "card");
    auto* inner = new QVBoxLayout(card);
    inner->setContentsMargins(1, 6, 1, 6);  // the card keeps its corners while its content scrolls
    inner->addWidget(scrollerFor(m_setup, card));
    column->addWidget(card, 1);
    column->addWidget(m_estimate);
    auto* buttons = new QHBoxLayout;
    buttons->setSpacing(kGap);
    m_sweep = new QPushButton(themedIcon(QStringLiteral("sweep")), tr("S&weep…"), side);
    m_sweep->setToolTip(tr("Run the recipe once for each of several values"));
    m_run =
        new QPushButton(themedIcon(QStringLiteral("play"), IconTint::OnAccent), tr("&Run"), side);
    setStyleClass(m_run, "primary");
    buttons->addWidget(m_sweep);
    buttons->addWidget(m_run, 1);
    column->addLayout(buttons);
    connect(m_sweep, &QPushButton::clicked, this, [this] { sweep(); });
    connect(m_run, &QPushButton::clicked, this, &RecipePage::run);
    return side;
}

const std::vector<std::pair<Recipe, QString>>& RecipePage::presets() {
    if (m_presetsRead) {
        return m_presets;
    }
    m_presetsRead = true;
    const QDir folder(QStringLiteral(":/recipes"));
    for (const QString& name :
         folder.entryList({QStringLiteral("*.json")}, QDir::Files, QDir::Name)) {
        QFile file(folder.filePath(name));
        if (!file.open(QIODevice::ReadOnly)) {
            continue;
        }
        const nlohmann::json json =
            nlohmann::json::parse(file.readAll().toStdString(), nullptr, false);
        if (json.is_discarded()) {
            continue;
        }
        const Recipe recipe = recipeFromJson(json);
        const bool runs =
            std::all_of(recipe.steps.begin(), recipe.steps.end(), [this](const RecipeStep& step) {
                const TechniqueDescriptor* technique = m_model->descriptor(step.technique);
                return technique && validateParams(*technique, step.params).problems.empty();
            });
        if (runs) {
            m_presets.emplace_back(
                recipe, QString::fromStdString(json.value("description", std::string())));
        }
    }
    return m_presets;
}

void RecipePage::fillPresets(QMenu* menu) {
    for (const auto& [recipe, help] : presets()) {
        QAction* action = menu->addAction(QString::fromStdString(recipe.name));
        action->setToolTip(help);
        connect(action, &QAction::triggered, this,
                [this, chosen = recipe] { m_model->setRecipe(chosen, tr("use preset")); });
    }
    menu->addSeparator();
    menu->addAction(themedIcon(QStringLiteral("folder")), tr("&Open recipe…"), this,
                    &RecipePage::openRecipe);
    menu->addAction(themedIcon(QStringLiteral("save")), tr("&Save recipe…"), this,
                    &RecipePage::saveRecipe);
    menu->addAction(themedIcon(QStringLiteral("trash")), tr("&Clear"), this,
                    [this] { m_model->setRecipe(Recipe{}, tr("clear recipe")); });
}

void RecipePage::fillTechniques(QMenu* menu) {
    for (const TechniqueDescriptor& technique : m_model->techniques()) {
        QAction* action = menu->addAction(engineText(technique.title));
        action->setToolTip(engineText(technique.help));
        connect(action, &QAction::triggered, this,
                [this, id = technique.id] { m_model->addStep(id); });
    }
}

void RecipePage::reloadLibrary() {
    m_setup->setLibrary(m_jobs->experiments()->library());
}
void RecipePage::useModel(const QString& path) {
    m_setup->setModelPath(path);
}

QString RecipePage::problem() const {
    const QStringList problems = m_model->allProblems();
    return problems.isEmpty() ? m_setup->problem() : problems.first();
}

void RecipePage::updateNeeds() {
    bool calibration = false;
    bool training = false;
    bool teacher = false;
    for (int row = 0; row < m_model->rowCount(); ++row) {
        if (const TechniqueDescriptor* technique = m_model->descriptorAt(row)) {
            calibration |= technique->usesCalibration;
            training |= technique->needsTrainingText;
            teacher |= technique->needsTeacher;
        }
    }
    m_setup->setNeeds(calibration, training, teacher);
}

void RecipePage::changed() {
    updateNeeds();
    const bool steps = m_model->rowCount() > 0;
    const QString wrong = problem();
    m_run->setEnabled(wrong.isEmpty());
    m_run->setToolTip(wrong.isEmpty() ? tr("Queue this recipe (Ctrl+R)") : wrong);
    m_run->setText(steps ? tr("&Run") : tr("Measure &baseline"));
    m_sweep->setEnabled(steps && wrong.isEmpty());
    m_estimate->setPending();
    m_quiet.start();
}

void RecipePage::askEstimate() {
    if (m_estimateJob != 0) {
        m_jobs->engine()->cancel(m_estimateJob);
        m_estimateJob = 0;
    }
    const QString wrong = problem();
    if (!wrong.isEmpty()) {
        m_estimate->setUnavailable({});
        m_estimate->setProblems({wrong});
        return;
    }
    const RunRequest run = m_setup->request();
    m_estimateJob = m_jobs->ask(
        EstimateRequest{run.modelPath, m_model->recipe(), run.inputs, run.measure}, this,
        [this](const JobResult& result) {
            m_estimateJob = 0;
            if (const auto* estimate = std::get_if<RecipeEstimate>(&result)) {
                m_estimate->setEstimate(*estimate);
                m_run->setEnabled(estimate->problems.empty());
                m_sweep->setEnabled(estimate->problems.empty() && m_model->rowCount() > 0);
            }
        },
        [this](const ErrorInfo& error) {
            m_estimateJob = 0;
            m_estimate->setProblems({});
            m_estimate->setUnavailable(QString::fromStdString(error.message));
        });
}

std::vector<qint64> RecipePage::queueRecipes(const std::vector<Recipe>& recipes) {
    const QString wrong = problem();
    if (!wrong.isEmpty()) {
        emit errorOccurred(tr("Not started"), wrong);
        return {};
    }
    std::vector<qint64> ids;
    int queued = 0;
    const RunRequest base = m_setup->request();
    const bool measured = m_jobs->findBaseline(base).has_value();
    const bool onlyBaseline = recipes.size() == 1 && recipes.front().steps.empty();
    if (!measured && !onlyBaseline && m_jobs->queueRun(base, tr("Baseline")) != 0) {
        ++queued;
    }
    for (const Recipe& recipe : recipes) {
        RunRequest request = base;
        request.recipe = recipe;
        const QString name = recipe.steps.empty() ? tr("Baseline") : runName(recipe);
        if (const qint64 id = m_jobs->queueRun(request, name); id != 0) {
            ids.push_back(id);
            ++queued;
        }
    }
    if (queued > 0) {
        emit runsQueued(queued);
    }
    return ids;
}

void RecipePage::run() {
    queueRecipes({m_model->recipe()});
}
void RecipePage::runBaseline() {
    queueRecipes({Recipe{}});
}

void RecipePage::sweep(int row, const std::string& parameter) {
    SweepDialog dialog(*m_model, row, parameter, this);
    if (dialog.exec() == QDialog::Accepted) {
        queueRecipes(dialog.recipes());
    }
}

void RecipePage::openRecipe() {
    const QString path =
        QFileDialog::getOpenFileName(this, tr("Open recipe"), {}, tr("Recipes (*.json)"));
    if (!path.isEmpty()) {
        loadRecipeFile(path);
    }
}

bool RecipePage::loadRecipeFile(const QString& path) {
    QFile file(path);
    if (!file.open(QIODevice::ReadOnly)) {
        emit errorOccurred(tr("Open recipe"),
                           tr("%1 cannot be read: %2.").arg(path, file.errorString()));
        return false;
    }
    try {
        m_model->setRecipe(recipeFromText(file.readAll().toStdString()), tr("open recipe"));
        rememberFile(path);
        return true;
    } catch (const std::exception& error) {
        emit errorOccurred(tr("Open recipe"),
                           tr("%1: %2").arg(path, QString::fromUtf8(error.what())));
        return false;
    }
}

void RecipePage::saveRecipe() {
    const QString path = QFileDialog::getSaveFileName(
        this, tr("Save recipe"), runName(m_model->recipe()) + QStringLiteral(".json"),
        tr("Recipes (*.json)"));
    if (path.isEmpty()) {
        return;
    }
    QSaveFile file(path);
    const std::string text = toJson(m_model->recipe()).dump(2) + "\n";
    if (!file.open(QIODevice::WriteOnly) ||
        file.write(text.data(), static_cast<qint64>(text.size())) < 0 || !file.commit()) {
        emit errorOccurred(tr("Save recipe"),
                           tr("%1 cannot be written: %2.").arg(path, file.errorString()));
        return;
    }
    rememberFile(path);
}

}  // namespace fettle::ui
