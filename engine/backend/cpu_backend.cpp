#include "engine/backend/cpu_backend.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine/core/error.h"
#include "engine/experiment/measurement.h"
#include "kernels/cpu/isa.h"

namespace fettle {

namespace {

constexpr std::size_t kAlignment = 64;
// Below this many elements a parallel section costs more than it saves.
constexpr std::int64_t kParallelElements = 32768;
// The same where every element takes an exponential and a division.
constexpr std::int64_t kParallelActivations = 6144;

class CpuWeight : public DeviceWeight {
public:
    explicit CpuWeight(kernels::PackedWeight weight) : m_weight(std::move(weight)) {}
    std::int64_t rows() const override { return m_weight.rows(); }
    std::int64_t cols() const override { return m_weight.cols(); }
    std::size_t bytes() const override { return m_weight.bytes(); }
    bool native() const override { return m_weight.native(); }
    const kernels::PackedWeight& packed() const { return m_weight; }

private:
    kernels::PackedWeight m_weight;
};

class CpuBuffer : public DeviceBuffer {
public:
    explicit CpuBuffer(std::size_t bytes) : m_bytes(bytes) {
        const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
        m_data.reset(
            static_cast<std::byte*>(std::aligned_alloc(kAlignment, std::max(rounded, kAlignment))));
        if (!m_data)
            throw EngineError(ErrorKind::OutOfMemory, "not enough memory for a buffer of " +
                                                          formatBytes(static_cast<double>(bytes)));
        std::memset(m_data.get(), 0, rounded);
    }
    void* data() override { return m_data.get(); }
    std::size_t bytes() const override { return m_bytes; }

private:
    struct Free {
        void operator()(std::byte* p) const { std::free(p); }
    };
    std::unique_ptr<std::byte, Free> m_data;
    std::size_t m_bytes;
};

}  // namespace

CpuBackend::CpuBackend(int threads) : m_pool(threads), m_device(cpuDevice(m_pool.threads())) {}

void CpuBackend::useProducts(kernels::Products products) {
    if (products == kernels::Products::BFloat16 && !kernels::hasBf16Products())
        throw EngineError(ErrorKind::Device, m_device.name + " (" + m_device.isa +
                                                 ") has no products of bfloat16 (AVX512_BF16)");
    m_products = products;
}

std::unique_ptr<DeviceBuffer> CpuBackend::allocate(std::size_t bytes) {
    return std::make_unique<CpuBuffer>(bytes);
}

std::unique_ptr<DeviceWeight> CpuBackend::prepareWeight(const kernels::WeightView& weight) {
    try {
        return std::make_unique<CpuWeight>(kernels::PackedWeight::pack(weight, m_pool, m_products));
    } catch (const std::bad_alloc&) {
        throw EngineError(ErrorKind::OutOfMemory, "not enough memory for a weight of " +
                                                      std::to_string(weight.rows) + " x " +
                                                      std::to_string(weight.cols));
    }
}

void CpuBackend::upload(void* device, const void* host, std::size_t bytes) {
    if (bytes > 0)
        std::memcpy(device, host, bytes);
}

void CpuBackend::download(void* host, const void* device, std::size_t bytes) {
    if (bytes > 0)
        std::memcpy(host, device, bytes);
}

void CpuBackend::linear(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride,
                        std::span<const LinearTarget> targets) {
    m_activations.assign(x, m, k, stride);
    m_targets.clear();
    for (const LinearTarget& target : targets)
        m_targets.push_back({&static_cast<const CpuWeight*>(target.weight)->packed(), target.y,
                             target.yStride, target.bias, target.accumulate});
    kernels::matmul(m_targets, m_activations, m_pool);
}

bool CpuBackend::argmaxOfLinear(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride,
                                const LinearTarget& head, float cap, std::int64_t* out) {
    m_activations.assign(x, m, k, stride);
    kernels::matmulArgmax(static_cast<const CpuWeight*>(head.weight)->packed(), m_activations,
                          head.bias, cap, m_pool, out);
    return true;
}

void CpuBackend::rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset,
                         float eps, std::int64_t rows, std::int64_t cols, float* y,
                         std::int64_t yStride) {
    if (rows * cols < kParallelElements)
        return kernels::rmsNorm(x, xStride, w, offset, eps, rows, cols, y, yStride);
    m_pool.parallelFor(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
        kernels::rmsNorm(x + begin * xStride, xStride, w, offset, eps, end - begin, cols,
                         y + begin * yStride, yStride);
    });
}

