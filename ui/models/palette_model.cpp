#include "ui/models/palette_model.h"

#include <algorithm>

#include "ui/models/fuzzy_match.h"

namespace fettle::ui {
namespace {

constexpr int kLaterInDetail = 120;  ///< a hit in the detail weighs less than one in the title
constexpr int kUsedLately = 14;

QString kindTitle(PaletteEntry::Kind kind) {
    switch (kind) {
        case PaletteEntry::Kind::Page:
            return PaletteModel::tr("Page");
        case PaletteEntry::Kind::Technique:
            return PaletteModel::tr("Technique");
        case PaletteEntry::Kind::Help:
            return PaletteModel::tr("Help");
        case PaletteEntry::Kind::Model:
            return PaletteModel::tr("Model");
        case PaletteEntry::Kind::Experiment:
            return PaletteModel::tr("Experiment");
        case PaletteEntry::Kind::File:
            return PaletteModel::tr("Recent file");
        case PaletteEntry::Kind::Action:
            break;
    }
    return PaletteModel::tr("Action");
}

}  // namespace

QString PaletteEntry::id() const {
    return QStringLiteral("%1 %2 %3").arg(static_cast<int>(kind)).arg(title, detail);
}

PaletteModel::PaletteModel(QObject* parent) : QAbstractListModel(parent) {}

void PaletteModel::setEntries(std::vector<PaletteEntry> entries, const QStringList& recent) {
    beginResetModel();
    m_entries = std::move(entries);
    m_recency.assign(m_entries.size(), -1);
    for (std::size_t i = 0; !recent.isEmpty() && i < m_entries.size(); ++i) {
        m_recency[i] = static_cast<int>(recent.indexOf(m_entries[i].id()));
    }
    rank({});
    endResetModel();
}

void PaletteModel::setPattern(const QString& pattern) {
    beginResetModel();
    rank(pattern);
    endResetModel();
}

void PaletteModel::rank(const QString& pattern) {
    m_rows.clear();
    const bool all = pattern.trimmed().isEmpty();
    for (std::size_t i = 0; i < m_entries.size(); ++i) {
        const PaletteEntry& entry = m_entries[i];
        Row row;
        row.entry = i;
        if (all) {
            row.score = m_recency[i] >= 0 ? 1000 - m_recency[i] : 0;
        } else if (auto match = fuzzyMatch(pattern, entry.title)) {
            row.score = match->score + (m_recency[i] >= 0 ? kUsedLately : 0);
            row.positions = std::move(match->positions);
        } else if (const auto wide = fuzzyMatch(pattern, entry.title + u' ' + entry.detail)) {
            row.score = wide->score - kLaterInDetail;
            for (const int at : wide->positions) {
                if (at < entry.title.size()) {
                    row.positions.push_back(at);
                }
            }
        } else {
            continue;
        }
        m_rows.push_back(std::move(row));
    }
    std::stable_sort(m_rows.begin(), m_rows.end(),
                     [](const Row& a, const Row& b) { return a.score > b.score; });
}

const PaletteEntry* PaletteModel::entry(int row) const {
    return row >= 0 && row < rowCount() ? &m_entries[m_rows[static_cast<std::size_t>(row)].entry]
                                        : nullptr;
}

int PaletteModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_rows.size());
}

Qt::ItemFlags PaletteModel::flags(const QModelIndex& index) const {
    const PaletteEntry* found = index.isValid() ? entry(index.row()) : nullptr;
    return found && found->enabled ? Qt::ItemIsSelectable | Qt::ItemIsEnabled
                                   : Qt::ItemFlags(Qt::ItemIsSelectable);
}

QVariant PaletteModel::data(const QModelIndex& index, int role) const {
    if (!checkIndex(index, CheckIndexOption::IndexIsValid | CheckIndexOption::ParentIsInvalid)) {
        return {};
    }
    const Row& row = m_rows[static_cast<std::size_t>(index.row())];
    const PaletteEntry& entry = m_entries[row.entry];
    switch (role) {
        case Qt::DisplayRole:
        case TitleRole:
            return entry.title;
        case Qt::AccessibleTextRole:
            return QStringList{entry.title, entry.detail, kindTitle(entry.kind), entry.keys}.join(
                QStringLiteral(", "));
        case DetailRole:
            return entry.detail;
        case KeysRole:
            return entry.keys;
        case KindRole:
            return kindTitle(entry.kind);
        case EnabledRole:
            return entry.enabled;
        case PositionsRole: {
            QVariantList places;
            for (const int at : row.positions) {
                places << at;
            }
            return places;
        }
        default:
            return {};
    }
}

}  // namespace fettle::ui
