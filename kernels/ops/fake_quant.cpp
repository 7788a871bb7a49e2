#include "kernels/ops/fake_quant.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels/cpu/train_table.h"

namespace fettle::kernels {
namespace {

constexpr float kRoundMagic = 12582912.0F;  // 1.5 * 2^23: rounds to whole numbers

/// A grid of floats with `mantissa` bits whose smallest normal number is `smallest`.
CodeGrid floatGrid(float highest, float smallest, int mantissa) {
    const float spacing = 1.0F / static_cast<float>(1 << mantissa);
    return {-highest, highest, CodeSpacing::Binade, smallest, kRoundMagic * spacing};
}

std::int64_t grainFor(std::int64_t cols) {
    return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, cols));
}

void check(const FakeQuantArgs& a) {
    if (a.rows < 0 || a.cols <= 0 || a.group <= 0 || a.cols % a.group != 0)
        throw std::invalid_argument("fake quantization: bad shape [" + std::to_string(a.rows) +
                                    ", " + std::to_string(a.cols) + "], groups of " +
                                    std::to_string(a.group));
}

}  // namespace

CodeGrid integerGrid(int lowest, int highest) {
    return {static_cast<float>(lowest), static_cast<float>(highest), CodeSpacing::Even, 256.0F,
            kRoundMagic / 256};
}
CodeGrid e4m3Grid() {
    return floatGrid(448.0F, 0x1p-6F, 3);
}
CodeGrid e2m1Grid() {
    return floatGrid(12.0F, 2.0F, 1);
}
CodeGrid e2m3Grid() {
    return floatGrid(60.0F, 8.0F, 3);
}
CodeGrid nf4Grid() {
    return {kNf4[0], kNf4[15], CodeSpacing::Nf4};
}

bool ActivationRounding::operator==(const ActivationRounding& o) const {
    return scale == o.scale && block == o.block && globalScale == o.globalScale &&
           grid.highest == o.grid.highest && grid.spacing == o.grid.spacing;
}

void fakeQuant(const FakeQuantArgs& args, float* out, WorkerPool& pool) {
    check(args);
    pool.parallelFor(args.rows, grainFor(args.cols),
                     [&](std::int64_t begin, std::int64_t end, int) {
                         trainKernels().fakeQuant(&args, begin, end, out);
                     });
}

void fakeQuantBackward(const FakeQuantArgs& args, ScaleGradient kind, float* grad, float* dScale,
                       WorkerPool& pool) {
    check(args);
    pool.parallelFor(args.rows, grainFor(args.cols),
                     [&](std::int64_t begin, std::int64_t end, int) {
                         trainKernels().fakeQuantBackward(&args, kind == ScaleGradient::Step, begin,
                                                          end, grad, dScale);
                     });
}

void fakeQuantActivations(const ActivationRounding& rounding, const float* x, std::int64_t xStride,
                          std::int64_t rows, std::int64_t cols, float* out, WorkerPool& pool) {
    ActivationRounding whole = rounding;
    if (whole.block == 0)
        whole.block = cols;
    if (rows < 0 || cols <= 0 || cols % whole.block != 0)
        throw std::invalid_argument("fake quantization: rows of " + std::to_string(cols) +
                                    " do not divide into blocks of " + std::to_string(whole.block));
    pool.parallelFor(rows, grainFor(cols), [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t r = begin; r < end; ++r)
            trainKernels().fakeQuantRow(&whole, x + r * xStride, cols, out + r * cols);
    });
}

}  // namespace fettle::kernels
