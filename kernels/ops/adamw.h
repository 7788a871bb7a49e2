// Adam with decoupled weight decay, one pass over weights, gradients and both moments. Kingma & Ba
// 2015; Loshchilov & Hutter 2019, algorithm 2.
#pragma once

#include <cstdint>

#include "kernels/ops/worker_pool.h"

namespace fettle::kernels {

struct AdamWArgs {
    float* value = nullptr;
    const float* grad = nullptr;
    float* m = nullptr;  ///< first moment
    float* v = nullptr;  ///< second moment
    std::int64_t count = 0;
    float learningRate = 0;
    float beta1 = 0.9F, beta2 = 0.95F, epsilon = 1e-8F;
    float decay = 0;                         ///< of the old value, times learningRate
    float gradScale = 1;                     ///< clipping
    float correction1 = 1, correction2 = 1;  ///< 1 - beta^t
};
void adamw(const AdamWArgs& args, WorkerPool& pool);

/// Sum of squares in double, over fixed blocks in their order.
double sumSquares(const float* x, std::int64_t count, WorkerPool& pool);

}  // namespace fettle::kernels
