#include "ui/pages/advisor_page.h"

#include <QComboBox>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QLabel>
#include <QProgressBar>
#include <QPushButton>
#include <QScrollArea>
#include <QScrollBar>
#include <QSplitter>
#include <QStackedWidget>
#include <QTableView>
#include <QTextBrowser>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "ui/bridge/advisor_controller.h"
#include "ui/bridge/job_controller.h"
#include "ui/charts/ladder_chart.h"
#include "ui/models/advisor_ladder_model.h"
#include "ui/widgets/empty_state.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/run_setup_panel.h"
#include "ui/widgets/targets_form.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

constexpr int kFormWidth = 316;

QFrame* card(QWidget* parent) {
    auto* frame = new QFrame(parent);
    setStyleClass(frame, "card");
    return frame;
}

}  // namespace

AdvisorPage::AdvisorPage(JobController* jobs, QWidget* parent)
    : QWidget(parent),
      m_jobs(jobs),
      m_controller(new AdvisorController(jobs, this)),
      m_ladder(new AdvisorLadderModel(this)),
      m_form(new TargetsForm(this)),
      m_setup(new RunSetupPanel(this)),
      m_chart(new LadderChart(this)) {
    auto* row = new QHBoxLayout(this);
    row->setContentsMargins(kGapWide, 12, kGapWide, 12);
    row->setSpacing(kGapWide);
    row->addWidget(buildForm());

    auto* empty = new EmptyState(
        QStringLiteral("explore"), tr("From targets to a model"),
        tr("Say what has to hold. The ladder is climbed cheapest first: quantizing, training, "
           "drafting, pruning. It stops as soon as the targets hold, and says why it took or left "
           "out each rung."),
        this);
    buildTable();
    auto* upper = new QSplitter(Qt::Horizontal, this);
    upper->setChildrenCollapsible(false);
    auto* chartCard = card(this);
    auto* chartColumn = new QVBoxLayout(chartCard);
    chartColumn->setContentsMargins(kGap, kGap, kGap, kGap);
    chartColumn->addWidget(m_chart, 1);
    m_axis = new QComboBox(chartCard);
    m_axis->addItem(tr("Speed"), static_cast<int>(LadderChart::XAxis::Speed));
    m_axis->addItem(tr("Size"), static_cast<int>(LadderChart::XAxis::Size));
    m_axis->setAccessibleName(tr("What the chart's horizontal axis shows"));
    chartColumn->addWidget(m_axis, 0, Qt::AlignRight);
    upper->addWidget(chartCard);
    upper->addWidget(buildResult());
    upper->setStretchFactor(0, 3);
    upper->setStretchFactor(1, 2);
    auto* content = new QSplitter(Qt::Vertical, this);
    content->setChildrenCollapsible(false);
    content->addWidget(upper);
    content->addWidget(m_table);
    content->setStretchFactor(0, 3);
    content->setStretchFactor(1, 2);
    auto* right = new QWidget(this);
    auto* column = new QVBoxLayout(right);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(kGap);
    column->addWidget(buildBar());
    column->addWidget(content, 1);
    m_stack = new QStackedWidget(this);
    m_stack->addWidget(empty);
    m_stack->addWidget(right);
    row->addWidget(m_stack, 1);

    connect(m_axis, &QComboBox::currentIndexChanged, this, [this] {
        m_chart->setXAxis(static_cast<LadderChart::XAxis>(m_axis->currentData().toInt()));
    });
    connect(m_form, &TargetsForm::changed, this, &AdvisorPage::updateButtons);
    connect(m_setup, &RunSetupPanel::changed, this, &AdvisorPage::updateButtons);
    connect(m_setup, &RunSetupPanel::fileChosen, this, &AdvisorPage::fileChosen);
    connect(m_controller, &AdvisorController::reportChanged, this, &AdvisorPage::showReport);
    connect(m_controller, &AdvisorController::progressChanged, this, &AdvisorPage::showProgress);
    connect(m_controller, &AdvisorController::ended, this, &AdvisorPage::showEnd);
    connect(m_chart, &LadderChart::experimentClicked, this, &AdvisorPage::experimentRequested);
    connect(jobs->experiments(), &ExperimentService::libraryChanged, this,
            &AdvisorPage::reloadLibrary);
    reloadLibrary();
    updateButtons();
}

AdvisorPage::~AdvisorPage() = default;

