#include "engine/prune/unit_pruner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "engine/core/error.h"
#include "engine/quant/cholesky.h"
#include "kernels/ops/gemm.h"

namespace fettle {

namespace {

constexpr int kDampingAttempts = 4;
constexpr std::int64_t kWorthSharing = 1 << 20;  // multiply-adds
constexpr double kGone = std::numeric_limits<double>::infinity();

/// Inverse of a lower triangular matrix in place, column by column; the columns are independent.
void invertLower(const std::vector<float>& lower, std::int64_t n, std::vector<float>& inverse,
                 kernels::WorkerPool& pool, RunControl& control) {
    inverse.assign(lower.size(), 0);
    // Row i of the inverse is (e_i - sum_{k<i} l_ik row_k) / l_ii: rows in order, columns in
    // parallel.
    constexpr std::int64_t kGrain = 64;
    pool.parallelFor(n, kGrain, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
        for (std::int64_t i = begin; i < n && !control.cancelled(); ++i) {
            float* row = inverse.data() + i * n;
            const std::int64_t last = std::min(end, i + 1);
            if (i < end)
                row[i] = 1;
            for (std::int64_t k = begin; k < i; ++k) {
                const float factor = lower[static_cast<std::size_t>(i * n + k)];
                const float* above = inverse.data() + k * n;
                const std::int64_t stop = std::min(last, k + 1);
                for (std::int64_t j = begin; j < stop; ++j)
                    row[j] -= factor * above[j];
            }
            const float scale = 1 / lower[static_cast<std::size_t>(i * n + i)];
            for (std::int64_t j = begin; j < last; ++j)
                row[j] *= scale;
        }
    });
    control.check();
}

/// Solves A x = b for a small positive definite A [n, n] (destroyed: its Cholesky factor) and many
/// right sides; here only b^T A^-1 b is wanted, which is |L^-1 b|^2.
class SmallFactor {
public:
    SmallFactor(const std::vector<float>& matrix, std::int64_t stride, std::int64_t first,
                std::int64_t n)
        : m_n(n), m_lower(static_cast<std::size_t>(n * n)) {
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j <= i; ++j) {
                double sum = matrix[static_cast<std::size_t>((first + i) * stride + first + j)];
                for (std::int64_t k = 0; k < j; ++k)
                    sum -= at(i, k) * at(j, k);
                at(i, j) = i == j ? std::sqrt(std::max(sum, 1e-30)) : sum / at(j, j);
            }
    }
    double quadratic(const float* b) const {
        std::vector<double> y(static_cast<std::size_t>(m_n));
        double sum = 0;
        for (std::int64_t i = 0; i < m_n; ++i) {
            double value = b[i];
            for (std::int64_t k = 0; k < i; ++k)
                value -= at(i, k) * y[static_cast<std::size_t>(k)];
            y[static_cast<std::size_t>(i)] = value / at(i, i);
            sum += y[static_cast<std::size_t>(i)] * y[static_cast<std::size_t>(i)];
        }
        return sum;
    }

private:
    double& at(std::int64_t i, std::int64_t j) {
        return m_lower[static_cast<std::size_t>(i * m_n + j)];
    }
    double at(std::int64_t i, std::int64_t j) const {
        return m_lower[static_cast<std::size_t>(i * m_n + j)];
    }
    std::int64_t m_n;
    std::vector<double> m_lower;
};

class Surgeon {
public:
    Surgeon(std::vector<float> weight, std::int64_t rows, std::vector<float> inverse,
            std::int64_t cols, const UnitOptions& options, kernels::WorkerPool& pool)
        : m_weight(std::move(weight)),
          m_inverse(std::move(inverse)),
          m_rows(rows),
          m_cols(cols),
          m_options(options),
          m_pool(pool),
          m_alive(static_cast<std::size_t>(cols / options.width), true) {}

    std::vector<double> costs() const {
        std::vector<double> costs(m_alive.size(), 0);
        const bool single = m_options.width == 1;
        share(static_cast<std::int64_t>(costs.size()), single ? 256 : 1,
              m_rows * m_cols * m_options.width, [&](std::int64_t begin, std::int64_t end) {
                  if (single)
                      columnCosts(begin, end, costs.data());
                  else
                      for (std::int64_t u = begin; u < end; ++u)
                          costs[static_cast<std::size_t>(u)] = alive(u) ? costOf(u) : 0;
              });
        for (std::size_t u = 0; u < costs.size(); ++u)
            if (!m_alive[u])
                costs[u] = kGone;
        return costs;
    }

