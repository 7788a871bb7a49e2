#include "ui/pages/compare_page.h"

#include <QAction>
#include <QCheckBox>
#include <QClipboard>
#include <QComboBox>
#include <QEvent>
#include <QFrame>
#include <QGuiApplication>
#include <QHeaderView>
#include <QLabel>
#include <QMenu>
#include <QPushButton>
#include <QStackedWidget>
#include <QTabWidget>
#include <QTableView>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/bridge/job_controller.h"
#include "ui/charts/series_chart.h"
#include "ui/models/compare_metrics_model.h"
#include "ui/models/experiment_comparison.h"
#include "ui/models/recipe_diff_model.h"
#include "ui/pages/compare_answers.h"
#include "ui/pages/compare_layers.h"
#include "ui/pages/compare_picker.h"
#include "ui/pages/compare_roofline.h"
#include "ui/pages/compare_tokens.h"
#include "ui/pages/compare_weights.h"
#include "ui/widgets/elided_label.h"
#include "ui/widgets/empty_state.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

ComparePage::ComparePage(JobController* jobs, QWidget* parent)
    : QWidget(parent),
      m_jobs(jobs),
      m_stack(new QStackedWidget(this)),
      m_metrics(new CompareMetricsModel(this)),
      m_recipes(new RecipeDiffModel(this)) {
    auto* outer = new QVBoxLayout(this);
    outer->setContentsMargins(0, 0, 0, 0);
    outer->addWidget(m_stack);
    auto* empty = new EmptyState(
        QStringLiteral("compare"), tr("Nothing to compare"),
        tr("Select two to four experiments on the Explore page and press Compare, or choose them "
           "here. The first one, or the baseline, is what the others are held against."),
        this);
    connect(empty->addAction(tr("Choose experiments…"), true), &QPushButton::clicked, this,
            &ComparePage::choose);
    m_stack->addWidget(empty);
    auto* page = new QWidget(this);
    m_stack->addWidget(page);
    buildHeader(page);
    buildTabs();
    page->layout()->addWidget(m_tabs);

    m_reload.setSingleShot(true);
    m_reload.setInterval(100);
    connect(&m_reload, &QTimer::timeout, this, &ComparePage::reload);
    ExperimentService* service = m_jobs->experiments();
    const auto later = [this] { m_reload.start(); };
    connect(service, &ExperimentService::experimentsReset, this, later);
    connect(service, &ExperimentService::experimentsRemoved, this, later);
    connect(service, &ExperimentService::experimentChanged, this, [this](qint64 id) {
        if (std::find(m_ids.begin(), m_ids.end(), id) != m_ids.end()) {
            m_reload.start();
        }
    });
    updateTheme();
}

void ComparePage::buildHeader(QWidget* page) {
    auto* column = new QVBoxLayout(page);
    column->setContentsMargins(kGapWide, 12, kGapWide, 12);
    column->setSpacing(10);
    auto* row = new QHBoxLayout;
    m_chips = new QHBoxLayout;
    m_chips->setSpacing(kGap);
    row->addLayout(m_chips, 1);
    m_add = new QPushButton(themedIcon(QStringLiteral("add")), tr("Add…"), page);
    m_add->setToolTip(tr("Choose another experiment"));
    connect(m_add, &QPushButton::clicked, this, &ComparePage::choose);
    row->addWidget(m_add, 0, Qt::AlignTop);
    column->addLayout(row);
    m_findingsCard = new QFrame(page);
    setStyleClass(m_findingsCard, "card");
    auto* card = new QVBoxLayout(m_findingsCard);
    card->setContentsMargins(12, 8, 12, 8);
    m_findings = new QLabel(m_findingsCard);
    m_findings->setObjectName(QStringLiteral("findings"));
    m_findings->setTextFormat(Qt::RichText);
    m_findings->setWordWrap(true);
    m_findings->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
    m_findings->setAccessibleName(tr("What the differences mean"));
    card->addWidget(m_findings);
    column->addWidget(m_findingsCard);
}

