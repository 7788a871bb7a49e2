// The CPU as a Backend: kernels/ops on a team of worker threads.
#pragma once

#include <vector>

#include "engine/backend/backend.h"
#include "kernels/ops/matmul.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

class CpuBackend : public Backend {
public:
    explicit CpuBackend(int threads = 0);

    const DeviceSummary& device() const override { return m_device; }
    int threads() const override { return m_pool.threads(); }
    kernels::WorkerPool& pool() override { return m_pool; }
    void useProducts(kernels::Products products) override;
    kernels::Products products() const override { return m_products; }
    bool sharesMemory() const override { return true; }

    std::unique_ptr<DeviceBuffer> allocate(std::size_t bytes) override;
    std::unique_ptr<DeviceWeight> prepareWeight(const kernels::WeightView& weight) override;
    void upload(void* device, const void* host, std::size_t bytes) override;
    void download(void* host, const void* device, std::size_t bytes) override;
    void linear(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride,
                std::span<const LinearTarget> targets) override;
    bool argmaxOfLinear(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride,
                        const LinearTarget& head, float cap, std::int64_t* out) override;
    void rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset, float eps,
                 std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride) override;
    void layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b, float eps,
                   std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride) override;
    void siluMul(float* gate, const float* up, std::int64_t count) override;
    void geluTanhMul(float* gate, const float* up, std::int64_t count) override;
    void geluTanh(float* x, std::int64_t count) override;
    void add(float* y, const float* x, std::int64_t count) override;
    void softcap(float* x, float cap, std::int64_t count) override;
    void rope(float* x, std::int64_t tokens, std::int64_t stride, std::int64_t heads,
              std::int64_t headDim, const float* cosSin) override;
    void appendKv(const float* k, const float* v, std::int64_t stride, void* keys, void* values,
                  kernels::KvType type, std::int64_t capacity, std::int64_t past,
                  std::int64_t tokens, std::int64_t kvHeads, std::int64_t headDim) override;
    void attention(const kernels::AttentionArgs& args) override;
    void keepKv(void* keys, void* values, kernels::KvType type, std::int64_t capacity,
                std::int64_t past, std::span<const std::int32_t> kept, std::int64_t kvHeads,
                std::int64_t headDim) override;
    void summarizeLogits(const float* x, std::int64_t rows, std::int64_t count,
                         kernels::RowSummary* out) override;
    void klDivergence(const float* p, const kernels::RowSummary* ps, const float* q,
                      const kernels::RowSummary* qs, std::int64_t rows, std::int64_t count,
                      double* out) override;
    void gather(const float* x, std::int64_t rows, std::int64_t count, const std::int32_t* columns,
                float* out) override;

private:
    kernels::WorkerPool m_pool;
    kernels::Activations m_activations;
    std::vector<kernels::MatmulTarget> m_targets;  ///< of the call under way
    DeviceSummary m_device;
    kernels::Products m_products = kernels::Products::Float32;
};

}  // namespace fettle
