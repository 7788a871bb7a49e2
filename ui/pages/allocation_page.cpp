#include "ui/pages/allocation_page.h"

#include <QAction>
#include <QActionGroup>
#include <QComboBox>
#include <QDoubleSpinBox>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QLabel>
#include <QMenu>
#include <QPushButton>
#include <QScrollArea>
#include <QSignalBlocker>
#include <QSlider>
#include <QSpinBox>
#include <QSplitter>
#include <QStackedWidget>
#include <QStandardItemModel>
#include <QTableView>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>
#include <utility>

#include "ui/bridge/job_controller.h"
#include "ui/charts/allocation_chart.h"
#include "ui/charts/axis_scale.h"
#include "ui/charts/bit_map.h"
#include "ui/models/allocation_model.h"
#include "ui/models/allocation_runs_model.h"
#include "ui/widgets/empty_state.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/parameter_form.h"
#include "ui/widgets/run_setup_panel.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

using Target = AllocationModel::Target;

constexpr int kAllocationSideWidth = 412;
constexpr int kSliderSteps = 1000;
constexpr int kEstimateQuietMs = 250;
constexpr int kReloadQuietMs = 60;
constexpr std::int64_t kUsualContext = 4096;  ///< tokens that memory is asked for at first
constexpr double kMebibyte = 1024.0 * 1024.0;
constexpr double kGibibyte = 1024.0 * kMebibyte;
/// What a run that is to measure scores chooses for itself: in the middle of the usual schemes.
constexpr double kMeasuringBits = 4;

QFrame* allocationCard(QWidget* parent) {
    auto* frame = new QFrame(parent);
    setStyleClass(frame, "card");
    return frame;
}

QString bytesText(double bytes) {
    return QString::fromStdString(formatBytes(bytes));
}

/// The parameters of ptq that decide what is scored and how.
TechniqueDescriptor measuringParameters(const std::vector<TechniqueDescriptor>& techniques) {
    TechniqueDescriptor shown;
    for (const TechniqueDescriptor& technique : techniques) {
        if (technique.id != "ptq") {
            continue;
        }
        shown = technique;
        std::erase_if(shown.parameters, [](const ParameterSchema& parameter) {
            return parameter.name != "sensitivity" && parameter.name != "mix" &&
                   parameter.name != "method";
        });
    }
    return shown;
}

}  // namespace

AllocationPage::AllocationPage(JobController* jobs, QWidget* parent)
    : QWidget(parent),
      m_jobs(jobs),
      m_model(new AllocationModel(this)),
      m_runs(new AllocationRunsModel(this)),
      m_map(new BitMap(this)),
      m_chart(new AllocationChart(this)),
      m_setup(new RunSetupPanel(this)) {
    auto* row = new QHBoxLayout(this);
    row->setContentsMargins(kGapWide, 12, kGapWide, 12);
    row->setSpacing(kGapWide);
    row->addWidget(buildSide());

    auto* empty = new EmptyState(
        QStringLiteral("precision"), tr("Bits where they are needed"),
        tr("No weights have been scored yet. Choose a model and a calibration text on the left and "
           "press Measure sensitivity: every weight is quantized alone and the change of the "
           "predictions is noted. After that a slider shows the best schemes for any budget at "
           "once, without another run."),
        this);
    auto* content = new QSplitter(Qt::Vertical, this);
    content->setChildrenCollapsible(false);
    auto* upper = new QWidget(this);
    auto* column = new QVBoxLayout(upper);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(kGap);
    column->addWidget(buildTarget());
    auto* mapCard = allocationCard(this);
    auto* mapColumn = new QVBoxLayout(mapCard);
    mapColumn->setContentsMargins(1, 1, 1, 1);
    mapColumn->addWidget(m_map);
    column->addWidget(mapCard, 1);
    content->addWidget(upper);
    content->addWidget(buildLower());
    content->setStretchFactor(0, 3);
    content->setStretchFactor(1, 2);
    m_stack = new QStackedWidget(this);
    m_stack->addWidget(empty);
    m_stack->addWidget(content);
    row->addWidget(m_stack, 1);

    m_quiet.setSingleShot(true);
    m_quiet.setInterval(kEstimateQuietMs);
    connect(&m_quiet, &QTimer::timeout, this, &AllocationPage::askEstimate);
    m_reload.setSingleShot(true);
    m_reload.setInterval(kReloadQuietMs);
    connect(&m_reload, &QTimer::timeout, this, &AllocationPage::reload);
    const auto soon = [this] { m_reload.start(); };
    ExperimentService* experiments = jobs->experiments();
    connect(experiments, &ExperimentService::experimentsReset, this, soon);
    connect(experiments, &ExperimentService::experimentChanged, this, soon);
    connect(experiments, &ExperimentService::experimentsRemoved, this, soon);
    connect(experiments, &ExperimentService::libraryChanged, this, &AllocationPage::reloadLibrary);
    connect(m_model, &AllocationModel::scoresChanged, this, &AllocationPage::showScores);
    connect(m_model, &AllocationModel::rangeChanged, this, &AllocationPage::showRange);
    connect(m_model, &AllocationModel::changed, this, &AllocationPage::showAllocation);
    connect(m_map, &BitMap::unitActivated, this, &AllocationPage::showUnitMenu);
    connect(m_chart, &AllocationChart::bitsChosen, this, [this](double bits) {
        m_model->setTarget(Target::Bits);
        m_model->setValue(bits);
    });
    connect(m_setup, &RunSetupPanel::changed, &m_quiet, qOverload<>(&QTimer::start));
    connect(m_setup, &RunSetupPanel::fileChosen, this, &AllocationPage::fileChosen);
    reloadLibrary();
    showScores();
    reload();
    m_quiet.start();
}