void ComparePage::buildTabs() {
    m_tabs = new QTabWidget(this);
    m_tabs->setDocumentMode(true);
    m_tabs->setObjectName(QStringLiteral("compareTabs"));
    m_layers = new CompareLayers(this);
    m_answers = new CompareAnswers(this);
    m_tokens = new CompareTokens(m_jobs, this);
    m_weights = new CompareWeights(m_jobs, this);
    m_tabs->addTab(buildNumbers(), tr("Numbers"));
    m_tabs->addTab(buildRecipes(), tr("Settings"));
    m_tabs->addTab(m_layers, tr("Layers"));
    m_tabs->addTab(m_tokens, tr("Tokens"));
    m_tabs->addTab(m_answers, tr("Answers"));
    m_tabs->addTab(buildCurves(), tr("Curves"));
    m_tabs->addTab(m_weights, tr("Weights"));
    m_roofline = new CompareRoofline(m_jobs, this);
    m_tabs->addTab(m_roofline, tr("Roofline"));
    connect(m_layers, &CompareLayers::tensorActivated, this, [this](const QString& tensor) {
        m_tabs->setCurrentWidget(m_weights);
        m_weights->showTensor(tensor);
    });
}

QTableView* ComparePage::makeTable(QAbstractItemModel* model, const QString& name) {
    auto* table = new QTableView(this);
    table->setModel(model);
    table->setShowGrid(false);
    table->setWordWrap(false);
    table->setTabKeyNavigation(false);
    table->setSelectionBehavior(QAbstractItemView::SelectRows);
    table->setVerticalScrollMode(QAbstractItemView::ScrollPerPixel);
    table->setHorizontalScrollMode(QAbstractItemView::ScrollPerPixel);
    table->verticalHeader()->hide();
    table->verticalHeader()->setDefaultSectionSize(fontMetrics().height() + 11);
    table->horizontalHeader()->setHighlightSections(false);
    table->horizontalHeader()->setTextElideMode(Qt::ElideRight);
    table->horizontalHeader()->setStretchLastSection(true);
    table->setAccessibleName(name);
    return table;
}

QWidget* ComparePage::buildNumbers() {
    m_metricsTable = makeTable(m_metrics, tr("Metrics side by side"));
    m_metricsTable->setObjectName(QStringLiteral("compareMetrics"));
    auto* copy = new QAction(tr("Copy the numbers"), m_metricsTable);
    copy->setShortcut(QKeySequence::Copy);
    copy->setShortcutContext(Qt::WidgetShortcut);
    m_metricsTable->addAction(copy);
    connect(copy, &QAction::triggered, this,
            [this] { QGuiApplication::clipboard()->setText(m_metrics->toText()); });
    return m_metricsTable;
}

QWidget* ComparePage::buildRecipes() {
    auto* box = new QWidget(this);
    auto* column = new QVBoxLayout(box);
    column->setContentsMargins(0, kGap, 0, 0);
    auto* bar = new QHBoxLayout;
    m_showEqual = new QCheckBox(tr("Show &equal settings"), box);
    m_equalNote = makeLabel({}, TextRole::Caption, box);
    bar->addWidget(m_showEqual);
    bar->addWidget(m_equalNote, 1);
    column->addLayout(bar);
    m_recipesTable = makeTable(m_recipes, tr("Settings side by side"));
    column->addWidget(m_recipesTable, 1);
    connect(m_showEqual, &QCheckBox::toggled, this, [this](bool on) {
        m_recipes->setShowEqual(on);
        m_recipesTable->resizeColumnsToContents();
    });
    return box;
}

QWidget* ComparePage::buildCurves() {
    auto* box = new QWidget(this);
    auto* column = new QVBoxLayout(box);
    column->setContentsMargins(0, kGap, 0, 0);
    auto* bar = new QHBoxLayout;
    m_curve = new QComboBox(box);
    m_curve->setAccessibleName(tr("Curve"));
    m_curve->setSizeAdjustPolicy(QComboBox::AdjustToContents);
    auto* label = makeLabel(tr("C&urve"), TextRole::Body, box);
    label->setBuddy(m_curve);
    bar->addWidget(label);
    bar->addWidget(m_curve);
    bar->addStretch();
    column->addLayout(bar);
    m_curves = new SeriesChart(box);
    m_curves->setEmptyText(tr("None of these experiments trained: no curves were stored."));
    column->addWidget(m_curves, 1);
    connect(m_curve, &QComboBox::currentIndexChanged, this, &ComparePage::showCurves);
    return box;
}

