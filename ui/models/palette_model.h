// What the command palette offers, and which of it fits what was typed, best first. GUI thread
// only.
#pragma once

#include <QAbstractListModel>
#include <QStringList>
#include <functional>
#include <vector>

namespace fettle::ui {

struct PaletteEntry {
    enum class Kind { Action, Page, Technique, Help, Model, Experiment, File };
    Kind kind = Kind::Action;
    QString title;
    QString detail;  ///< where it belongs, a path, a state; searched after the title
    QString keys;    ///< its shortcut as people read it
    bool enabled = true;
    std::function<void()> run;

    /// Names the entry among those used before, across starts.
    QString id() const;
};

class PaletteModel : public QAbstractListModel {
    Q_OBJECT

public:
    enum Role {
        TitleRole = Qt::UserRole + 1,
        DetailRole,
        KeysRole,
        KindRole,       ///< "Action", "Page", ...: as shown
        PositionsRole,  ///< QVariantList of ints: the letters of the title that were typed
        EnabledRole
    };

    explicit PaletteModel(QObject* parent = nullptr);

    /// `recent`: ids of entries used lately, the last one first; they lead while nothing is typed.
    void setEntries(std::vector<PaletteEntry> entries, const QStringList& recent);
    void setPattern(const QString& pattern);
    /// The entry of a row; borrowed until the entries change.
    const PaletteEntry* entry(int row) const;

    int rowCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    Qt::ItemFlags flags(const QModelIndex& index) const override;

private:
    struct Row {
        std::size_t entry = 0;
        int score = 0;
        std::vector<int> positions;
    };
    void rank(const QString& pattern);

    std::vector<PaletteEntry> m_entries;
    std::vector<int> m_recency;  ///< per entry: 0 the last one used; -1: not used lately
    std::vector<Row> m_rows;
};

}  // namespace fettle::ui
