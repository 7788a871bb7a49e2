#include "kernels/ops/loss.h"

#include <algorithm>
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

}  // namespace fettle::kernels
