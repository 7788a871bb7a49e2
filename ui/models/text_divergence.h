// Where two answers to the same prompt part ways, word by word. Plain values; any thread.
#pragma once

#include <QString>

#include "ui/charts/chart_theme.h"

namespace fettle::ui {

/// Index of the first character of the first word that differs; -1 when the texts are equal. A text
/// that merely ends earlier differs where it ends.
qsizetype firstDivergence(const QString& text, const QString& reference);
/// `text` as rich text: as it is up to where it leaves `reference`, the first other word marked,
/// the rest muted. Never by colour alone: the mark is bold and underlined.
QString divergenceHtml(const QString& text, const QString& reference, const ChartTheme& theme);

}  // namespace fettle::ui
