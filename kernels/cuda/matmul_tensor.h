// y = x W^T on tensor cores with weights that stay packed: codes are unpacked to float16 on their
// way into shared memory, activations are float16 with a scale per token (toScaledHalf). For
// prompts of middling length, where unpacking the whole weight first would cost more than the
// product.
#pragma once

#include <cstdint>

#include "kernels/cuda/matmul.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/weight_layout.h"

namespace fettle::kernels::cuda {

/// For codes in groups of 32. x [tokens, xStride] float16, xStride a multiple of 8; scales
/// [tokens].
Status matmulTensor(const DeviceWeightView& weight, const std::uint16_t* x, std::int64_t xStride,
                    const float* scales, std::int64_t tokens, const MatmulOutput& out,
                    Stream stream);

}  // namespace fettle::kernels::cuda
