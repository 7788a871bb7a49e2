#include "engine/prune/sparsity.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "kernels/ops/gemm.h"

namespace fettle {

namespace {

constexpr std::int64_t kGroup = 4;  // of the 2:4 pattern
constexpr std::int64_t kZerosInGroup = 2;

/// Marks the `zeros` smallest of `scores`; of equal ones the earlier.
void markSmallest(const float* scores, std::int64_t count, std::int64_t zeros,
                  std::vector<std::int64_t>& order, char* marks) {
    order.resize(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    const auto less = [&](std::int64_t a, std::int64_t b) {
        return scores[a] != scores[b] ? scores[a] < scores[b] : a < b;
    };
    if (zeros < count)
        std::nth_element(order.begin(), order.begin() + zeros, order.end(), less);
    for (std::int64_t i = 0; i < zeros; ++i)
        marks[order[static_cast<std::size_t>(i)]] = 1;
}

class SparseGpt {
public:
    SparseGpt(std::vector<float>& weight, std::int64_t rows, std::int64_t cols,
              const GptqFactor& factor, const SparsityTarget& target)
        : m_weight(weight),
          m_rows(rows),
          m_cols(cols),
          m_factor(factor),
          m_target(target),
          m_errors(weight.size()) {}

    void run(std::int64_t block, kernels::WorkerPool& pool, RunControl& control) {
        block = std::max<std::int64_t>(kGroup, block / kGroup * kGroup);
        m_sums.assign(static_cast<std::size_t>(m_rows * block), 0);
        m_marks.assign(m_sums.size(), 0);
        kernels::GemmScratch scratch;
        for (std::int64_t b = 0; b < m_cols; b += block) {
            control.check();
            m_first = b;
            m_width = std::min(block, m_cols - b);
            if (b > 0)  // what the columns done so far leave for those of this block
                kernels::gemm(
                    {kernels::GemmLayout::NT, m_rows, m_width, b, m_errors.data(), m_cols,
                     m_factor.lower.data() + b * m_cols, m_cols, m_sums.data(), m_width, false},
                    scratch, pool);
            else
                std::fill(m_sums.begin(), m_sums.end(), 0.0F);
            if (m_target.pattern == SparsityPattern::Unstructured)
                chooseBlock();
            pool.parallelFor(m_rows, 8, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
                for (std::int64_t r = begin; r < end; ++r)
                    runRow(r);
            });
        }
    }

private:
    float diagonal(std::int64_t j) const {
        const std::int64_t column = m_first + j;
        return m_factor.lower[static_cast<std::size_t>(column * m_cols + column)];
    }

    void chooseBlock() {
        std::vector<float> scores(static_cast<std::size_t>(m_rows * m_width));
        for (std::int64_t r = 0; r < m_rows; ++r)
            for (std::int64_t j = 0; j < m_width; ++j) {
                const auto at = static_cast<std::size_t>(r * m_width + j);
                const float root =
                    m_weight[static_cast<std::size_t>(r * m_cols + m_first + j)] * diagonal(j) +
                    m_sums[at];
                scores[at] = root * root;
            }
        std::fill(m_marks.begin(), m_marks.end(), 0);
        std::vector<std::int64_t> order;
        const std::int64_t zeros =
            m_rows * (m_target.zerosPerRow(m_cols) * (m_first + m_width) / m_cols -
                      m_target.zerosPerRow(m_cols) * m_first / m_cols);
        markSmallest(scores.data(), m_rows * m_width, zeros, order, m_marks.data());
    }

    /// The value column j of the block should have, given the errors before it, times U_jj.
    float wanted(std::int64_t r, std::int64_t j) const {
        const float* factor = m_factor.lower.data() + (m_first + j) * m_cols + m_first;
        const float* errors = m_errors.data() + r * m_cols + m_first;
        float sum = m_sums[static_cast<std::size_t>(r * m_width + j)];
        for (std::int64_t i = 0; i < j; ++i)
            sum += errors[i] * factor[i];
        return m_weight[static_cast<std::size_t>(r * m_cols + m_first + j)] * diagonal(j) + sum;
    }

    void runRow(std::int64_t r) {
        char* marks = m_marks.data() + r * m_width;
        std::vector<std::int64_t> order;
        for (std::int64_t j = 0; j < m_width; ++j) {
            const std::int64_t left = std::min(kGroup, m_width - j);
            if (m_target.pattern == SparsityPattern::TwoFour && j % kGroup == 0) {
                std::array<float, kGroup> scores{};
                for (std::int64_t k = 0; k < left; ++k) {
                    const float root = wanted(r, j + k);
                    scores[static_cast<std::size_t>(k)] = root * root;
                }
                std::fill_n(marks + j, left, 0);
                markSmallest(scores.data(), left, std::min(kZerosInGroup, left / 2), order,
                             marks + j);
            }
            const auto at = static_cast<std::size_t>(r * m_cols + m_first + j);
            const float value = marks[j] ? 0.0F : wanted(r, j) / diagonal(j);
            m_errors[at] = m_weight[at] - value;
            m_weight[at] = value;
        }
    }

    std::vector<float>& m_weight;
    std::int64_t m_rows, m_cols;
    const GptqFactor& m_factor;
    const SparsityTarget& m_target;
    std::vector<float> m_errors;  // [rows, cols] W - W^ of the columns done
    std::vector<float> m_sums;    // [rows, width] of the columns before the block
    std::vector<char> m_marks;    // [rows, width]
    std::int64_t m_first = 0, m_width = 0;
};

}  // namespace

std::int64_t SparsityTarget::zerosPerRow(std::int64_t cols) const {
    if (pattern == SparsityPattern::TwoFour)
        return cols / kGroup * kZerosInGroup + cols % kGroup / 2;
    return std::clamp<std::int64_t>(std::llround(ratio * static_cast<double>(cols)), 0, cols);
}

void zeroSmallest(std::vector<float>& weight, std::int64_t rows, std::int64_t cols,
                  const std::vector<float>& inputNorm, const SparsityTarget& target,
                  kernels::WorkerPool& pool) {
    const bool groups = target.pattern == SparsityPattern::TwoFour;
    pool.parallelFor(rows, 8, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
        std::vector<float> scores(static_cast<std::size_t>(cols));
        std::vector<char> marks(scores.size());
        std::vector<std::int64_t> order;
        for (std::int64_t r = begin; r < end; ++r) {
            float* row = weight.data() + r * cols;
            for (std::int64_t j = 0; j < cols; ++j)
                scores[static_cast<std::size_t>(j)] =
                    std::fabs(row[j]) *
                    (inputNorm.empty() ? 1.0F : inputNorm[static_cast<std::size_t>(j)]);
            std::fill(marks.begin(), marks.end(), 0);
            const std::int64_t step = groups ? kGroup : cols;
            for (std::int64_t j = 0; j < cols; j += step) {
                const std::int64_t count = std::min(step, cols - j);
                markSmallest(scores.data() + j, count,
                             groups ? std::min(kZerosInGroup, count / 2) : target.zerosPerRow(cols),
                             order, marks.data() + j);
            }
            for (std::int64_t j = 0; j < cols; ++j)
                if (marks[static_cast<std::size_t>(j)])
                    row[j] = 0;
        }
    });
}

void zeroSmallest(std::vector<float>& weight, std::int64_t cols,
                  const std::vector<float>& inputNorm, const SparsityTarget& target,
                  WeightWorker& device) {
    if (target.pattern == SparsityPattern::TwoFour)
        device.zeroTwoOfFour(weight, cols, inputNorm);
    else
        device.zeroSmallest(weight, cols, inputNorm, target.zerosPerRow(cols));
}

void sparseGpt(std::vector<float>& weight, std::int64_t rows, std::int64_t cols,
               const GptqFactor& factor, const SparsityTarget& target, std::int64_t block,
               kernels::WorkerPool& pool, RunControl& control) {
    SparseGpt(weight, rows, cols, factor, target).run(block, pool, control);
}

double zeroShare(const std::vector<float>& values) {
    const auto zeros = std::count(values.begin(), values.end(), 0.0F);
    return values.empty() ? 0 : static_cast<double>(zeros) / static_cast<double>(values.size());
}

}  // namespace fettle