QWidget* AllocationPage::buildSide() {
    auto* side = new QWidget(this);
    side->setFixedWidth(kAllocationSideWidth);
    auto* column = new QVBoxLayout(side);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(kGap);

    auto* scores = allocationCard(side);
    auto* scoresColumn = new QVBoxLayout(scores);
    scoresColumn->setContentsMargins(13, 10, 13, 10);
    scoresColumn->setSpacing(6);
    QLabel* heading = makeLabel(tr("&Scored weights"), TextRole::Heading, scores);
    scoresColumn->addWidget(heading);
    m_sources = new QComboBox(scores);
    m_sources->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    m_sources->setMinimumContentsLength(12);
    m_sources->setAccessibleName(tr("Run whose scores are shown"));
    heading->setBuddy(m_sources);
    scoresColumn->addWidget(m_sources);
    m_sourceNote = makeLabel({}, TextRole::Caption, scores);
    m_sourceNote->setWordWrap(true);
    scoresColumn->addWidget(m_sourceNote);
    column->addWidget(scores);
    connect(m_sources, &QComboBox::activated, this,
            [this] { load(m_sources->currentData().toLongLong()); });

    auto* card = allocationCard(side);
    auto* content = new QWidget(card);
    setStyleClass(content, "page");
    auto* form = new QVBoxLayout(content);
    form->setContentsMargins(0, 4, 0, 4);
    m_setup->setNeeds(true, false, false);
    form->addWidget(m_setup);
    const TechniqueDescriptor shown = measuringParameters(m_jobs->engine()->techniques());
    if (!shown.parameters.empty()) {
        auto* frame = new QWidget(content);
        auto* inner = new QVBoxLayout(frame);
        inner->setContentsMargins(13, 0, 13, 6);
        inner->addWidget(makeLabel(tr("Scoring"), TextRole::Heading, frame));
        m_form = new ParameterForm(shown, frame);
        inner->addWidget(m_form);
        form->addWidget(frame);
        connect(m_form, &ParameterForm::edited, this,
                [this](const std::string& name, const nlohmann::json& value) {
                    m_params[name] = value;
                    m_form->setValues(m_params);
                    m_quiet.start();
                });
        connect(m_form, &ParameterForm::resetRequested, this, [this](const std::string& name) {
            m_params.erase(name);
            m_form->setValues(m_params);
            m_quiet.start();
        });
    }
    form->addStretch();
    auto* scroll = new QScrollArea(card);
    scroll->setWidget(content);
    scroll->setWidgetResizable(true);
    scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    scroll->setFrameShape(QFrame::NoFrame);
    scroll->viewport()->setAutoFillBackground(false);
    auto* cardColumn = new QVBoxLayout(card);
    cardColumn->setContentsMargins(1, 6, 1, 6);
    cardColumn->addWidget(scroll);
    column->addWidget(card, 1);

    m_estimate = makeLabel({}, TextRole::Caption, side);
    m_estimate->setWordWrap(true);
    m_estimate->setAccessibleName(tr("What measuring costs"));
    column->addWidget(m_estimate);
    m_measure =
        new QPushButton(themedIcon(QStringLiteral("play")), tr("&Measure sensitivity"), side);
    m_measure->setToolTip(
        tr("Queues a run that scores every weight of this model under the schemes of the mix."));
    column->addWidget(m_measure);
    connect(m_measure, &QPushButton::clicked, this, &AllocationPage::measure);
    return side;
}

