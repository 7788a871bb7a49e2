#include "engine/backend/cuda_backend.h"

#include <algorithm>
#include <cstring>

#include "engine/backend/code_products.h"
#include "engine/core/error.h"
#include "engine/experiment/measurement.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_prefill.h"
#include "kernels/cuda/block_scaled.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/logits.h"
#include "kernels/cuda/matmul_tensor.h"
#include "kernels/cuda/prefill.h"
#include "kernels/cuda/ranges.h"
#include "kernels/cuda/round_activations.h"
#include "kernels/cuda/weight_layout.h"

namespace fettle {

namespace cuda = kernels::cuda;

namespace {

constexpr std::size_t kStagingBytes = std::size_t{4} << 20;

std::int64_t roundUp(std::int64_t n, std::int64_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

int ordinalOf(const std::string& id) {
    return std::atoi(id.c_str() + id.find(':') + 1);  // "cuda:N"
}

std::string sizeText(std::uint64_t bytes) {
    return formatBytes(static_cast<double>(bytes));
}

}  // namespace

class CudaBackend::Buffer : public DeviceBuffer {
public:
    Buffer(DevicePool& pool, void* memory, std::size_t bytes)
        : m_pool(pool), m_memory(memory), m_bytes(bytes) {}
    ~Buffer() override { m_pool.release(m_memory); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    void* data() override { return m_memory; }
    std::size_t bytes() const override { return m_bytes; }

private:
    DevicePool& m_pool;
    void* m_memory;
    std::size_t m_bytes;
};

class CudaBackend::Weight : public DeviceWeight {
public:
    /// On the device: `memory`; otherwise `streamed`, pinned memory of the stream.
    Weight(CudaBackend& backend, const cuda::WeightLayout& layout,
           std::unique_ptr<DeviceBuffer> memory, std::byte* streamed)
        : m_backend(backend), m_memory(std::move(memory)), m_streamed(streamed), m_layout(layout) {
        if (m_memory)
            m_backend.m_weightBytes += m_layout.bytes;
    }
    ~Weight() override {
        if (m_memory) {
            m_backend.m_weightBytes -= m_layout.bytes;
            return;
        }
        m_backend.m_weightStream.remove(m_streamed);
        if (m_backend.m_weightStream.hostBytes() == 0)
            m_backend.m_device.reason.clear();
    }
    Weight(const Weight&) = delete;
    Weight& operator=(const Weight&) = delete;
    std::int64_t rows() const override { return m_layout.rows; }
    std::int64_t cols() const override { return m_layout.cols; }
    std::size_t bytes() const override { return m_layout.bytes; }
    bool native() const override {
        return !rounding || m_backend.productOfCodes(*this, kTensorTokens).has_value();
    }
    const std::byte* data() const {
        return m_memory ? static_cast<const std::byte*>(m_memory->data()) : nullptr;
    }
    const std::byte* streamed() const { return m_streamed; }
    const cuda::WeightLayout& layout() const { return m_layout; }