void ComparePage::compare(std::vector<qint64> ids) {
    std::vector<qint64> kept;
    for (const qint64 id : ids) {
        if (kept.size() < kMost && std::find(kept.begin(), kept.end(), id) == kept.end() &&
            m_jobs->experiments()->experiment(id)) {
            kept.push_back(id);
        }
    }
    const auto baseline = std::find_if(kept.begin(), kept.end(), [this](qint64 id) {
        return m_jobs->experiments()->experiment(id)->isBaseline();
    });
    if (baseline != kept.end()) {
        std::rotate(kept.begin(), baseline, baseline + 1);
    }
    m_ids = std::move(kept);
    reload();
}

void ComparePage::makeReference(qint64 id) {
    const auto place = std::find(m_ids.begin(), m_ids.end(), id);
    if (place != m_ids.end()) {
        std::rotate(m_ids.begin(), place, place + 1);
        reload();
    }
}

void ComparePage::removeExperiment(qint64 id) {
    std::erase(m_ids, id);
    reload();
}

void ComparePage::choose() {
    const int taken = static_cast<int>(m_ids.size());
    auto* picker = new ComparePicker(m_jobs->experiments()->experiments(), m_ids,
                                     std::max(1, 2 - taken), static_cast<int>(kMost) - taken, this);
    picker->setAttribute(Qt::WA_DeleteOnClose);
    connect(picker, &QDialog::accepted, this, [this, picker] {
        std::vector<qint64> ids = m_ids;
        for (const qint64 id : picker->chosen()) {
            ids.push_back(id);
        }
        if (m_ids.empty()) {
            return compare(std::move(ids));
        }
        m_ids = std::move(ids);  // what is the reference stays it
        reload();
    });
    picker->open();
}

void ComparePage::reload() {
    ExperimentService* service = m_jobs->experiments();
    m_experiments.clear();
    std::vector<qint64> found;
    for (const qint64 id : m_ids) {
        if (std::optional<ExperimentDetail> detail = service->detail(id)) {
            m_experiments.push_back({std::move(*detail), service->trace(id), {}});
            found.push_back(id);
        }
    }
    m_ids = std::move(found);
    for (std::size_t i = 1; i < m_experiments.size(); ++i) {
        static const EvaluationTrace none;
        const auto& first = m_experiments.front().trace;
        const auto& other = m_experiments[i].trace;
        m_experiments[i].against = comparePaired(first ? *first : none, other ? *other : none);
    }
    m_stack->setCurrentIndex(m_ids.size() < 2 ? 0 : 1);
    showHeader();
    m_metrics->setExperiments(m_experiments);
    m_recipes->setExperiments(m_experiments);
    m_equalNote->setText(tr("%1 settings are the same for all").arg(m_recipes->equalCount()));
    m_metricsTable->resizeColumnsToContents();
    m_recipesTable->resizeColumnsToContents();
    m_layers->setExperiments(m_experiments);
    m_answers->setExperiments(m_experiments);
    m_tokens->setExperiments(m_experiments);
    m_weights->setExperiments(m_experiments);
    m_roofline->setExperiments(m_experiments);
    chooseCurve();
}

QWidget* ComparePage::makeChip(std::size_t index) {
    const ComparedExperiment& one = m_experiments[index];
    const qint64 id = one.record().id;
    auto* chip = new QFrame(this);
    setStyleClass(chip, index == 0 ? "card-active" : "card");
    auto* row = new QHBoxLayout(chip);
    row->setContentsMargins(12, 6, 4, 6);
    auto* text = new QVBoxLayout;
    text->setSpacing(0);
    auto* name = new ElidedLabel(QStringLiteral("%1 · %2").arg(letterOf(index), one.name()), chip);
    name->setToolTip(one.name());
    text->addWidget(name);
    const QString summary = QString::fromStdString(one.record().summary());
    auto* caption = makeLabel(index == 0 ? tr("Reference · %1").arg(summary) : summary,
                              TextRole::Caption, chip);
    caption->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
    caption->setToolTip(summary);
    text->addWidget(caption);
    row->addLayout(text, 1);
    auto* more = new QToolButton(chip);
    more->setIcon(themedIcon(QStringLiteral("more")));
    more->setPopupMode(QToolButton::InstantPopup);
    more->setToolTip(tr("What to do with %1").arg(one.name()));
    more->setAccessibleName(more->toolTip());
    auto* menu = new QMenu(more);
    QAction* first = menu->addAction(tr("Hold the others against this"));
    first->setEnabled(index > 0);
    connect(
        first, &QAction::triggered, this, [this, id] { makeReference(id); }, Qt::QueuedConnection);
    connect(
        menu->addAction(tr("Take out of the comparison")), &QAction::triggered, this,
        [this, id] { removeExperiment(id); }, Qt::QueuedConnection);
    more->setMenu(menu);
    row->addWidget(more, 0, Qt::AlignTop);
    return chip;
}