QWidget* AllocationPage::buildTarget() {
    auto* card = allocationCard(this);
    auto* column = new QVBoxLayout(card);
    column->setContentsMargins(13, 10, 13, 10);
    column->setSpacing(kGap);
    auto* row = new QHBoxLayout;
    row->setSpacing(kGap);
    auto* label = makeLabel(tr("&Target"), TextRole::Body, card);
    m_target = new QComboBox(card);
    m_target->addItem(tr("Bits per weight"), static_cast<int>(Target::Bits));
    m_target->addItem(tr("Size of the weights"), static_cast<int>(Target::FileSize));
    m_target->addItem(tr("Fits in memory"), static_cast<int>(Target::Memory));
    m_target->addItem(tr("Decode speed, at least"), static_cast<int>(Target::Speed));
    m_target->setAccessibleName(tr("What is aimed at"));
    label->setBuddy(m_target);
    m_value = new QDoubleSpinBox(card);
    m_value->setKeyboardTracking(false);
    m_value->setAccessibleName(tr("Value of the target"));
    m_contextLabel = makeLabel(tr("with a &context of"), TextRole::Body, card);
    m_context = new QSpinBox(card);
    m_context->setRange(1, 10'000'000);
    m_context->setSuffix(tr(" tokens"));
    m_context->setGroupSeparatorShown(true);
    m_context->setStepType(QAbstractSpinBox::AdaptiveDecimalStepType);
    m_context->setKeyboardTracking(false);
    m_context->setAccessibleName(tr("Tokens of context"));
    m_contextLabel->setBuddy(m_context);
    m_unpin = new QPushButton(themedIcon(QStringLiteral("reset")), tr("&Unpin all"), card);
    m_unpin->setToolTip(tr("Lets every weight be chosen for again"));
    m_run = new QPushButton(themedIcon(QStringLiteral("play"), IconTint::OnAccent),
                            tr("Run this one for &real"), card);
    setStyleClass(m_run, "primary");
    row->addWidget(label);
    row->addWidget(m_target);
    row->addWidget(m_value);
    row->addWidget(m_contextLabel);
    row->addWidget(m_context);
    row->addStretch(1);
    row->addWidget(m_unpin);
    row->addWidget(m_run);
    column->addLayout(row);

    auto* slide = new QHBoxLayout;
    slide->setSpacing(kGap);
    m_rangeLow = makeLabel({}, TextRole::Caption, card);
    m_rangeHigh = makeLabel({}, TextRole::Caption, card);
    m_slider = new QSlider(Qt::Horizontal, card);
    m_slider->setRange(0, kSliderSteps);
    m_slider->setPageStep(kSliderSteps / 20);
    m_slider->setSingleStep(kSliderSteps / 200);
    m_slider->setAccessibleName(tr("Budget"));
    slide->addWidget(m_rangeLow);
    slide->addWidget(m_slider, 1);
    slide->addWidget(m_rangeHigh);
    column->addLayout(slide);
    m_facts = makeLabel({}, TextRole::Body, card);
    m_facts->setWordWrap(true);
    m_facts->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
    m_facts->setAccessibleName(tr("What is predicted"));
    column->addWidget(m_facts);
    m_warning = makeLabel({}, TextRole::Caption, card);
    m_warning->setWordWrap(true);
    column->addWidget(m_warning);

    connect(m_target, &QComboBox::activated, this,
            [this] { m_model->setTarget(static_cast<Target>(m_target->currentData().toInt())); });
    connect(m_value, &QDoubleSpinBox::valueChanged, this,
            [this](double value) { m_model->setValue(value * unitOfValue()); });
    connect(m_context, &QSpinBox::valueChanged, this,
            [this](int tokens) { m_model->setContext(tokens); });
    connect(m_slider, &QSlider::valueChanged, this, [this](int step) {
        const AllocationModel::Range range = m_model->range();
        if (range.low > 0 && range.high > range.low) {
            m_model->setValue(range.low * std::pow(range.high / range.low,
                                                   static_cast<double>(step) / kSliderSteps));
        }
    });
    connect(m_unpin, &QPushButton::clicked, m_model, &AllocationModel::unpinAll);
    connect(m_run, &QPushButton::clicked, this, &AllocationPage::runChosen);
    return card;
}

