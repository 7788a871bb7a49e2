// The engine's own words (titles and help of techniques, parameters, metrics and formats) in the
// user's language. The engine knows no Qt: its texts are English and translated here, where they
// meet the window.
#pragma once

#include <QString>
#include <QStringList>
#include <string>
#include <vector>

#include "engine/experiment/technique_schema.h"

namespace fettle::ui {

/// The translation of a text of the engine, context "Engine"; the text itself where there is none.
QString engineText(const std::string& text);
/// Every text that is handed to engineText: of `techniques`, the metrics and the export formats.
QStringList engineTexts(const std::vector<TechniqueDescriptor>& techniques);
/// `texts` as C++ source that lupdate finds them in.
QString engineTextSource(const QStringList& texts);

}  // namespace fettle::ui
