// Losses on rows of logits that leave the gradient where the logits were, so that logits are never
// held twice. Sums in double.
#pragma once

#include <cstdint>

namespace fettle::kernels {

/// -log softmax(logits)[target] in nats; logits become (softmax - onehot) * scale. A target < 0 is
/// not scored: 0, and zeros.
double crossEntropyRow(float* logits, std::int64_t count, std::int64_t target, float scale);

/// T^2 KL(softmax(teacher / T) || softmax(student / T)) in nats, T the temperature (Hinton et al.
/// 2015); the student's logits become T (p_student - p_teacher) * scale.
double distillRow(float* student, const float* teacher, std::int64_t count, float temperature,
                  float scale);

/// log(sum of exp(x / temperature)). Entries of -infinity count nothing; at least one is finite.
double logSumExpRow(const float* x, std::int64_t count, float temperature);

/// distillRow against a teacher of whom only the `top` likeliest of `count` tokens are known one by
/// one: the loss is the exact divergence of the two distributions coarsened to these tokens and
/// "any other", so it never exceeds that of the whole distributions and equals it where `top` is
/// `count`. `ids` [top] are different tokens, `teacher` [top + 1] their logits and last that of all
/// others together, temperature * logSumExpRow of them. The gradient for a token j of the others is
/// temperature * p(j | others) * (p_student(others) - p_teacher(others)) * scale. `scratch` holds
/// top + 1 floats.
double distillTopRow(float* student, std::int64_t count, const std::int32_t* ids,
                     const float* teacher, std::int64_t top, float temperature, float scale,
                     float* scratch);

}  // namespace fettle::kernels
