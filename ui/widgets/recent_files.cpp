#include "ui/widgets/recent_files.h"

#include <QFileInfo>
#include <QSettings>

namespace fettle::ui {

void rememberFile(const QString& path) {
    QSettings settings;
    const QString whole = QFileInfo(path).absoluteFilePath();
    QStringList files = settings.value(QStringLiteral("recent/files")).toStringList();
    files.removeAll(whole);
    files.prepend(whole);
    settings.setValue(QStringLiteral("recent/files"), files.mid(0, kMostRecentFiles));
}

QStringList recentFiles() {
    QStringList files = QSettings().value(QStringLiteral("recent/files")).toStringList();
    files.removeIf([](const QString& path) { return !QFileInfo::exists(path); });
    return files;
}

}  // namespace fettle::ui
