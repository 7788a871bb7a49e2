// CUDA twins of the row-wise and element-wise ops of training (kernels/ops/elementwise_backward.h,
// loss.h, adamw.h), the Hadamard transform and fake quantization. The same bits every time: nothing
// is added in an order that chance decides. Pointers are device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace fettle::kernels::cuda {

enum class Activation : std::uint8_t { Silu, GeluTanh };

/// Of out = act(gate) * up, and for a null gate of out = act(up): gradients dGate, dUp [count].
Status gatedBackward(Activation activation, const float* gate, const float* up, const float* dOut,
                     std::int64_t count, float* dGate, float* dUp, Stream stream);
/// dy *= 1 - (y / cap)^2, y the capped values.
Status softcapBackward(const float* y, float cap, float* dy, std::int64_t count, Stream stream);
/// y += factor * x
Status addScaled(float* y, const float* x, float factor, std::int64_t count, Stream stream);
/// The gradient of rope() in place: rotates back. Arguments as there.
Status ropeBackward(float* dy, std::int64_t tokens, std::int64_t stride, std::int64_t heads,
                    std::int64_t headDim, const float* cosSin, Stream stream);
/// grad[ids[t]] += factor * dy[t], the tokens of an id in their order. Ids lie in the vocabulary.
Status embeddingBackward(const std::int32_t* ids, std::int64_t tokens, const float* dy,
                         std::int64_t cols, float factor, float* grad, Stream stream);

/// losses[r] = -log softmax(logits[r])[targets[r]] in nats; logits [rows, count] become
/// (softmax - onehot) * scale. A target < 0 is not scored: 0, and zeros.
Status crossEntropyRows(float* logits, std::int64_t rows, std::int64_t count,
                        const std::int32_t* targets, float scale, double* losses, Stream stream);
/// losses[r] = T^2 KL(softmax(teacher / T) || softmax(student / T)) in nats (Hinton et al. 2015);
/// the student's logits become T (p_student - p_teacher) * scale.
Status distillRows(float* student, const float* teacher, std::int64_t rows, std::int64_t count,
                   float temperature, float scale, double* losses, Stream stream);

/// Loshchilov & Hutter 2019, algorithm 2; names as in kernels/ops/adamw.h.
struct AdamWStep {
    std::int64_t count = 0;
    float learningRate = 0;
    float beta1 = 0.9F, beta2 = 0.95F, epsilon = 1e-8F;
    float decay = 0, gradScale = 1, correction1 = 1, correction2 = 1;
};
Status adamw(float* value, const float* grad, float* m, float* v, const AdamWStep& step,
             Stream stream);

/// Each `size` neighbouring values of x [count] times the orthonormal Walsh-Hadamard matrix, in
/// place; size is a power of two from 32 to 4096, count a multiple of it. Its own inverse.
Status hadamard(float* x, std::int64_t count, std::int64_t size, Stream stream);

/// y = s * clamp(round(x / s), lowest, highest) over groups of `group` neighbouring values, one
/// scale s each. group is a multiple of 32 that divides count.
Status fakeQuantize(const float* x, const float* scales, std::int64_t count, std::int64_t group,
                    int lowest, int highest, float* y, Stream stream);
/// Straight-through for x inside the range; outside only gradients pass whose descent leads back,
/// as in kernels/ops/fake_quant.h. dScales [count / group] by the rule of learned step sizes (Esser
/// et al. 2020): sum of dy * (inside ? round(x/s) - x/s : clamped code).
Status fakeQuantizeBackward(const float* x, const float* scales, const float* dy,
                            std::int64_t count, std::int64_t group, int lowest, int highest,
                            float* dx, float* dScales, Stream stream);

}  // namespace fettle::kernels::cuda