QWidget* AllocationPage::buildLower() {
    auto* lower = new QSplitter(Qt::Horizontal, this);
    lower->setChildrenCollapsible(false);
    auto* chartCard = allocationCard(this);
    auto* chartColumn = new QVBoxLayout(chartCard);
    chartColumn->setContentsMargins(kGap, kGap, kGap, kGap);
    chartColumn->addWidget(m_chart);
    lower->addWidget(chartCard);
    auto* right = new QWidget(this);
    auto* column = new QVBoxLayout(right);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(6);
    column->addWidget(makeLabel(tr("Predicted → measured"), TextRole::Heading, right));
    m_table = new QTableView(right);
    m_table->setModel(m_runs);
    m_table->setAccessibleName(tr("Runs of allocations, predicted and measured"));
    m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
    m_table->setSelectionMode(QAbstractItemView::SingleSelection);
    m_table->setShowGrid(false);
    m_table->setWordWrap(false);
    m_table->setTabKeyNavigation(false);
    m_table->verticalHeader()->hide();
    m_table->verticalHeader()->setDefaultSectionSize(fontMetrics().height() + 10);
    m_table->horizontalHeader()->setHighlightSections(false);
    const QFontMetrics metrics = fontMetrics();
    m_table->setColumnWidth(AllocationRunsModel::Run, 170);
    m_table->setColumnWidth(AllocationRunsModel::Bits, metrics.horizontalAdvance("16.00") + 24);
    m_table->setColumnWidth(AllocationRunsModel::Loss,
                            metrics.horizontalAdvance("0.0000 nats → 0.0000 nats") + 16);
    m_table->setColumnWidth(AllocationRunsModel::Size,
                            metrics.horizontalAdvance("000.0 MiB → 000.0 MiB") + 16);
    m_table->horizontalHeader()->setStretchLastSection(true);
    column->addWidget(m_table, 1);
    lower->addWidget(right);
    lower->setStretchFactor(0, 3);
    lower->setStretchFactor(1, 5);
    lower->setSizes({260, 420});
    connect(m_table, &QTableView::activated, this, [this](const QModelIndex& index) {
        emit experimentRequested(index.data(AllocationRunsModel::ExperimentRole).toLongLong());
    });
    return lower;
}

void AllocationPage::reloadLibrary() {
    m_setup->setLibrary(m_jobs->experiments()->library());
    m_quiet.start();
}

void AllocationPage::useModel(const QString& path) {
    m_setup->setModelPath(path);
}

qint64 AllocationPage::shownExperiment() const {
    return m_model->scores().experiment;
}

void AllocationPage::chooseExperiment(qint64 id) {
    reload();
    const int at = m_sources->findData(id);
    if (at >= 0) {
        m_sources->setCurrentIndex(at);
        load(id);
    }
}

