#include "app/gui/bundled_library.h"

#include <QCoreApplication>
#include <QFileInfo>
#include <filesystem>

#include "engine/experiment/measurement.h"
#include "engine/model/model.h"

namespace fettle::app {

using ui::LibraryItem;

static QString text(const char* source) {
    return QCoreApplication::translate("BundledLibrary", source);
}

std::vector<LibraryItem> bundledLibrary() {
    std::vector<LibraryItem> items;
    LibraryItem model;
    model.id = -1;
    model.name = text("Demo model");
    model.path = QStringLiteral("demo");
    model.detail = text("a small model that comes with Fettle");
    model.bundled = true;
    items.push_back(model);

    struct File {
        const char* path;
        const char* name;
        LibraryItem::Kind kind;
    };
    const File files[] = {
        {"demo/texts/evaluate.txt", "Demo evaluation text", LibraryItem::Kind::Text},
        {"demo/texts/calibration.txt", "Demo calibration text", LibraryItem::Kind::Text},
        {"demo/tasks.jsonl", "Demo tasks", LibraryItem::Kind::Tasks},
    };
    qint64 id = -2;
    for (const File& file : files) {
        const QFileInfo info(QString::fromStdString((resourcesFolder() / file.path).string()));
        if (!info.exists()) {
            continue;
        }
        LibraryItem item;
        item.kind = file.kind;
        item.id = id--;
        item.name = text(file.name);
        item.path = info.absoluteFilePath();
        item.detail = QString::fromStdString(formatBytes(static_cast<double>(info.size())));
        item.bundled = true;
        items.push_back(item);
    }
    return items;
}

}  // namespace fettle::app
