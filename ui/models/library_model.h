// The library as a tree: three sections (models, texts, task sets) with their entries. Also tells
// what a dropped file or folder is. GUI thread only.
#pragma once

#include <QAbstractItemModel>
#include <array>
#include <optional>
#include <vector>

#include "ui/bridge/experiment_service.h"

namespace fettle::ui {

class LibraryModel : public QAbstractItemModel {
    Q_OBJECT

public:
    enum Role {
        IdRole = Qt::UserRole,
        PathRole,
        KindRole,
        DetailRole,
        BundledRole,
        MissingRole,
        SectionRole
    };

    explicit LibraryModel(QObject* parent = nullptr);

    void setItems(const std::vector<LibraryItem>& items);
    const LibraryItem* item(const QModelIndex& index) const;
    QModelIndex indexOfPath(const QString& path) const;
    QModelIndex section(LibraryItem::Kind kind) const;

    QModelIndex index(int row, int column, const QModelIndex& parent = {}) const override;
    QModelIndex parent(const QModelIndex& child) const override;
    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    Qt::ItemFlags flags(const QModelIndex& index) const override;

private:
    std::array<std::vector<LibraryItem>, 3> m_sections;
};

/// What a path is to the library, or why it is nothing: `error` names the path and what was looked
/// for.
struct PathClass {
    std::optional<LibraryItem::Kind> kind;
    QString error;
};
/// Looks at names and the first bytes only; never reads a whole file.
PathClass classifyPath(const QString& path);
/// An entry for a path of a known kind: name and size filled in.
LibraryItem libraryItemFor(const QString& path, LibraryItem::Kind kind);

}  // namespace fettle::ui