void AllocationPage::reload() {
    const qint64 before = shownExperiment();
    qint64 wanted = before;
    {
        const QSignalBlocker block(m_sources);
        m_sources->clear();
        for (const ExperimentRecord& record : m_jobs->experiments()->experiments()) {
            if (mayHoldScores(record)) {
                m_sources->insertItem(0,
                                      QStringLiteral("#%1 %2, %3")
                                          .arg(record.id)
                                          .arg(QString::fromStdString(record.name),
                                               QString::fromStdString(record.modelName)),
                                      static_cast<qlonglong>(record.id));
            }
        }
        if (m_awaited != 0 && m_sources->findData(m_awaited) >= 0) {
            wanted = std::exchange(m_awaited, 0);
        }
        const int at = m_sources->findData(wanted);
        m_sources->setCurrentIndex(std::max(at, m_sources->count() > 0 ? 0 : -1));
    }
    m_sources->setEnabled(m_sources->count() > 0);
    const qint64 now = m_sources->currentData().toLongLong();
    if (now != before) {
        load(now);
    } else if (now != 0) {
        refreshSpeeds();
    }
}

void AllocationPage::load(qint64 id) {
    AllocationScores scores;
    if (id != 0) {
        if (const auto detail = m_jobs->experiments()->detail(id)) {
            scores = allocationScores(*detail);
        }
    }
    if (scores.empty()) {
        scores = {};
    }
    addMeasuredSpeeds(scores, m_jobs->experiments()->experiments());
    m_model->setScores(std::move(scores));
    const auto record = m_jobs->experiments()->experiment(id);
    if (m_model->empty() || !record) {
        return;
    }
    m_jobs->ask(
        InspectRequest{record->modelPath}, this,
        [this, id](const JobResult& result) {
            const auto* report = std::get_if<ModelReport>(&result);
            if (report && shownExperiment() == id) {
                AllocationScores known = m_model->scores();
                addModelFacts(known, *report);
                m_model->setScores(std::move(known));
                m_model->setContext(
                    std::clamp<std::int64_t>(report->contextLength, 1, kUsualContext));
            }
        },
        // The model may have moved since: bits can still be chosen by.
        [](const ErrorInfo&) {});
}

void AllocationPage::refreshSpeeds() {
    AllocationScores known = m_model->scores();
    addMeasuredSpeeds(known, m_jobs->experiments()->experiments());
    if (known.secondsPerToken != m_model->scores().secondsPerToken) {
        m_model->setScores(std::move(known));
    }
    showRuns();
}

void AllocationPage::showScores() {
    const AllocationScores& scores = m_model->scores();
    m_stack->setCurrentIndex(scores.empty() ? 0 : 1);
    setStyleClass(m_measure, scores.empty() ? "primary" : "");
    m_measure->setIcon(
        themedIcon(QStringLiteral("play"), scores.empty() ? IconTint::OnAccent : IconTint::Text));
    if (scores.empty()) {
        m_sourceNote->setText(tr("None yet: measure a model below."));
        return;
    }
    std::size_t most = 0;
    for (const AllocationUnit& unit : scores.units) {
        most = std::max(most, unit.choices.size());
    }
    m_sourceNote->setText(
        tr("%1 groups of weights, up to %2 schemes each. %3")
            .arg(scores.units.size())
            .arg(most)
            .arg(scores.divergence
                     ? tr("The loss is the KL divergence that each alone caused, in nats.")
                     : tr("The loss is an estimate from gradients: it ranks, it does not "
                          "predict.")));
    m_chart->setDivergence(scores.divergence);
    showTargets();
}

void AllocationPage::showTargets() {
    auto* items = qobject_cast<QStandardItemModel*>(m_target->model());
    for (int row = 0; row < m_target->count(); ++row) {
        const QString why = m_model->problem(static_cast<Target>(m_target->itemData(row).toInt()));
        items->item(row)->setEnabled(why.isEmpty());
        items->item(row)->setToolTip(why);
    }
    m_target->setCurrentIndex(m_target->findData(static_cast<int>(m_model->target())));
    const bool memory = m_model->target() == Target::Memory;
    m_contextLabel->setVisible(memory);
    m_context->setVisible(memory);
}

double AllocationPage::unitOfValue() const {
    const bool bytes = m_model->target() == Target::FileSize || m_model->target() == Target::Memory;
    return !bytes ? 1 : m_model->range().high >= kGibibyte ? kGibibyte : kMebibyte;
}

