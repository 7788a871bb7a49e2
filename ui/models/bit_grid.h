// An allocation of bits as a grid of tensor × layer, for the bit map. Plain values; any thread.
#pragma once

#include <QString>
#include <QStringList>
#include <vector>

namespace fettle::ui {

class AllocationModel;

struct BitCell {
    int unit = -1;  ///< index into the allocation; -1: no such weight
    QString name;
    QString scheme;
    QString detail;  ///< a second line for the card
    double bits = 0;
    bool pinned = false;
};

struct BitGrid {
    QStringList rows;
    std::vector<int> layers;  ///< of the columns; -1, the last one, is outside the layers
    std::vector<BitCell> cells;

    bool empty() const { return rows.isEmpty(); }
    const BitCell& at(int row, int column) const {
        return cells[static_cast<std::size_t>(row) * layers.size() +
                     static_cast<std::size_t>(column)];
    }
};

/// Rows in the order of the model, layers in theirs, what lies outside the layers last.
BitGrid bitGrid(const AllocationModel& model);
/// "4", "4.25", "16": bits as short as they stay telling.
QString bitsText(double bits);

}  // namespace fettle::ui