    // Of weights that are widened, be it here or as they are multiplied: what happens to
    // activations first.
    std::optional<kernels::ActivationFormat> rounding;
    float inputScale = 1;

private:
    CudaBackend& m_backend;
    std::unique_ptr<DeviceBuffer> m_memory;
    std::byte* m_streamed;
    cuda::WeightLayout m_layout;
};

CudaBackend::CudaBackend(const DeviceSummary& device, int threads, std::size_t pieceBytes)
    : m_device(device),
      m_workers(threads),
      m_pool(*this, pieceBytes),
      m_weightStream([this](cuda::Status status, const char* what) { check(status, what); },
                     [this](std::size_t bytes) { return allocate(bytes); }) {
    m_device.threads = m_workers.threads();
    m_capability = capabilityOf(device.isa);
    try {
        check(cuda::useDevice(ordinalOf(device.id)), "starting the device");
        check(cuda::createStream(&m_stream), "starting the device");
        check(cuda::createEvent(&m_copied), "starting the device");
        for (Staging& staging : m_staging) {
            void* memory = nullptr;
            check(cuda::allocatePinned(&memory, kStagingBytes), "reserving memory for copies");
            staging.memory = static_cast<std::byte*>(memory);
            check(cuda::createEvent(&staging.done), "starting the device");
        }
    } catch (...) {
        close();
        throw;
    }
}

CudaBackend::~CudaBackend() {
    cuda::useDevice(ordinalOf(m_device.id));
    cuda::synchronize(m_stream);  // an error was reported when it happened, or nobody waits for it
    close();
}

void CudaBackend::close() {
    m_blas.reset();
    for (Staging& staging : m_staging) {
        if (staging.memory)
            cuda::releasePinned(staging.memory);
        if (staging.done)
            cuda::destroyEvent(staging.done);
    }
    if (m_copied)
        cuda::destroyEvent(m_copied);
    if (m_stream)
        cuda::destroyStream(m_stream);
}

void CudaBackend::makeCurrent() {
    check(cuda::useDevice(ordinalOf(m_device.id)), "changing to the device");
}

std::uint64_t CudaBackend::freeBytes() const {
    cuda::MemoryInfo info;
    check(cuda::memoryInfo(&info), "asking for memory");
    return info.free;
}

void CudaBackend::receive(void* to, CudaBackend& other, const void* from, std::size_t bytes) {
    // A copy goes before all that is recorded.
    if (!m_steps.atBeginning())
        sendStep("it copies from another device");
    other.sendStep("another device copies from it");
    const char* const what = "copying from another device";
    check(cuda::record(other.m_copied, other.m_stream), what);
    check(cuda::streamWaits(m_stream, other.m_copied), what);
    check(cuda::copyBetween(to, ordinalOf(m_device.id), from, ordinalOf(other.m_device.id), bytes,
                            m_stream),
          what);
    check(cuda::record(m_copied, m_stream), what);
    check(cuda::streamWaits(other.m_stream, m_copied), what);
}

void* CudaBackend::allocatePiece(std::size_t bytes) {
    void* memory = nullptr;
    const cuda::Status status = cuda::allocate(&memory, bytes);
    if (status != cuda::kOutOfMemory)
        check(status, "reserving device memory");
    return status == cuda::kSuccess ? memory : nullptr;
}

void CudaBackend::releasePiece(void* piece) {
    cuda::release(piece);
}

void CudaBackend::check(cuda::Status status, const char* what) const {
    if (status == cuda::kSuccess)
        return;
    if (status == cuda::kOutOfMemory)
        throwOutOfMemory(what);
    if (status == cuda::kInvalidValue)
        throw EngineError(ErrorKind::Device, m_device.id + ": " + what +
                                                 " is not possible with this model's shapes on "
                                                 "CUDA; --device cpu takes them");
    throw EngineError(ErrorKind::Device,
                      m_device.id + " (" + m_device.name + ") failed while " + what + ": " +
                          cuda::errorText(status) +
                          ". Start the program again to use the device; if it fails again, the "
                          "driver's log (dmesg, nvidia-smi) says more. --device cpu works without "
                          "it");
}

void CudaBackend::throwOutOfMemory(const std::string& wanted) const {
    cuda::MemoryInfo info;
    cuda::memoryInfo(&info);
    throw EngineError(ErrorKind::OutOfMemory,
                      m_device.id + ": not enough device memory for " + wanted + ": " +
                          sizeText(m_pool.used()) + " in use by this program, " +
                          sizeText(info.free) + " of " + sizeText(info.total) +
                          " free. A smaller context, a model with fewer bits, or --device cpu "
                          "needs less");
}

// ---- memory

std::unique_ptr<DeviceBuffer> CudaBackend::allocate(std::size_t bytes) {
    sendStep("it reserves memory");
    void* memory = m_pool.allocate(std::max<std::size_t>(bytes, 1));
    if (!memory)
        throwOutOfMemory("a buffer of " + sizeText(bytes));
    auto buffer = std::make_unique<Buffer>(m_pool, memory, bytes);
    if (bytes > 0)
        check(cuda::fill(memory, 0, bytes, m_stream), "clearing memory");
    return buffer;
}

void* CudaBackend::scratchBytes(Scratch which, std::size_t bytes) {
    std::unique_ptr<DeviceBuffer>& buffer = m_scratch[which];
    if (!buffer || buffer->bytes() < bytes) {
        sendStep("it reserves memory");  // what was recorded may use the buffer
        buffer.reset();                  // first, so that both need not fit
        buffer = allocate(bytes);
    }
    return buffer->data();
}

/// Fills device memory in turns: `write` puts `count` bytes from offset `from` on into pinned
/// memory, which is copied while the next turn is written.
void CudaBackend::stage(void* device, std::size_t bytes, std::size_t step,
                        const StagingWriter& write) {
    sendStep("it copies to the device");
    const std::size_t most = kStagingBytes / step * step;
    for (std::size_t from = 0; from < bytes; from += most) {
        Staging& staging = m_staging[m_nextStaging];
        m_nextStaging = (m_nextStaging + 1) % m_staging.size();
        const std::size_t count = std::min(most, bytes - from);
        check(cuda::waitFor(staging.done), "copying to the device");
        write(staging.memory, from, count);
        check(cuda::copyToDevice(static_cast<std::byte*>(device) + from, staging.memory, count,
                                 m_stream),
              "copying to the device");
        check(cuda::record(staging.done, m_stream), "copying to the device");
    }
}

void CudaBackend::upload(void* device, const void* host, std::size_t bytes) {
    stage(device, bytes, 1, [&](std::byte* to, std::size_t from, std::size_t count) {
        std::memcpy(to, static_cast<const std::byte*>(host) + from, count);
    });
}

void CudaBackend::download(void* host, const void* device, std::size_t bytes) {
    sendStep("it copies from the device");
    for (std::size_t from = 0; from < bytes; from += kStagingBytes) {
        Staging& staging = m_staging[m_nextStaging];
        const std::size_t count = std::min(kStagingBytes, bytes - from);
        check(cuda::waitFor(staging.done), "copying from the device");
        check(cuda::copyToHost(staging.memory, static_cast<const std::byte*>(device) + from, count,
                               m_stream),
              "copying from the device");
        synchronize();
        std::memcpy(static_cast<std::byte*>(host) + from, staging.memory, count);
    }
}

void CudaBackend::synchronize() {
    sendStep("it waits for the device");
    check(cuda::synchronize(m_stream), "computing");
}

// ---- ranges and steps

void CudaBackend::beginRange(const char* name, std::int64_t number) {
    const bool seen = cuda::rangesAreSeen();
    m_rangesSeen.push_back(seen);
    if (!seen)
        return;
    const std::string numbered = number < 0 ? "" : " " + std::to_string(number);
    cuda::pushRange((name + numbered).c_str());
}

void CudaBackend::endRange() noexcept {
    if (m_rangesSeen.back())
        cuda::popRange();
    m_rangesSeen.pop_back();
}

void CudaBackend::beginStep(const void* owner, std::int64_t tokens) {
    if (m_playsSteps && tokens <= kFewTokens)
        m_steps.begin(owner, tokens);
}

void CudaBackend::endStep() {
    check(m_steps.finish(m_stream), "computing");
}

void CudaBackend::sendStep(const char* why) {
    if (m_steps.recording())
        check(m_steps.interrupt(m_stream, why), "computing");
}

std::unique_ptr<DeviceWeight> CudaBackend::prepareWeight(const kernels::WeightView& weight) {
    // What no kernel multiplies as it is gets widened on the way, and says so; activations are
    // rounded as the scheme rounds them, so that the numbers are its own.
    const auto rounded = [&](std::unique_ptr<Weight> held) {
        held->rounding = kernels::activationsOf(weight);
        held->inputScale = weight.inputGlobalScale;
        return held;
    };
    if (cuda::hasLayout(weight)) {
        std::unique_ptr<Weight> held = packWeight(weight);
        return held->layout().widened ? rounded(std::move(held)) : std::move(held);
    }
    // Widths that the layouts do not have: in float16.
    std::vector<std::uint16_t> half(static_cast<std::size_t>(weight.rows * weight.cols));
    m_workers.parallelFor(weight.rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<float> row(static_cast<std::size_t>(weight.cols));
        for (std::int64_t r = begin; r < end; ++r) {
            kernels::dequantizeRow(weight, r, row.data());
            std::transform(row.begin(), row.end(), half.begin() + r * weight.cols,
                           kernels::floatToHalf);
        }
    });
    kernels::WeightView plain;
    plain.format = kernels::WeightFormat::F16;
    plain.rows = weight.rows;
    plain.cols = weight.cols;
    plain.data = half.data();
    return rounded(packWeight(plain));
}

std::unique_ptr<CudaBackend::Weight> CudaBackend::packWeight(const kernels::WeightView& weight) {
    const cuda::WeightLayout layout = cuda::weightLayout(weight);
    if (!weightFits(layout.bytes))
        return streamWeight(weight, layout);
    std::unique_ptr<DeviceBuffer> memory = allocate(layout.bytes);
    for (int s = 0; s < cuda::WeightLayout::kSections; ++s) {
        const auto& section = layout.sections[static_cast<std::size_t>(s)];
        if (section.stride == 0)
            continue;
        if (section.stride > kStagingBytes)
            throw EngineError(ErrorKind::Device, m_device.id + ": rows of " +
                                                     sizeText(section.stride) +
                                                     " are longer than the copies can take");
        stage(static_cast<std::byte*>(memory->data()) + section.begin,
              section.stride * static_cast<std::size_t>(section.rows), section.stride,
              [&](std::byte* to, std::size_t from, std::size_t count) {
                  const auto first = static_cast<std::int64_t>(from / section.stride);
                  m_workers.parallelFor(
                      static_cast<std::int64_t>(count / section.stride), 16,
                      [&](std::int64_t begin, std::int64_t end, int) {
                          cuda::packSection(weight, layout, s, first + begin, first + end,
                                            to + static_cast<std::size_t>(begin) * section.stride);
                      });
              });
    }
    return std::make_unique<Weight>(*this, layout, std::move(memory), nullptr);
}

bool CudaBackend::weightFits(std::size_t bytes) {
    if (!m_weightBudget) {
        m_weightBudget = freeBytes() / 5 * 4;
    }
    return m_weightBytes + bytes <= *m_weightBudget;
}

std::unique_ptr<CudaBackend::Weight> CudaBackend::streamWeight(const kernels::WeightView& weight,
                                                               const cuda::WeightLayout& layout) {
    std::byte* const memory = m_weightStream.add(layout.bytes);
    auto streamed = std::make_unique<Weight>(*this, layout, nullptr, memory);
    std::memset(memory, 0, layout.bytes);
    for (int s = 0; s < cuda::WeightLayout::kSections; ++s) {
        const auto& section = layout.sections[static_cast<std::size_t>(s)];
        if (section.stride > 0)
            m_workers.parallelFor(section.rows, 16, [&](std::int64_t begin, std::int64_t end, int) {
                cuda::packSection(
                    weight, layout, s, begin, end,
                    memory + section.begin + static_cast<std::size_t>(begin) * section.stride);
            });
    }
    m_device.reason = sizeText(m_weightStream.hostBytes()) +
                      " of weights do not fit and are copied from the host for every pass";
    return streamed;
}

cuda::DeviceWeightView CudaBackend::viewOf(const Weight& weight) {
    if (!weight.streamed())
        return {weight.layout(), weight.data()};
    sendStep("it copies weights to the device");
    return {weight.layout(), m_weightStream.use(weight.streamed(), m_stream)};
}

// ---- products

cuda::QuantizedActivations CudaBackend::perToken(Prepared& x) {
    const std::int64_t stride = roundUp(x.k, 16);
    const cuda::QuantizedActivations q = {scratch<std::int8_t>(kCodes, x.m * stride), stride,
                                          scratch<float>(kTokenScales, x.m), nullptr};
    if (!std::exchange(x.perToken, true))
        check(cuda::quantizePerToken(x.x, x.stride, x.m, x.k, q, m_stream), "rounding activations");
    return q;
}

cuda::QuantizedActivations CudaBackend::perGroup(Prepared& x) {
    const std::int64_t groups = x.k / cuda::kGroupValues;
    const cuda::QuantizedActivations q = {scratch<std::int8_t>(kGroupCodes, x.m * x.k), x.k,
                                          scratch<float>(kGroupScales, x.m * groups),
                                          scratch<std::int32_t>(kSums, x.m * groups * 2)};
    if (!std::exchange(x.perGroup, true))
        check(cuda::quantizePerGroup32(x.x, x.stride, x.m, x.k, q, m_stream),
              "rounding activations");
    return q;
}

void CudaBackend::multiplyFew(const Weight& weight, Prepared& x, const cuda::MatmulOutput& out) {
    const cuda::DeviceWeightView view = viewOf(weight);
    const cuda::CodeKind codes = view.layout.codes;
    if (codes <= cuda::CodeKind::BF16)
        return check(cuda::matmulPlain(view, x.x, x.stride, x.m, out, m_stream), "multiplying");
    if (view.layout.widened)
        return check(cuda::matmulWidened(view, x.x, x.stride, x.m, out, m_stream), "multiplying");
    const cuda::QuantizedActivations q = codes == cuda::CodeKind::Row8 ? perToken(x) : perGroup(x);
    check(cuda::matmulQuantized(view, q, x.m, out, m_stream), "multiplying");
}

/// The activations as the library multiplies them with weights of `codes`; scales of the tokens
/// where they have some.
cuda::BlasGemm CudaBackend::libraryInput(cuda::CodeKind codes, Prepared& x, const float** scales) {
    cuda::BlasGemm gemm;
    gemm.m = x.m;
    gemm.k = gemm.aStride = roundUp(x.k, 8);
    switch (codes) {
        case cuda::CodeKind::F32:
            gemm.type = cuda::BlasType::F32;
            gemm.a = x.x;
            gemm.k = x.k;
            gemm.aStride = x.stride;
            break;
        case cuda::CodeKind::BF16: {
            auto* bfloat = scratch<std::uint16_t>(kBfloat, x.m * gemm.k);
            if (!std::exchange(x.bfloat, true))
                check(cuda::toBfloat16(x.x, x.stride, x.m, x.k, bfloat, gemm.k, m_stream),
                      "rounding activations");
            gemm.type = cuda::BlasType::BF16;
            gemm.a = bfloat;
            break;
        }
        case cuda::CodeKind::Row8: {
            const cuda::QuantizedActivations q = perToken(x);
            gemm.type = cuda::BlasType::S8;
            gemm.k = gemm.aStride = q.codeStride;
            gemm.a = q.codes;
            *scales = q.scales;
            break;
        }
        default: {
            auto* half = scratch<std::uint16_t>(kHalf, x.m * gemm.k);
            auto* halfScales = scratch<float>(kHalfScales, x.m);
            if (!std::exchange(x.half, true))
                check(
                    cuda::toScaledHalf(x.x, x.stride, x.m, x.k, half, gemm.k, halfScales, m_stream),
                    "rounding activations");
            gemm.type = cuda::BlasType::F16;
            gemm.a = half;
            *scales = halfScales;
        }
    }
    return gemm;
}

void CudaBackend::multiplyMany(const Weight& weight, Prepared& x, const cuda::MatmulOutput& out) {
    const cuda::DeviceWeightView view = viewOf(weight);
    const cuda::WeightLayout& layout = view.layout;
    if (layout.codes > cuda::CodeKind::BF16 && layout.codes != cuda::CodeKind::Row8 &&
        x.m <= kTensorTokens) {
        const float* scales = nullptr;
        const cuda::BlasGemm input = libraryInput(layout.codes, x, &scales);
        return check(cuda::matmulTensor(view, static_cast<const std::uint16_t*>(input.a),
                                        input.aStride, scales, x.m, out, m_stream),
                     "multiplying");
    }
    cuda::ProductSums sums;
    const cuda::BlasGemm gemm = libraryInput(layout.codes, x, &sums.tokenScales);
    multiplyByLibrary(view, gemm, sums, out);
}

/// What multiplies a prompt of `tokens` tokens by the weight's codes, where device, library and
/// shapes allow it.
std::optional<cuda::BlasGemm> CudaBackend::productOfCodes(const Weight& weight,
                                                          std::int64_t tokens) {
    const cuda::WeightLayout& layout = weight.layout();
    const auto type = codeProduct(layout, weight.rounding, m_capability);
    if (!type || !openLibrary())
        return std::nullopt;
    cuda::BlasGemm gemm;
    gemm.type = *type;
    gemm.m = tokens;
    gemm.k = gemm.aStride = gemm.bStride = layout.cols;
    const std::int64_t turn = rowsOfTurn(tokens * 4);
    for (const std::int64_t rows : {std::min(turn, layout.rows), layout.rows % turn}) {
        gemm.n = gemm.cStride = rows;
        if (rows > 0 && !m_blas->takes(gemm))
            return std::nullopt;
    }
    return gemm;
}

/// The activations as `gemm` multiplies them, and what is left of their scales for afterwards.
void CudaBackend::prepareCodes(const Weight& weight, Prepared& x, cuda::BlasGemm& gemm,
                               cuda::ProductSums& sums) {
    const bool made = x.codes == gemm.type && x.codesScale == weight.inputScale;
    x.codes = gemm.type;
    x.codesScale = weight.inputScale;
    auto* const codes = scratch<std::uint8_t>(
        kFloatCodes, x.m * gemm.k / (gemm.type == cuda::BlasType::NvFp4 ? 2 : 1));
    gemm.a = codes;
    if (!cuda::hasBlockScales(gemm.type)) {
        const cuda::Fp8Activations rounded = {codes, gemm.k, scratch<float>(kFloatScales, x.m)};
        if (!made)
            check(cuda::quantizePerTokenFp8(x.x, x.stride, x.m, x.k, rounded, m_stream),
                  "rounding activations");
        sums.tokenScales = rounded.scales;
        return;
    }
    auto* const tiles = scratch<std::uint8_t>(
        kFloatScales, cuda::scaleTileBytes(x.m, gemm.k / scaleBlock(gemm.type)));
    if (!made)
        check(cuda::quantizeBlocks(*weight.rounding, weight.inputScale, x.x, x.stride, x.m, x.k,
                                   codes, tiles, m_stream),
              "rounding activations");
    gemm.aScales = tiles;
    if (gemm.type == cuda::BlasType::NvFp4)
        sums.factor = 1.0F / weight.layout().global / weight.inputScale;
}

bool CudaBackend::multiplyCodes(const Weight& weight, Prepared& x, const cuda::MatmulOutput& out) {
    std::optional<cuda::BlasGemm> gemm = productOfCodes(weight, x.m);
    if (!gemm)
        return false;
    cuda::ProductSums sums;
    prepareCodes(weight, x, *gemm, sums);
    multiplyByLibrary(viewOf(weight), *gemm, sums, out);
    return true;
}

void CudaBackend::multiplyByLibrary(const cuda::DeviceWeightView& view, cuda::BlasGemm gemm,
                                    cuda::ProductSums sums, const cuda::MatmulOutput& out) {
    const cuda::WeightLayout& layout = view.layout;
    const bool row8 = gemm.type == cuda::BlasType::S8, fp8 = gemm.type == cuda::BlasType::E4M3;
    const bool blocks = cuda::hasBlockScales(gemm.type);
    const bool unpack = layout.codes > cuda::CodeKind::BF16 && !row8 && !fp8 && !blocks;
    const auto stride =
        static_cast<std::int64_t>(layout.sections[cuda::WeightLayout::kCodes].stride);
    if (unpack || blocks)
        gemm.bStride = layout.cols;
    else
        gemm.bStride = stride / (row8 || fp8 ? 1 : layout.codes == cuda::CodeKind::F32 ? 4 : 2);

    const std::int64_t turn = rowsOfTurn(std::max(gemm.m * 4, unpack ? layout.cols * 2 : 0));
    for (std::int64_t begin = 0; begin < layout.rows; begin += turn) {
        const std::int64_t count = std::min(turn, layout.rows - begin);
        gemm.n = row8 ? roundUp(count, 4) : count;  // rows of zeros lie behind the last
        gemm.cStride = roundUp(count, 4);
        gemm.c = scratch<float>(kProduct, gemm.m * gemm.cStride);
        gemm.b = view.section(cuda::WeightLayout::kCodes) + begin * stride;
        if (unpack) {
            auto* half = scratch<std::uint16_t>(kWeight, count * layout.cols);
            check(cuda::dequantizeToHalf(view, begin, count, half, m_stream), "unpacking a weight");
            gemm.b = half;
        }
        if (blocks) {
            const std::int64_t scales = layout.cols / scaleBlock(gemm.type);
            auto* tiles = scratch<std::uint8_t>(kWeightScales, cuda::scaleTileBytes(count, scales));
            check(cuda::tileScales(view.section(cuda::WeightLayout::kScales) + begin * scales,
                                   count, scales, tiles, m_stream),
                  "unpacking a weight");
            gemm.bScales = tiles;
        }
        check(blas().gemm(gemm), "multiplying");
        sums.c = gemm.c;
        sums.integers = row8;
        sums.stride = gemm.cStride;
        if (row8 || fp8)
            sums.rowScales =
                reinterpret_cast<const float*>(view.section(cuda::WeightLayout::kScales)) + begin;
        cuda::MatmulOutput part = out;
        part.y += begin;
        part.bias = out.bias ? out.bias + begin : nullptr;
        check(cuda::finishProduct(sums, gemm.m, count, part, m_stream), "multiplying");
    }
}

bool CudaBackend::openLibrary() {
    if (!m_blas && m_noLibrary.empty())
        m_blas = cuda::openBlas(m_stream, &m_noLibrary);
    return m_blas != nullptr;
}

cuda::Blas& CudaBackend::blas() {
    if (!openLibrary())
        throw EngineError(ErrorKind::Device,
                          m_device.id +
                              ": products of many tokens need cuBLASLt or cuBLAS: " + m_noLibrary +
                              ". Install it with the CUDA toolkit, or use --device cpu");
    return *m_blas;
}

/// Its 16-bit forms share memory with those of `x`, which are made anew afterwards.
CudaBackend::Prepared CudaBackend::roundedInput(Prepared& x, const Weight& weight) {
    auto* values = scratch<float>(kRounded, x.m * x.k);
    check(cuda::roundActivations(*weight.rounding, weight.inputScale, x.x, x.stride, x.m, x.k,
                                 values, m_stream),
          "rounding activations");
    x.half = false;
    Prepared rounded;
    rounded.x = values;
    rounded.m = x.m;
    rounded.k = rounded.stride = x.k;
    return rounded;
}

void CudaBackend::linear(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride,
                         std::span<const LinearTarget> targets) {
    Prepared prepared;
    prepared.x = x;
    prepared.m = m;
    prepared.k = k;
    prepared.stride = stride;
    for (const LinearTarget& target : targets) {
        const auto& weight = static_cast<const Weight&>(*target.weight);
        const cuda::MatmulOutput out = {target.y, target.yStride, target.bias, target.accumulate};
        Prepared rounded;
        if (m > kFewTokens && multiplyCodes(weight, prepared, out))
            continue;
        const bool asTheyAre = weight.rounding.value_or(kernels::ActivationFormat::None) ==
                               kernels::ActivationFormat::None;
        Prepared& input = asTheyAre ? prepared : rounded;
        if (&input == &rounded)
            rounded = roundedInput(prepared, weight);
        if (m <= kFewTokens)
            multiplyFew(weight, input, out);
        else
            multiplyMany(weight, input, out);
    }
}

// ---- the rest of a layer

void CudaBackend::rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset,
                          float eps, std::int64_t rows, std::int64_t cols, float* y,
                          std::int64_t yStride) {
    check(cuda::rmsNorm(x, xStride, w, offset, eps, rows, cols, y, yStride, m_stream),
          "normalizing");
}

void CudaBackend::layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b,
                            float eps, std::int64_t rows, std::int64_t cols, float* y,
                            std::int64_t yStride) {
    check(cuda::layerNorm(x, xStride, w, b, eps, rows, cols, y, yStride, m_stream), "normalizing");
}

