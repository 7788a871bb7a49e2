// Weight formats whose codes are narrower than a byte and share a scale in groups along a row.
#pragma once

#include "kernels/formats/weight_format.h"

namespace fettle::kernels {

/// dequantizeRow for a format that hasGroups.
void dequantizeGroups(const WeightView& weight, std::int64_t row, float* out);

}  // namespace fettle::kernels
