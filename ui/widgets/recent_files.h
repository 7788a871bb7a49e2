// Files that were opened lately, the last one first, remembered across starts. GUI thread only.
#pragma once

#include <QStringList>

namespace fettle::ui {

inline constexpr int kMostRecentFiles = 12;

void rememberFile(const QString& path);
/// Those that are still there.
QStringList recentFiles();

}  // namespace fettle::ui
