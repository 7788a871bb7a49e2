#include "ui/models/compare_metrics_model.h"

#include <algorithm>
#include <set>

#include "ui/bridge/engine_text.h"
#include "ui/charts/axis_scale.h"
#include "ui/models/experiment_comparison.h"

namespace fettle::ui {
namespace {

/// Metrics that at least one has, in the catalogue's order; those of newer versions last.
std::vector<std::string> metricsOf(const ComparedExperiments& experiments) {
    std::set<std::string> present;
    for (const ComparedExperiment& one : experiments) {
        for (const auto& entry : one.record().metrics) {
            present.insert(entry.first);
        }
    }
    std::vector<std::string> metrics;
    for (const MetricInfo& info : metricCatalogue()) {
        if (present.erase(info.id) > 0) {
            metrics.push_back(info.id);
        }
    }
    metrics.insert(metrics.end(), present.begin(), present.end());
    return metrics;
}

const PairedFinding* findingOf(const ComparedExperiment& one, const std::string& metric) {
    const auto found =
        std::find_if(one.against.findings.begin(), one.against.findings.end(),
                     [&](const PairedFinding& finding) { return finding.metric == metric; });
    return found == one.against.findings.end() ? nullptr : &*found;
}

}  // namespace

void CompareMetricsModel::setExperiments(const ComparedExperiments& experiments) {
    beginResetModel();
    m_rows.clear();
    m_headers = {tr("Metric")};
    m_headerTips = {QString()};
    for (std::size_t i = 0; i < experiments.size(); ++i) {
        m_headers << QStringLiteral("%1 · %2").arg(letterOf(i), experiments[i].name());
        m_headerTips << experiments[i].name();
        if (i > 0) {
            m_headers << tr("against A");
            m_headerTips
                << tr("%1 held against %2").arg(experiments[i].name(), experiments.front().name());
        }
    }
    for (const std::string& metric : metricsOf(experiments)) {
        const MetricInfo* info = findMetric(metric);
        Row row{metricTitle(QString::fromStdString(metric)),
                info ? engineText(info->help) : QString(),
                {}};
        for (std::size_t i = 0; i < experiments.size(); ++i) {
            row.cells.push_back(valueCell(experiments[i].record(), metric));
            if (i > 0) {
                row.cells.push_back(
                    changeCell(experiments[i], experiments.front().record(), metric));
            }
        }
        m_rows.push_back(std::move(row));
    }
    endResetModel();
}

CompareMetricsModel::Cell CompareMetricsModel::valueCell(const ExperimentRecord& record,
                                                         const std::string& metric) const {
    const auto found = record.metrics.find(metric);
    if (found == record.metrics.end()) {
        return {QStringLiteral("–"), tr("Not measured"), 0, true};
    }
    const Measurement& value = found->second;
    Cell cell{QString::fromStdString(formatMetric(metric, value.value)), valueWithInterval(value)};
    if (!value.native) {
        cell.text += QStringLiteral(" *");
        cell.tip += QLatin1Char('\n') + tr("Not native: measured through dequantization");
    } else if (value.estimated) {
        cell.text += QStringLiteral(" ~");
        cell.tip += QLatin1Char('\n') + tr("Estimated, not measured");
    }
    if (!value.protocol.empty()) {
        cell.tip += QLatin1Char('\n') + QString::fromStdString(value.protocol);
    }
    return cell;
}

CompareMetricsModel::Cell CompareMetricsModel::changeCell(const ComparedExperiment& one,
                                                          const ExperimentRecord& reference,
                                                          const std::string& metric) const {
    const auto ours = one.record().metrics.find(metric);
    const auto theirs = reference.metrics.find(metric);
    if (ours == one.record().metrics.end() || theirs == reference.metrics.end()) {
        return {};
    }
    const std::optional<MetricDelta> delta = metricDelta(one.record(), reference, metric);
    if (!delta) {
        return {QStringLiteral("–"),
                ours->second.protocol != theirs->second.protocol
                    ? tr("Measured under different protocols: not comparable")
                    : tr("Measured on different devices, or the first is zero: not comparable"),
                0, true};
    }
    const PairedFinding* finding = findingOf(one, metric);
    if (!finding) {
        const bool overlap = !delta->distinguishable;
        return {overlap ? tr("%1, intervals overlap").arg(delta->text) : delta->text,
                overlap ? tr("Not distinguishable: both 95% intervals overlap") : QString(),
                delta->goodness, overlap};
    }
    const bool real = finding->finding != Finding::NotDistinguishable;
    const QString word = finding->finding == Finding::Loss   ? tr("%1, real loss")
                         : finding->finding == Finding::Gain ? tr("%1, real gain")
                                                             : tr("%1, not distinguishable");
    return {word.arg(delta->text), QString::fromStdString(finding->text()),
            finding->finding == Finding::Loss ? -1
            : real                            ? 1
                                              : 0,
            !real};
}

void CompareMetricsModel::setTheme(const ChartTheme& theme) {
    m_theme = theme;
    if (!m_rows.empty()) {
        emit dataChanged(index(0, 0), index(rowCount() - 1, columnCount() - 1),
                         {Qt::ForegroundRole});
    }
}

int CompareMetricsModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_rows.size());
}

int CompareMetricsModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_headers.size());
}

QVariant CompareMetricsModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid()) {
        return {};
    }
    const Row& row = m_rows[static_cast<std::size_t>(index.row())];
    if (index.column() == 0) {
        return role == Qt::DisplayRole   ? row.title
               : role == Qt::ToolTipRole ? QVariant(row.help)
                                         : QVariant();
    }
    const Cell& cell = row.cells[static_cast<std::size_t>(index.column() - 1)];
    switch (role) {
        case Qt::DisplayRole:
            return cell.text;
        case Qt::ToolTipRole:
            return cell.tip;
        case GoodnessRole:
            return cell.goodness;
        case Qt::TextAlignmentRole:
            return QVariant::fromValue(Qt::Alignment(Qt::AlignVCenter | Qt::AlignRight));
        case Qt::ForegroundRole:
            return cell.goodness > 0   ? QVariant(m_theme.good)
                   : cell.goodness < 0 ? QVariant(m_theme.bad)
                   : cell.muted        ? QVariant(m_theme.muted)
                                       : QVariant();
        default:
            return {};
    }
}

QVariant CompareMetricsModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (orientation != Qt::Horizontal || section < 0 || section >= m_headers.size()) {
        return {};
    }
    if (role == Qt::TextAlignmentRole) {
        return QVariant::fromValue(
            Qt::Alignment(Qt::AlignVCenter | (section == 0 ? Qt::AlignLeft : Qt::AlignRight)));
    }
    return role == Qt::DisplayRole   ? QVariant(m_headers[section])
           : role == Qt::ToolTipRole ? QVariant(m_headerTips[section])
                                     : QVariant();
}

QString CompareMetricsModel::toText() const {
    QString text = m_headers.join(QLatin1Char('\t')) + QLatin1Char('\n');
    for (const Row& row : m_rows) {
        QStringList cells{row.title};
        for (const Cell& cell : row.cells) {
            cells << cell.text;
        }
        text += cells.join(QLatin1Char('\t')) + QLatin1Char('\n');
    }
    return text;
}

}  // namespace fettle::ui
