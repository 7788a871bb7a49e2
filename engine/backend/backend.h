// A device: holds weights in its own layout and runs the ops of kernels/ops. The transformer is
// written against this interface only. Pointers named x, y, q, ... are device memory of the backend
// (on the CPU: ordinary memory). A backend belongs to one thread at a time: the engine thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "engine/core/devices.h"
#include "kernels/formats/weight_format.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/elementwise.h"

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

    /// Zeroed. Throws EngineError(OutOfMemory) with the size asked for.
    virtual std::unique_ptr<DeviceBuffer> allocate(std::size_t bytes) = 0;
    virtual std::unique_ptr<DeviceWeight> prepareWeight(const kernels::WeightView& weight) = 0;

    /// All targets multiply the same x [m, k] (row stride in elements).
    virtual void linear(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride,
                        std::span<const LinearTarget> targets) = 0;
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
    /// rows x count logits without gaps -> one summary per row.
    virtual void summarizeLogits(const float* x, std::int64_t rows, std::int64_t count,
                                 kernels::RowSummary* out) = 0;
    /// KL(P||Q) per row, in nats.
    virtual void klDivergence(const float* p, const kernels::RowSummary* ps, const float* q,
                              const kernels::RowSummary* qs, std::int64_t rows, std::int64_t count,
                              double* out) = 0;
};

/// Throws EngineError(Device) for a device this machine does not have, saying why.
std::unique_ptr<Backend> makeBackend(const std::string& deviceId, int threads);

}  // namespace fettle
