#include "ui/pages/draft_lab_page.h"

#include <QCheckBox>
#include <QComboBox>
#include <QDoubleSpinBox>
#include <QGridLayout>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QItemSelectionModel>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QProgressBar>
#include <QPushButton>
#include <QScrollArea>
#include <QSpinBox>
#include <QSplitter>
#include <QStackedWidget>
#include <QTableView>
#include <QVBoxLayout>
#include <algorithm>
#include <array>

#include "ui/bridge/job_controller.h"
#include "ui/charts/break_even_chart.h"
#include "ui/models/draft_trials_model.h"
#include "ui/widgets/empty_state.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/run_setup_panel.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

constexpr int kLabFormWidth = 316;
constexpr std::int64_t kProbeTokens = 20'000;
constexpr int kTableColumn = 78;

QFrame* labCard(QWidget* parent) {
    auto* frame = new QFrame(parent);
    setStyleClass(frame, "card");
    return frame;
}

}  // namespace

DraftLabPage::DraftLabPage(JobController* jobs, QWidget* parent)
    : QWidget(parent),
      m_jobs(jobs),
      m_setup(new RunSetupPanel(this)),
      m_trials(new DraftTrialsModel(this)),
      m_chart(new BreakEvenChart(this)) {
    auto* row = new QHBoxLayout(this);
    row->setContentsMargins(kGapWide, 12, kGapWide, 12);
    row->setSpacing(kGapWide);
    row->addWidget(buildForm());
    auto* empty = new EmptyState(
        QStringLiteral("playground"), tr("The same text, sooner"),
        tr("A draft guesses what the model will say next, and the model checks several guesses in "
           "one pass. Tick who may guess and try them: the chart shows which are right often "
           "enough "
           "for what they cost."),
        this);
    m_stack = new QStackedWidget(this);
    m_stack->addWidget(empty);
    m_stack->addWidget(buildResult());
    auto* right = new QWidget(this);
    auto* column = new QVBoxLayout(right);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(kGap);
    column->addWidget(buildBar());
    column->addWidget(m_stack, 1);
    row->addWidget(right, 1);

    connect(m_setup, &RunSetupPanel::changed, this, &DraftLabPage::updateButtons);
    connect(m_setup, &RunSetupPanel::modelChanged, this, &DraftLabPage::reloadLibrary);
    connect(m_setup, &RunSetupPanel::fileChosen, this, &DraftLabPage::fileChosen);
    connect(jobs->engine(), &EngineBridge::jobEvent, this, &DraftLabPage::follow);
    connect(jobs->experiments(), &ExperimentService::libraryChanged, this,
            &DraftLabPage::reloadLibrary);
    connect(jobs->experiments(), &ExperimentService::experimentChanged, this,
            &DraftLabPage::reloadLibrary);
    connect(m_chart, &BreakEvenChart::trialClicked, this,
            [this](int trial) { m_table->setCurrentIndex(m_trials->index(trial, 0)); });
    MeasureOptions measure = m_setup->measure();
    measure.promptTokens = 128;
    measure.newTokens = 64;
    m_setup->setMeasure(measure);
    reloadLibrary();
    updateButtons();
}

QWidget* DraftLabPage::buildForm() {
    auto* side = new QWidget(this);
    side->setFixedWidth(kLabFormWidth);
    auto* column = new QVBoxLayout(side);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(kGap);
    auto* content = new QWidget(side);
    auto* form = new QVBoxLayout(content);
    form->setContentsMargins(0, 0, 0, 0);
    form->setSpacing(kGap);
    form->addWidget(buildDrafts());
    form->addWidget(buildMaking());
    auto* reads = labCard(content);
    auto* readsColumn = new QVBoxLayout(reads);
    readsColumn->setContentsMargins(0, kGap, 0, kGap);
    m_setup->setNeeds(true, true, false);
    readsColumn->addWidget(m_setup);
    form->addWidget(reads);
    form->addStretch();
    auto* scroll = new QScrollArea(side);
    scroll->setWidget(content);
    scroll->setWidgetResizable(true);
    scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    scroll->setFrameShape(QFrame::NoFrame);
    scroll->viewport()->setAutoFillBackground(false);
    content->setAutoFillBackground(false);
    column->addWidget(scroll, 1);
    m_problem = makeLabel({}, TextRole::Caption, side);
    m_problem->setWordWrap(true);
    column->addWidget(m_problem);
    m_try = new QPushButton(themedIcon(QStringLiteral("play"), IconTint::OnAccent),
                            tr("&Try drafts"), side);
    setStyleClass(m_try, "primary");
    column->addWidget(m_try);
    connect(m_try, &QPushButton::clicked, this, &DraftLabPage::tryDrafts);
    return side;
}

