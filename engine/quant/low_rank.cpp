#include "engine/quant/low_rank.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/core/random.h"
#include "kernels/ops/matmul.h"

namespace fettle {

namespace {

constexpr std::int64_t kSpare = 8;  // directions beyond the rank, which settle last
constexpr int kRounds = 6;          // the spectrum of rounding errors is flat: more gains nothing
constexpr int kMostSweeps = 30;     // of Jacobi rotations; a handful settle it

using Matrix = std::vector<float>;

std::size_t sizeOf(std::int64_t rows, std::int64_t cols) {
    return static_cast<std::size_t>(rows * cols);
}

/// x [m, k] w^T, w [n, k]: [m, n].
Matrix product(const Matrix& x, std::int64_t m, const Matrix& w, std::int64_t n, std::int64_t k,
               kernels::WorkerPool& pool) {
    kernels::WeightView view;
    view.rows = n;
    view.cols = k;
    view.data = w.data();
    kernels::Activations rows;
    rows.assign(x.data(), m, k, k);
    Matrix y(sizeOf(m, n));
    kernels::matmul(kernels::PackedWeight::pack(view, pool), rows, y.data(), n, nullptr, false,
                    pool);
    return y;
}

Matrix transposed(const Matrix& x, std::int64_t rows, std::int64_t cols) {
    Matrix y(x.size());
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < cols; ++c)
            y[sizeOf(c, rows) + static_cast<std::size_t>(r)] =
                x[sizeOf(r, cols) + static_cast<std::size_t>(c)];
    return y;
}

double dot(const float* a, const float* b, std::int64_t n) {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i)
        sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

/// Makes the rows of q [count, n] orthonormal, the first first; twice, since once loses digits. A
/// row with nothing of its own becomes zero.
void orthonormalize(Matrix& q, std::int64_t count, std::int64_t n) {
    for (std::int64_t i = 0; i < count; ++i) {
        float* row = q.data() + i * n;
        const double before = std::sqrt(dot(row, row, n));
        for (int pass = 0; pass < 2; ++pass)
            for (std::int64_t j = 0; j < i; ++j) {
                const float* other = q.data() + j * n;
                const auto share = static_cast<float>(dot(row, other, n));
                for (std::int64_t k = 0; k < n; ++k)
                    row[k] -= share * other[k];
            }
        const double norm = std::sqrt(dot(row, row, n));
        const auto scale = static_cast<float>(norm > 1e-6 * before ? 1 / norm : 0);
        for (std::int64_t k = 0; k < n; ++k)
            row[k] *= scale;
    }
}

/// Turns the pair of axes (p, q) so that a has no product of theirs; `vectors` keeps the turns.
void rotatePair(std::vector<double>& a, std::vector<double>& vectors, std::size_t n, std::size_t p,
                std::size_t q) {
    const double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
    const double t = (theta >= 0 ? 1 : -1) / (std::fabs(theta) + std::sqrt(theta * theta + 1));
    const double c = 1 / std::sqrt(t * t + 1), s = t * c;
    const auto turn = [&](double& x, double& y) {
        const double before = x;
        x = c * before - s * y;
        y = s * before + c * y;
    };
    for (std::size_t k = 0; k < n; ++k)
        turn(a[k * n + p], a[k * n + q]);
    for (std::size_t k = 0; k < n; ++k)
        turn(a[p * n + k], a[q * n + k]);
    for (std::size_t k = 0; k < n; ++k)
        turn(vectors[p * n + k], vectors[q * n + k]);
}

/// Eigenvectors of a symmetric matrix [n, n] as rows, largest value first (Jacobi).
std::vector<double> eigenvectors(std::vector<double> a, std::size_t n) {
    std::vector<double> vectors(n * n, 0);
    for (std::size_t i = 0; i < n; ++i)
        vectors[i * n + i] = 1;
    for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
        double off = 0, all = 0;
        for (std::size_t p = 0; p < n; ++p)
            for (std::size_t q = 0; q < n; ++q) {
                all += a[p * n + q] * a[p * n + q];
                off += p == q ? 0 : a[p * n + q] * a[p * n + q];
            }
        if (off <= 1e-20 * all)
            break;
        for (std::size_t p = 0; p < n; ++p)
            for (std::size_t q = p + 1; q < n; ++q)
                if (a[p * n + q] != 0)
                    rotatePair(a, vectors, n, p, q);
    }
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t x, std::size_t y) { return a[x * n + x] > a[y * n + y]; });
    std::vector<double> sorted(n * n);
    for (std::size_t i = 0; i < n; ++i)
        std::copy_n(vectors.begin() + static_cast<std::ptrdiff_t>(order[i] * n), n,
                    sorted.begin() + static_cast<std::ptrdiff_t>(i * n));
    return sorted;
}

}  // namespace

