#include "ui/models/recipe_diff_model.h"

#include <algorithm>
#include <utility>

namespace fettle::ui {
namespace {

using Settings = std::vector<std::pair<QString, QString>>;  // in the order in which they are shown

QString plain(const nlohmann::json& value) {
    return QString::fromStdString(value.is_string() ? value.get<std::string>() : value.dump());
}

void flatten(const nlohmann::json& object, const QString& prefix, Settings& settings) {
    for (const auto& [key, value] : object.items()) {
        const QString name = prefix + QString::fromStdString(key);
        if (value.is_object() && !value.empty()) {
            flatten(value, name + QLatin1Char('.'), settings);
        } else {
            settings.emplace_back(name, plain(value));
        }
    }
}

Settings settingsOf(const ExperimentDetail& detail) {
    const ExperimentRecord& record = detail.record;
    Settings settings{
        {RecipeDiffModel::tr("Model"), QString::fromStdString(record.modelName)},
        {RecipeDiffModel::tr("Model file"), QString::fromStdString(record.modelPath)},
        {RecipeDiffModel::tr("Device"), QString::fromStdString(record.device)},
        {RecipeDiffModel::tr("Seed"), QString::number(record.seed)},
        {RecipeDiffModel::tr("Version of Fettle"), QString::fromStdString(record.appVersion)}};
    int number = 0;
    for (const RecipeStep& step : record.recipe.steps) {
        const QString title = RecipeDiffModel::tr("Step %1").arg(++number);
        settings.emplace_back(title, QString::fromStdString(step.technique));
        flatten(step.params, title + QStringLiteral(" · "), settings);
    }
    flatten(toJson(detail.inputs), RecipeDiffModel::tr("Input") + QStringLiteral(" · "), settings);
    flatten(toJson(detail.measure), RecipeDiffModel::tr("Measuring") + QStringLiteral(" · "),
            settings);
    return settings;
}

}  // namespace

void RecipeDiffModel::setExperiments(const ComparedExperiments& experiments) {
    beginResetModel();
    m_headers = {tr("Setting")};
    m_rows.clear();
    for (std::size_t i = 0; i < experiments.size(); ++i) {
        m_headers << QStringLiteral("%1 · %2").arg(letterOf(i), experiments[i].name());
        std::size_t after = 0;  // a setting that the ones before lack goes behind its neighbour
        for (const auto& [title, value] : settingsOf(experiments[i].detail)) {
            auto place = std::find_if(m_rows.begin(), m_rows.end(),
                                      [&](const Row& row) { return row.title == title; });
            if (place == m_rows.end()) {
                place = m_rows.insert(m_rows.begin() + static_cast<std::ptrdiff_t>(after),
                                      Row{title, {}, false});
            }
            while (place->values.size() < static_cast<qsizetype>(i)) {
                place->values << QStringLiteral("–");
            }
            place->values << value;
            after = static_cast<std::size_t>(place - m_rows.begin()) + 1;
        }
    }
    m_equal = 0;
    for (Row& row : m_rows) {
        while (row.values.size() < static_cast<qsizetype>(experiments.size())) {
            row.values << QStringLiteral("–");
        }
        row.equal = std::all_of(row.values.begin(), row.values.end(),
                                [&](const QString& value) { return value == row.values.front(); });
        m_equal += row.equal ? 1 : 0;
    }
    chooseShown();
    endResetModel();
}

void RecipeDiffModel::chooseShown() {
    m_shown.clear();
    for (std::size_t i = 0; i < m_rows.size(); ++i) {
        if (m_showEqual || !m_rows[i].equal) {
            m_shown.push_back(i);
        }
    }
}

void RecipeDiffModel::setShowEqual(bool show) {
    if (show == m_showEqual) {
        return;
    }
    beginResetModel();
    m_showEqual = show;
    chooseShown();
    endResetModel();
}

void RecipeDiffModel::setTheme(const ChartTheme& theme) {
    m_theme = theme;
    if (!m_shown.empty()) {
        emit dataChanged(index(0, 0), index(rowCount() - 1, columnCount() - 1),
                         {Qt::ForegroundRole});
    }
}

int RecipeDiffModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_shown.size());
}

int RecipeDiffModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_headers.size());
}

QVariant RecipeDiffModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid()) {
        return {};
    }
    const Row& row = m_rows[m_shown[static_cast<std::size_t>(index.row())]];
    switch (role) {
        case Qt::DisplayRole:
        case Qt::ToolTipRole:
            return index.column() == 0 ? row.title : row.values[index.column() - 1];
        case EqualRole:
            return row.equal;
        case Qt::ForegroundRole:
            return row.equal ? QVariant(m_theme.muted) : QVariant();
        default:
            return {};
    }
}

QVariant RecipeDiffModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (orientation != Qt::Horizontal || section < 0 || section >= m_headers.size()) {
        return {};
    }
    if (role == Qt::TextAlignmentRole) {
        return QVariant::fromValue(Qt::Alignment(Qt::AlignVCenter | Qt::AlignLeft));
    }
    return role == Qt::DisplayRole || role == Qt::ToolTipRole ? QVariant(m_headers[section])
                                                              : QVariant();
}

}  // namespace fettle::ui
