#include "ui/models/recipe_marks.h"

#include <QCoreApplication>
#include <QRegularExpression>
#include <QStringList>

#include "ui/models/layer_grid.h"

namespace fettle::ui {
namespace {

/// "layers.3.attn.qkv" and "layers.3.ffn.gate_up" stand for weights that share an input.
bool isUnitOf(const QString& unit, const QString& weight) {
    const int dot = static_cast<int>(unit.lastIndexOf(u'.'));
    const QString stem = unit.left(dot + 1);
    const QString last = unit.mid(dot + 1);
    if (last == QLatin1String("qkv")) {
        return weight == stem + QLatin1String("q.weight") ||
               weight == stem + QLatin1String("k.weight") ||
               weight == stem + QLatin1String("v.weight");
    }
    return last == QLatin1String("gate_up") && (weight == stem + QLatin1String("gate.weight") ||
                                                weight == stem + QLatin1String("up.weight"));
}

bool fits(const QString& entry, const QString& weight) {
    if (entry == weight || isUnitOf(entry, weight)) {
        return true;
    }
    if (entry.startsWith(QLatin1String("re:"))) {
        const QRegularExpression pattern(QRegularExpression::anchoredPattern(entry.mid(3)));
        return pattern.isValid() && pattern.match(weight).hasMatch();
    }
    if (!entry.contains(u'*') && !entry.contains(u'?')) {
        return false;
    }
    const QRegularExpression glob(QRegularExpression::anchoredPattern(
        QRegularExpression::escape(entry)
            .replace(QLatin1String("\\*"), QLatin1String(".*"))
            .replace(QLatin1String("\\?"), QLatin1String("."))));
    return glob.match(weight).hasMatch();
}

QStringList listOf(const RecipeStep& step, const char* parameter) {
    QStringList texts;
    const auto found = step.params.find(parameter);
    if (found != step.params.end() && found->is_array()) {
        for (const auto& entry : *found) {
            if (entry.is_string()) {
                texts << QString::fromStdString(entry.get<std::string>());
            }
        }
    }
    return texts;
}

QString markText(const char* text) {
    return QCoreApplication::translate("RecipeMarks", text);
}

}  // namespace

bool dropsLayer(const Recipe& recipe, int layer) {
    for (const RecipeStep& step : recipe.steps) {
        if (listOf(step, "drop").contains(QString::number(layer))) {
            return true;
        }
    }
    return false;
}

QHash<QString, QString> recipeMarks(const Recipe& recipe, const ModelReport& report) {
    QHash<QString, QString> marks;
    QStringList weights;
    for (const TensorReport& tensor : report.tensors) {
        for (const std::string& weight : tensor.weights) {
            weights << QString::fromStdString(weight);
        }
        if (tensor.weights.empty()) {
            weights << QString::fromStdString(tensor.name);
        }
    }
    const auto mark = [&](const QString& entry, const QString& text) {
        for (const QString& weight : std::as_const(weights)) {
            if (!marks.contains(weight) && fits(entry, weight)) {
                marks[weight] = text;
            }
        }
    };
    for (const RecipeStep& step : recipe.steps) {
        for (const QString& layer : listOf(step, "drop")) {
            for (const QString& weight : std::as_const(weights)) {
                if (layerInName(weight) >= 0 && QString::number(layerInName(weight)) == layer) {
                    marks[weight] = markText(QT_TRANSLATE_NOOP("RecipeMarks", "taken out"));
                }
            }
        }
        for (const QString& entry : listOf(step, "exclude")) {
            mark(entry, markText(QT_TRANSLATE_NOOP("RecipeMarks", "left alone")));
        }
        for (const QString& entry : listOf(step, "schemes")) {
            const int sign = static_cast<int>(entry.lastIndexOf(u'='));
            const QString scheme = entry.mid(sign + 1);
            mark(entry.left(sign), scheme == QLatin1String("none")
                                       ? markText(QT_TRANSLATE_NOOP("RecipeMarks", "left alone"))
                                       : scheme);
        }
    }
    return marks;
}

}  // namespace fettle::ui
