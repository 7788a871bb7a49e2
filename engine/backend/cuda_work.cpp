// What CudaBackend does beside the model's passes (engine/backend/device_work.h).
#include <algorithm>

#include "engine/backend/cuda_backend.h"
#include "engine/core/error.h"
#include "kernels/cuda/gptq.h"
#include "kernels/cuda/observe.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sparsity.h"

namespace fettle {

namespace cuda = kernels::cuda;

namespace {

template <class T>
T* dataOf(const std::unique_ptr<DeviceBuffer>& buffer) {
    return static_cast<T*>(buffer->data());
}

template <class T>
std::unique_ptr<DeviceBuffer> copied(CudaBackend& backend, const T* values, std::int64_t count) {
    const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
    auto buffer = backend.allocate(bytes);
    backend.upload(buffer->data(), values, bytes);
    return buffer;
}

template <class T>
std::vector<T> fetched(CudaBackend& backend, const DeviceBuffer& from, std::size_t count) {
    std::vector<T> values(count);
    backend.download(values.data(), const_cast<DeviceBuffer&>(from).data(), count * sizeof(T));
    return values;
}

/// Rows of a sweep at a time, by the memory that each needs: weights, errors and codes.
constexpr std::int64_t kSweepBytes = std::int64_t{512} << 20;

}  // namespace

// ---- tokens

std::int32_t CudaBackend::drawToken(const float* logits, std::int64_t count,
                                    const cuda::SamplingRule& rule, float random) {
    auto* const chance = scratch<float>(kOperands, 1);
    upload(chance, &random, sizeof random);
    auto* const drawn = scratch<std::int32_t>(kResults, 1);
    check(cuda::sampleTokens(logits, count, 1, count, rule, chance, drawn, m_stream),
          "drawing a token");
    std::int32_t id = 0;
    download(&id, drawn, sizeof id);
    return id;
}

// ---- inputs

void CudaBackend::beginInput(std::int64_t cols) {
    const auto channels = static_cast<std::size_t>(cols);
    m_observed.cols = cols;
    m_observed.largest = allocate(channels * sizeof(float));
    m_observed.squares = allocate(channels * sizeof(double));
    m_observed.fourths = allocate(channels * sizeof(double));
    m_observed.histogram = allocate(cuda::kObservedBins * sizeof(unsigned long long));
}

void CudaBackend::addInput(const float* x, std::int64_t rows) {
    cuda::Observations into;
    into.largest = dataOf<float>(m_observed.largest);
    into.squares = dataOf<double>(m_observed.squares);
    into.fourths = dataOf<double>(m_observed.fourths);
    into.histogram = dataOf<unsigned long long>(m_observed.histogram);
    check(cuda::observe(x, m_observed.cols, rows, m_observed.cols, into, m_stream),
          "observing activations");
}

InputSums CudaBackend::endInput() {
    const auto cols = static_cast<std::size_t>(m_observed.cols);
    InputSums sums;
    sums.largest = fetched<float>(*this, *m_observed.largest, cols);
    sums.squares = fetched<double>(*this, *m_observed.squares, cols);
    sums.fourths = fetched<double>(*this, *m_observed.fourths, cols);
    const auto counts =
        fetched<unsigned long long>(*this, *m_observed.histogram, cuda::kObservedBins);
    sums.histogram.assign(counts.begin(), counts.end());
    m_observed = {};
    return sums;
}

// ---- weights

bool CudaBackend::sweepColumns(const ColumnSweep& s) {
    const std::int64_t together =
        std::clamp<std::int64_t>(kSweepBytes / (3 * s.cols * 4), 1, s.rows);
    const auto needed = static_cast<std::uint64_t>(s.cols * s.cols * 4 + together * 3 * s.cols * 4);
    if (needed > freeBytes() / 5 * 4)
        return false;
    try {
        sweepRows(s, together);
    } catch (const EngineError& error) {
        // Others use the device too: what was free a moment ago may be gone.
        if (error.kind() != ErrorKind::OutOfMemory)
            throw;
        return false;
    }
    return true;
}

void CudaBackend::sweepRows(const ColumnSweep& s, std::int64_t together) {
    const std::int64_t groups = s.cols / s.group;
    const auto lower = copied(*this, s.lower, s.cols * s.cols);
    const auto order = copied(*this, s.order, s.cols);
    for (std::int64_t first = 0; first < s.rows; first += together) {
        cuda::GptqBlock b;
        b.rows = std::min(together, s.rows - first);
        b.cols = s.cols;
        b.group = s.group;
        b.grid = s.grid;
        const std::int64_t values = b.rows * s.cols;
        const auto weights = copied(*this, s.weights + first * s.cols, values);
        const auto scales = copied(*this, s.scales + first * groups, b.rows * groups);
        const auto shifts = copied(*this, s.shifts + first * groups, b.rows * groups);
        const auto bytes = static_cast<std::size_t>(values) * sizeof(float);
        const auto errors = allocate(bytes), codes = allocate(bytes);
        const auto losses = allocate(static_cast<std::size_t>(b.rows) * sizeof(double));
        const auto sums =
            allocate(static_cast<std::size_t>(b.rows * cuda::kMostGptqColumns) * sizeof(float));
        b.weights = dataOf<float>(weights);
        b.lower = dataOf<float>(lower);
        b.order = dataOf<std::int64_t>(order);
        b.scales = dataOf<float>(scales);
        b.shifts = dataOf<float>(shifts);
        b.errors = dataOf<float>(errors);
        b.codes = dataOf<float>(codes);
        b.losses = dataOf<double>(losses);
        b.sumStride = cuda::kMostGptqColumns;
        for (b.begin = 0; b.begin < s.cols; b.begin += cuda::kMostGptqColumns) {
            b.width = std::min(cuda::kMostGptqColumns, s.cols - b.begin);
            if (b.begin > 0) {
                // What the columns done so far leave for those of this block.
                cuda::BlasGemm gemm;
                gemm.m = b.rows;
                gemm.n = b.width;
                gemm.k = b.begin;
                gemm.a = b.errors;
                gemm.aStride = s.cols;
                gemm.b = b.lower + b.begin * s.cols;
                gemm.bStride = s.cols;
                gemm.c = dataOf<float>(sums);
                gemm.cStride = b.sumStride;
                check(blas().gemm(gemm), "choosing codes");
                b.sums = dataOf<float>(sums);
            }
            check(cuda::gptqBlock(b, m_stream), "choosing codes");
        }
        download(s.codes + first * s.cols, b.codes, bytes);
        download(s.losses + first, b.losses, static_cast<std::size_t>(b.rows) * sizeof(double));
    }
}

/// Rows of a weight through the device, a piece at a time.
template <class F>
void CudaBackend::changeRows(std::span<float> weight, std::int64_t cols,
                             std::span<const float> inputNorm, const F& change) {
    const auto norm = inputNorm.empty() ? nullptr
                                        : copied(*this, inputNorm.data(),
                                                 static_cast<std::int64_t>(inputNorm.size()));
    const std::int64_t rows = static_cast<std::int64_t>(weight.size()) / cols;
    const std::int64_t together = std::clamp<std::int64_t>(kWorkBytes / (cols * 4), 1, rows);
    const auto memory = allocate(static_cast<std::size_t>(together * cols) * sizeof(float));
    for (std::int64_t first = 0; first < rows; first += together) {
        const std::int64_t count = std::min(together, rows - first);
        const auto bytes = static_cast<std::size_t>(count * cols) * sizeof(float);
        upload(memory->data(), weight.data() + first * cols, bytes);
        check(change(dataOf<float>(memory), norm ? dataOf<float>(norm) : nullptr, count),
              "choosing zeros");
        download(weight.data() + first * cols, memory->data(), bytes);
    }
}

void CudaBackend::zeroSmallest(std::span<float> weight, std::int64_t cols,
                               std::span<const float> inputNorm, std::int64_t zeros) {
    changeRows(weight, cols, inputNorm, [&](float* w, const float* norm, std::int64_t rows) {
        return cuda::zeroSmallest(w, norm, rows, cols, zeros, m_stream);
    });
}

void CudaBackend::zeroTwoOfFour(std::span<float> weight, std::int64_t cols,
                                std::span<const float> inputNorm) {
    changeRows(weight, cols, inputNorm, [&](float* w, const float* norm, std::int64_t rows) {
        return cuda::zeroTwoOfFour(w, norm, rows, cols, m_stream);
    });
}

}  // namespace fettle
