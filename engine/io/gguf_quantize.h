// Quantizes rows into GGUF blocks exactly as ggml's reference does (quantize_row_q8_0_ref,
// quantize_row_q4_0_ref), so that the bytes equal those of the gguf package.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/weight_format.h"

namespace fettle {

/// `count` values, a multiple of 32, to blocks at `out`. Format: F32, F16, BF16, Q8_0, Q5_0 or
/// Q4_0.
void encodeRow(kernels::WeightFormat format, const float* values, std::int64_t count,
               std::byte* out);

/// One block of Q4_0, Q5_0 or Q8_0: 32 codes centred on zero (from -8, -16, -127 on) under a scale
/// that is rounded to float16.
void storeBlock(kernels::WeightFormat format, float scale, const std::int8_t* codes,
                std::byte* out);

/// Keeps the codes of a row of Int8Channel as Q8_0, or of a symmetric Int4Group as Q4_0; each block
/// gets the row's or group's scale, rounded to float16. Rows and groups are multiples of 32.
void repackRow(const kernels::WeightView& source, std::int64_t row, std::byte* out);
/// How closely float16 holds the scales of `source`: the largest relative difference (0: repackRow
/// loses nothing).
double halfScaleError(const kernels::WeightView& source);

}  // namespace fettle