void AllocationPage::showRange() {
    const AllocationModel::Range range = m_model->range();
    const Target target = m_model->target();
    const double unit = unitOfValue();
    const QSignalBlocker block(m_value);
    m_value->setDecimals(target == Target::Speed ? 1 : 3);
    // Wider than the range: a wish that no schemes fulfil is answered in words.
    m_value->setRange(0, std::max(range.high * 4 / unit, 1.0));
    m_value->setSingleStep(target == Target::Bits ? 0.05 : (range.high - range.low) / unit / 100);
    m_value->setSuffix(target == Target::Bits    ? tr(" bits")
                       : target == Target::Speed ? tr(" tokens/s")
                       : unit == kGibibyte       ? tr(" GiB")
                                                 : tr(" MiB"));
    const auto text = [&](double value) { return shortNumber(value / unit, 3); };
    m_rangeLow->setText(text(range.low));
    m_rangeHigh->setText(text(range.high));
    std::vector<QPointF> front;
    for (const BitAllocation& allocation : m_model->front()) {
        front.emplace_back(m_model->bitsOf(allocation), allocation.loss);
    }
    m_chart->setFront(std::move(front));
    showTargets();
    showRuns();
}

void AllocationPage::showAllocation() {
    if (m_model->empty()) {
        return;
    }
    const AllocationModel::Range range = m_model->range();
    const double value = std::clamp(m_model->value(), range.low, range.high);
    {
        const QSignalBlocker blockValue(m_value);
        const QSignalBlocker blockSlider(m_slider);
        const QSignalBlocker blockContext(m_context);
        m_value->setValue(m_model->value() / unitOfValue());
        m_context->setValue(static_cast<int>(m_model->context()));
        if (range.high > range.low && range.low > 0) {
            m_slider->setValue(static_cast<int>(std::lround(
                kSliderSteps * std::log(value / range.low) / std::log(range.high / range.low))));
        }
    }
    m_map->setGrid(bitGrid(*m_model));
    m_chart->setCurrent({m_model->bits(), m_model->allocation().loss});
    QStringList facts{tr("%1 bits per weight").arg(m_model->bits(), 0, 'f', 3)};
    if (std::isfinite(m_model->weightBytes())) {
        facts << tr("weights %1").arg(bytesText(m_model->weightBytes()));
        facts << tr("%1 with %2 tokens of context")
                     .arg(bytesText(m_model->memoryBytes()))
                     .arg(m_model->context());
    }
    facts << (m_model->scores().divergence ? tr("predicted KL divergence %1 nats")
                                           : tr("predicted loss score %1"))
                 .arg(shortNumber(m_model->allocation().loss, 3));
    if (const double speed = m_model->tokensPerSecond(); std::isfinite(speed)) {
        facts << tr("predicted decode speed %1 tokens/s").arg(shortNumber(speed, 3));
    }
    m_facts->setText(facts.join(QStringLiteral(" · ")));
    QString warning;
    if (!m_model->withinTarget()) {
        warning = m_model->target() == Target::Speed
                      ? tr("Out of reach: the fastest measured schemes give %1 tokens/s.")
                            .arg(shortNumber(range.high, 3))
                      : tr("Out of reach: this is the smallest that the scored schemes and the "
                           "pins allow.");
    } else if (m_model->target() == Target::Speed) {
        warning = tr("A prediction from measured runs with one scheme for all weights.");
    }
    m_warning->setText(warning);
    m_warning->setVisible(!warning.isEmpty());
    setStyleClass(m_warning, m_model->withinTarget() ? "" : "warning");
    const std::size_t pinned = m_model->pinnedCount();
    m_unpin->setVisible(pinned > 0);
    m_unpin->setText(tr("&Unpin all (%1)").arg(pinned));
}

void AllocationPage::showRuns() {
    std::vector<AllocationRun> runs =
        allocationRuns(*m_model, m_jobs->experiments()->experiments());
    std::vector<AllocationChart::Run> marks;
    for (const AllocationRun& run : runs) {
        if (m_model->scores().divergence && std::isfinite(run.bits)) {
            marks.push_back({run.bits, run.predictedLoss, run.measuredLoss,
                             QString::fromStdString(run.record.name)});
        }
    }
    m_chart->setRuns(std::move(marks));
    m_runs->setRuns(std::move(runs));
}

