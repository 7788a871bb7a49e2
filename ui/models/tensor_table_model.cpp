#include "ui/models/tensor_table_model.h"

#include <QLocale>
#include <QStringList>
#include <utility>

#include "engine/experiment/measurement.h"

namespace fettle::ui {

static quint64 valueCount(const TensorReport& tensor) {
    quint64 count = 1;
    for (const std::int64_t extent : tensor.shape) {
        count *= static_cast<quint64>(extent);
    }
    return count;
}

// Runs of digits compare as numbers. QCollator's numeric mode does not work in the C locale.
static bool naturallyLess(const QString& left, const QString& right) {
    qsizetype i = 0;
    qsizetype j = 0;
    const auto number = [](const QString& text, qsizetype& at) {
        quint64 value = 0;
        for (; at < text.size() && text[at].isDigit(); ++at) {
            value = value * 10 + static_cast<quint64>(text[at].digitValue());
        }
        return value;
    };
    while (i < left.size() && j < right.size()) {
        if (left[i].isDigit() && right[j].isDigit()) {
            const quint64 a = number(left, i);
            const quint64 b = number(right, j);
            if (a != b) {
                return a < b;
            }
        } else if (left[i] != right[j]) {
            return left[i] < right[j];
        } else {
            ++i;
            ++j;
        }
    }
    return left.size() - i < right.size() - j;
}

static QString shapeText(const TensorReport& tensor) {
    QStringList extents;
    for (const std::int64_t extent : tensor.shape) {
        extents << QString::number(extent);
    }
    return extents.join(QStringLiteral(" × "));
}

void TensorTableModel::setTensors(std::vector<TensorReport> tensors) {
    beginResetModel();
    m_tensors = std::move(tensors);
    endResetModel();
}

int TensorTableModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_tensors.size());
}

int TensorTableModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : ColumnCount;
}

QVariant TensorTableModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid()) {
        return {};
    }
    const TensorReport& row = tensor(index.row());
    if (role == Qt::TextAlignmentRole) {
        const bool number = index.column() >= Values;
        return QVariant::fromValue(
            Qt::Alignment(Qt::AlignVCenter | (number ? Qt::AlignRight : Qt::AlignLeft)));
    }
    if (role == Qt::ToolTipRole && index.column() == Name) {
        return QString::fromStdString(row.name);
    }
    if (role != Qt::DisplayRole && role != kSortRole) {
        return {};
    }
    const bool sorting = role == kSortRole;
    switch (index.column()) {
        case Name:
            return QString::fromStdString(row.name);
        case Type:
            return QString::fromStdString(row.dtype);
        case Shape:
            return sorting ? QVariant(valueCount(row)) : QVariant(shapeText(row));
        case Values:
            return sorting ? QVariant(valueCount(row))
                           : QVariant(QLocale().toString(valueCount(row)));
        case Size:
            return sorting ? QVariant(static_cast<quint64>(row.bytes))
                           : QVariant(QString::fromStdString(
                                 formatBytes(static_cast<double>(row.bytes))));
        case Bits:
            return sorting ? QVariant(row.bitsPerWeight)
                           : QVariant(QString::number(row.bitsPerWeight, 'f', 2));
        default:
            return {};
    }
}

QVariant TensorTableModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (orientation == Qt::Horizontal && role == Qt::TextAlignmentRole) {
        return QVariant::fromValue(
            Qt::Alignment(Qt::AlignVCenter | (section >= Values ? Qt::AlignRight : Qt::AlignLeft)));
    }
    if (orientation != Qt::Horizontal || role != Qt::DisplayRole) {
        return {};
    }
    switch (section) {
        case Name:
            return tr("Tensor");
        case Type:
            return tr("Type");
        case Shape:
            return tr("Shape");
        case Values:
            return tr("Values");
        case Size:
            return tr("Size");
        case Bits:
            return tr("Bits/weight");
        default:
            return {};
    }
}

TensorFilterModel::TensorFilterModel(QObject* parent) : QSortFilterProxyModel(parent) {
    setSortRole(TensorTableModel::kSortRole);
}

void TensorFilterModel::setWords(const QString& text) {
    m_words = text.split(QLatin1Char(' '), Qt::SkipEmptyParts);
    invalidateFilter();
}

bool TensorFilterModel::filterAcceptsRow(int row, const QModelIndex& parent) const {
    const QString name =
        sourceModel()->index(row, TensorTableModel::Name, parent).data().toString();
    const QString type =
        sourceModel()->index(row, TensorTableModel::Type, parent).data().toString();
    for (const QString& word : m_words) {
        if (!name.contains(word, Qt::CaseInsensitive) &&
            !type.contains(word, Qt::CaseInsensitive)) {
            return false;
        }
    }
    return true;
}

bool TensorFilterModel::lessThan(const QModelIndex& left, const QModelIndex& right) const {
    if (left.column() == TensorTableModel::Name) {
        return naturallyLess(left.data().toString(), right.data().toString());
    }
    return QSortFilterProxyModel::lessThan(left, right);
}

}  // namespace fettle::ui
