// A model on several NVIDIA devices: each holds neighbouring layers, as many as its share of the
// free memory allows, and computes them; the hidden states go from one to the next. One device
// works at a time, so this makes room, not speed. The numbers are those of one device.
//
// A buffer has memory on each device that uses it. What a device is to read and another wrote last
// is copied first; so it is known for each byte where it is current.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cuda_backend.h"
#include "engine/backend/layer_placer.h"

namespace fettle {

class SplitBackend : public Backend,
                     public StepPlayer,
                     public RangeMarker,
                     public LayerPlacer,
                     public TokenSampler {
public:
    /// At least two devices, as chooseDevices() gives them. `pieceBytes`: see DevicePool.
    SplitBackend(const std::vector<DeviceSummary>& devices, int threads,
                 std::size_t pieceBytes = CudaBackend::kPieceBytes);
    ~SplitBackend() override;

    /// The first layer of each device and `count` behind them.
    std::vector<std::int64_t> firstLayers(std::int64_t count) const;
    const CudaBackend& part(std::size_t number) const { return *m_parts[number]; }
    /// Bytes that went from one device to another.
    std::uint64_t movedBytes() const { return m_moved; }

    const DeviceSummary& device() const override;
    int threads() const override { return m_parts.front()->threads(); }
    kernels::WorkerPool& pool() override { return m_parts.front()->pool(); }
    bool sharesMemory() const override { return false; }
    /// Of all devices together.
    std::optional<std::uint64_t> peakBytes() const override;
    void resetPeak() override;

    std::unique_ptr<DeviceBuffer> allocate(std::size_t bytes) override;
    std::unique_ptr<DeviceWeight> prepareWeight(const kernels::WeightView& weight) override;
    void upload(void* device, const void* host, std::size_t bytes) override;
    void download(void* host, const void* device, std::size_t bytes) override;
    void synchronize() override;

    void enterLayer(std::int64_t layer, std::int64_t count) override;
    void beginStep(const void* owner, std::int64_t tokens) override;
    void endStep() override;
    void dropStep() noexcept override;
    void beginRange(const char* name, std::int64_t number) override;
    void endRange() noexcept override;

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
    std::int32_t drawToken(const float* logits, std::int64_t count,
                           const kernels::cuda::SamplingRule& rule, float random) override;

private:
    class Buffer;
    class Weight;
    enum class Access : std::uint8_t { Read, Write, Change };

    CudaBackend& now() { return *m_parts[m_now]; }
    void switchTo(std::size_t part);
    Buffer& bufferAt(const void* address, std::size_t* offset) const;
    /// Where `bytes` at `address` lie on the device that computes, current if they are to be read.
    void* at(const void* address, std::size_t bytes, Access access);
    const float* read(const float* address, std::int64_t count);
    float* change(float* address, std::int64_t count);
    /// Rows of `cols` values; gaps between them are kept.
    const float* readRows(const float* address, std::int64_t rows, std::int64_t cols,
                          std::int64_t stride);
    float* writeRows(float* address, std::int64_t rows, std::int64_t cols, std::int64_t stride);
    /// A buffer from `address` to its end.
    void* whole(const void* address, Access access);

    mutable DeviceSummary m_device;
    std::vector<std::unique_ptr<CudaBackend>> m_parts;
    std::vector<double> m_shares;  // of the free memory, summed up to each device
    std::size_t m_now = 0;
    std::map<std::uintptr_t, Buffer*> m_buffers;
    std::uintptr_t m_next = std::uintptr_t{1} << 20;  // addresses without memory behind them
    std::uint64_t m_moved = 0;
    struct Step {
        const void* owner = nullptr;
        std::int64_t tokens = 0;
    };
    std::optional<Step> m_step;
};

}  // namespace fettle
