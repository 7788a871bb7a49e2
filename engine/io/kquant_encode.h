// Quantizes super-blocks of 256 values into GGUF's Q3_K, Q4_K, Q5_K and Q6_K (layouts:
// kernels/formats/weight_format.h). Every value of a block counts as much as its input matters (an
// importance matrix) times sqrt(sigma^2 + x^2), as in llama.cpp; the search goes further than its:
// after scales are rounded to six bits, codes, sub-block scales and super-block scales are taken to
// their least squares values in turn, and kept where the weighted error falls.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/weight_format.h"

namespace fettle {

/// `count` values, a multiple of 256, to blocks at `out`. `importance` [count], the mean square of
/// each input, or null: all inputs matter alike. Throws EngineError(Internal) for other formats.
void encodeKQuantRow(kernels::WeightFormat format, const float* values, const float* importance,
                     std::int64_t count, std::byte* out);
/// Other codes [count] under the scales that stand in `blocks`, centred on zero: -8..7 for four
/// bits.
void storeKQuantCodes(kernels::WeightFormat format, const std::int8_t* codes, std::int64_t count,
                      std::byte* blocks);

}  // namespace fettle