void CudaBackend::siluMul(float* gate, const float* up, std::int64_t count) {
    check(cuda::siluMul(gate, up, count, m_stream), "computing an activation");
}
void CudaBackend::geluTanhMul(float* gate, const float* up, std::int64_t count) {
    check(cuda::geluTanhMul(gate, up, count, m_stream), "computing an activation");
}
void CudaBackend::geluTanh(float* x, std::int64_t count) {
    check(cuda::geluTanh(x, count, m_stream), "computing an activation");
}
void CudaBackend::add(float* y, const float* x, std::int64_t count) {
    check(cuda::add(y, x, count, m_stream), "adding");
}
void CudaBackend::softcap(float* x, float cap, std::int64_t count) {
    check(cuda::softcap(x, cap, count, m_stream), "capping");
}

void CudaBackend::rope(float* x, std::int64_t tokens, std::int64_t stride, std::int64_t heads,
                       std::int64_t headDim, const float* cosSin) {
    check(cuda::rope(x, tokens, stride, heads, headDim, cosSin, m_stream), "rotating");
}

void CudaBackend::appendKv(const float* k, const float* v, std::int64_t stride, void* keys,
                           void* values, kernels::KvType type, std::int64_t capacity,
                           std::int64_t past, std::int64_t tokens, std::int64_t kvHeads,
                           std::int64_t headDim) {
    check(cuda::appendKv(k, v, stride, keys, values, type, capacity, past, tokens, kvHeads, headDim,
                         m_stream),
          "filling the key/value cache");
}