LowRank lowRankOf(const std::vector<float>& error, std::int64_t rows, std::int64_t cols,
                  const std::vector<float>& gram, std::int64_t rank, kernels::WorkerPool& pool,
                  RunControl& control) {
    LowRank result;
    result.rank = std::min({rank, rows, cols});
    if (result.rank <= 0)
        return result;
    // The columns of `out` are the first eigenvectors of S = E H E^T: then (E - out out^T E) X is
    // least among all products of that rank, and `in` is out^T E. Below q holds them as rows.
    const std::int64_t count = std::min(result.rank + kSpare, std::min(rows, cols));
    const Matrix turned = transposed(error, rows, cols);
    Philox random(1);
    Matrix q(sizeOf(count, rows));
    for (float& value : q)
        value = static_cast<float>(2 * random.uniform() - 1);
    orthonormalize(q, count, rows);
    Matrix weighted;  // q E H, [count, cols]
    const auto apply = [&] {
        control.check();
        Matrix through = product(q, count, turned, cols, rows, pool);
        weighted =
            gram.empty() ? std::move(through) : product(through, count, gram, cols, cols, pool);
        return product(weighted, count, error, rows, cols, pool);
    };
    for (int round = 0; round < kRounds; ++round) {
        q = apply();
        orthonormalize(q, count, rows);
    }
    // Within the subspace found: the eigenvectors of q S q^T.
    const Matrix image = apply();
    std::vector<double> small(sizeOf(count, count));
    for (std::int64_t i = 0; i < count; ++i)
        for (std::int64_t j = 0; j < count; ++j) {
            const double value = (dot(image.data() + i * rows, q.data() + j * rows, rows) +
                                  dot(image.data() + j * rows, q.data() + i * rows, rows)) /
                                 2;
            small[sizeOf(i, count) + static_cast<std::size_t>(j)] = value;
        }
    const std::vector<double> turns =
        eigenvectors(std::move(small), static_cast<std::size_t>(count));
    Matrix first(sizeOf(result.rank, rows));
    for (std::int64_t i = 0; i < result.rank; ++i)
        for (std::int64_t r = 0; r < rows; ++r) {
            double sum = 0;
            for (std::int64_t j = 0; j < count; ++j)
                sum += turns[sizeOf(i, count) + static_cast<std::size_t>(j)] *
                       q[sizeOf(j, rows) + static_cast<std::size_t>(r)];
            first[sizeOf(i, rows) + static_cast<std::size_t>(r)] = static_cast<float>(sum);
        }
    result.in = product(first, result.rank, turned, cols, rows, pool);
    result.out = transposed(first, result.rank, rows);
    return result;
}

namespace {

Tensor stored(const std::vector<float>& values, std::int64_t rows, std::int64_t cols, DType type) {
    Tensor tensor = Tensor::allocate(type, {rows, cols});
    for (std::size_t i = 0; i < values.size(); ++i)
        if (type == DType::F32)
            tensor.mutableAs<float>()[i] = values[i];
        else
            tensor.mutableAs<std::uint16_t>()[i] = type == DType::BF16
                                                       ? kernels::floatToBfloat16(values[i])
                                                       : kernels::floatToHalf(values[i]);
    return tensor;
}

/// `from` less what `weight` says, which has no correction yet.
std::vector<float> difference(const std::vector<float>& from, const QuantizedTensor& weight) {
    std::vector<float> left = Weight(weight).toFloat();
    for (std::size_t i = 0; i < left.size(); ++i)
        left[i] = from[i] - left[i];
    return left;
}

}  // namespace

Weight denseWeight(const std::vector<float>& values, const Shape& shape) {
    Tensor tensor = Tensor::allocate(DType::F32, shape);
    std::copy(values.begin(), values.end(), tensor.mutableAs<float>());
    return Weight(std::move(tensor));
}

QuantizedTensor withLowRank(
    const std::vector<float>& wanted, const std::vector<float>& gram, std::int64_t rank, DType type,
    const std::function<QuantizedTensor(const std::vector<float>* values)>& encode,
    kernels::WorkerPool& pool, RunControl& control) {
    QuantizedTensor first = encode(&wanted);
    const std::int64_t rows = first.rows, cols = first.cols;
    const LowRank early =
        lowRankOf(difference(wanted, first), rows, cols, gram, rank, pool, control);
    // What the correction says is taken from `wanted`, the codes are to say the rest.
    const Matrix said =
        product(early.out, rows, transposed(early.in, early.rank, cols), cols, early.rank, pool);
    std::vector<float> rest = wanted;
    for (std::size_t i = 0; i < rest.size(); ++i)
        rest[i] -= said[i];
    QuantizedTensor tensor = encode(&rest);
    const LowRank late =
        lowRankOf(difference(wanted, tensor), rows, cols, gram, rank, pool, control);
    tensor.lowRankIn = stored(late.in, late.rank, cols, type);
    tensor.lowRankOut = stored(late.out, rows, late.rank, type);
    return tensor;
}

}  // namespace fettle