void ComparePage::showHeader() {
    while (QLayoutItem* item = m_chips->takeAt(0)) {
        item->widget()->hide();
        item->widget()->deleteLater();
        delete item;
    }
    for (std::size_t i = 0; i < m_experiments.size(); ++i) {
        m_chips->addWidget(makeChip(i), 1);
    }
    m_add->setEnabled(m_ids.size() < kMost);
    showFindings();
}

void ComparePage::showFindings() {
    const ChartTheme theme = ChartTheme::fromPalette(palette());
    QStringList lines;
    for (std::size_t i = 1; i < m_experiments.size(); ++i) {
        const ComparedExperiment& one = m_experiments[i];
        QStringList parts;
        for (const PairedFinding& finding : one.against.findings) {
            const QString title = QString::fromStdString(findingTitle(finding.finding));
            const QColor color = finding.finding == Finding::Loss   ? theme.bad
                                 : finding.finding == Finding::Gain ? theme.good
                                                                    : theme.muted;
            const QString text = QString::fromStdString(finding.text()).toHtmlEscaped();
            if (finding.metric == "perplexity" || finding.metric == "task_accuracy") {
                parts << QStringLiteral("<b style='color:%1'>%2</b>%3")
                             .arg(color.name(), title, text.mid(title.size()));
            }
        }
        if (!one.against.note.empty()) {
            parts << tr("Not tested: %1.")
                         .arg(QString::fromStdString(one.against.note).toHtmlEscaped());
        }
        lines << QStringLiteral("<b>%1</b>&nbsp; %2")
                     .arg(letterOf(i), parts.join(QStringLiteral("<br>&nbsp;&nbsp;&nbsp;&nbsp;")));
    }
    m_findings->setText(lines.join(QStringLiteral("<br>")));
}

QString ComparePage::findingsText() const {
    return m_findings->text();
}

void ComparePage::chooseCurve() {
    QStringList names;
    for (const ComparedExperiment& one : m_experiments) {
        for (const SeriesPoint& point : one.detail.series) {
            const QString name = QString::fromStdString(point.name);
            if (names.isEmpty() || (names.back() != name && !names.contains(name))) {
                names << name;
            }
        }
    }
    const QString before = m_curve->currentData().toString();
    const QSignalBlocker block(m_curve);
    m_curve->clear();
    for (const QString& name : names) {
        m_curve->addItem(seriesTitle(name), name);
    }
    const int kept = m_curve->findData(before);
    m_curve->setCurrentIndex(kept >= 0 ? kept : names.isEmpty() ? -1 : 0);
    m_curve->setEnabled(!names.isEmpty());
    showCurves();
}

void ComparePage::showCurves() {
    const std::string wanted = m_curve->currentData().toString().toStdString();
    std::vector<SeriesPoint> points;
    for (std::size_t i = 0; i < m_experiments.size(); ++i) {
        const std::string name =
            QStringLiteral("%1 · %2").arg(letterOf(i), m_experiments[i].name()).toStdString();
        for (const SeriesPoint& point : m_experiments[i].detail.series) {
            if (point.name == wanted) {
                points.push_back({name, point.step, point.value});
            }
        }
    }
    m_curves->setYTitle(seriesTitle(QString::fromStdString(wanted)));
    m_curves->setPoints(points);
}

void ComparePage::updateTheme() {
    const ChartTheme theme = ChartTheme::fromPalette(palette());
    m_metrics->setTheme(theme);
    m_recipes->setTheme(theme);
    if (!m_experiments.empty()) {
        showFindings();
    }
}

void ComparePage::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() == QEvent::PaletteChange && m_findings) {
        updateTheme();
    }
}

}  // namespace fettle::ui
