#include "ui/models/bit_grid.h"

#include <QCoreApplication>
#include <algorithm>
#include <cmath>

#include "ui/charts/axis_scale.h"
#include "ui/models/allocation_model.h"
#include "ui/models/layer_grid.h"

namespace fettle::ui {

QString bitsText(double bits) {
    // Scales of whole rows add a hundredth of a bit or less: 8.03 is 8 to whoever looks.
    const double shown = std::abs(bits - std::round(bits)) < 0.06 ? std::round(bits) : bits;
    QString text = QString::number(shown, 'f', 2);
    while (text.contains(QLatin1Char('.')) &&
           (text.endsWith(QLatin1Char('0')) || text.endsWith(QLatin1Char('.')))) {
        const bool point = text.endsWith(QLatin1Char('.'));
        text.chop(1);
        if (point) {
            break;
        }
    }
    return text;
}

BitGrid bitGrid(const AllocationModel& model) {
    BitGrid grid;
    const std::vector<AllocationUnit>& units = model.scores().units;
    std::vector<int> rows;
    for (const AllocationUnit& unit : units) {
        const QString kind = tensorKind(QString::fromStdString(unit.name));
        if (!grid.rows.contains(kind)) {
            grid.rows << kind;
        }
        rows.push_back(static_cast<int>(grid.rows.indexOf(kind)));
        if (std::find(grid.layers.begin(), grid.layers.end(), unit.layer) == grid.layers.end()) {
            grid.layers.push_back(unit.layer);
        }
    }
    // What lies outside the layers comes last: -1 is sorted as the greatest.
    std::sort(grid.layers.begin(), grid.layers.end(),
              [](int a, int b) { return static_cast<unsigned>(a) < static_cast<unsigned>(b); });
    grid.cells.resize(static_cast<std::size_t>(grid.rows.size()) * grid.layers.size());
    for (std::size_t u = 0; u < units.size(); ++u) {
        const auto column = std::find(grid.layers.begin(), grid.layers.end(), units[u].layer);
        BitCell& cell = grid.cells[static_cast<std::size_t>(rows[u]) * grid.layers.size() +
                                   static_cast<std::size_t>(column - grid.layers.begin())];
        const std::size_t choice = model.allocation().chosen[u];
        cell.unit = static_cast<int>(u);
        cell.name = QString::fromStdString(units[u].name);
        cell.scheme = QString::fromStdString(units[u].choices[choice].scheme);
        cell.bits = model.choiceBits(u, choice);
        cell.pinned = units[u].pinned >= 0;
        cell.detail = QCoreApplication::translate("BitGrid", "%1, predicted loss %2")
                          .arg(QString::fromStdString(formatBytes(units[u].choices[choice].bytes)),
                               shortNumber(units[u].choices[choice].loss, 3));
    }
    return grid;
}

}  // namespace fettle::ui
