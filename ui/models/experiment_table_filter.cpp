#include "ui/models/experiment_table_filter.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ui/models/experiment_table_model.h"

namespace fettle::ui {
namespace {

bool inRanges(const ExperimentRecord& record, const QMap<QString, MetricRange>& ranges) {
    for (auto range = ranges.begin(); range != ranges.end(); ++range) {
        const auto found = record.metrics.find(range.key().toStdString());
        if (found == record.metrics.end() ||
            (range->low && !(found->second.value >= *range->low)) ||
            (range->high && !(found->second.value <= *range->high))) {
            return false;
        }
    }
    return true;
}

bool hasTechnique(const ExperimentRecord& record, const QString& technique) {
    if (record.isBaseline()) {
        return technique == QLatin1String("baseline");
    }
    return std::any_of(
        record.recipe.steps.begin(), record.recipe.steps.end(), [&](const RecipeStep& step) {
            return technique == QLatin1String(step.technique.data(),
                                              static_cast<qsizetype>(step.technique.size()));
        });
}

bool matchesText(const ExperimentRecord& record, const QString& text) {
    QString all = QString::fromStdString(record.name) + u' ' +
                  QString::fromStdString(record.summary()) + u' ' +
                  QString::fromStdString(record.modelName) + u' ' +
                  QString::fromStdString(record.device);
    for (const std::string& tag : record.annotations.tags) {
        all += u' ' + QString::fromStdString(tag);
    }
    all += u' ' + QString::fromStdString(record.annotations.note);
    const QStringList words = text.split(u' ', Qt::SkipEmptyParts);
    return std::all_of(words.begin(), words.end(), [&](const QString& word) {
        return all.contains(word, Qt::CaseInsensitive);
    });
}

}  // namespace

bool ExperimentFilter::accepts(const ExperimentRecord& record) const {
    return (!favourites || record.annotations.favourite) &&
           (tag.isEmpty() || record.annotations.hasTag(tag.toStdString())) &&
           (!status || record.status == *status) &&
           (technique.isEmpty() || hasTechnique(record, technique)) &&
           (model.isEmpty() || model == QString::fromStdString(record.modelName)) &&
           (device.isEmpty() || device == QString::fromStdString(record.device)) &&
           inRanges(record, ranges) && (text.isEmpty() || matchesText(record, text));
}

ExperimentTableFilter::ExperimentTableFilter(ExperimentTableModel* model, QObject* parent)
    : QSortFilterProxyModel(parent), m_model(model) {
    setSourceModel(model);
    setDynamicSortFilter(true);
}

void ExperimentTableFilter::setFilter(const ExperimentFilter& filter) {
    if (!(filter == m_filter)) {
        m_filter = filter;
        invalidateFilter();
    }
}

bool ExperimentTableFilter::filterAcceptsRow(int row, const QModelIndex&) const {
    return m_filter.accepts(m_model->records()[static_cast<std::size_t>(row)]);
}

bool ExperimentTableFilter::lessThan(const QModelIndex& left, const QModelIndex& right) const {
    const auto& records = m_model->records();
    const ExperimentRecord& a = records[static_cast<std::size_t>(left.row())];
    const ExperimentRecord& b = records[static_cast<std::size_t>(right.row())];
    switch (left.column()) {
        case ExperimentTableModel::Favourite:
            // Ascending is what the first click gives: the favourites first.
            return a.annotations.favourite && !b.annotations.favourite;
        case ExperimentTableModel::Tags:
            // Rows without tags stay below, whichever way the column is sorted.
            if (a.annotations.tags.empty() != b.annotations.tags.empty()) {
                return (sortOrder() == Qt::AscendingOrder) == b.annotations.tags.empty();
            }
            return a.annotations.tags < b.annotations.tags;
        case ExperimentTableModel::Name:
            return a.name < b.name;
        case ExperimentTableModel::Technique:
            return a.summary() < b.summary();
        case ExperimentTableModel::Status:
            return a.status < b.status;
        default:
            break;
    }
    // Rows without the number stay below, whichever way the column is sorted.
    const std::string metric =
        m_model->metricColumns()[left.column() - ExperimentTableModel::FirstMetric].toStdString();
    const auto value = [&](const ExperimentRecord& record) {
        const auto found = record.metrics.find(metric);
        return found != record.metrics.end() && !std::isnan(found->second.value)
                   ? std::optional(found->second.value)
                   : std::nullopt;
    };
    const auto x = value(a);
    const auto y = value(b);
    if (!x || !y) {
        return sortOrder() == Qt::AscendingOrder ? x && !y : !x && y;
    }
    return *x < *y;
}

}  // namespace fettle::ui
