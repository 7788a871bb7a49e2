#include "ui/models/allocation_runs_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "ui/models/allocation_model.h"

namespace fettle::ui {
namespace {

double metricValue(const ExperimentRecord& record, const char* id) {
    const auto found = record.metrics.find(id);
    return found == record.metrics.end() ? std::numeric_limits<double>::quiet_NaN()
                                         : found->second.value;
}

std::vector<std::string> assignmentsOf(const Recipe& recipe) {
    for (const RecipeStep& step : recipe.steps) {
        if (step.technique != "ptq" || !step.params.is_object() ||
            !step.params.contains("schemes")) {
            continue;
        }
        std::vector<std::string> list;
        for (const nlohmann::json& entry : step.params.at("schemes")) {
            if (entry.is_string()) {
                list.push_back(entry.get<std::string>());
            }
        }
        return list;
    }
    return {};
}

AllocationRun measuredRun(const ExperimentRecord& record) {
    AllocationRun run;
    run.record = record;
    run.measuredLoss = metricValue(record, "kl_mean");
    run.measuredBytes =
        metricValue(record, "bits_per_weight") * metricValue(record, "parameters") / 8;
    run.measuredSpeed = metricValue(record, "decode_tokens_per_s");
    return run;
}

QString numberOr(double value, const char* metric) {
    return std::isfinite(value) ? QString::fromStdString(formatMetric(metric, value))
                                : QStringLiteral("–");
}

}  // namespace

std::vector<AllocationRun> allocationRuns(const AllocationModel& model,
                                          const ExperimentList& records) {
    const AllocationScores& scores = model.scores();
    const auto self = std::find_if(records.begin(), records.end(), [&](const ExperimentRecord& r) {
        return r.id == scores.experiment;
    });
    std::vector<AllocationRun> runs;
    if (scores.empty() || self == records.end()) {
        return runs;
    }
    constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
    for (const ExperimentRecord& record : records) {
        if (record.modelPath != self->modelPath) {
            continue;
        }
        AllocationRun run = measuredRun(record);
        if (record.id == scores.experiment) {
            // What it chose is not stored; what it predicted is.
            run.bits = metricValue(record, "mixed_bits");
            run.predictedLoss = metricValue(record, "predicted_kl");
            run.predictedBytes =
                scores.otherBytes ? *scores.otherBytes + run.bits / 8 * scores.weights : kUnknown;
            run.predictedSpeed = kUnknown;
        } else if (const auto found = allocationFrom(scores.units, assignmentsOf(record.recipe))) {
            run.bits = model.bitsOf(*found);
            run.predictedLoss = scores.divergence ? found->loss : kUnknown;
            run.predictedBytes = model.weightBytesOf(*found);
            run.predictedSpeed = model.tokensPerSecondOf(*found);
        } else {
            continue;
        }
        runs.push_back(std::move(run));
    }
    return runs;
}

void AllocationRunsModel::setRuns(std::vector<AllocationRun> runs) {
    beginResetModel();
    m_runs = std::move(runs);
    endResetModel();
}

int AllocationRunsModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_runs.size());
}

int AllocationRunsModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : ColumnCount;
}

QString AllocationRunsModel::text(const AllocationRun& run, int column) const {
    const auto both = [](double predicted, double measured, const char* metric) {
        return tr("%1 → %2").arg(numberOr(predicted, metric), numberOr(measured, metric));
    };
    switch (column) {
        case Run: {
            const QString name = QStringLiteral("#%1 %2")
                                     .arg(run.record.id)
                                     .arg(QString::fromStdString(run.record.name));
            return run.record.status == ExperimentStatus::Finished
                       ? name
                       : tr("%1 (%2)").arg(name,
                                           QString::fromStdString(toString(run.record.status)));
        }
        case Bits:
            return std::isfinite(run.bits) ? QString::number(run.bits, 'f', 2)
                                           : QStringLiteral("–");
        case Loss:
            return both(run.predictedLoss, run.measuredLoss, "kl_mean");
        case Size:
            return both(run.predictedBytes, run.measuredBytes, "weight_bytes");
        case Speed:
            return both(run.predictedSpeed, run.measuredSpeed, "decode_tokens_per_s");
        default:
            return {};
    }
}

QVariant AllocationRunsModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid() || index.row() >= rowCount()) {
        return {};
    }
    const AllocationRun& run = m_runs[static_cast<std::size_t>(index.row())];
    switch (role) {
        case Qt::DisplayRole:
            return text(run, index.column());
        case Qt::ToolTipRole:
            return index.column() == Run && !run.record.error.empty()
                       ? QString::fromStdString(run.record.error)
                       : text(run, index.column());
        case Qt::TextAlignmentRole:
            return index.column() == Run ? QVariant(Qt::AlignLeft | Qt::AlignVCenter)
                                         : QVariant(Qt::AlignRight | Qt::AlignVCenter);
        case ExperimentRole:
            return static_cast<qlonglong>(run.record.id);
        default:
            return {};
    }
}

QVariant AllocationRunsModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (orientation != Qt::Horizontal) {
        return {};
    }
    static const char* const titles[ColumnCount] = {
        QT_TR_NOOP("Run"), QT_TR_NOOP("Bits"), QT_TR_NOOP("KL divergence"),
        QT_TR_NOOP("Size of the weights"), QT_TR_NOOP("Decode speed")};
    if (role == Qt::DisplayRole && section >= 0 && section < ColumnCount) {
        return tr(titles[section]);
    }
    if (role == Qt::TextAlignmentRole) {
        return section == Run ? QVariant(Qt::AlignLeft | Qt::AlignVCenter)
                              : QVariant(Qt::AlignRight | Qt::AlignVCenter);
    }
    return {};
}

}  // namespace fettle::ui
