#include "ui/models/text_divergence.h"

#include <algorithm>

namespace fettle::ui {

qsizetype firstDivergence(const QString& text, const QString& reference) {
    const qsizetype shared = std::min(text.size(), reference.size());
    qsizetype at = 0;
    while (at < shared && text[at] == reference[at]) {
        ++at;
    }
    if (at == text.size() && at == reference.size()) {
        return -1;
    }
    // Back to the start of the word, so that "walked" and "walks" differ as words.
    while (at > 0 && !text[at - 1].isSpace()) {
        --at;
    }
    return at;
}

QString divergenceHtml(const QString& text, const QString& reference, const ChartTheme& theme) {
    const auto escaped = [](const QString& part) {
        return part.toHtmlEscaped().replace(QLatin1Char('\n'), QStringLiteral("<br>"));
    };
    const qsizetype at = firstDivergence(text, reference);
    if (at < 0) {
        return escaped(text);
    }
    qsizetype end = at;
    while (end < text.size() && !text[end].isSpace()) {
        ++end;
    }
    const QString word = end > at ? text.mid(at, end - at) : QStringLiteral("∎");
    return escaped(text.left(at)) +
           QStringLiteral("<b><u style='color:%1'>%2</u></b>")
               .arg(theme.bad.name(), escaped(word)) +
           QStringLiteral("<span style='color:%1'>%2</span>")
               .arg(theme.muted.name(), escaped(text.mid(end)));
}

}  // namespace fettle::ui