void CpuBackend::layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b,
                           float eps, std::int64_t rows, std::int64_t cols, float* y,
                           std::int64_t yStride) {
    if (rows * cols < kParallelElements)
        return kernels::layerNorm(x, xStride, w, b, eps, rows, cols, y, yStride);
    m_pool.parallelFor(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
        kernels::layerNorm(x + begin * xStride, xStride, w, b, eps, end - begin, cols,
                           y + begin * yStride, yStride);
    });
}

namespace {

// Applies body(offset, count) to [0, count), in parallel from `least` elements on; in few pieces,
// since each is a trip of a counter between the threads.
template <typename Body>
void overElements(kernels::WorkerPool& pool, std::int64_t count, std::int64_t least,
                  const Body& body) {
    if (count < least)
        return body(0, count);
    const std::int64_t most = 4 * pool.threads();
    pool.parallelFor(count, std::max(least / 2, (count + most - 1) / most),
                     [&](std::int64_t begin, std::int64_t end, int) { body(begin, end - begin); });
}

}  // namespace

void CpuBackend::siluMul(float* gate, const float* up, std::int64_t count) {
    overElements(m_pool, count, kParallelActivations,
                 [&](std::int64_t at, std::int64_t n) { kernels::siluMul(gate + at, up + at, n); });
}

void CpuBackend::geluTanhMul(float* gate, const float* up, std::int64_t count) {
    overElements(m_pool, count, kParallelActivations, [&](std::int64_t at, std::int64_t n) {
        kernels::geluTanhMul(gate + at, up + at, n);
    });
}

void CpuBackend::geluTanh(float* x, std::int64_t count) {
    overElements(m_pool, count, kParallelActivations,
                 [&](std::int64_t at, std::int64_t n) { kernels::geluTanh(x + at, n); });
}

void CpuBackend::add(float* y, const float* x, std::int64_t count) {
    overElements(m_pool, count, kParallelElements,
                 [&](std::int64_t at, std::int64_t n) { kernels::add(y + at, x + at, n); });
}

void CpuBackend::softcap(float* x, float cap, std::int64_t count) {
    overElements(m_pool, count, kParallelElements,
                 [&](std::int64_t at, std::int64_t n) { kernels::softcap(x + at, cap, n); });
}

void CpuBackend::rope(float* x, std::int64_t tokens, std::int64_t stride, std::int64_t heads,
                      std::int64_t headDim, const float* cosSin) {
    const auto rotate = [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t)
            kernels::rope(x + t * stride, heads, headDim, cosSin + t * headDim);
    };
    if (tokens * heads * headDim < kParallelElements)
        return rotate(0, tokens, 0);
    m_pool.parallelFor(tokens, 1, rotate);
}

void CpuBackend::appendKv(const float* k, const float* v, std::int64_t stride, void* keys,
                          void* values, kernels::KvType type, std::int64_t capacity,
                          std::int64_t past, std::int64_t tokens, std::int64_t kvHeads,
                          std::int64_t headDim) {
    kernels::appendKv(k, v, stride, keys, values, type, capacity, past, tokens, kvHeads, headDim);
}

void CpuBackend::attention(const kernels::AttentionArgs& args) {
    kernels::attention(args, m_pool);
}

void CpuBackend::keepKv(void* keys, void* values, kernels::KvType type, std::int64_t capacity,
                        std::int64_t past, std::span<const std::int32_t> kept, std::int64_t kvHeads,
                        std::int64_t headDim) {
    kernels::keepKv(keys, values, type, capacity, past, kept.data(),
                    static_cast<std::int64_t>(kept.size()), kvHeads, headDim);
}

void CpuBackend::summarizeLogits(const float* x, std::int64_t rows, std::int64_t count,
                                 kernels::RowSummary* out) {
    m_pool.parallelFor(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t r = begin; r < end; ++r)
            out[r] = kernels::summarizeLogits(x + r * count, count);
    });
}

void CpuBackend::klDivergence(const float* p, const kernels::RowSummary* ps, const float* q,
                              const kernels::RowSummary* qs, std::int64_t rows, std::int64_t count,
                              double* out) {
    m_pool.parallelFor(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t r = begin; r < end; ++r)
            out[r] = kernels::klDivergence(p + r * count, ps[r].logSumExp, q + r * count,
                                           qs[r].logSumExp, count);
    });
}

void CpuBackend::gather(const float* x, std::int64_t rows, std::int64_t count,
                        const std::int32_t* columns, float* out) {
    for (std::int64_t r = 0; r < rows; ++r)
        out[r] = x[r * count + columns[r]];
}

}  // namespace fettle
