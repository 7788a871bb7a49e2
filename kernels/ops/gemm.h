// Products of matrices in the three layouts that training needs: outputs, gradients of the
// inputs, gradients of the weights. Each output is one chain of sums in the order of k, whatever
// the blocking: results depend neither on the number of threads nor on how many rows are computed
// together. A link of it is a fused multiply-add; where the processor has AMX's tiles, 32 steps of
// k with all that float32 can feel of their products (cpu/amx/split_tiles.h). Blocking: Goto & van
// de Geijn 2008.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ops/worker_pool.h"

namespace fettle::kernels {

enum class GemmLayout : std::uint8_t {
    NT,  ///< c = a b^T, a [m, k], b [n, k]: outputs of a linear layer
    NN,  ///< c = a b, a [m, k], b [k, n]: gradient of its input
    TN   ///< c = a^T b, a [k, m], b [k, n]: gradient of its weight
};

struct GemmArgs {
    GemmLayout layout = GemmLayout::NT;
    std::int64_t m = 0, n = 0, k = 0;
    const float* a = nullptr;
    std::int64_t aStride = 0;  ///< elements between rows as stored
    const float* b = nullptr;
    std::int64_t bStride = 0;
    float* c = nullptr;  ///< [m, n]
    std::int64_t cStride = 0;
    bool accumulate = false;  ///< the chains start from what c holds
    /// Both factors rounded to bfloat16 on the way in, sums in float32, two steps of k a link:
    /// about twice as fast. Throws std::invalid_argument without hasBf16Products() (cpu/isa.h).
    bool bf16 = false;
};

/// Memory a product works in; keep one and reuse it.
struct GemmScratch {
    std::vector<float> packed;
    /// At least `floats` from a multiple of 64 bytes on, valid until the next call.
    float* room(std::size_t floats);
};

void gemm(const GemmArgs& args, GemmScratch& scratch, WorkerPool& pool);

}  // namespace fettle::kernels