void AllocationPage::showUnitMenu(int unit, const QPoint& at) {
    const auto index = static_cast<std::size_t>(unit);
    const AllocationUnit& chosen = m_model->scores().units[index];
    delete m_menu;
    m_menu = new QMenu(this);
    m_menu->addSection(QString::fromStdString(chosen.name));
    auto* group = new QActionGroup(m_menu);
    const auto add = [&](const QString& text, int choice) {
        QAction* action = m_menu->addAction(text);
        action->setCheckable(true);
        action->setChecked(chosen.pinned == choice);
        action->setData(choice);
        group->addAction(action);
        connect(action, &QAction::triggered, this,
                [this, index, choice] { m_model->pin(index, choice); });
    };
    add(tr("Choose automatically"), -1);
    m_menu->addSeparator();
    for (std::size_t c = 0; c < chosen.choices.size(); ++c) {
        const SchemeChoice& choice = chosen.choices[c];
        const QString name =
            choice.scheme == "none" ? tr("Leave as it is") : QString::fromStdString(choice.scheme);
        add(tr("%1: %2 bits, %3, predicted loss %4")
                .arg(name, bitsText(m_model->choiceBits(index, c)), bytesText(choice.bytes),
                     shortNumber(choice.loss, 3)),
            static_cast<int>(c));
    }
    m_menu->popup(at);
}

Recipe AllocationPage::measuringRecipe() const {
    Recipe recipe;
    recipe.name = tr("Sensitivity of %1").arg(m_setup->modelName()).toStdString();
    RecipeStep step;
    step.technique = "ptq";
    step.params = m_params;
    step.params["target_bits"] = kMeasuringBits;
    recipe.steps.push_back(std::move(step));
    return recipe;
}

void AllocationPage::askEstimate() {
    if (m_estimateJob != 0) {
        m_jobs->engine()->cancel(std::exchange(m_estimateJob, 0));
    }
    const QString wrong = m_setup->problem();
    m_measure->setEnabled(wrong.isEmpty());
    m_estimate->setText(wrong);
    if (!wrong.isEmpty()) {
        return;
    }
    const RunRequest run = m_setup->request();
    m_estimateJob = m_jobs->ask(
        EstimateRequest{run.modelPath, measuringRecipe(), run.inputs, run.measure}, this,
        [this](const JobResult& result) {
            m_estimateJob = 0;
            const auto* estimate = std::get_if<RecipeEstimate>(&result);
            if (!estimate) {
                return;
            }
            m_measure->setEnabled(estimate->problems.empty());
            m_estimate->setText(
                estimate->problems.empty()
                    ? tr("Takes about %1 and %2 of memory.")
                          .arg(QString::fromStdString(formatDuration(estimate->seconds)),
                               bytesText(static_cast<double>(estimate->peakBytes)))
                    : QString::fromStdString(estimate->problems.front()));
        },
        [this](const ErrorInfo& error) {
            m_estimateJob = 0;
            m_estimate->setText(QString::fromStdString(error.message));
        });
}

void AllocationPage::measure() {
    RunRequest request = m_setup->request();
    // Speeds of the model as it is are half of what a speed target needs.
    if (!m_jobs->findBaseline(request)) {
        m_jobs->queueRun(request, tr("Baseline"));
    }
    request.recipe = measuringRecipe();
    m_awaited = m_jobs->queueRun(request, QString::fromStdString(request.recipe.name));
    if (m_awaited != 0) {
        m_estimate->setText(
            tr("Queued as run #%1; the scores appear here when it is done.").arg(m_awaited));
    }
}

void AllocationPage::runChosen() {
    std::optional<RunRequest> request = m_jobs->experiments()->requestFor(shownExperiment());
    if (!request) {
        emit errorOccurred(tr("Not started"),
                           tr("What experiment %1 was run with is no longer in the database.")
                               .arg(shownExperiment()));
        return;
    }
    request->experiment = 0;
    request->recipe = m_model->recipe();
    request->recipe.seed = 1;
    if (const auto record = m_jobs->experiments()->experiment(shownExperiment())) {
        request->recipe.seed = record->recipe.seed;
    }
    m_jobs->queueRun(*request, QString::fromStdString(request->recipe.name));
}

QString AllocationPage::factsText() const {
    return m_facts->text();
}

}  // namespace fettle::ui
