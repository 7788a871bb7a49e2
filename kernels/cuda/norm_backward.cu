#include "kernels/cuda/norm_backward.h"

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kRowBlock = 64;  // rows whose contributions to a column are added first
constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr std::int64_t kMaxGridY = 65535;

/// With h = (x - mean) * inverse and g = dy (w + offset): dx = inverse (g - slope - h product).
struct RowFacts {
    float mean, inverse, slope, product;
};

template <bool Layer>
__global__ void __launch_bounds__(kThreads) rowFactsKernel(NormBackwardArgs a, RowFacts* facts) {
    FETTLE_SHARED(float, sums, kWarps);
    FETTLE_SHARED(float, squares, kWarps);
    FETTLE_SHARED(float, slopes, kWarps);
    FETTLE_SHARED(float, products, kWarps);
    const float* x = a.x + blockIdx.x * a.xStride;
    const float* dy = a.dy + blockIdx.x * a.dyStride;
    const auto n = static_cast<float>(a.cols);
    float mean = 0;
    if (Layer) {
        float sum = 0;
        for (std::int64_t c = threadIdx.x; c < a.cols; c += kThreads)
            sum += x[c];
        mean = blockSum(sum, sums) / n;
    }
    float square = 0, slope = 0, product = 0;
    for (std::int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
        const float from = x[c] - mean, g = dy[c] * (a.w[c] + a.offset);
        square += from * from;
        slope += g;
        product += g * from;
    }
    const float inverse = 1.0F / sqrtf(blockSum(square, squares) / n + a.eps);
    product = blockSum(product, products) * inverse / n;
    if (Layer)
        slope = blockSum(slope, slopes) / n;
    if (threadIdx.x == 0)
        facts[blockIdx.x] = {mean, inverse, Layer ? slope : 0.0F, product};
}

/// Column sums over rows [blockIdx.y * kRowBlock, and on): of dy h, and of dy behind them.
__global__ void __launch_bounds__(kThreads)
    columnSumsKernel(NormBackwardArgs a, const RowFacts* facts, float* partial) {
    const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (c >= a.cols)
        return;
    const std::int64_t begin = static_cast<std::int64_t>(blockIdx.y) * kRowBlock;
    const std::int64_t end = begin + kRowBlock < a.rows ? begin + kRowBlock : a.rows;
    float weight = 0, bias = 0;
    for (std::int64_t r = begin; r < end; ++r) {
        const float dy = a.dy[r * a.dyStride + c];
        weight += dy * (a.x[r * a.xStride + c] - facts[r].mean) * facts[r].inverse;
        bias += dy;
    }
    partial[2 * blockIdx.y * a.cols + c] = weight;
    partial[(2 * blockIdx.y + 1) * a.cols + c] = bias;
}

__global__ void __launch_bounds__(kThreads)
    addColumnSumsKernel(const float* partial, std::int64_t blocks, std::int64_t cols, float* dw,
                        float* db) {
    const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (c >= cols)
        return;
    float weight = 0, bias = 0;
    for (std::int64_t b = 0; b < blocks; ++b) {
        weight += partial[2 * b * cols + c];
        bias += partial[(2 * b + 1) * cols + c];
    }
    dw[c] += weight;
    if (db)
        db[c] += bias;
}

__global__ void __launch_bounds__(kThreads)
    normInputKernel(NormBackwardArgs a, const RowFacts* facts) {
    const RowFacts f = facts[blockIdx.x];
    for (std::int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
        const float h = (a.x[blockIdx.x * a.xStride + c] - f.mean) * f.inverse;
        const float g = a.dy[blockIdx.x * a.dyStride + c] * (a.w[c] + a.offset);
        const float value = f.inverse * (g - f.slope - h * f.product);
        float* at = a.dx + blockIdx.x * a.dxStride + c;
        *at = a.accumulate ? *at + value : value;
    }
}

std::int64_t rowBlocks(const NormBackwardArgs& a) {
    return (a.rows + kRowBlock - 1) / kRowBlock;
}

template <bool Layer>
Status normBackward(const NormBackwardArgs& a, float* dw, float* db, float* workspace,
                    Stream stream) {
    const std::int64_t columnBlocks = (a.cols + kThreads - 1) / kThreads;
    if (a.rows < 0 || a.rows > kMaxGridX || rowBlocks(a) > kMaxGridY || a.cols <= 0 ||
        columnBlocks > kMaxGridX)
        return kInvalidValue;
    if (a.rows == 0)
        return kSuccess;
    auto* facts = reinterpret_cast<RowFacts*>(workspace);
    float* partial = workspace + a.rows * (sizeof(RowFacts) / sizeof(float));
    const auto rows = static_cast<unsigned>(a.rows), columns = static_cast<unsigned>(columnBlocks);
    Status status = launch(rowFactsKernel<Layer>, rows, kThreads, 0, stream, a, facts);
    if (status == kSuccess)
        status = launch(columnSumsKernel, dim3(columns, static_cast<unsigned>(rowBlocks(a))),
                        kThreads, 0, stream, a, facts, partial);
    if (status == kSuccess)
        status = launch(addColumnSumsKernel, columns, kThreads, 0, stream, partial, rowBlocks(a),
                        a.cols, dw, db);
    if (status == kSuccess)
        status = launch(normInputKernel, rows, kThreads, 0, stream, a, facts);
    return status;
}

}  // namespace

std::size_t normBackwardWorkspace(const NormBackwardArgs& a) {
    return static_cast<std::size_t>(a.rows) * (sizeof(RowFacts) / sizeof(float)) +
           static_cast<std::size_t>(2 * rowBlocks(a) * a.cols);
}

Status rmsNormBackward(const NormBackwardArgs& args, float* dw, float* workspace, Stream stream) {
    return normBackward<false>(args, dw, nullptr, workspace, stream);
}

Status layerNormBackward(const NormBackwardArgs& args, float* dw, float* db, float* workspace,
                         Stream stream) {
    return normBackward<true>(args, dw, db, workspace, stream);
}

}  // namespace fettle::kernels::cuda
