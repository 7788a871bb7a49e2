#include "ui/bridge/engine_text.h"

#include <QCoreApplication>

#include "engine/experiment/measurement.h"
#include "engine/experiment/run_values.h"

namespace fettle::ui {

QString engineText(const std::string& text) {
    // Qt takes an empty text for a request of the file's head.
    return text.empty() ? QString() : QCoreApplication::translate("Engine", text.c_str());
}

QStringList engineTexts(const std::vector<TechniqueDescriptor>& techniques) {
    QStringList texts;
    const auto add = [&texts](const std::string& text) {
        if (!text.empty()) {
            texts << QString::fromStdString(text);
        }
    };
    for (const TechniqueDescriptor& technique : techniques) {
        add(technique.title);
        add(technique.help);
        for (const ParameterSchema& parameter : technique.parameters) {
            add(parameter.title);
            add(parameter.help);
            add(parameter.unit);
            for (const ParameterChoice& choice : parameter.choices) {
                add(choice.title);
                add(choice.help);
            }
        }
    }
    for (const MetricInfo& metric : metricCatalogue()) {
        add(metric.title);
        add(metric.help);
    }
    for (const ExportFormatInfo& format : exportFormats()) {
        add(format.title);
        add(format.help);
    }
    texts.removeDuplicates();
    return texts;
}

QString engineTextSource(const QStringList& texts) {
    QString source = QStringLiteral("// Written by fettle --engine-texts, for lupdate.\n");
    for (QString text : texts) {
        text.replace(u'\\', QStringLiteral("\\\\"))
            .replace(u'"', QStringLiteral("\\\""))
            .replace(u'\n', QStringLiteral("\\n"));
        source += QStringLiteral("QT_TRANSLATE_NOOP(\"Engine\", \"%1\");\n").arg(text);
    }
    return source;
}

}  // namespace fettle::ui