QWidget* AdvisorPage::buildForm() {
    auto* side = new QWidget(this);
    side->setFixedWidth(kFormWidth);
    auto* column = new QVBoxLayout(side);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(kGap);
    auto* content = card(side);
    auto* form = new QVBoxLayout(content);
    form->setContentsMargins(0, kGap, 0, kGap);
    form->addWidget(m_form);
    m_setup->setNeeds(true, true, true);
    form->addWidget(m_setup);
    auto* scroll = new QScrollArea(side);
    scroll->setWidget(content);
    scroll->setWidgetResizable(true);
    scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    scroll->setFrameShape(QFrame::NoFrame);
    scroll->viewport()->setAutoFillBackground(false);
    column->addWidget(scroll, 1);
    m_problem = makeLabel({}, TextRole::Caption, side);
    m_problem->setWordWrap(true);
    column->addWidget(m_problem);
    m_start = new QPushButton(themedIcon(QStringLiteral("play"), IconTint::OnAccent),
                              tr("&Find a model"), side);
    setStyleClass(m_start, "primary");
    column->addWidget(m_start);
    connect(m_start, &QPushButton::clicked, this, &AdvisorPage::start);
    return side;
}

QWidget* AdvisorPage::buildBar() {
    auto* bar = new QWidget(this);
    auto* row = new QHBoxLayout(bar);
    row->setContentsMargins(0, 0, 0, 0);
    m_status = makeLabel({}, TextRole::Body, bar);
    m_status->setAccessibleName(tr("What the advisor is doing"));
    m_progress = new QProgressBar(bar);
    m_progress->setTextVisible(false);
    m_progress->setFixedWidth(140);
    m_progress->setAccessibleName(tr("Progress of the rung"));
    m_stop = new QPushButton(themedIcon(QStringLiteral("stop")), tr("S&top"), bar);
    connect(m_stop, &QPushButton::clicked, this, &AdvisorPage::stop);
    row->addWidget(m_status, 1);
    row->addWidget(m_progress);
    row->addWidget(m_stop);
    return bar;
}

void AdvisorPage::buildTable() {
    m_table = new QTableView(this);
    m_table->setModel(m_ladder);
    m_table->setAccessibleName(tr("Rungs of the ladder"));
    m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
    m_table->setSelectionMode(QAbstractItemView::SingleSelection);
    m_table->setShowGrid(false);
    m_table->setWordWrap(false);
    m_table->setTabKeyNavigation(false);
    m_table->verticalHeader()->hide();
    m_table->verticalHeader()->setDefaultSectionSize(fontMetrics().height() + 10);
    m_table->horizontalHeader()->setHighlightSections(false);
    m_table->horizontalHeader()->setStretchLastSection(true);
    m_table->setColumnWidth(AdvisorLadderModel::Rung, 190);
    for (int column = AdvisorLadderModel::Status; column < AdvisorLadderModel::Why; ++column) {
        m_table->setColumnWidth(column, 84);
    }
    const auto open = [this](const QModelIndex& index) {
        const qint64 id = index.data(AdvisorLadderModel::ExperimentRole).toLongLong();
        if (id > 0) {
            emit experimentRequested(id);
        }
    };
    connect(m_table, &QTableView::activated, this, open);
}

QWidget* AdvisorPage::buildResult() {
    auto* frame = card(this);
    auto* column = new QVBoxLayout(frame);
    column->setContentsMargins(12, 10, 12, 10);
    column->setSpacing(kGap);
    m_verdictTitle = makeLabel(tr("Decisions"), TextRole::Heading, frame);
    m_verdict = makeLabel({}, TextRole::Body, frame);
    m_verdict->setWordWrap(true);
    m_verdict->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
    m_verdict->setAccessibleName(tr("Result"));
    column->addWidget(m_verdictTitle);
    column->addWidget(m_verdict);
    auto* buttons = new QHBoxLayout;
    m_open = new QPushButton(themedIcon(QStringLiteral("explore")), tr("Open in E&xplore"), frame);
    m_export = new QPushButton(themedIcon(QStringLiteral("export")), tr("&Export"), frame);
    buttons->addWidget(m_open);
    buttons->addWidget(m_export);
    buttons->addStretch();
    column->addLayout(buttons);
    m_decisions = new QTextBrowser(frame);
    m_decisions->setFrameShape(QFrame::NoFrame);
    m_decisions->setAccessibleName(tr("Decisions with the numbers that caused them"));
    column->addWidget(m_decisions, 1);
    connect(m_open, &QPushButton::clicked, this,
            [this] { emit experimentRequested(recommended()); });
    connect(m_export, &QPushButton::clicked, this, [this] { emit exportRequested(recommended()); });
    return frame;
}

void AdvisorPage::reloadLibrary() {
    m_setup->setLibrary(m_jobs->experiments()->library());
}

void AdvisorPage::useModel(const QString& path) {
    m_setup->setModelPath(path);
}