void CudaBackend::attention(const kernels::AttentionArgs& args) {
    if (args.tokens > kFewTokens && !args.parents && cuda::takesPrefill(args))
        return check(cuda::attentionPrefill(args, m_stream), "attention");
    // In turns of few tokens, which bounds the memory of the parts.
    for (std::int64_t first = 0; first < args.tokens; first += kFewTokens) {
        kernels::AttentionArgs turn = args;
        turn.q += first * args.qStride;
        turn.out += first * args.outStride;
        turn.past += first;
        turn.tokens = std::min(kFewTokens, args.tokens - first);
        auto* workspace =
            scratch<float>(kAttention, static_cast<std::int64_t>(cuda::attentionWorkspace(turn)));
        check(cuda::attention(turn, workspace, m_stream), "attention");
    }
}

void CudaBackend::keepKv(void* keys, void* values, kernels::KvType type, std::int64_t capacity,
                         std::int64_t past, std::span<const std::int32_t> kept,
                         std::int64_t kvHeads, std::int64_t headDim) {
    check(cuda::keepKv(keys, values, type, capacity, past, kept.data(),
                       static_cast<std::int64_t>(kept.size()), kvHeads, headDim, m_stream),
          "compacting the key/value cache");
}

// ---- logits

void CudaBackend::summarizeLogits(const float* x, std::int64_t rows, std::int64_t count,
                                  kernels::RowSummary* out) {
    auto* summaries = scratch<kernels::RowSummary>(kResults, rows);
    check(cuda::summarizeLogits(x, count, rows, count, summaries, m_stream), "summing up logits");
    download(out, summaries, static_cast<std::size_t>(rows) * sizeof *out);
}

void CudaBackend::klDivergence(const float* p, const kernels::RowSummary* ps, const float* q,
                               const kernels::RowSummary* qs, std::int64_t rows, std::int64_t count,
                               double* out) {
    auto* summaries = scratch<kernels::RowSummary>(kOperands, 2 * rows);
    const auto bytes = static_cast<std::size_t>(rows) * sizeof *ps;
    upload(summaries, ps, bytes);
    upload(summaries + rows, qs, bytes);
    auto* results = scratch<double>(kResults, rows);
    check(cuda::klDivergence(p, summaries, q, summaries + rows, rows, count, results, m_stream),
          "comparing logits");
    download(out, results, static_cast<std::size_t>(rows) * sizeof *out);
}

void CudaBackend::gather(const float* x, std::int64_t rows, std::int64_t count,
                         const std::int32_t* columns, float* out) {
    auto* ids = scratch<std::int32_t>(kOperands, rows);
    upload(ids, columns, static_cast<std::size_t>(rows) * sizeof *columns);
    auto* results = scratch<float>(kResults, rows);
    check(cuda::gatherColumns(x, rows, count, ids, results, m_stream), "picking logits");
    download(out, results, static_cast<std::size_t>(rows) * sizeof *out);
}

}  // namespace fettle
