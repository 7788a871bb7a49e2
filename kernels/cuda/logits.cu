#include "kernels/cuda/logits.h"

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

/// The larger value; of equal ones the lower index.
__device__ __forceinline__ void takeLarger(float& value, std::int64_t& index, float otherValue,
                                           std::int64_t otherIndex) {
    if (otherValue > value || (otherValue == value && otherIndex < index)) {
        value = otherValue;
        index = otherIndex;
    }
}

__device__ __forceinline__ void warpLargest(float& value, std::int64_t& index) {
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
        const float otherValue = __shfl_xor_sync(kAllLanes, value, lanes);
        const std::int64_t otherIndex = __shfl_xor_sync(kAllLanes, index, lanes);
        takeLarger(value, index, otherValue, otherIndex);
    }
}

__global__ void __launch_bounds__(kThreads)
    summarizeLogitsKernel(const float* x, std::int64_t stride, std::int64_t count,
                          RowSummary* summaries) {
    FETTLE_SHARED(float, values, kWarps);
    FETTLE_SHARED(std::int64_t, indices, kWarps);
    FETTLE_SHARED(float, sums, kWarps);
    const float* row = x + blockIdx.x * stride;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    // Every thread starts from the first logit, so that threads without one change nothing.
    float value = row[0];
    std::int64_t index = 0;
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads)
        takeLarger(value, index, row[i], i);
    warpLargest(value, index);
    if (lane == 0) {
        values[threadIdx.x / kWarp] = value;
        indices[threadIdx.x / kWarp] = index;
    }
    __syncthreads();
    if (lane < kWarps) {
        value = values[lane];
        index = indices[lane];
    }
    warpLargest(value, index);

    float sum = 0;
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads)
        sum += expf(row[i] - value);
    sum = blockSum(sum, sums);
    if (threadIdx.x == 0) {
        summaries[blockIdx.x].logSumExp = value + logf(sum);
        summaries[blockIdx.x].argmax = index;
    }
}

/// p (log p - log q) of a block's share of the row, in double from float32 logarithms.
__global__ void __launch_bounds__(kThreads)
    klDivergenceKernel(const float* p, const RowSummary* ps, const float* q, const RowSummary* qs,
                       std::int64_t count, double* out) {
    FETTLE_SHARED(double, partial, kWarps);
    const float* pRow = p + blockIdx.x * count;
    const float* qRow = q + blockIdx.x * count;
    const float pSum = ps[blockIdx.x].logSumExp, qSum = qs[blockIdx.x].logSumExp;
    double sum = 0;
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
        const double logP = static_cast<double>(pRow[i]) - pSum;
        const double logQ = static_cast<double>(qRow[i]) - qSum;
        sum += static_cast<double>(expf(static_cast<float>(logP))) * (logP - logQ);
    }
    sum = blockSum(sum, partial);
    if (threadIdx.x == 0)
        out[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    gatherColumnsKernel(const float* x, std::int64_t rows, std::int64_t count,
                        const std::int32_t* columns, float* out) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (row < rows)
        out[row] = x[row * count + columns[row]];
}

bool fitsGrid(std::int64_t rows) {
    return rows >= 0 && rows <= 0x7fffffff;
}

}  // namespace

Status summarizeLogits(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t count,
                       RowSummary* summaries, Stream stream) {
    if (!fitsGrid(rows) || count <= 0)
        return kInvalidValue;
    if (rows == 0)
        return kSuccess;
    return launch(summarizeLogitsKernel, static_cast<unsigned>(rows), kThreads, 0, stream, x,
                  stride, count, summaries);
}

Status klDivergence(const float* p, const RowSummary* ps, const float* q, const RowSummary* qs,
                    std::int64_t rows, std::int64_t count, double* out, Stream stream) {
    if (!fitsGrid(rows) || count <= 0)
        return kInvalidValue;
    if (rows == 0)
        return kSuccess;
    return launch(klDivergenceKernel, static_cast<unsigned>(rows), kThreads, 0, stream, p, ps, q,
                  qs, count, out);
}

Status gatherColumns(const float* x, std::int64_t rows, std::int64_t count,
                     const std::int32_t* columns, float* out, Stream stream) {
    if (!fitsGrid(rows) || count <= 0)
        return kInvalidValue;
    if (rows == 0)
        return kSuccess;
    return launch(gatherColumnsKernel, static_cast<unsigned>((rows + kThreads - 1) / kThreads),
                  kThreads, 0, stream, x, rows, count, columns, out);
}

}  // namespace fettle::kernels::cuda