void AdvisorPage::start() {
    if (m_controller->isRunning()) {
        return;
    }
    AdvisorGoal goal;
    goal.modelPath = m_setup->modelPath().toStdString();
    goal.targets = m_form->targets();
    goal.inputs = m_setup->inputs();
    goal.measure = m_setup->measure();
    goal.minutes = m_form->minutes();
    goal.draft = m_form->draft().toStdString();
    m_form->saveSettings();
    m_told = 0;
    m_decisions->clear();
    m_stack->setCurrentIndex(1);
    m_controller->start(goal);
    updateButtons();
}

void AdvisorPage::stop() {
    m_controller->stop();
}

void AdvisorPage::updateButtons() {
    const QString problem = m_form->problem().isEmpty() ? m_setup->problem() : m_form->problem();
    const bool running = m_controller->isRunning();
    m_problem->setText(running ? QString() : problem);
    m_problem->setVisible(!m_problem->text().isEmpty());
    m_start->setEnabled(problem.isEmpty() && !running);
    m_start->setToolTip(running ? tr("The ladder is being climbed.") : problem);
    m_stop->setVisible(running);
    m_progress->setVisible(running);
    const qint64 id = recommended();
    m_open->setVisible(id > 0);
    const std::optional<ExperimentRecord> record = m_jobs->experiments()->experiment(id);
    m_export->setVisible(id > 0 && record && !record->artifactPath.empty());
}

qint64 AdvisorPage::recommended() const {
    const AdvisorReport& report = m_controller->report();
    return report.recommended ? report.rungs[*report.recommended].experiment : 0;
}

void AdvisorPage::showReport() {
    const AdvisorReport& report = m_controller->report();
    m_ladder->setReport(report);
    m_chart->setReport(report, m_controller->goal().targets);
    for (; m_told < report.decisions.size(); ++m_told) {
        const AdvisorDecision& decision = report.decisions[m_told];
        m_decisions->append(QStringLiteral("<p><b>%1</b> %2</p>")
                                .arg(QString::fromStdString(decision.stage).toHtmlEscaped(),
                                     QString::fromStdString(decision.text).toHtmlEscaped()));
    }
    for (int row = 0; row < m_ladder->rowCount(); ++row) {
        if (m_ladder->rung(row).state == AdvisorRung::State::Running) {
            m_table->scrollTo(m_ladder->index(row, 0));
        }
    }
    showProgress();
    showResult();
    updateButtons();
}

void AdvisorPage::showProgress() {
    if (!m_controller->isRunning()) {
        return;
    }
    const AdvisorReport& report = m_controller->report();
    QString text = tr("Reading the model…");
    if (report.question) {
        const auto running = std::find_if(
            report.rungs.begin(), report.rungs.end(),
            [](const AdvisorRung& r) { return r.state == AdvisorRung::State::Running; });
        text = running == report.rungs.end()
                   ? tr("Estimating what the next rung costs…")
                   : tr("Running %1").arg(QString::fromStdString(running->title));
        if (running != report.rungs.end() && !m_controller->phase().isEmpty()) {
            text += QStringLiteral(" · ") + m_controller->phase();
        }
        if (std::isfinite(report.question->secondsLeft)) {
            text += QStringLiteral(" · ") + tr("%1 of the budget left")
                                                .arg(QString::fromStdString(formatDuration(
                                                    std::max(0.0, report.question->secondsLeft))));
        }
    }
    m_status->setText(text);
    m_progress->setRange(0, m_controller->fraction() >= 0 ? 1000 : 0);
    m_progress->setValue(static_cast<int>(std::max(0.0, m_controller->fraction()) * 1000));
}

void AdvisorPage::showResult() {
    const AdvisorReport& report = m_controller->report();
    const bool done = report.finished() && !report.verdict.empty();
    m_verdict->setVisible(done);
    m_verdict->setText(QString::fromStdString(report.verdict));
    m_verdictTitle->setText(!done        ? tr("Decisions")
                            : report.met ? tr("The targets hold")
                                         : tr("The targets do not hold"));
    setStyleClass(m_verdictTitle, !done ? "" : report.met ? "success" : "warning");
}

void AdvisorPage::showEnd(const QString& problem) {
    const AdvisorReport& report = m_controller->report();
    m_status->setText(!problem.isEmpty()
                          ? problem
                          : tr("Done after %1 of measured runs.")
                                .arg(QString::fromStdString(formatDuration(report.seconds))));
    showResult();
    updateButtons();
}

QString AdvisorPage::decisionsText() const {
    return m_decisions->toPlainText();
}

QString AdvisorPage::resultText() const {
    return m_verdictTitle->text() + QLatin1Char('\n') + m_verdict->text();
}

}  // namespace fettle::ui
