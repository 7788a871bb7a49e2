#include "ui/pages/explore_detail_html.h"

#include <QCoreApplication>
#include <QStringList>
#include <algorithm>
#include <map>
#include <set>

#include "ui/charts/axis_scale.h"
#include "ui/charts/tradeoff_painter.h"
#include "ui/models/experiment_comparison.h"

namespace fettle::ui {
namespace {

QString colored(const QString& text, const QColor& color) {
    return QStringLiteral("<span style='color:%1'>%2</span>")
        .arg(color.name(), text.toHtmlEscaped());
}

QString heading(const QString& text, const ChartTheme& theme) {
    return QStringLiteral("<p style='margin:10px 0 3px 0'><b>%1</b></p>")
        .arg(colored(text, theme.muted));
}

QString recipeHtml(const Recipe& recipe, const ChartTheme& theme) {
    QString html;
    int number = 1;
    for (const RecipeStep& step : recipe.steps) {
        html += QStringLiteral("<p style='margin:2px 0'>%1. <b>%2</b>")
                    .arg(number++)
                    .arg(techniqueTitle(QString::fromStdString(step.technique)).toHtmlEscaped());
        for (const auto& [key, value] : step.params.items()) {
            const QString text =
                QString::fromStdString(value.is_string() ? value.get<std::string>() : value.dump());
            html +=
                QStringLiteral("<br>&nbsp;&nbsp;&nbsp;&nbsp;%1&nbsp; %2")
                    .arg(colored(QString::fromStdString(key), theme.muted), text.toHtmlEscaped());
        }
        html += "</p>";
    }
    return html;
}

QColor deltaColor(const MetricDelta& delta, const ChartTheme& theme) {
    return delta.goodness > 0 ? theme.good : delta.goodness < 0 ? theme.bad : theme.muted;
}

/// Metric ids of the records, in the catalogue's order; unknown ones last.
std::vector<std::string> metricsOf(const std::vector<SelectedExperiment>& selected) {
    std::set<std::string> present;
    for (const SelectedExperiment& one : selected) {
        for (const auto& entry : one.record->metrics) {
            present.insert(entry.first);
        }
    }
    std::vector<std::string> result;
    for (const MetricInfo& info : metricCatalogue()) {
        if (present.erase(info.id) > 0) {
            result.push_back(info.id);
        }
    }
    result.insert(result.end(), present.begin(), present.end());
    return result;
}

QString qualifier(const Measurement& value) {
    return !value.native     ? QStringLiteral(" *")
           : value.estimated ? QStringLiteral(" ~")
                             : QString();
}

QString notes(const std::vector<SelectedExperiment>& selected, const ChartTheme& theme) {
    bool dequantized = false;
    bool estimated = false;
    std::set<std::string> protocols;
    for (const SelectedExperiment& one : selected) {
        for (const auto& [id, value] : one.record->metrics) {
            dequantized = dequantized || !value.native;
            estimated = estimated || (value.native && value.estimated);
            if (!value.protocol.empty()) {
                protocols.insert(value.protocol);
            }
        }
    }
    QStringList lines;
    if (dequantized) {
        lines << QCoreApplication::translate("Explore",
                                             "* not native: measured through dequantization");
    }
    if (estimated) {
        lines << QCoreApplication::translate("Explore", "~ estimated, not measured");
    }
    for (const std::string& protocol : protocols) {
        lines << QString::fromStdString(protocol);
    }
    QString html;
    for (const QString& line : lines) {
        html += "<br>" + colored(line, theme.muted);
    }
    return html.isEmpty() ? html : "<p style='margin:8px 0 0 0'>" + html.mid(4) + "</p>";
}

/// Flattened settings: "1 ptq: scheme" -> "int4-g32".
std::map<QString, QString> settingsOf(const ExperimentRecord& record) {
    std::map<QString, QString> settings{
        {QCoreApplication::translate("Explore", "model"), QString::fromStdString(record.modelName)},
        {QCoreApplication::translate("Explore", "device"), QString::fromStdString(record.device)},
        {QCoreApplication::translate("Explore", "seed"), QString::number(record.seed)}};
    int number = 1;
    for (const RecipeStep& step : record.recipe.steps) {
        const QString prefix = QCoreApplication::translate("Explore", "step %1").arg(number++);
        settings[prefix] = techniqueTitle(QString::fromStdString(step.technique));
        for (const auto& [key, value] : step.params.items()) {
            settings[prefix + " " + QString::fromStdString(key)] =
                QString::fromStdString(value.is_string() ? value.get<std::string>() : value.dump());
        }
    }
    return settings;
}

QString settingsRows(const std::vector<SelectedExperiment>& selected, const ChartTheme& theme) {
    std::vector<std::map<QString, QString>> all;
    std::set<QString> keys;
    for (const SelectedExperiment& one : selected) {
        all.push_back(settingsOf(*one.record));
        for (const auto& entry : all.back()) {
            keys.insert(entry.first);
        }
    }
    QString rows;
    for (const QString& key : keys) {
        std::vector<QString> values;
        for (const auto& settings : all) {
            const auto found = settings.find(key);
            values.push_back(found == settings.end() ? QStringLiteral("–") : found->second);
        }
        if (std::all_of(values.begin(), values.end(),
                        [&](const QString& value) { return value == values.front(); })) {
            continue;
        }
        rows += "<tr><td>" + colored(key, theme.muted) + "</td>";
        for (const QString& value : values) {
            rows += "<td align='right'>" + value.toHtmlEscaped() + "</td>";
        }
        rows += "</tr>";
    }
    return rows;
}

QString metricRow(const std::vector<SelectedExperiment>& selected, const std::string& metric,
                  const ChartTheme& theme) {
    const MetricInfo* info = findMetric(metric);
    const BetterWhen better = info ? info->better : BetterWhen::Neither;
    const Measurement* best = nullptr;
    bool comparable = better != BetterWhen::Neither;
    for (const SelectedExperiment& one : selected) {
        const auto found = one.record->metrics.find(metric);
        if (found == one.record->metrics.end()) {
            continue;
        }
        const Measurement& value = found->second;
        comparable = comparable && (!best || best->protocol == value.protocol);
        if (!best || (better == BetterWhen::Higher ? value.value > best->value
                                                   : value.value < best->value)) {
            best = &value;
        }
    }
    QString title = metricTitle(QString::fromStdString(metric));
    if (info && !info->unit.empty() && info->unit != "bytes" && info->unit != "%" &&
        info->unit != "s") {
        title += ", " + QString::fromStdString(info->unit);
    }
    QString row = "<tr><td>" + colored(title, theme.muted) + "</td>";
    for (const SelectedExperiment& one : selected) {
        const auto found = one.record->metrics.find(metric);
        QString cell = QStringLiteral("–");
        if (found != one.record->metrics.end()) {
            cell = QString::fromStdString(formatMetric(metric, found->second.value));
            // The row's title carries the unit of a speed or a time; sizes keep theirs, which may
            // differ by column.
            if (info && cell.endsWith(" " + QString::fromStdString(info->unit))) {
                cell = cell.section(u' ', 0, 0);
            }
            cell = cell.toHtmlEscaped() + qualifier(found->second);
            cell.replace(u' ', QStringLiteral("&nbsp;"));
            if (comparable && &found->second == best) {
                cell = "<b>" + cell + "</b>";
            }
        }
        row += "<td align='right'>" + cell + "</td>";
    }
    return row + "</tr>";
}

}  // namespace

QString detailHtml(const ExperimentRecord& record, const ExperimentRecord* baseline,
                   const ChartTheme& theme) {
    QString html;
    if (!record.recipe.steps.empty()) {
        html += heading(QCoreApplication::translate("Explore", "Recipe"), theme) +
                recipeHtml(record.recipe, theme);
    }
    if (record.metrics.empty()) {
        return html + "<p>" +
               colored(QCoreApplication::translate("Explore", "Nothing measured yet."),
                       theme.muted) +
               "</p>";
    }
    html += heading(
        baseline ? QCoreApplication::translate("Explore", "Measured, and against the baseline")
                 : QCoreApplication::translate("Explore", "Measured"),
        theme);
    html += "<table width='100%' cellspacing='0' cellpadding='3'>";
    for (const std::string& metric : metricsOf({{&record, baseline}})) {
        const Measurement& value = record.metrics.at(metric);
        html += "<tr><td>" + colored(metricTitle(QString::fromStdString(metric)), theme.muted) +
                "</td><td align='right'>" +
                QString::fromStdString(formatMetric(metric, value.value))
                    .replace(u' ', QStringLiteral("&nbsp;")) +
                qualifier(value);
        if (const QString interval = intervalText(value); !interval.isEmpty()) {
            html += "<br>" + colored(interval, theme.muted);
        }
        html += "</td><td align='right'>";
        if (const auto delta = baseline ? metricDelta(record, *baseline, metric) : std::nullopt) {
            html += colored(delta->distinguishable ? delta->text : QStringLiteral("≈"),
                            deltaColor(*delta, theme));
        }
        html += "</td></tr>";
    }
    return html + "</table>" + notes({{&record, baseline}}, theme);
}

QString comparisonHtml(const std::vector<SelectedExperiment>& selected, const ChartTheme& theme) {
    QString html;
    QString head = "<table width='100%' cellspacing='0' cellpadding='3'><tr><td></td>";
    QChar letter = u'A';
    for (const SelectedExperiment& one : selected) {
        html += QStringLiteral("<p style='margin:2px 0'><b>%1</b>&nbsp; %2</p>")
                    .arg(letter)
                    .arg(QString::fromStdString(one.record->name).toHtmlEscaped());
        head += QStringLiteral("<td align='right'><b>%1</b></td>").arg(letter);
        letter = QChar(letter.unicode() + 1);
    }
    html += head + "</tr>" + settingsRows(selected, theme);
    for (const std::string& metric : metricsOf(selected)) {
        html += metricRow(selected, metric, theme);
    }
    return html + "</table>" + notes(selected, theme);
}

}  // namespace fettle::ui
