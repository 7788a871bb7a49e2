#include "ui/pages/compare_roofline.h"

#include <QHeaderView>
#include <QLabel>
#include <QSplitter>
#include <QTableWidget>
#include <QVBoxLayout>
#include <cmath>
#include <set>

#include "ui/bridge/job_controller.h"
#include "ui/charts/axis_scale.h"
#include "ui/charts/roofline_chart.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

/// The file that an experiment's numbers were taken on; empty where it was not kept.
std::string measuredPath(const ExperimentRecord& record) {
    return record.isBaseline() ? record.modelPath : record.artifactPath;
}

}  // namespace

CompareRoofline::CompareRoofline(JobController* jobs, QWidget* parent)
    : QWidget(parent),
      m_jobs(jobs),
      m_chart(new RooflineChart(this)),
      m_table(new QTableWidget(this)),
      m_note(makeLabel({}, TextRole::Caption, this)) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(0, kGap, 0, 0);
    m_note->setWordWrap(true);
    column->addWidget(m_note);
    auto* split = new QSplitter(Qt::Vertical, this);
    split->setChildrenCollapsible(false);
    split->setHandleWidth(9);
    split->addWidget(m_chart);
    split->addWidget(m_table);
    split->setStretchFactor(0, 3);
    split->setStretchFactor(1, 1);
    split->setSizes({320, 150});
    column->addWidget(split, 1);
    const QStringList titles{tr("Experiment"),          tr("Phase"),     tr("Bound by"),
                             tr("Operations per byte"), tr("Predicted"), tr("Measured"),
                             tr("Of the predicted")};
    m_table->setColumnCount(static_cast<int>(titles.size()));
    m_table->setHorizontalHeaderLabels(titles);
    m_table->setAccessibleName(tr("Predicted and measured speeds"));
    m_table->setEditTriggers(QAbstractItemView::NoEditTriggers);
    m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
    m_table->setShowGrid(false);
    m_table->setTabKeyNavigation(false);
    m_table->verticalHeader()->hide();
    m_table->verticalHeader()->setDefaultSectionSize(fontMetrics().height() + 10);
    m_table->horizontalHeader()->setHighlightSections(false);
    m_table->horizontalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
    m_table->horizontalHeader()->setSectionResizeMode(0, QHeaderView::Stretch);
}

void CompareRoofline::setExperiments(const ComparedExperiments& experiments) {
    m_experiments = experiments;
    m_pending = true;
    if (isVisible()) {
        load();
    }
}

// Files are read only once somebody looks.
void CompareRoofline::showEvent(QShowEvent* event) {
    QWidget::showEvent(event);
    if (m_pending) {
        load();
    }
}

void CompareRoofline::load() {
    m_pending = false;
    std::set<std::string> wanted;
    for (const ComparedExperiment& one : m_experiments) {
        wanted.insert(one.record().modelPath);
        wanted.insert(measuredPath(one.record()));
    }
    wanted.erase(std::string());
    for (const std::string& path : wanted) {
        if (m_costs.count(path) == 0) {
            ask(path);
        }
    }
    showPoints();
}

void CompareRoofline::ask(const std::string& path) {
    m_problems.erase(path);
    m_jobs->ask(
        InspectRequest{path}, this,
        [this, path](const JobResult& result) {
            if (const auto* report = std::get_if<ModelReport>(&result)) {
                m_costs[path] = tokenCost(*report);
                showPoints();
            }
        },
        [this, path](const ErrorInfo& error) {
            m_problems[path] = QString::fromStdString(error.message);
            showPoints();
        });
}

const TokenCost* CompareRoofline::costOf(const ExperimentRecord& record) const {
    const auto found = m_costs.find(measuredPath(record));
    return found == m_costs.end() ? nullptr : &found->second;
}

void CompareRoofline::showPoints() {
    m_table->setRowCount(0);
    std::vector<RooflineChart::Series> series;
    QStringList notes;
    DeviceRoofs drawn;
    std::string device;
    const ExperimentList records = m_jobs->experiments()->experiments();
    for (std::size_t i = 0; i < m_experiments.size(); ++i) {
        const ExperimentRecord& record = m_experiments[i].record();
        const QString name = QStringLiteral("%1 · %2").arg(letterOf(i), m_experiments[i].name());
        const auto original = m_costs.find(record.modelPath);
        if (const auto problem = m_problems.find(measuredPath(record));
            problem != m_problems.end()) {
            notes << name + QStringLiteral(": ") + problem->second;
            continue;
        }
        if (measuredPath(record).empty()) {
            notes << tr("%1 kept no model, so its bytes are not known").arg(name);
            continue;
        }
        const TokenCost* cost = costOf(record);
        if (!cost || original == m_costs.end()) {
            continue;
        }
        const DeviceRoofs roofs =
            measuredRoofs(records, record.device, record.modelPath, original->second);
        if (!roofs.known()) {
            notes << tr("No run on %1 measured speed: the roofs are not known")
                         .arg(QString::fromStdString(record.device));
            continue;
        }
        if (!device.empty() && device != record.device) {
            notes << tr("%1 ran on another device and is not drawn").arg(name);
            continue;
        }
        device = record.device;
        // Runs of another model may have come closer to what the device can do.
        drawn.bytesPerSecond = std::max(drawn.bytesPerSecond, roofs.bytesPerSecond);
        drawn.flopsPerSecond = std::max(drawn.flopsPerSecond, roofs.flopsPerSecond);
        series.push_back({name, static_cast<int>(i), {}});
    }
    for (RooflineChart::Series& one : series) {
        const ComparedExperiment& experiment = m_experiments[static_cast<std::size_t>(one.color)];
        one.points = rooflinePoints(*costOf(experiment.record()), drawn, experiment.record(),
                                    experiment.detail.measure);
        for (const RooflinePoint& point : one.points) {
            const int row = m_table->rowCount();
            m_table->insertRow(row);
            const QString measured =
                point.measured ? tr("%1 tokens/s").arg(shortNumber(*point.measured, 4)) +
                                     (point.native ? QString() : tr(", through dequantization"))
                               : tr("not measured");
            const QStringList cells{
                one.name,
                point.phase == RooflinePoint::Phase::Prefill ? tr("prompt") : tr("answer"),
                point.memoryBound ? tr("memory") : tr("compute"),
                shortNumber(point.intensity, 3),
                tr("%1 tokens/s").arg(shortNumber(point.predicted, 4)),
                measured,
                point.measured ? tr("%1 %").arg(shortNumber(
                                     std::round(100 * *point.measured / point.predicted), 3))
                               : QString()};
            for (int c = 0; c < static_cast<int>(cells.size()); ++c) {
                auto* item = new QTableWidgetItem(cells[c]);
                item->setTextAlignment(c < 3 ? Qt::AlignLeft | Qt::AlignVCenter
                                             : Qt::AlignRight | Qt::AlignVCenter);
                m_table->setItem(row, c, item);
            }
        }
    }
    notes.removeDuplicates();
    if (!series.empty()) {
        notes.prepend(
            tr("Predicted from bytes and operations per token under roofs that are the best rates "
               "which runs of these models reached on %1, not the hardware's own limits. Hollow: "
               "predicted. Filled: measured. Squares: prompts, circles: answers.")
                .arg(QString::fromStdString(device)));
    }
    m_chart->setEmptyText(notes.isEmpty() ? tr("Reading the models…")
                                          : notes.join(QStringLiteral("\n")));
    m_note->setText(series.empty() ? QString() : notes.join(QStringLiteral(" · ")));
    m_chart->setData(drawn, std::move(series));
}

}  // namespace fettle::ui
