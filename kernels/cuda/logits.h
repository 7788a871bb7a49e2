// What is taken from rows of logits without moving them to the host. Pointers are device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/ops/elementwise.h"

namespace fettle::kernels::cuda {

/// summaries[r] of row r of x [rows, count]; count > 0.
Status summarizeLogits(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t count,
                       RowSummary* summaries, Stream stream);
/// KL(P||Q) of each row of logits p and q [rows, count], in nats, summed in double.
Status klDivergence(const float* p, const RowSummary* ps, const float* q, const RowSummary* qs,
                    std::int64_t rows, std::int64_t count, double* out, Stream stream);
/// out[r] = x[r, columns[r]]
Status gatherColumns(const float* x, std::int64_t rows, std::int64_t count,
                     const std::int32_t* columns, float* out, Stream stream);

}  // namespace fettle::kernels::cuda
