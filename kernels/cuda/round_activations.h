// CUDA twin of roundActivations() (kernels/formats/activation_format.h): rows as a quantized
// product multiplies them, rounded and taken back. For weights that are widened, so that their
// numbers are those of the scheme.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/formats/activation_format.h"

namespace fettle::kernels::cuda {

/// x [tokens, xStride] to out [tokens, cols]; cols is a multiple of the format's block. Not for
/// None.
Status roundActivations(ActivationFormat format, float globalScale, const float* x,
                        std::int64_t xStride, std::int64_t tokens, std::int64_t cols, float* out,
                        Stream stream);

}  // namespace fettle::kernels::cuda
