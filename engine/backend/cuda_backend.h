// An NVIDIA device as a Backend: the kernels of kernels/cuda on one stream, memory from a pool of
// its own. Up to kFewTokens tokens at a time go through kernels whose numbers do not depend on how
// many tokens run together, so checking drafted tokens gives what decoding would have given. More,
// the reading of prompts, are multiplied in 16 bits: float16 with a scale per token, bfloat16 for
// bfloat16 weights, exact int8 for int8, codes by codes for fp8, NVFP4 and MXFP8 where the device
// has that (code_products.h), float32 for float32; up to kTensorTokens by an own kernel that
// unpacks weights on the way, beyond by cuBLASLt or cuBLAS.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "engine/backend/backend.h"
#include "engine/backend/device_pool.h"
#include "engine/backend/device_work.h"
#include "engine/backend/range_marker.h"
#include "engine/backend/step_graphs.h"
#include "engine/backend/step_player.h"
#include "engine/backend/weight_stream.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/prefill.h"
#include "kernels/cuda/runtime.h"

namespace fettle {

class CudaBackend : public Backend,
                    public StepPlayer,
                    public RangeMarker,
                    public TokenSampler,
                    public InputObserver,
                    public WeightWorker,
                    private DeviceMemory {
public:
    static constexpr std::int64_t kFewTokens = 32;
    static constexpr std::int64_t kTensorTokens = 128;
    static constexpr std::size_t kPieceBytes = std::size_t{64} << 20;
    // What a product of many tokens may work in: a weight's rows are taken in turns that need no
    // more, and begin at multiples of kRowStep, which keeps them aligned.
    static constexpr std::int64_t kWorkBytes = std::int64_t{64} << 20;
    static constexpr std::int64_t kRowStep = 16;
    /// Rows that are taken at once where each needs that many bytes to work in.
    static constexpr std::int64_t rowsOfTurn(std::int64_t bytesEach) {
        return std::max(kRowStep, kWorkBytes / bytesEach / kRowStep * kRowStep);
    }

    /// `device` as chooseDevice() gives it. `pieceBytes`: see DevicePool.
    CudaBackend(const DeviceSummary& device, int threads, std::size_t pieceBytes = kPieceBytes);
    ~CudaBackend() override;

    const DeviceSummary& device() const override { return m_device; }
    int threads() const override { return m_workers.threads(); }
    kernels::WorkerPool& pool() override { return m_workers; }
    bool sharesMemory() const override { return false; }
    std::optional<std::uint64_t> peakBytes() const override { return m_pool.peak(); }
    void resetPeak() override { m_pool.resetPeak(); }

    std::unique_ptr<DeviceBuffer> allocate(std::size_t bytes) override;
    std::unique_ptr<DeviceWeight> prepareWeight(const kernels::WeightView& weight) override;
    void upload(void* device, const void* host, std::size_t bytes) override;
    void download(void* host, const void* device, std::size_t bytes) override;
    void synchronize() override;

    /// Weights beyond this many bytes stay in the host's memory and are copied for every pass, the
    /// next one while one is multiplied; device().reason says how many. By default four fifths of
    /// what is free when the first weight comes.
    void weightBudget(std::uint64_t bytes) { m_weightBudget = bytes; }
    const WeightStream& weightStream() const { return m_weightStream; }

    /// Of a machine with several devices: makes this one the calling thread's, which it must be for
    /// all that is asked of the backend.
    void makeCurrent();
    std::uint64_t freeBytes() const;
    /// Copies memory of another device, after what is queued there and before what will be.
    void receive(void* to, CudaBackend& other, const void* from, std::size_t bytes);

    /// Ranges of the host: a step that is played from a graph is queued within its pass, its layers
    /// are marked where their launches are recorded.
    void beginRange(const char* name, std::int64_t number) override;
    void endRange() noexcept override;

    /// Steps of up to kFewTokens tokens are played from graphs.
    void beginStep(const void* owner, std::int64_t tokens) override;
    void endStep() override;
    void dropStep() noexcept override { m_steps.drop(); }
    /// Off: every launch is queued by itself.
    void playSteps(bool on) { m_playsSteps = on; }
    const StepGraphs& steps() const { return m_steps; }
    /// Why products of prompts, or the last one that was, were not computed by cuBLASLt; empty if
    /// all were.
    std::string libraryReason() const { return m_blas ? m_blas->reason() : m_noLibrary; }

    // For kernels that are queued beside the ops of a backend.
    kernels::cuda::Stream stream() const { return m_stream; }
    kernels::cuda::Blas& blas();
    /// Turns a status into an exception that says what failed and what to change.
    void check(kernels::cuda::Status status, const char* what) const;

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
    void beginInput(std::int64_t cols) override;
    void addInput(const float* x, std::int64_t rows) override;
    InputSums endInput() override;
    bool sweepColumns(const ColumnSweep& sweep) override;
    void zeroSmallest(std::span<float> weight, std::int64_t cols, std::span<const float> inputNorm,
                      std::int64_t zeros) override;
    void zeroTwoOfFour(std::span<float> weight, std::int64_t cols,
                       std::span<const float> inputNorm) override;

private:
    class Buffer;
    class Weight;
    /// Activations in the forms that weights multiply, made once for all weights of a linear().
    struct Prepared {
        const float* x = nullptr;
        std::int64_t m = 0, k = 0, stride = 0;
        bool perToken = false, perGroup = false, half = false, bfloat = false;
        // Codes for products of codes, and what they were made under.
        std::optional<kernels::cuda::BlasType> codes;
        float codesScale = 1;
    };
    /// Memory that an op works in; kept, as large as it was ever needed.
    enum Scratch {
        kCodes,
        kTokenScales,
        kGroupCodes,
        kGroupScales,
        kSums,
        kHalf,
        kHalfScales,
        kBfloat,
        kProduct,
        kWeight,
        kAttention,
        kResults,
        kOperands,
        kRounded,
        kFloatCodes,
        kFloatScales,
        kWeightScales,
        kScratches
    };

    void* allocatePiece(std::size_t bytes) override;
    void releasePiece(void* piece) override;
    [[noreturn]] void throwOutOfMemory(const std::string& wanted) const;
    void* scratchBytes(Scratch which, std::size_t bytes);
    template <class T>
    T* scratch(Scratch which, std::int64_t count) {
        return static_cast<T*>(scratchBytes(which, static_cast<std::size_t>(count) * sizeof(T)));
    }
    using StagingWriter = std::function<void(std::byte* host, std::size_t from, std::size_t count)>;
    void stage(void* device, std::size_t bytes, std::size_t step, const StagingWriter& write);
    std::unique_ptr<Weight> packWeight(const kernels::WeightView& weight);
    std::unique_ptr<Weight> streamWeight(const kernels::WeightView& weight,
                                         const kernels::cuda::WeightLayout& layout);
    bool weightFits(std::size_t bytes);
    /// The weight on the device, for what is queued next.
    kernels::cuda::DeviceWeightView viewOf(const Weight& weight);

    kernels::cuda::QuantizedActivations perToken(Prepared& x);
    kernels::cuda::QuantizedActivations perGroup(Prepared& x);
    Prepared roundedInput(Prepared& x, const Weight& weight);
    void multiplyFew(const Weight& weight, Prepared& x, const kernels::cuda::MatmulOutput& out);
    void multiplyMany(const Weight& weight, Prepared& x, const kernels::cuda::MatmulOutput& out);
    /// Products of a weight's rows, begun with their activations, by the library.
    void multiplyByLibrary(const kernels::cuda::DeviceWeightView& weight,
                           kernels::cuda::BlasGemm gemm, kernels::cuda::ProductSums sums,
                           const kernels::cuda::MatmulOutput& out);
    bool multiplyCodes(const Weight& weight, Prepared& x, const kernels::cuda::MatmulOutput& out);
    std::optional<kernels::cuda::BlasGemm> productOfCodes(const Weight& weight,
                                                          std::int64_t tokens);
    void prepareCodes(const Weight& weight, Prepared& x, kernels::cuda::BlasGemm& gemm,
                      kernels::cuda::ProductSums& sums);
    kernels::cuda::BlasGemm libraryInput(kernels::cuda::CodeKind codes, Prepared& x,
                                         const float** scales);
    /// All rows of a sweep, `together` at a time.
    void sweepRows(const ColumnSweep& sweep, std::int64_t together);
    template <class F>
    void changeRows(std::span<float> weight, std::int64_t cols, std::span<const float> inputNorm,
                    const F& change);
    bool openLibrary();
    /// Before anything but a launch is queued: a step that is being recorded goes first.
    void sendStep(const char* why);
    void close();

    DeviceSummary m_device;
    kernels::WorkerPool m_workers;
    kernels::cuda::Stream m_stream = nullptr;
    DevicePool m_pool;
    std::unique_ptr<kernels::cuda::Blas> m_blas;
    std::string m_noLibrary;  // why there is none
    struct Staging {
        std::byte* memory = nullptr;  // pinned
        kernels::cuda::Event done = nullptr;
    };
    std::array<Staging, 2> m_staging;
    kernels::cuda::Event m_copied = nullptr;  // what copies between devices wait for
    std::size_t m_nextStaging = 0;
    std::array<std::unique_ptr<DeviceBuffer>, kScratches> m_scratch;
    std::optional<std::uint64_t> m_weightBudget;
    std::uint64_t m_weightBytes = 0;  // of weights on the device
    WeightStream m_weightStream;
    StepGraphs m_steps;
    bool m_playsSteps = true;
    struct Observed {
        std::int64_t cols = 0;
        std::unique_ptr<DeviceBuffer> largest, squares, fourths, histogram;
    } m_observed;
    int m_capability = 0;
    std::vector<bool> m_rangesSeen;  // of those that are open
};

}  // namespace fettle