void DraftLabPage::addBox(QVBoxLayout* column, const QString& title, std::vector<QCheckBox*>& boxes,
                          const std::vector<std::pair<QString, QString>>& choices) {
    column->addWidget(makeLabel(title, TextRole::Caption, this));
    auto* row = new QHBoxLayout;
    row->setSpacing(kGap);
    for (const auto& [name, value] : choices) {
        auto* box = new QCheckBox(name, this);
        box->setProperty("value", value);
        box->setChecked(boxes.empty());
        box->setAccessibleName(QStringLiteral("%1: %2").arg(title, name));
        boxes.push_back(box);
        row->addWidget(box);
        connect(box, &QCheckBox::toggled, this, &DraftLabPage::updateButtons);
    }
    row->addStretch();
    column->addLayout(row);
}

QWidget* DraftLabPage::buildDrafts() {
    auto* frame = labCard(this);
    auto* column = new QVBoxLayout(frame);
    column->setContentsMargins(12, 10, 12, 10);
    column->setSpacing(6);
    column->addWidget(makeLabel(tr("Who may guess"), TextRole::Heading, frame));
    m_drafts = new QListWidget(frame);
    m_drafts->setAccessibleName(tr("Drafts to try"));
    m_drafts->setFrameShape(QFrame::NoFrame);
    m_drafts->setSpacing(2);
    m_drafts->setFixedHeight(fontMetrics().lineSpacing() * 9);
    column->addWidget(m_drafts);
    connect(m_drafts, &QListWidget::itemChanged, this, &DraftLabPage::updateButtons);
    m_more = new QLineEdit(frame);
    m_more->setPlaceholderText(tr("further ones: self:2, text:/path/to/model"));
    m_more->setAccessibleName(tr("Further drafts"));
    m_more->setToolTip(
        tr("With commas. A model's folder or file; int8:MODEL for one rounded while it is loaded; "
           "text:MODEL for one of another tokenizer; self:N "
           "leaves the N least influential layers out; self:SCHEME quantizes more strongly; "
           "suffix+DRAFT looks first at what the text said before."));
    column->addWidget(m_more);
    connect(m_more, &QLineEdit::textChanged, this, &DraftLabPage::updateButtons);
    addBox(column, tr("Tokens a round"), m_lengths,
           {{tr("auto"), QStringLiteral("auto")},
            {QStringLiteral("2"), QStringLiteral("2")},
            {QStringLiteral("4"), QStringLiteral("4")},
            {QStringLiteral("8"), QStringLiteral("8")}});
    addBox(column, tr("Tree"), m_trees,
           {{tr("none"), QStringLiteral("off")},
            {tr("auto"), QStringLiteral("auto")},
            {QStringLiteral("3-2-1"), QStringLiteral("3-2-1")}});
    return frame;
}

