// A device: holds weights in its own layout and runs the ops of kernels/ops. The transformer is
// written against this interface only. Pointers are device memory of the backend (on the CPU:
// ordinary memory) unless a comment says host. Work is queued; what reaches the host (download()
// and the ops with results on the host) waits for it. A backend belongs to one thread at a time:
// the engine thread. Every method may throw EngineError: OutOfMemory, or Device for a device that
// failed or that does not take the shapes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "engine/core/devices.h"
#include "kernels/formats/weight_format.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/elementwise.h"
#include "kernels/ops/products.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

/// A weight matrix in the layout of a device.
class DeviceWeight {
public:
    virtual ~DeviceWeight() = default;
    virtual std::int64_t rows() const = 0;
    virtual std::int64_t cols() const = 0;
    virtual std::size_t bytes() const = 0;
    virtual bool native() const = 0;  ///< false: the device multiplies it only after dequantizing
};

/// Owned device memory.
class DeviceBuffer {
public:
    virtual ~DeviceBuffer() = default;
    virtual void* data() = 0;
    virtual std::size_t bytes() const = 0;
};

/// One product of a group that shares its input: y[m, w->rows()] (+)= x W^T + bias.
struct LinearTarget {
    const DeviceWeight* weight = nullptr;
    float* y = nullptr;
    std::int64_t yStride = 0;
    const float* bias = nullptr;
    bool accumulate = false;
};

class Backend {
public:
    virtual ~Backend() = default;

    virtual const DeviceSummary& device() const = 0;
    virtual int threads() const = 0;
    /// Threads of the host, for work that is not the device's.
    virtual kernels::WorkerPool& pool() = 0;
    /// What weights that are prepared from now on multiply. Throws EngineError(Device) for
    /// bfloat16 where nothing multiplies it or where it cannot be chosen.
    virtual void useProducts(kernels::Products products);
    virtual kernels::Products products() const { return kernels::Products::Float32; }
    /// Device memory is ordinary memory: no copies are needed.
    virtual bool sharesMemory() const = 0;
    /// The most device memory held at once since the mark was last reset; nothing where it is the
    /// process's own.
    virtual std::optional<std::uint64_t> peakBytes() const { return std::nullopt; }
    virtual void resetPeak() {}

    /// Zeroed. Throws EngineError(OutOfMemory) with the size asked for.
    virtual std::unique_ptr<DeviceBuffer> allocate(std::size_t bytes) = 0;
    /// `weight` is host memory.
    virtual std::unique_ptr<DeviceWeight> prepareWeight(const kernels::WeightView& weight) = 0;
    /// `host` may be changed or freed as soon as this returns.
    virtual void upload(void* device, const void* host, std::size_t bytes) = 0;
    virtual void download(void* host, const void* device, std::size_t bytes) = 0;
    /// Waits for everything queued.
    virtual void synchronize() {}

    /// All targets multiply the same x [m, k] (row stride in elements).
    virtual void linear(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride,
                        std::span<const LinearTarget> targets) = 0;
    /// out[r], on the host: column of the largest of row r of what linear() would write for `head`,
    /// whose y stays as it is, softcapped where `cap` > 0; the lowest on ties. False: this device
    /// has no such op, and nothing was done.
    virtual bool argmaxOfLinear(const float* /*x*/, std::int64_t /*m*/, std::int64_t /*k*/,
                                std::int64_t /*stride*/, const LinearTarget& /*head*/,
                                float /*cap*/, std::int64_t* /*out*/) {
        return false;
    }
    virtual void rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset,
                         float eps, std::int64_t rows, std::int64_t cols, float* y,
                         std::int64_t yStride) = 0;
    virtual void layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b,
                           float eps, std::int64_t rows, std::int64_t cols, float* y,
                           std::int64_t yStride) = 0;
    /// gate = silu(gate) * up, both [rows, cols] without gaps.
    virtual void siluMul(float* gate, const float* up, std::int64_t count) = 0;
    virtual void geluTanhMul(float* gate, const float* up, std::int64_t count) = 0;
    virtual void geluTanh(float* x, std::int64_t count) = 0;
    virtual void add(float* y, const float* x, std::int64_t count) = 0;
    virtual void softcap(float* x, float cap, std::int64_t count) = 0;
    /// Rotates [tokens, heads, headDim] (row stride); cosSin [tokens, headDim].
    virtual void rope(float* x, std::int64_t tokens, std::int64_t stride, std::int64_t heads,
                      std::int64_t headDim, const float* cosSin) = 0;
    virtual void appendKv(const float* k, const float* v, std::int64_t stride, void* keys,
                          void* values, kernels::KvType type, std::int64_t capacity,
                          std::int64_t past, std::int64_t tokens, std::int64_t kvHeads,
                          std::int64_t headDim) = 0;
    virtual void attention(const kernels::AttentionArgs& args) = 0;
    /// Keeps of the tokens from `past` on those at past + kept[i], side by side; `kept` ascends and
    /// is host memory.
    virtual void keepKv(void* keys, void* values, kernels::KvType type, std::int64_t capacity,
                        std::int64_t past, std::span<const std::int32_t> kept, std::int64_t kvHeads,
                        std::int64_t headDim) = 0;
    /// rows x count logits without gaps -> one summary per row, on the host.
    virtual void summarizeLogits(const float* x, std::int64_t rows, std::int64_t count,
                                 kernels::RowSummary* out) = 0;
    /// KL(P||Q) per row, in nats; summaries and results on the host.
    virtual void klDivergence(const float* p, const kernels::RowSummary* ps, const float* q,
                              const kernels::RowSummary* qs, std::int64_t rows, std::int64_t count,
                              double* out) = 0;
    /// out[r] = x[r, columns[r]] of rows x count values; columns and results on the host.
    virtual void gather(const float* x, std::int64_t rows, std::int64_t count,
                        const std::int32_t* columns, float* out) = 0;
};

/// A buffer that holds `values`.
std::unique_ptr<DeviceBuffer> uploaded(Backend& backend, std::span<const float> values);

/// "cpu", "cuda", "cuda:N", several of these with commas between (a model's layers are split over
/// them), or "auto": the first usable CUDA device, else the CPU. Throws EngineError(Device) for a
/// device this machine does not have or cannot use, saying why.
std::unique_ptr<Backend> makeBackend(const std::string& deviceId, int threads);

}  // namespace fettle
