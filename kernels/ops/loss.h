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

}  // namespace fettle::kernels
