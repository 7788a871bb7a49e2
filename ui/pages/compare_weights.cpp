#include "ui/pages/compare_weights.h"

#include <QCheckBox>
#include <QGridLayout>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QSplitter>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/bridge/job_controller.h"
#include "ui/charts/histogram_chart.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

constexpr int kBins = 128;

CompareWeights::CompareWeights(JobController* jobs, QWidget* parent)
    : QWidget(parent),
      m_jobs(jobs),
      m_filter(new QLineEdit(this)),
      m_list(new QListWidget(this)),
      m_logarithmic(new QCheckBox(tr("&Logarithmic counts"), this)),
      m_note(makeLabel({}, TextRole::Caption, this)) {
    auto* outer = new QVBoxLayout(this);
    outer->setContentsMargins(0, kGap, 0, 0);
    auto* split = new QSplitter(Qt::Horizontal, this);
    split->setChildrenCollapsible(false);
    split->setHandleWidth(9);
    auto* left = new QWidget(split);
    auto* column = new QVBoxLayout(left);
    column->setContentsMargins(0, 0, 0, 0);
    m_filter->setPlaceholderText(tr("Filter tensors"));
    m_filter->setClearButtonEnabled(true);
    m_filter->setAccessibleName(tr("Filter tensors"));
    m_list->setAccessibleName(tr("Tensors"));
    m_list->setUniformItemSizes(true);
    m_list->setTextElideMode(Qt::ElideMiddle);
    column->addWidget(m_filter);
    column->addWidget(m_list, 1);
    auto* right = new QWidget(split);
    auto* charts = new QVBoxLayout(right);
    charts->setContentsMargins(0, 0, 0, 0);
    auto* bar = new QHBoxLayout;
    m_note->setWordWrap(true);
    bar->addWidget(m_note, 1);
    bar->addWidget(m_logarithmic);
    charts->addLayout(bar);
    m_grid = new QGridLayout;
    m_grid->setSpacing(kGap);
    charts->addLayout(m_grid, 1);
    split->addWidget(left);
    split->addWidget(right);
    split->setStretchFactor(1, 1);
    split->setSizes({260, 700});
    outer->addWidget(split);
    connect(m_filter, &QLineEdit::textChanged, this, &CompareWeights::fillList);
    connect(m_list, &QListWidget::currentRowChanged, this, &CompareWeights::askHistograms);
    connect(m_logarithmic, &QCheckBox::toggled, this, [this](bool on) {
        for (HistogramChart* chart : m_charts) {
            chart->setLogarithmicCount(on);
        }
    });
}

void CompareWeights::setExperiments(const ComparedExperiments& experiments) {
    m_experiments = experiments;
    m_tensors.clear();
    for (const ComparedExperiment& one : experiments) {
        for (const LayerMetric& metric : one.detail.layerMetrics) {
            m_tensors << QString::fromStdString(metric.tensor);
        }
    }
    m_tensors.removeDuplicates();
    qDeleteAll(m_charts);
    qDeleteAll(m_titles);
    m_charts.clear();
    m_titles.clear();
    for (std::size_t i = 0; i < experiments.size(); ++i) {
        auto* title = makeLabel(QStringLiteral("%1 · %2").arg(letterOf(i), experiments[i].name()),
                                TextRole::Caption, this);
        auto* chart = new HistogramChart(this);
        chart->setLogarithmicCount(m_logarithmic->isChecked());
        const int row = static_cast<int>(i / 2) * 2;
        m_grid->addWidget(title, row, static_cast<int>(i % 2));
        m_grid->addWidget(chart, row + 1, static_cast<int>(i % 2));
        m_grid->setRowStretch(row + 1, 1);
        m_titles.push_back(title);
        m_charts.push_back(chart);
    }
    ++m_generation;
    m_pending = true;
    if (isVisible()) {
        load();
    }
}

// Files are read only once somebody looks.
void CompareWeights::showEvent(QShowEvent* event) {
    QWidget::showEvent(event);
    if (m_pending) {
        load();
    }
}

void CompareWeights::load() {
    m_pending = false;
    m_tensors.isEmpty() && !m_experiments.empty() ? askNames() : fillList();
}

void CompareWeights::askNames() {
    m_note->setText(tr("Reading the names of the tensors…"));
    m_jobs->ask(
        InspectRequest{m_experiments.front().record().modelPath}, this,
        [this, generation = m_generation](const JobResult& result) {
            const auto* report = std::get_if<ModelReport>(&result);
            if (report && generation == m_generation) {
                for (const TensorReport& tensor : report->tensors) {
                    m_tensors << QString::fromStdString(tensor.name);
                }
                fillList();
            }
        },
        [this](const ErrorInfo& error) { m_note->setText(QString::fromStdString(error.message)); });
}

void CompareWeights::fillList() {
    const QString before = m_list->currentItem() ? m_list->currentItem()->text() : QString();
    const QSignalBlocker block(m_list);
    m_list->clear();
    for (const QString& tensor : std::as_const(m_tensors)) {
        if (tensor.contains(m_filter->text(), Qt::CaseInsensitive)) {
            m_list->addItem(tensor);
        }
    }
    const auto same = m_list->findItems(before, Qt::MatchExactly);
    m_list->setCurrentRow(same.isEmpty() ? 0 : m_list->row(same.front()));
    askHistograms();
}

void CompareWeights::showTensor(const QString& tensor) {
    if (m_pending) {
        m_pending = false;
        fillList();
    }
    m_filter->clear();
    const auto found = m_list->findItems(tensor, Qt::MatchExactly);
    if (!found.isEmpty()) {
        m_list->setCurrentItem(found.front());
    }
}

void CompareWeights::askHistograms() {
    for (const JobId job : m_asked) {
        m_jobs->engine()->cancel(job);
    }
    m_asked.clear();
    ++m_generation;
    for (HistogramChart* chart : m_charts) {
        chart->clear();
    }
    if (!m_list->currentItem()) {
        m_note->setText(tr("No tensor passes the filter."));
        return;
    }
    m_note->setText(tr("Bars: the original model. Line: the model of the experiment."));
    for (std::size_t i = 0; i < m_experiments.size(); ++i) {
        const ExperimentRecord& record = m_experiments[i].record();
        ask(i, record.modelPath, false);
        if (!record.artifactPath.empty()) {
            ask(i, record.artifactPath, true);
        }
        const QString kept = record.isBaseline()           ? tr("the model as it is")
                             : record.artifactPath.empty() ? tr("kept no model")
                                                           : QString();
        m_titles[i]->setText(QStringLiteral("%1 · %2").arg(letterOf(i), m_experiments[i].name()) +
                             (kept.isEmpty() ? kept : QStringLiteral(" · ") + kept));
    }
}

void CompareWeights::ask(std::size_t experiment, const std::string& path, bool after) {
    m_asked.push_back(m_jobs->ask(
        HistogramRequest{path, m_list->currentItem()->text().toStdString(), kBins}, this,
        [this, experiment, after, generation = m_generation](const JobResult& result) {
            const auto* histogram = std::get_if<TensorHistogram>(&result);
            if (!histogram || generation != m_generation) {
                return;
            }
            after ? m_charts[experiment]->setOverlay(*histogram)
                  : m_charts[experiment]->setHistogram(*histogram);
        },
        [this, experiment, generation = m_generation](const ErrorInfo& error) {
            if (generation == m_generation) {
                m_titles[experiment]->setText(letterOf(experiment) + QStringLiteral(" · ") +
                                              QString::fromStdString(error.message));
            }
        }));
}

}  // namespace fettle::ui