    void remove(std::int64_t unit) {
        const std::int64_t width = m_options.width;
        for (std::int64_t c = unit * width; c < (unit + 1) * width; ++c)
            removeColumn(c);
        m_alive[static_cast<std::size_t>(unit)] = false;
    }
    bool alive(std::int64_t unit) const { return m_alive[static_cast<std::size_t>(unit)]; }
    std::vector<float> takeWeight() { return std::move(m_weight); }

private:
    void columnCosts(std::int64_t begin, std::int64_t end, double* costs) const {
        for (std::int64_t r = 0; r < m_rows; ++r)
            for (std::int64_t c = begin; c < end; ++c) {
                const double w = m_weight[static_cast<std::size_t>(r * m_cols + c)];
                costs[c] += w * w;
            }
        for (std::int64_t c = begin; c < end; ++c)
            costs[c] /= m_inverse[static_cast<std::size_t>(c * m_cols + c)];
    }
    double costOf(std::int64_t unit) const {
        const std::int64_t width = m_options.width, first = unit * width;
        const SmallFactor factor(m_inverse, m_cols, first, width);
        double sum = 0;
        for (std::int64_t r = 0; r < m_rows; ++r)
            sum += factor.quadratic(m_weight.data() + r * m_cols + first);
        return sum;
    }

    void removeColumn(std::int64_t column) {
        const std::vector<float> row(m_inverse.begin() + column * m_cols,
                                     m_inverse.begin() + (column + 1) * m_cols);
        const float pivot = row[static_cast<std::size_t>(column)];
        const auto eliminate = [&](float* values) {
            const float factor = values[column] / pivot;
            if (factor != 0)
                for (std::int64_t j = 0; j < m_cols; ++j)
                    values[j] -= factor * row[static_cast<std::size_t>(j)];
            values[column] = 0;
        };
        share(m_rows + m_cols, 32, (m_rows + m_cols) * m_cols,
              [&](std::int64_t begin, std::int64_t end) {
                  for (std::int64_t r = begin; r < end; ++r)
                      eliminate(r < m_rows ? m_weight.data() + r * m_cols
                                           : m_inverse.data() + (r - m_rows) * m_cols);
              });
    }

    /// Over the pool where the work is worth waking it: there are thousands of these in a row.
    template <typename Body>
    void share(std::int64_t count, std::int64_t grain, std::int64_t work, const Body& body) const {
        if (work < kWorthSharing)
            body(std::int64_t{0}, count);
        else
            m_pool.parallelFor(
                count, grain,
                [&](std::int64_t begin, std::int64_t end, int /*thread*/) { body(begin, end); });
    }

    std::vector<float> m_weight, m_inverse;
    std::int64_t m_rows, m_cols;
    const UnitOptions& m_options;
    kernels::WorkerPool& m_pool;
    std::vector<bool> m_alive;
};

/// Inputs that were zero throughout say nothing about their weights: for the calibration text these
/// are as good as zero.
std::vector<std::int64_t> silentColumns(const std::vector<float>& gram, std::int64_t cols) {
    std::vector<std::int64_t> silent;
    for (std::int64_t c = 0; !gram.empty() && c < cols; ++c)
        if (gram[static_cast<std::size_t>(c * cols + c)] == 0)
            silent.push_back(c);
    return silent;
}

void copyColumn(const std::vector<float>* from, std::vector<float>& to, std::int64_t cols,
                std::int64_t column) {
    for (auto at = static_cast<std::size_t>(column); at < to.size();
         at += static_cast<std::size_t>(cols))
        to[at] = from ? (*from)[at] : 0;
}

void clearUnit(std::vector<float>& weight, std::int64_t rows, std::int64_t cols, std::int64_t width,
               std::int64_t unit) {
    for (std::int64_t r = 0; r < rows; ++r)
        std::fill_n(weight.begin() + r * cols + unit * width, width, 0.0F);
}

}  // namespace

