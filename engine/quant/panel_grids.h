// Scales and shifts of the rows of a panel, as kernels/ops/code_panel.h takes them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/quant/group_quantizer.h"

namespace fettle {

struct PanelGrids {
    /// Of rows [first, first + kCodeRows) of `grids` [rows, groups]; rows beyond the last one have
    /// the scale 1.
    PanelGrids(const GroupGrid* grids, std::int64_t rows, std::int64_t groups, std::int64_t first)
        : scales(static_cast<std::size_t>(groups * kernels::kCodeRows), 1.0f),
          shifts(scales.size()) {
        for (std::int64_t r = 0; r < std::min(kernels::kCodeRows, rows - first); ++r)
            for (std::int64_t g = 0; g < groups; ++g) {
                const GroupGrid& grid = grids[(first + r) * groups + g];
                scales[static_cast<std::size_t>(g * kernels::kCodeRows + r)] = grid.scale;
                shifts[static_cast<std::size_t>(g * kernels::kCodeRows + r)] = grid.shift;
            }
    }
    std::vector<float> scales, shifts;  ///< [groups, kCodeRows]
};

}  // namespace fettle
