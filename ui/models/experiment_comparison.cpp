#include "ui/models/experiment_comparison.h"

#include <QCoreApplication>
#include <algorithm>
#include <cmath>
#include <set>

#include "ui/bridge/engine_text.h"
#include "ui/models/csv_text.h"

namespace fettle::ui {
namespace {

const QChar kMinus(0x2212);
const QChar kTimes(0x00d7);

QString modelKey(const ExperimentRecord& record) {
    return QString::fromStdString(record.modelHash.empty() ? record.modelPath : record.modelHash);
}

/// Speed, latency and memory peaks belong to a device; accuracy and sizes do not.
bool belongsToDevice(const std::string& metric) {
    for (const char* part : {"tokens_per_s", "_ms", "peak", "seconds", "joule", "speedup"}) {
        if (metric.find(part) != std::string::npos) {
            return true;
        }
    }
    return false;
}

QString signedNumber(double value, int places) {
    const QString text = QString::number(std::abs(value), 'f', places);
    const bool zero = text.toDouble() == 0;
    return zero ? text : (value < 0 ? QString(kMinus) : QStringLiteral("+")) + text;
}

QString percent(double share, int places = -1) {
    const double value = share * 100;
    const int digits = places >= 0 ? places : std::abs(value) < 9.95 ? 1 : 0;
    return signedNumber(value, digits) + "%";
}

const Measurement* find(const ExperimentRecord& record, const std::string& metric) {
    const auto found = record.metrics.find(metric);
    return found == record.metrics.end() ? nullptr : &found->second;
}

QString plainJson(const nlohmann::json& value) {
    return QString::fromStdString(value.is_string() ? value.get<std::string>() : value.dump());
}

QString factorText(double factor) {
    return QString::number(factor, 'f', factor < 9.95 ? 2 : 1) + kTimes;
}

/// "2.1× faster decode", "1.2× slower decode", QCoreApplication::translate("Explore", "decode speed
/// unchanged").
QString factorPhrase(double gain, const QString& more, const QString& less, const QString& same) {
    if (gain > 0.985 && gain < 1.015) {
        return same;
    }
    const double factor = gain > 1 ? gain : 1 / gain;
    const QString number = QString::number(factor, 'f', factor < 1.095 ? 2 : 1) + kTimes;
    return number + " " + (gain > 1 ? more : less);
}

QString accuracyPhrase(const ExperimentRecord& record, const ExperimentRecord& baseline) {
    const Measurement* value = find(record, "perplexity");
    const Measurement* base = find(baseline, "perplexity");
    if (value && base && value->protocol != base->protocol) {
        return QCoreApplication::translate(
            "Explore", "perplexity was measured by another protocol than the baseline's");
    }
    if (!value || !base || base->value <= 0) {
        return {};
    }
    // A ratio taken over the same tokens is the sharper test; two separate intervals are the
    // fallback.
    if (const Measurement* ratio = find(record, "ppl_ratio"); ratio && ratio->low && ratio->high) {
        const QString range = QCoreApplication::translate("Explore", " (interval %1 to %2)")
                                  .arg(percent(*ratio->low - 1, 1), percent(*ratio->high - 1, 1));
        if (*ratio->low <= 1 && *ratio->high >= 1) {
            return QCoreApplication::translate(
                       "Explore", "perplexity not distinguishable from the baseline's") +
                   range;
        }
        return QCoreApplication::translate("Explore", "perplexity %1")
                   .arg(percent(ratio->value - 1)) +
               range;
    }
    const double relative = value->value / base->value - 1;
    if (!value->low || !value->high) {
        return QCoreApplication::translate("Explore", "perplexity %1").arg(percent(relative));
    }
    const QString range = QCoreApplication::translate("Explore", " (interval %1 to %2)")
                              .arg(percent(*value->low / base->value - 1, 1),
                                   percent(*value->high / base->value - 1, 1));
    const bool overlap =
        base->low && base->high && *value->low <= *base->high && *value->high >= *base->low;
    return overlap
               ? QCoreApplication::translate("Explore",
                                             "perplexity not distinguishable from the baseline's") +
                     range
               : QCoreApplication::translate("Explore", "perplexity %1").arg(percent(relative)) +
                     range;
}

}  // namespace

QString primaryTechnique(const ExperimentRecord& record) {
    return record.recipe.steps.empty()
               ? QString()
               : QString::fromStdString(record.recipe.steps.back().technique);
}

QStringList recipeLines(const Recipe& recipe) {
    QStringList lines;
    for (const RecipeStep& step : recipe.steps) {
        QStringList parts;
        for (const auto& [key, value] : step.params.items()) {
            parts << QString::fromStdString(key) + " " + plainJson(value);
        }
        const QString technique = QString::fromStdString(step.technique);
        lines << (parts.isEmpty() ? technique
                                  : technique + QStringLiteral(" · ") + parts.join(", "));
    }
    return lines;
}

QString statusTitle(ExperimentStatus status) {
    switch (status) {
        case ExperimentStatus::Queued:
            return QCoreApplication::translate("Explore", "Queued");
        case ExperimentStatus::Running:
            return QCoreApplication::translate("Explore", "Running");
        case ExperimentStatus::Finished:
            return QCoreApplication::translate("Explore", "Finished");
        case ExperimentStatus::Failed:
            return QCoreApplication::translate("Explore", "Failed");
        case ExperimentStatus::Cancelled:
            return QCoreApplication::translate("Explore", "Cancelled");
        case ExperimentStatus::Interrupted:
            return QCoreApplication::translate("Explore", "Interrupted");
    }
    return {};
}

void BaselineIndex::rebuild(const ExperimentList& records) {
    m_exact.clear();
    m_model.clear();
    for (std::size_t i = 0; i < records.size(); ++i) {
        const ExperimentRecord& record = records[i];
        if (!record.isBaseline() || record.status != ExperimentStatus::Finished) {
            continue;
        }
        const auto keepNewest = [&](auto& map, const std::string& key) {
            const auto [place, added] = map.try_emplace(key, i);
            if (!added && records[place->second].finishedMs <= record.finishedMs) {
                place->second = i;
            }
        };
        const std::string model = modelKey(record).toStdString();
        keepNewest(m_exact, model + '\n' + record.device);
        keepNewest(m_model, model);
    }
}

std::optional<std::size_t> BaselineIndex::find(const ExperimentRecord& record) const {
    if (record.isBaseline()) {
        return std::nullopt;
    }
    const std::string model = record.modelHash.empty() ? record.modelPath : record.modelHash;
    if (const auto exact = m_exact.find(model + '\n' + record.device); exact != m_exact.end()) {
        return exact->second;
    }
    const auto any = m_model.find(model);
    return any == m_model.end() ? std::nullopt : std::optional(any->second);
}

std::optional<MetricDelta> metricDelta(const ExperimentRecord& record,
                                       const ExperimentRecord& baseline,
                                       const std::string& metric) {
    const Measurement* value = find(record, metric);
    const Measurement* base = find(baseline, metric);
    if (!value || !base || value->protocol != base->protocol ||
        (belongsToDevice(metric) && record.device != baseline.device)) {
        return std::nullopt;
    }
    const MetricInfo* info = findMetric(metric);
    const BetterWhen better = info ? info->better : BetterWhen::Neither;
    MetricDelta delta;
    const double difference = value->value - base->value;
    const bool share = value->unit == "%" || metric.find("accuracy") != std::string::npos ||
                       metric.find("agreement") != std::string::npos;
    if (share) {
        const bool fraction =
            value->unit != "%" && std::abs(value->value) <= 1 && std::abs(base->value) <= 1;
        delta.text =
            signedNumber(fraction ? difference * 100 : difference, 1) + QStringLiteral(" pp");
    } else if (base->value == 0) {
        return std::nullopt;
    } else {
        const double ratio = value->value / base->value;
        delta.text = ratio >= 2 ? factorText(ratio) : percent(ratio - 1);
    }
    delta.relative = base->value != 0 ? difference / base->value : 0;
    if (value->low && value->high && base->low && base->high) {
        delta.distinguishable = *value->low > *base->high || *value->high < *base->low;
    }
    if (better != BetterWhen::Neither && delta.distinguishable && difference != 0) {
        delta.goodness = (difference > 0) == (better == BetterWhen::Higher) ? 1 : -1;
    }
    return delta;
}

QString verdict(const ExperimentRecord& record, const ExperimentRecord* baseline) {
    if (record.status != ExperimentStatus::Finished) {
        const QString status = statusTitle(record.status);
        return record.error.empty() ? status + "."
                                    : status + ": " + QString::fromStdString(record.error);
    }
    if (record.isBaseline()) {
        return QCoreApplication::translate("Explore",
                                           "The model as it is: what the others are held against.");
    }
    if (!baseline) {
        return QCoreApplication::translate(
            "Explore",
            "No finished baseline of this model: measure it once to see what this recipe gained.");
    }
    QStringList gains;
    const Measurement* speed = find(record, "decode_tokens_per_s");
    const Measurement* baseSpeed = find(*baseline, "decode_tokens_per_s");
    if (speed && baseSpeed && baseSpeed->value > 0 && speed->value > 0 &&
        record.device == baseline->device) {
        QString phrase =
            factorPhrase(speed->value / baseSpeed->value,
                         QCoreApplication::translate("Explore", "faster decode"),
                         QCoreApplication::translate("Explore", "slower decode"),
                         QCoreApplication::translate("Explore", "decode speed unchanged"));
        if (!speed->native) {
            phrase += QCoreApplication::translate("Explore",
                                                  " (not native: measured through dequantization)");
        } else if (speed->estimated) {
            phrase += QCoreApplication::translate("Explore", " (estimated)");
        }
        gains << phrase;
    }
    const Measurement* bytes = find(record, "weight_bytes");
    const Measurement* baseBytes = find(*baseline, "weight_bytes");
    if (bytes && baseBytes && bytes->value > 0 && baseBytes->value > 0) {
        gains << factorPhrase(baseBytes->value / bytes->value,
                              QCoreApplication::translate("Explore", "smaller than the baseline"),
                              QCoreApplication::translate("Explore", "larger than the baseline"),
                              QCoreApplication::translate("Explore", "same size as the baseline"));
    }
    QString text = gains.join(", ");
    const QString accuracy = accuracyPhrase(record, *baseline);
    if (!accuracy.isEmpty()) {
        text += (text.isEmpty() ? "" : "; ") + accuracy;
    }
    if (const Measurement* kl = find(record, "kl_mean")) {
        text += (text.isEmpty() ? "" : "; ");
        text += kl->low && *kl->low <= 0
                    ? QCoreApplication::translate(
                          "Explore",
                          "its answers cannot be told from the baseline's (KL interval reaches 0)")
                    : QCoreApplication::translate("Explore", "KL divergence %1")
                          .arg(QString::fromStdString(formatMetric("kl_mean", kl->value)));
    }
    if (text.isEmpty()) {
        return QCoreApplication::translate("Explore", "Shares no metric with its baseline.");
    }
    text[0] = text[0].toUpper();
    return text + ".";
}

QString valueWithInterval(const Measurement& measurement) {
    const QString interval = intervalText(measurement);
    const QString text = QString::fromStdString(formatMetric(measurement.name, measurement.value));
    return interval.isEmpty() ? text : text + " (" + interval + ")";
}

QString intervalText(const Measurement& measurement) {
    if (!measurement.low || !measurement.high) {
        return {};
    }
    QString low = QString::fromStdString(formatMetric(measurement.name, *measurement.low));
    QString high = QString::fromStdString(formatMetric(measurement.name, *measurement.high));
    // The unit stands beside the value already; it is repeated only where the two ends need
    // different ones.
    const QString unit =
        QString::fromStdString(formatMetric(measurement.name, measurement.value)).section(u' ', 1);
    if (!unit.isEmpty() && low.section(u' ', 1) == unit && high.section(u' ', 1) == unit) {
        low.chop(unit.size() + 1);
        high.chop(unit.size() + 1);
    }
    return QCoreApplication::translate("Explore", "%1 to %2").arg(low, high);
}

QString hoverHtml(const ExperimentRecord& record, const ExperimentRecord* baseline,
                  const QString& mutedColor) {
    const auto muted = [&](const QString& text) {
        return QStringLiteral("<span style='color:%1'>%2</span>")
            .arg(mutedColor, text.toHtmlEscaped());
    };
    QString html = "<b>" + QString::fromStdString(record.name).toHtmlEscaped() + "</b>";
    html += "<br>" + muted(QString::fromStdString(record.modelName));
    if (record.isBaseline()) {
        html += "<br>" + QCoreApplication::translate("Explore", "baseline: the model as it is");
    }
    for (const QString& line : recipeLines(record.recipe)) {
        html += "<br>" + line.toHtmlEscaped();
    }
    html += "<table cellspacing='0' cellpadding='1' style='margin-top:6px'>";
    static constexpr std::array main{
        "perplexity",           "kl_mean", "top1_agreement", "task_accuracy", "decode_tokens_per_s",
        "prefill_tokens_per_s", "ttft_ms", "weight_bytes",   "peak_bytes",    "bits_per_weight"};
    QStringList notes;
    for (const char* id : main) {
        const Measurement* value = find(record, id);
        if (!value) {
            continue;
        }
        const MetricInfo* info = findMetric(id);
        QString deltaText;
        if (const auto delta = baseline ? metricDelta(record, *baseline, id) : std::nullopt) {
            deltaText = delta->distinguishable
                            ? delta->text
                            : QCoreApplication::translate("Explore", "≈ baseline");
        }
        QString mark;
        if (!value->native) {
            mark = QStringLiteral(" *");
            notes << QCoreApplication::translate("Explore",
                                                 "* not native: measured through dequantization");
        } else if (value->estimated) {
            mark = QStringLiteral(" ~");
            notes << QCoreApplication::translate("Explore", "~ estimated, not measured");
        }
        html +=
            QStringLiteral("<tr><td>%1&nbsp;&nbsp;</td><td>%2%3&nbsp;&nbsp;</td><td>%4</td></tr>")
                .arg(muted(info ? engineText(info->title) : QString::fromLatin1(id)),
                     valueWithInterval(*value).toHtmlEscaped(), mark, muted(deltaText));
    }
    html += "</table>";
    notes.removeDuplicates();
    html += muted(QStringLiteral("Device ") + QString::fromStdString(record.device) +
                  (notes.isEmpty() ? QStringLiteral(" · native") : QString()));
    for (const QString& note : notes) {
        html += "<br>" + muted(note);
    }
    if (const Measurement* value = find(record, "perplexity"); value && !value->protocol.empty()) {
        html += "<br>" + muted(QString::fromStdString(value->protocol));
    }
    return html;
}

QString toCsv(const std::vector<const ExperimentRecord*>& records) {
    std::set<std::string> metrics;
    for (const ExperimentRecord* record : records) {
        for (const auto& [id, value] : record->metrics) {
            metrics.insert(id);
        }
    }
    QString csv = QStringLiteral("id,name,recipe,status,model,device");
    for (const std::string& id : metrics) {
        const QString name = QString::fromStdString(id);
        csv += "," + name + "," + name + "_low," + name + "_high," + name + "_native";
    }
    csv += '\n';
    for (const ExperimentRecord* record : records) {
        QStringList cells{QString::number(record->id),
                          csvText(QString::fromStdString(record->name)),
                          csvText(QString::fromStdString(record->summary())),
                          QString::fromStdString(toString(record->status)),
                          csvText(QString::fromStdString(record->modelName)),
                          csvText(QString::fromStdString(record->device))};
        for (const std::string& id : metrics) {
            const Measurement* value = find(*record, id);
            const auto number = [](const std::optional<double>& v) {
                return v ? QString::number(*v, 'g', 12) : QString();
            };
            cells << (value ? QString::number(value->value, 'g', 12) : QString())
                  << (value ? number(value->low) : QString())
                  << (value ? number(value->high) : QString())
                  << (value ? (value->native ? QStringLiteral("true") : QStringLiteral("false"))
                            : QString());
        }
        csv += cells.join(',') + '\n';
    }
    return csv;
}

}  // namespace fettle::ui
