#include "kernels/ops/loss.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "kernels/cpu/train_table.h"

namespace fettle::kernels {

double crossEntropyRow(float* logits, std::int64_t count, std::int64_t target, float scale) {
    if (count <= 0 || target >= count)
        throw std::invalid_argument("crossEntropyRow: target outside the logits");
    if (target < 0) {
        std::fill_n(logits, count, 0.0F);
        return 0;
    }
    return trainKernels().crossEntropyRow(logits, count, target, scale);
}

double distillRow(float* student, const float* teacher, std::int64_t count, float temperature,
                  float scale) {
    if (count <= 0 || !(temperature > 0))
        throw std::invalid_argument("distillRow: bad count or temperature");
    return trainKernels().distillRow(student, teacher, count, temperature, scale);
}

double logSumExpRow(const float* x, std::int64_t count, float temperature) {
    if (count <= 0 || !(temperature > 0))
        throw std::invalid_argument("logSumExpRow: bad count or temperature");
    return trainKernels().logSumExpRow(x, count, 1.0F / temperature);
}

double distillTopRow(float* student, std::int64_t count, const std::int32_t* ids,
                     const float* teacher, std::int64_t top, float temperature, float scale,
                     float* scratch) {
    if (top <= 0 || top > count || !(temperature > 0))
        throw std::invalid_argument("distillTopRow: bad count or temperature");
    constexpr float kNothing = -std::numeric_limits<float>::infinity();
    for (std::int64_t i = 0; i < top; ++i) {
        scratch[i] = student[ids[i]];
        student[ids[i]] = kNothing;
    }
    // Softmax over the top tokens and the others' log-sum-exp as one more logit is the coarsened
    // distribution, so the loss and its gradient are those of distillRow on top + 1 tokens.
    const bool others = top < count;
    double rest = 0;
    if (others) {
        rest = trainKernels().logSumExpRow(student, count, 1.0F / temperature);
        scratch[top] = static_cast<float>(temperature * rest);
    }
    const double loss =
        trainKernels().distillRow(scratch, teacher, top + (others ? 1 : 0), temperature, scale);
    if (others)
        trainKernels().expRow(student, count, 1.0F / temperature, static_cast<float>(rest),
                              scratch[top]);
    for (std::int64_t i = 0; i < top; ++i)
        student[ids[i]] = scratch[i];
    return loss;
}

}  // namespace fettle::kernels
