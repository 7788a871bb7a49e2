// Text as a field of a CSV file that people open in a spreadsheet.
#pragma once

#include <QString>

namespace fettle::ui {

/// In quotation marks; a leading = + - @, which would run as a formula, is disarmed.
inline QString csvText(QString text) {
    if (!text.isEmpty() && QStringLiteral("=+-@").contains(text[0])) {
        text.prepend(u'\'');
    }
    return u'"' + text.replace(u'"', QStringLiteral("\"\"")) + u'"';
}

}  // namespace fettle::ui
