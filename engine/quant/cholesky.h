// Cholesky factor of a symmetric positive definite matrix, blocked so that almost all work is
// matrix products.
#pragma once

#include <cstdint>

#include "engine/core/run_control.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

/// A = L L^T in place: the lower triangle of a [n, n] row-major becomes L, the upper one is left
/// undefined. False where a pivot is not positive: A is not positive definite to float32.
bool choleskyInPlace(float* a, std::int64_t n, kernels::WorkerPool& pool, RunControl& control);

/// Solves X (L L^T) = B for every row of b [rows, n] in place, L as choleskyInPlace() left it.
void solveRowsInPlace(const float* l, std::int64_t n, float* b, std::int64_t rows,
                      kernels::WorkerPool& pool, RunControl& control);

}  // namespace fettle
