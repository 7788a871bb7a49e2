// Codes and scales of a quantized weight made better where they stand: with R = W - W^ the error of
// the outputs tr(R H R^T) is a parabola in every single code and in every scale, so that each is
// taken to its best value with all others fixed, over and over (coordinate descent; Behdin et al.
// 2023, arXiv 2309.01885). The error never grows. Starts from what GPTQ has chosen.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/quant/group_quantizer.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

struct RefineTarget {
    std::int64_t rows = 0, cols = 0;
    const float* weights = nullptr;  ///< W [rows, cols]
    const float* gram = nullptr;     ///< [cols, cols], H but for what is added to its diagonal
    float ridge = 0;                 ///< that
    float* codes = nullptr;          ///< [rows, cols] in units of the grid
    GroupGrid* grids = nullptr;      ///< [rows, groups], scales as stored
    bool fixedScales = false;        ///< codes alone are changed
};
/// Changes codes and scales, not shifts, in `passes` rounds. Scales of groups that are whole rows
/// stay. Returns tr(R H R^T) afterwards.
double refineCodes(const RefineTarget& target, const GroupQuantizer& quantizer, int passes,
                   kernels::WorkerPool& pool, RunControl& control);

}  // namespace fettle