QWidget* DraftLabPage::buildMaking() {
    auto* frame = labCard(this);
    auto* grid = new QGridLayout(frame);
    grid->setContentsMargins(12, 10, 12, 10);
    grid->setSpacing(6);
    grid->setColumnStretch(1, 1);
    grid->addWidget(makeLabel(tr("Make a draft"), TextRole::Heading, frame), 0, 0, 1, 2);
    int row = 1;
    const auto add = [&](const QString& title, QWidget* editor, const QString& help) {
        auto* label = new QLabel(title, frame);
        label->setBuddy(editor);
        editor->setToolTip(help);
        editor->setFocusPolicy(Qt::StrongFocus);
        editor->setAccessibleName(QString(title).remove(QLatin1Char('&')));
        editor->setAccessibleDescription(help);
        grid->addWidget(label, row, 0);
        grid->addWidget(editor, row++, 1);
    };
    m_kind = new QComboBox(frame);
    m_kind->addItem(tr("a smaller model"), QStringLiteral("model"));
    m_kind->addItem(tr("Medusa heads"), QStringLiteral("medusa"));
    m_kind->addItem(tr("an EAGLE head"), QStringLiteral("eagle"));
    add(tr("&Kind"), m_kind,
        tr("A smaller model is pruned from this one and taught by it. Medusa heads guess from what "
           "the model itself has in mind: cheaper, but right less often further ahead. An EAGLE "
           "head does so too, one guess after the other: right more often, a little dearer."));
    const auto share = [&](double value) {
        auto* box = new QDoubleSpinBox(frame);
        box->setRange(0, 0.95);
        box->setSingleStep(0.05);
        box->setValue(value);
        return box;
    };
    const DraftMaking defaults;
    m_layers = share(defaults.layers);
    add(tr("&Layers left out"), m_layers, tr("Share of the layers that the draft does without."));
    m_width = share(defaults.width);
    add(tr("&Width left out"), m_width,
        tr("Share of the parameters of what is left that goes as well."));
    m_tokens = new QSpinBox(frame);
    m_tokens->setRange(1000, 2'000'000'000);
    m_tokens->setGroupSeparatorShown(true);
    m_tokens->setStepType(QAbstractSpinBox::AdaptiveDecimalStepType);
    m_tokens->setValue(static_cast<int>(defaults.tokens));
    add(tr("T&raining"), m_tokens, tr("Tokens that the long training reads."));
    m_tokens->setSuffix(tr(" tokens"));
    auto* buttons = new QHBoxLayout;
    m_probe = new QPushButton(tr("&Probe"), frame);
    m_probe->setToolTip(
        tr("Makes one with %L1 tokens and tries it: its cost is final, its acceptance a start.")
            .arg(kProbeTokens));
    m_make = new QPushButton(themedIcon(QStringLiteral("add")), tr("&Make"), frame);
    m_make->setToolTip(tr("Queues the long training as an experiment."));
    buttons->addStretch();
    buttons->addWidget(m_probe);
    buttons->addWidget(m_make);
    grid->addLayout(buttons, row++, 0, 1, 2);
    m_probed = makeLabel({}, TextRole::Caption, frame);
    m_probed->setWordWrap(true);
    m_probed->setAccessibleName(tr("What the probe showed"));
    m_probed->hide();
    grid->addWidget(m_probed, row, 0, 1, 2);
    connect(m_kind, &QComboBox::currentIndexChanged, this, &DraftLabPage::updateButtons);
    connect(m_probe, &QPushButton::clicked, this, &DraftLabPage::probe);
    connect(m_make, &QPushButton::clicked, this, &DraftLabPage::make);
    return frame;
}

QWidget* DraftLabPage::buildBar() {
    auto* bar = new QWidget(this);
    auto* row = new QHBoxLayout(bar);
    row->setContentsMargins(0, 0, 0, 0);
    m_status = makeLabel({}, TextRole::Body, bar);
    m_status->setAccessibleName(tr("What is being tried"));
    m_progress = new QProgressBar(bar);
    m_progress->setTextVisible(false);
    m_progress->setFixedWidth(140);
    m_progress->setAccessibleName(tr("Progress of the trials"));
    m_stop = new QPushButton(themedIcon(QStringLiteral("stop")), tr("&Stop"), bar);
    connect(m_stop, &QPushButton::clicked, this, &DraftLabPage::stop);
    row->addWidget(m_status, 1);
    row->addWidget(m_progress);
    row->addWidget(m_stop);
    return bar;
}

QWidget* DraftLabPage::buildResult() {
    auto* chartCard = labCard(this);
    auto* chartColumn = new QVBoxLayout(chartCard);
    chartColumn->setContentsMargins(12, 10, 12, kGap);
    m_title = makeLabel({}, TextRole::Heading, chartCard);
    m_verdict = makeLabel({}, TextRole::Body, chartCard);
    m_verdict->setWordWrap(true);
    m_verdict->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
    m_verdict->setAccessibleName(tr("Verdict"));
    chartColumn->addWidget(m_title);
    chartColumn->addWidget(m_verdict);
    chartColumn->addWidget(m_chart, 1);
    m_table = new QTableView(this);
    m_table->setModel(m_trials);
    m_table->setAccessibleName(tr("Drafts that were tried"));
    m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
    m_table->setSelectionMode(QAbstractItemView::SingleSelection);
    m_table->setShowGrid(false);
    m_table->setWordWrap(false);
    m_table->setTabKeyNavigation(false);
    m_table->verticalHeader()->hide();
    m_table->verticalHeader()->setDefaultSectionSize(fontMetrics().height() + 10);
    m_table->horizontalHeader()->setHighlightSections(false);
    m_table->horizontalHeader()->setStretchLastSection(true);
    m_table->setColumnWidth(DraftTrialsModel::Draft, 190);
    for (int column = DraftTrialsModel::Speedup; column < DraftTrialsModel::Why; ++column) {
        m_table->setColumnWidth(column, kTableColumn);
    }
    // The best row is bold, and its cells are the widest then.
    QFont bold = font();
    bold.setBold(true);
    m_table->setColumnWidth(
        DraftTrialsModel::PerPass,
        std::max(kTableColumn, QFontMetrics(bold).horizontalAdvance(tr("00.00 tokens")) +
                                   2 * style()->pixelMetric(QStyle::PM_FocusFrameHMargin) + 16));
    connect(m_table->selectionModel(), &QItemSelectionModel::currentRowChanged, this,
            [this](const QModelIndex& current) { showCurrent(current.row()); });
    auto* content = new QSplitter(Qt::Vertical, this);
    content->setChildrenCollapsible(false);
    content->addWidget(chartCard);
    content->addWidget(m_table);
    content->setStretchFactor(0, 3);
    content->setStretchFactor(1, 2);
    return content;
}

void DraftLabPage::reloadLibrary() {
    const std::vector<LibraryItem> library = m_jobs->experiments()->library();
    m_setup->setLibrary(library);
    QStringList ticked;
    const bool first = m_drafts->count() == 0;
    for (int i = 0; i < m_drafts->count(); ++i) {
        if (m_drafts->item(i)->checkState() == Qt::Checked) {
            ticked << m_drafts->item(i)->data(Qt::UserRole).toString();
        }
    }
    if (first) {
        ticked << QStringLiteral("ngram") << QStringLiteral("self:int4-g32");
    }
    const QSignalBlocker block(m_drafts);
    m_drafts->clear();
    const auto add = [&](const QString& title, const QString& value) {
        auto* item = new QListWidgetItem(title, m_drafts);
        item->setData(Qt::UserRole, value);
        item->setToolTip(value);
        item->setFlags(Qt::ItemIsEnabled | Qt::ItemIsUserCheckable | Qt::ItemIsSelectable);
        item->setCheckState(ticked.contains(value) ? Qt::Checked : Qt::Unchecked);
    };
    add(tr("n-grams of the text"), QStringLiteral("ngram"));
    add(tr("suffixes of this and earlier texts"), QStringLiteral("suffix"));
    add(tr("the model itself, 4 bits"), QStringLiteral("self:int4-g32"));
    add(tr("the model itself, without a layer"), QStringLiteral("self:1"));
    for (const LibraryItem& item : library) {
        if (item.kind == LibraryItem::Kind::Model && !item.missing &&
            item.path != m_setup->modelPath()) {
            add(item.name, item.path);
        }
    }
    for (const ExperimentRecord& record : m_jobs->experiments()->experiments()) {
        if (record.status != ExperimentStatus::Finished || record.artifactPath.empty() ||
            record.recipe.steps.empty() ||
            QString::fromStdString(record.modelPath) != m_setup->modelPath()) {
            continue;
        }
        const QString name = QString::fromStdString(record.name);
        const QString path = QString::fromStdString(record.artifactPath);
        const std::string& last = record.recipe.steps.back().technique;
        if (last == "distill") {
            add(tr("%1 (run %2)").arg(name).arg(record.id), path);
        } else if (last == "medusa" || last == "eagle") {
            add(tr("heads of %1 (run %2)").arg(name).arg(record.id),
                path + QStringLiteral("/draft"));
        }
    }
    updateButtons();
}

void DraftLabPage::useModel(const QString& path) {
    m_setup->setModelPath(path);
}

DraftTrialRequest DraftLabPage::request() const {
    DraftTrialRequest request;
    request.modelPath = m_setup->modelPath().toStdString();
    request.inputs = m_setup->inputs();
    request.measure = m_setup->measure();
    for (int i = 0; i < m_drafts->count(); ++i) {
        if (m_drafts->item(i)->checkState() == Qt::Checked) {
            request.drafts.push_back(
                m_drafts->item(i)->data(Qt::UserRole).toString().toStdString());
        }
    }
    for (const QString& more : m_more->text().split(QLatin1Char(','), Qt::SkipEmptyParts)) {
        if (!more.trimmed().isEmpty()) {
            request.drafts.push_back(more.trimmed().toStdString());
        }
    }
    const auto collect = [](const std::vector<QCheckBox*>& boxes) {
        std::vector<std::string> values;
        for (const QCheckBox* box : boxes) {
            if (box->isChecked()) {
                values.push_back(box->property("value").toString().toStdString());
            }
        }
        return values;
    };
    request.draftTokens = collect(m_lengths);
    request.trees = collect(m_trees);
    return request;
}

DraftMaking DraftLabPage::making() const {
    DraftMaking making;
    making.kind = m_kind->currentData().toString().toStdString();
    making.layers = m_layers->value();
    making.width = m_width->value();
    making.tokens = m_tokens->value();
    return making;
}

void DraftLabPage::start(DraftTrialRequest request, const QString& title) {
    m_probing = request.probe.has_value();
    m_job = m_jobs->queue(
        std::move(request), title, this,
        [this](const JobResult& result) {
            if (const auto* report = std::get_if<DraftTrialReport>(&result)) {
                showReport(*report);
            }
        },
        [this](const ErrorInfo& error) {
            emit errorOccurred(tr("Drafts"), QString::fromStdString(error.message));
        });
    if (m_job != 0) {
        m_status->setText(tr("Waits for its turn"));
        m_progress->setRange(0, 0);
    }
    updateButtons();
}

void DraftLabPage::tryDrafts() {
    if (m_try->isEnabled()) {
        start(request(), tr("Try drafts for %1").arg(m_setup->modelName()));
    }
}

void DraftLabPage::probe() {
    if (!m_probe->isEnabled()) {
        return;
    }
    DraftTrialRequest probing = request();
    probing.drafts.clear();
    probing.draftTokens = {"auto"};
    probing.probe = making();
    probing.trees = {probing.probe->heads() ? "auto" : "off"};
    probing.probe->tokens = std::min(probing.probe->tokens, kProbeTokens);
    m_probed->setText(tr("Making one with %L1 tokens…").arg(probing.probe->tokens));
    m_probed->show();
    start(std::move(probing), tr("Probe a draft for %1").arg(m_setup->modelName()));
}

void DraftLabPage::make() {
    if (!m_make->isEnabled()) {
        return;
    }
    RunRequest run = m_setup->request();
    run.recipe = draftRecipe(making());
    m_jobs->queueRun(std::move(run), tr("draft for %1").arg(m_setup->modelName()));
    m_status->setText(tr("The training is queued; the draft appears in the list when it is done."));
}

void DraftLabPage::stop() {
    if (m_job != 0) {
        m_jobs->engine()->cancel(m_job);
    }
}

void DraftLabPage::follow(const JobEvent& event) {
    if (m_job == 0 || event.job != m_job) {
        return;
    }
    if (const auto* progress = std::get_if<JobProgress>(&event.body)) {
        m_status->setText(QString::fromStdString(progress->phase));
        m_progress->setRange(0, progress->fraction >= 0 ? 1000 : 0);
        m_progress->setValue(static_cast<int>(std::max(0.0, progress->fraction) * 1000));
        return;
    }
    const bool finished = std::holds_alternative<JobFinished>(event.body);
    const bool failed = std::holds_alternative<JobFailed>(event.body);
    if (!finished && !failed && !std::holds_alternative<JobCancelled>(event.body)) {
        return;
    }
    m_job = 0;
    m_status->setText(finished ? tr("Done") : failed ? tr("Failed") : tr("Stopped"));
    if (!finished && m_probing) {
        m_probed->hide();
    }
    updateButtons();
}

void DraftLabPage::showReport(const DraftTrialReport& report) {
    if (m_probing && !report.trials.empty()) {
        const DraftTrial& trial = report.trials.back();
        m_probed->setText(trial.refusal.empty()
                              ? tr("Already %1. The cost is final; training raises the acceptance.")
                                    .arg(QString::fromStdString(trial.verdict))
                              : QString::fromStdString(trial.refusal));
    }
    // A probe joins what was tried for the same model before.
    DraftTrialReport shown = report;
    if (m_probing && m_trials->report().model == report.model) {
        shown = m_trials->report();
        std::erase_if(shown.trials, [](const DraftTrial& t) { return t.draft == "probe"; });
        shown.trials.insert(shown.trials.end(), report.trials.begin(), report.trials.end());
    }
    m_trials->setReport(shown);
    m_chart->setReport(shown);
    m_table->clearSpans();
    for (std::size_t i = 0; i < shown.trials.size(); ++i) {
        if (!shown.trials[i].refusal.empty()) {  // the reason takes the room of the numbers
            m_table->setSpan(static_cast<int>(i), DraftTrialsModel::Promised, 1,
                             DraftTrialsModel::ColumnCount - DraftTrialsModel::Promised);
        }
    }
    m_stack->setCurrentIndex(1);
    const int best = shown.best();
    if (best >= 0) {
        m_table->setCurrentIndex(m_trials->index(best, 0));
    }
    showCurrent(best);
}

void DraftLabPage::showCurrent(int trial) {
    const DraftTrialReport& report = m_trials->report();
    m_chart->setCurrent(trial);
    if (trial < 0 || trial >= static_cast<int>(report.trials.size())) {
        m_title->setText(tr("No draft is faster than none"));
        m_verdict->setText(
            tr("One step takes %1. A draft below the line costs more than it brings.")
                .arg(QString::fromStdString(formatMetric("ttft_ms", report.stepMs))));
        return;
    }
    const DraftTrial& shown = report.trials[static_cast<std::size_t>(trial)];
    const QString name = trialTitle(shown);
    m_title->setText(trial == report.best() ? tr("%1 is the fastest").arg(name) : name);
    QString text = QString::fromStdString(shown.refusal.empty() ? shown.verdict : shown.refusal);
    if (shown.refusal.empty() && hasPoint(shown)) {
        text +=
            QStringLiteral(". ") +
            tr("The formula promises %1 for this; at this cost drafting pays from an acceptance "
               "of %2 on.")
                .arg(QString::fromStdString(formatMetric("speedup", shown.expected)),
                     QString::fromStdString(formatMetric(
                         "acceptance_rate",
                         100 * std::min(1.0,
                                        neededAcceptance(1, shown.draftCost, report.verifyCost)))));
    }
    m_verdict->setText(text);
}

QString DraftLabPage::problem() const {
    if (!m_setup->problem().isEmpty()) {
        return m_setup->problem();
    }
    const DraftTrialRequest asked = request();
    if (asked.drafts.empty()) {
        return tr("Tick at least one draft.");
    }
    if (asked.draftTokens.empty() || asked.trees.empty()) {
        return tr("Tick at least one number of tokens and one tree.");
    }
    return {};
}

void DraftLabPage::updateButtons() {
    if (!m_make || !m_try) {
        return;
    }
    const QString why = problem();
    const bool model = !m_setup->modelPath().isEmpty();
    const bool trains = model && (!m_setup->inputs().train.empty() ||
                                  m_setup->modelPath() == QLatin1String("demo"));
    m_problem->setText(isRunning() ? QString() : why);
    m_problem->setVisible(!m_problem->text().isEmpty());
    m_try->setEnabled(why.isEmpty() && !isRunning());
    m_probe->setEnabled(trains && !isRunning());
    m_make->setEnabled(trains);
    const QString needs = trains ? QString() : tr("Making a draft needs a training text.");
    if (!needs.isEmpty()) {
        m_make->setToolTip(needs);
    }
    const bool smaller = m_kind->currentData().toString() == QLatin1String("model");
    m_layers->setEnabled(smaller);
    m_width->setEnabled(smaller);
    m_stop->setVisible(isRunning());
    m_progress->setVisible(isRunning());
}

QString DraftLabPage::verdictText() const {
    return m_title->text() + QLatin1Char('\n') + m_verdict->text();
}

}  // namespace fettle::ui
