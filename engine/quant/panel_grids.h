// Panels of rows, as kernels/ops/code_panel.h takes them: the loop over them, and the scales and
// shifts of one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/quant/group_quantizer.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

/// Calls body(first row, rows) for every panel of rows [begin, end), on all threads, until the run
/// is cancelled.
template <class F>
void eachPanel(std::int64_t begin, std::int64_t end, kernels::WorkerPool& pool, RunControl& control,
               const F& body) {
    const std::int64_t panels = (end - begin + kernels::kCodeRows - 1) / kernels::kCodeRows;
    pool.parallelFor(panels, 1, [&](std::int64_t from, std::int64_t to, int /*thread*/) {
        for (std::int64_t p = from; p < to && !control.cancelled(); ++p) {
            const std::int64_t first = begin + p * kernels::kCodeRows;
            body(first, std::min(kernels::kCodeRows, end - first));
        }
    });
}

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
