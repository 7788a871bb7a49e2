// Plain twins of kernels/cuda/sparsity.h and kernels/cuda/gptq.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/formats/weight_format.h"

namespace fettle::kernels::reference {

/// Of each four of a row the two of the least |w| * norm become 0; of fewer half of them.
inline void zeroTwoOfFour(float* w, const float* norm, std::int64_t rows, std::int64_t cols) {
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t first = 0; first < cols; first += 4) {
            const std::int64_t count = std::min<std::int64_t>(4, cols - first);
            float* at = w + r * cols + first;
            std::vector<std::pair<float, std::int64_t>> scores;
            for (std::int64_t i = 0; i < count; ++i)
                scores.emplace_back(std::fabs(at[i]) * (norm ? norm[first + i] : 1.0F), i);
            std::sort(scores.begin(), scores.end());
            for (std::int64_t i = 0; i < count / 2; ++i)
                at[scores[static_cast<std::size_t>(i)].second] = 0;
        }
}

/// Of each row the `zeros` of the least |w| * norm become 0, of equal ones the earlier.
inline void zeroSmallest(float* w, const float* norm, std::int64_t rows, std::int64_t cols,
                         std::int64_t zeros) {
    for (std::int64_t r = 0; r < rows; ++r) {
        std::vector<std::pair<float, std::int64_t>> scores;
        for (std::int64_t i = 0; i < cols; ++i)
            scores.emplace_back(std::fabs(w[r * cols + i]) * (norm ? norm[i] : 1.0F), i);
        std::sort(scores.begin(), scores.end());
        for (std::int64_t i = 0; i < zeros; ++i)
            w[r * cols + scores[static_cast<std::size_t>(i)].second] = 0;
    }
}

/// What the compressed form of w [rows, cols] stands for.
inline std::vector<float> expandTwoOfFour(const std::uint16_t* values, const std::uint16_t* places,
                                          std::int64_t rows, std::int64_t cols) {
    std::vector<float> w(static_cast<std::size_t>(rows * cols));
    for (std::int64_t i = 0; i < rows * cols / 2; ++i) {
        const int place = places[i / 8] >> (2 * (i % 8)) & 3;
        w[static_cast<std::size_t>(i / 2 * 4 + place)] += halfToFloat(values[i]);
    }
    return w;
}

/// GPTQ over a whole weight, all in double. `lower` [cols, cols] U^T.
struct GptqSweep {
    std::int64_t rows = 0, cols = 0, group = 0;
    double lowest = 0, highest = 0;
    std::vector<double> codes, errors, targets, losses;

    void run(const float* weights, const float* lower, const std::int64_t* order,
             const float* scales, const float* shifts) {
        codes.assign(static_cast<std::size_t>(rows * cols), 0);
        errors = targets = codes;
        losses.assign(static_cast<std::size_t>(rows), 0);
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t j = 0; j < cols; ++j) {
                const std::int64_t column = order ? order[j] : j;
                const std::int64_t grid = r * (cols / group) + column / group;
                const double scale = scales[grid], shift = shifts ? shifts[grid] : 0.0;
                double sum = 0;
                for (std::int64_t i = 0; i < j; ++i)
                    sum += errors[static_cast<std::size_t>(r * cols + i)] * lower[j * cols + i];
                const double diagonal = lower[j * cols + j], weight = weights[r * cols + column];
                const double target = weight + sum / diagonal;
                const double code =
                    std::clamp(std::nearbyint(target / scale - shift), lowest, highest) + shift;
                targets[static_cast<std::size_t>(r * cols + column)] = target;
                codes[static_cast<std::size_t>(r * cols + column)] = code;
                errors[static_cast<std::size_t>(r * cols + j)] = weight - code * scale;
                losses[static_cast<std::size_t>(r)] +=
                    (target - code * scale) * (target - code * scale) * diagonal * diagonal;
            }
    }
};

}  // namespace fettle::kernels::reference
