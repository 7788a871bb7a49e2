#include "ui/models/library_model.h"

#include <QDir>
#include <QFile>
#include <QFileInfo>
#include <QJsonDocument>
#include <QJsonObject>

namespace fettle::ui {
namespace {

constexpr quintptr kSectionId = 0;  // children carry the section's row + 1

QString sectionTitle(int row) {
    switch (row) {
        case 0:
            return LibraryModel::tr("Models");
        case 1:
            return LibraryModel::tr("Texts");
        default:
            return LibraryModel::tr("Task sets");
    }
}

}  // namespace

LibraryModel::LibraryModel(QObject* parent) : QAbstractItemModel(parent) {}

void LibraryModel::setItems(const std::vector<LibraryItem>& items) {
    beginResetModel();
    for (auto& section : m_sections) {
        section.clear();
    }
    for (const LibraryItem& item : items) {
        m_sections[static_cast<std::size_t>(item.kind)].push_back(item);
    }
    endResetModel();
}

const LibraryItem* LibraryModel::item(const QModelIndex& index) const {
    if (!index.isValid() || index.internalId() == kSectionId) {
        return nullptr;
    }
    return &m_sections[index.internalId() - 1][static_cast<std::size_t>(index.row())];
}

QModelIndex LibraryModel::section(LibraryItem::Kind kind) const {
    return index(static_cast<int>(kind), 0);
}

QModelIndex LibraryModel::indexOfPath(const QString& path) const {
    for (int s = 0; s < 3; ++s) {
        const auto& items = m_sections[static_cast<std::size_t>(s)];
        for (std::size_t i = 0; i < items.size(); ++i) {
            if (items[i].path == path) {
                return createIndex(static_cast<int>(i), 0, static_cast<quintptr>(s + 1));
            }
        }
    }
    return {};
}

QModelIndex LibraryModel::index(int row, int column, const QModelIndex& parent) const {
    if (!hasIndex(row, column, parent)) {
        return {};
    }
    return createIndex(row, column,
                       parent.isValid() ? static_cast<quintptr>(parent.row() + 1) : kSectionId);
}

QModelIndex LibraryModel::parent(const QModelIndex& child) const {
    if (!child.isValid() || child.internalId() == kSectionId) {
        return {};
    }
    return createIndex(static_cast<int>(child.internalId()) - 1, 0, kSectionId);
}

int LibraryModel::rowCount(const QModelIndex& parent) const {
    if (!parent.isValid()) {
        return 3;
    }
    if (parent.internalId() != kSectionId || parent.column() != 0) {
        return 0;
    }
    return static_cast<int>(m_sections[static_cast<std::size_t>(parent.row())].size());
}

int LibraryModel::columnCount(const QModelIndex&) const {
    return 1;
}

QVariant LibraryModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid()) {
        return {};
    }
    const LibraryItem* entry = item(index);
    if (!entry) {
        switch (role) {
            case Qt::DisplayRole:
                return sectionTitle(index.row());
            case KindRole:
                return index.row();
            case SectionRole:
                return true;
            default:
                return {};
        }
    }
    switch (role) {
        case Qt::DisplayRole:
            return entry->name;
        case Qt::ToolTipRole:
            return entry->missing ? tr("%1\nThe file is gone.").arg(entry->path) : entry->path;
        case Qt::AccessibleTextRole:
            return QStringLiteral("%1, %2").arg(entry->name, entry->detail);
        case IdRole:
            return entry->id;
        case PathRole:
            return entry->path;
        case KindRole:
            return static_cast<int>(entry->kind);
        case DetailRole:
            return entry->missing ? tr("file is gone") : entry->detail;
        case BundledRole:
            return entry->bundled;
        case MissingRole:
            return entry->missing;
        case SectionRole:
            return false;
        default:
            return {};
    }
}

Qt::ItemFlags LibraryModel::flags(const QModelIndex& index) const {
    if (!index.isValid()) {
        return Qt::ItemIsDropEnabled;
    }
    return item(index) ? Qt::ItemIsEnabled | Qt::ItemIsSelectable | Qt::ItemNeverHasChildren
                       : Qt::ItemIsEnabled;
}

static PathClass classifyFolder(const QString& path) {
    const QDir folder(path);
    if (!folder.exists(QStringLiteral("config.json"))) {
        return {std::nullopt,
                LibraryModel::tr("%1 is not a model folder: it has no config.json.").arg(path)};
    }
    if (folder.entryList({QStringLiteral("*.safetensors")}, QDir::Files).isEmpty()) {
        return {
            std::nullopt,
            LibraryModel::tr("%1 is not a model folder: it has no .safetensors file.").arg(path)};
    }
    return {LibraryItem::Kind::Model, {}};
}

static PathClass classifyTasks(const QString& path, QFile& file) {
    const QJsonObject first = QJsonDocument::fromJson(file.readLine(1 << 20)).object();
    for (const char* key : {"prompt", "choices", "answer"}) {
        if (!first.contains(QLatin1String(key))) {
            return {std::nullopt,
                    LibraryModel::tr("%1 is not a task set: its first line has no \"%2\".")
                        .arg(path, QLatin1String(key))};
        }
    }
    return {LibraryItem::Kind::Tasks, {}};
}

PathClass classifyPath(const QString& path) {
    const QFileInfo info(path);
    if (!info.exists()) {
        return {std::nullopt, LibraryModel::tr("%1 does not exist.").arg(path)};
    }
    if (info.isDir()) {
        return classifyFolder(path);
    }
    QFile file(path);
    if (!file.open(QIODevice::ReadOnly)) {
        return {std::nullopt,
                LibraryModel::tr("%1 cannot be read: %2.").arg(path, file.errorString())};
    }
    const QString suffix = info.suffix().toLower();
    const QByteArray head = file.peek(4096);
    if (suffix == QLatin1String("gguf")) {
        if (!head.startsWith("GGUF")) {
            return {std::nullopt,
                    LibraryModel::tr("%1 is not a GGUF file: it does not begin with \"GGUF\".")
                        .arg(path)};
        }
        return {LibraryItem::Kind::Model, {}};
    }
    if (suffix == QLatin1String("safetensors")) {
        return {std::nullopt,
                LibraryModel::tr("%1 is only a part of a model: add its folder %2 instead.")
                    .arg(path, info.path())};
    }
    if (suffix == QLatin1String("jsonl")) {
        return classifyTasks(path, file);
    }
    if (head.isEmpty()) {
        return {std::nullopt, LibraryModel::tr("%1 is empty.").arg(path)};
    }
    if (head.contains('\0')) {
        return {std::nullopt,
                LibraryModel::tr(
                    "%1 is neither a model (folder or .gguf), a task set (.jsonl) nor a text.")
                    .arg(path)};
    }
    return {LibraryItem::Kind::Text, {}};
}

LibraryItem libraryItemFor(const QString& path, LibraryItem::Kind kind) {
    const QFileInfo info(path);
    LibraryItem item;
    item.kind = kind;
    item.path = info.absoluteFilePath();
    item.name = info.isDir() ? info.fileName() : info.completeBaseName();
    if (item.name.isEmpty()) {
        item.name = path;
    }
    if (kind != LibraryItem::Kind::Model) {
        item.detail = QString::fromStdString(formatBytes(static_cast<double>(info.size())));
    }
    return item;
}

}  // namespace fettle::ui
