// What the simd files of one level offer each other and the level's table. Simd files only.
#pragma once

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd/vec16.h"

namespace fettle::kernels::FETTLE_SIMD {

void quantizeRow(const float* x, std::int64_t count, std::int64_t group, std::int8_t* codes, float* scales,
                 std::int32_t* sums, float* weightedSums, std::int32_t* halfSums);
void intPanels(const MatmulArgs* args, std::int64_t begin, std::int64_t end, void* scratch);
void plainPanels(const MatmulArgs* args, WeightFormat format, std::int64_t begin, std::int64_t end,
                 void* scratch);

}  // namespace fettle::kernels::FETTLE_SIMD
