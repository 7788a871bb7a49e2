// A backend that computes nothing: it notes which launches CudaBackend would make for the same
// calls, with what each of them reads, writes and computes. Memory is addresses without anything
// behind them; what is read from the device is zeros. Needs no CUDA.
#pragma once

#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/roofline.h"
#include "kernels/cuda/weight_layout.h"

namespace fettle {

class PlanningBackend : public Backend {
public:
    /// `capability`: 89 for a device of compute capability 8.9.
    explicit PlanningBackend(int capability = 80);

    /// The launches since the last call, in order.
    std::vector<KernelWork> take();

    const DeviceSummary& device() const override { return m_device; }
    int threads() const override { return m_pool.threads(); }
    kernels::WorkerPool& pool() override { return m_pool; }
    bool sharesMemory() const override { return false; }
    /// Of weights and buffers, without the memory that ops work in.
    std::optional<std::uint64_t> peakBytes() const override { return m_peak; }
    void resetPeak() override { m_peak = m_used; }

    std::unique_ptr<DeviceBuffer> allocate(std::size_t bytes) override;
    std::unique_ptr<DeviceWeight> prepareWeight(const kernels::WeightView& weight) override;
    void upload(void* device, const void* host, std::size_t bytes) override;
    void download(void* host, const void* device, std::size_t bytes) override;
    void linear(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride,
                std::span<const LinearTarget> targets) override;
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
    class Buffer;
    class Weight;
    struct Prepared;

    void note(KernelWork work) { m_launches.push_back(std::move(work)); }
    void perToken(Prepared& x);
    void perGroup(Prepared& x);
    void multiplyFew(const Weight& weight, Prepared& x, const LinearTarget& target);
    void multiplyMany(const Weight& weight, Prepared& x, const LinearTarget& target);
    bool multiplyCodes(const Weight& weight, Prepared& x, const LinearTarget& target);
    void noteFinish(std::int64_t tokens, std::int64_t rows, bool rowScales, bool tokenScales,
                    const LinearTarget& target);
    void pointwise(const char* kernel, std::int64_t count, double readEach, double operationsEach);
    void attendParts(const kernels::AttentionArgs& args);
    void attendPrompt(const kernels::AttentionArgs& args);

    int m_capability;
    kernels::WorkerPool m_pool;
    DeviceSummary m_device;
    std::vector<KernelWork> m_launches;
    std::uintptr_t m_next = std::uintptr_t{1} << 20;
    std::uint64_t m_used = 0, m_peak = 0;
};

}  // namespace fettle