std::vector<float> inverseGram(const std::vector<float>& gram, std::int64_t cols, double damping,
                               kernels::WorkerPool& pool, RunControl& control) {
    double mean = 0;
    for (std::int64_t j = 0; j < cols; ++j)
        mean += gram[static_cast<std::size_t>(j * cols + j)] / static_cast<double>(cols);
    std::vector<float> lower;
    bool factored = false;
    for (int attempt = 0; attempt < kDampingAttempts && !factored; ++attempt, damping *= 10) {
        lower = gram;
        for (std::int64_t j = 0; j < cols; ++j)
            lower[static_cast<std::size_t>(j * cols + j)] += static_cast<float>(damping * mean);
        factored = choleskyInPlace(lower.data(), cols, pool, control);
    }
    if (!factored)
        return {};
    std::vector<float> inverse;
    invertLower(lower, cols, inverse, pool, control);
    // H^-1 = L^-T L^-1; the factor's memory is no longer needed.
    kernels::GemmScratch scratch;
    kernels::gemm({kernels::GemmLayout::TN, cols, cols, cols, inverse.data(), cols, inverse.data(),
                   cols, lower.data(), cols, false},
                  scratch, pool);
    return lower;
}

double relativeOutputError(const std::vector<float>& w, const std::vector<float>& v,
                           const std::vector<float>& gram, std::int64_t cols,
                           kernels::WorkerPool& pool) {
    const auto rows = static_cast<std::int64_t>(w.size()) / cols;
    std::vector<float> difference(w.size()), product(w.size());
    for (std::size_t i = 0; i < w.size(); ++i)
        difference[i] = w[i] - v[i];
    kernels::GemmScratch scratch;
    const auto power = [&](const std::vector<float>& x) {
        kernels::gemm({kernels::GemmLayout::NN, rows, cols, cols, x.data(), cols, gram.data(), cols,
                       product.data(), cols, false},
                      scratch, pool);
        double sum = 0;
        for (std::size_t i = 0; i < x.size(); ++i)
            sum += static_cast<double>(x[i]) * product[i];
        return std::max(sum, 0.0);
    };
    const double error = power(difference), signal = power(w);
    return signal > 0 ? std::sqrt(error / signal) : 0;
}

UnitResult removeUnits(const std::vector<float>& weight, std::int64_t rows,
                       const std::vector<float>& gram, std::int64_t cols, std::int64_t remove,
                       const UnitOptions& options, kernels::WorkerPool& pool, RunControl& control) {
    const std::int64_t units = cols / options.width, perClass = units / options.classes;
    const std::vector<std::int64_t> silent = silentColumns(gram, cols);
    UnitResult result;
    std::optional<Surgeon> surgeon;
    if (options.compensate || !options.scores) {
        std::vector<float> inverse = inverseGram(gram, cols, options.damping, pool, control);
        if (inverse.empty())
            throw EngineError(ErrorKind::BadInput,
                              "prune: the inputs seen in calibration do not determine what can be "
                              "removed; more calibration tokens or more damping help");
        std::vector<float> heard = weight;
        for (const std::int64_t c : silent)
            copyColumn(nullptr, heard, cols, c);
        surgeon.emplace(std::move(heard), rows, std::move(inverse), cols, options, pool);
    }
    result.importance = options.scores ? *options.scores : surgeon->costs();
    std::vector<double> order = result.importance;
    const bool follow = !options.scores && options.compensate;
    result.weight = weight;
    for (std::int64_t k = 0; k < options.classes; ++k)
        for (std::int64_t n = 0; n < remove / options.classes; ++n) {
            control.check();
            const auto first = order.begin() + k * perClass;
            const auto least = std::min_element(first, first + perClass);
            const std::int64_t unit = least - order.begin();
            *least = kGone;
            if (options.compensate)
                surgeon->remove(unit);
            clearUnit(result.weight, rows, cols, options.width, unit);
            if (follow)
                order = surgeon->costs();
        }
    for (std::int64_t u = 0; u < units; ++u)
        if (order[static_cast<std::size_t>(u)] != kGone)
            result.kept.push_back(u);
    if (options.compensate)
        result.weight = surgeon->takeWeight();
    for (const std::int64_t c : silent)
        if (order[static_cast<std::size_t>(c / options.width)] != kGone)
            copyColumn(&weight, result.weight, cols, c);
    if (!gram.empty())
        result.relativeError = relativeOutputError(weight, result.weight, gram, cols, pool);
    return result;
}

}  // namespace fettle
