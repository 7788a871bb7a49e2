#include "engine/backend/planning_backend.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/backend/code_products.h"
#include "engine/backend/cuda_backend.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/block_scaled.h"

namespace fettle {

namespace cuda = kernels::cuda;

namespace {

constexpr double kFloat = sizeof(float);

// As kernels/cuda has them: matmul_tensor.cu, attention_prefill.cu, attention.cu.
constexpr std::int64_t kTensorTile = 64;       // tokens, rows and columns of a step
constexpr std::int64_t kPromptPositions = 32;  // of a tile of the cache
constexpr double kPartHeader = 2;
constexpr double kMmaOperations = 2 * 16 * 8 * 16;
constexpr double kDp4aOperations = 8;

std::int64_t steps(std::int64_t n, std::int64_t each) {
    return (n + each - 1) / each;
}
std::int64_t roundUp(std::int64_t n, std::int64_t multiple) {
    return steps(n, multiple) * multiple;
}
double number(std::int64_t n) {
    return static_cast<double>(n);
}
double outputBytes(std::int64_t tokens, std::int64_t rows) {
    return number(tokens * rows) * kFloat;
}

/// Positions that token `token` of the new ones sees.
std::int64_t seenBy(const kernels::AttentionArgs& a, std::int64_t token) {
    const std::int64_t all = a.past + token + 1;
    return a.window > 0 ? std::min(all, a.window) : all;
}

/// Bytes of keys and values of that many heads of tokens.
double tokenBytes(kernels::KvType type, std::int64_t heads, std::int64_t headDim) {
    return 2 * number(heads) * kernels::kvTokenBytes(type, headDim);
}

/// Of those that the new tokens see together.
double cacheBytes(const kernels::AttentionArgs& a) {
    const std::int64_t positions = std::min(a.past + a.tokens, seenBy(a, 0) + a.tokens - 1);
    return tokenBytes(a.kvType, positions * a.kvHeads, a.headDim);
}

}  // namespace

class PlanningBackend::Buffer : public DeviceBuffer {
public:
    Buffer(PlanningBackend& owner, std::size_t bytes) : m_owner(owner), m_bytes(bytes) {
        m_address = reinterpret_cast<void*>(owner.m_next);  // NOLINT(performance-no-int-to-ptr)
        owner.m_next += static_cast<std::uintptr_t>(roundUp(static_cast<std::int64_t>(bytes), 256));
        owner.m_used += bytes;
        owner.m_peak = std::max(owner.m_peak, owner.m_used);
    }
    ~Buffer() override { m_owner.m_used -= m_bytes; }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    void* data() override { return m_address; }
    std::size_t bytes() const override { return m_bytes; }

private:
    PlanningBackend& m_owner;
    void* m_address;
    std::size_t m_bytes;
};

class PlanningBackend::Weight : public DeviceWeight {
public:
    Weight(const PlanningBackend& owner, const cuda::WeightLayout& layout,
           std::unique_ptr<DeviceBuffer> memory)
        : m_owner(owner), m_memory(std::move(memory)), m_layout(layout) {}
    std::int64_t rows() const override { return m_layout.rows; }
    std::int64_t cols() const override { return m_layout.cols; }
    std::size_t bytes() const override { return m_layout.bytes; }
    bool native() const override { return !rounding || product().has_value(); }
    const cuda::WeightLayout& layout() const { return m_layout; }
    /// Of its codes by those of its activations.
    std::optional<cuda::BlasType> product() const {
        return codeProduct(m_layout, rounding, m_owner.m_capability);
    }
    /// What a kernel that reads `count` rows reads of it.
    double bytesOfRows(std::int64_t count) const {
        double sum = 0;
        for (const auto& section : m_layout.sections)
            sum += static_cast<double>(section.stride) * number(count);
        return sum;
    }

    std::optional<kernels::ActivationFormat> rounding;  // of weights that are widened
    float inputScale = 1;

private:
    const PlanningBackend& m_owner;
    std::unique_ptr<DeviceBuffer> m_memory;
    cuda::WeightLayout m_layout;
};

struct PlanningBackend::Prepared {
    std::int64_t m = 0, k = 0;
    bool perToken = false, perGroup = false, half = false, bfloat = false;
    std::optional<cuda::BlasType> codes = {};
    float codesScale = 1;
};

PlanningBackend::PlanningBackend(int capability) : m_capability(capability), m_pool(1) {
    m_device.id = "cuda:0";
    m_device.name = "a prediction";
    m_device.threads = 1;
}

std::vector<KernelWork> PlanningBackend::take() {
    return std::exchange(m_launches, {});
}

// ---- memory

std::unique_ptr<DeviceBuffer> PlanningBackend::allocate(std::size_t bytes) {
    return std::make_unique<Buffer>(*this, std::max<std::size_t>(bytes, 1));
}

std::unique_ptr<DeviceWeight> PlanningBackend::prepareWeight(const kernels::WeightView& weight) {
    const bool packed = cuda::hasLayout(weight);
    kernels::WeightView held = weight;
    if (!packed) {
        held = {};
        held.format = kernels::WeightFormat::F16;
        held.rows = weight.rows;
        held.cols = weight.cols;
    }
    const cuda::WeightLayout layout = cuda::weightLayout(held);
    auto planned = std::make_unique<Weight>(*this, layout, allocate(layout.bytes));
    if (!packed || layout.widened) {
        planned->rounding = kernels::activationsOf(weight);
        planned->inputScale = weight.inputGlobalScale;
    }
    return planned;
}

void PlanningBackend::upload(void*, const void*, std::size_t) {}

void PlanningBackend::download(void* host, const void*, std::size_t bytes) {
    std::memset(host, 0, bytes);
}

// ---- products

void PlanningBackend::perToken(Prepared& x) {
    if (std::exchange(x.perToken, true))
        return;
    const double values = number(x.m * x.k);
    note({.kernel = "quantizePerTokenKernel",
          .read = values * kFloat,
          .written = number(x.m * roundUp(x.k, 16)) + number(x.m) * kFloat,
          .float32 = 4 * values});
}

void PlanningBackend::perGroup(Prepared& x) {
    if (std::exchange(x.perGroup, true))
        return;
    const double values = number(x.m * x.k), groups = values / cuda::kGroupValues;
    note({.kernel = "quantizePerGroup32Kernel",
          .read = values * kFloat,
          .written = values + groups * 3 * kFloat,
          .float32 = 4 * values});
}

void PlanningBackend::multiplyFew(const Weight& weight, Prepared& x, const LinearTarget& target) {
    const cuda::WeightLayout& l = weight.layout();
    const double outputs = number(x.m * l.rows);
    KernelWork work;
    work.read = weight.bytesOfRows(l.rows) + (target.bias ? number(l.rows) * kFloat : 0) +
                (target.accumulate ? outputs * kFloat : 0);
    work.written = outputs * kFloat;
    if (l.codes <= cuda::CodeKind::BF16) {
        work.kernel = "matmulPlainKernel";
        work.read += number(x.m * x.k) * kFloat;
        work.float32 = 2 * outputs * number(l.cols);
    } else if (l.widened) {
        work.kernel = "matmulWidenedKernel";
        work.read += number(x.m * x.k) * kFloat;
        work.float32 = 2 * outputs * number(l.cols) * (1 + 1.0 / 8);  // a scale for eight
    } else if (l.codes == cuda::CodeKind::Row8) {
        perToken(x);
        const auto stride =
            static_cast<std::int64_t>(l.sections[cuda::WeightLayout::kCodes].stride);
        work.kernel = "matmulRow8Kernel";
        work.read += number(x.m) * (number(stride) + kFloat);
        work.dp4a = kDp4aOperations * outputs * number(stride / 4);
        work.float32 = 2 * outputs;
    } else {
        perGroup(x);
        const double groups = number(l.cols / cuda::kGroupValues);
        work.kernel = "matmulGroupsKernel";
        work.read += number(x.m) * (number(x.k) + groups * 3 * kFloat);
        work.dp4a = kDp4aOperations * outputs * groups * 8;
        work.float32 = 6 * outputs * groups;
    }
    note(std::move(work));
}

void PlanningBackend::multiplyMany(const Weight& weight, Prepared& x, const LinearTarget& target) {
    using Kind = cuda::CodeKind;
    const cuda::WeightLayout& l = weight.layout();
    const bool row8 = l.codes == Kind::Row8, unpack = l.codes > Kind::BF16 && !row8;
    std::int64_t k = roundUp(x.k, 8);
    double factorBytes = 2;
    if (l.codes == Kind::F32) {
        k = x.k;
        factorBytes = 4;
    } else if (row8) {
        perToken(x);
        k = roundUp(x.k, 16);
        factorBytes = 1;
    } else if (l.codes == Kind::BF16 ? !std::exchange(x.bfloat, true)
                                     : !std::exchange(x.half, true)) {
        const bool bfloat = l.codes == Kind::BF16;
        note({.kernel = bfloat ? "toBfloat16Kernel" : "toScaledHalfKernel",
              .read = number(x.m * x.k) * kFloat,
              .written = number(x.m * k) * 2 + (bfloat ? 0 : number(x.m) * kFloat),
              .float32 = bfloat ? 0 : 2 * number(x.m * x.k)});
    }
    if (unpack && x.m <= CudaBackend::kTensorTokens) {
        const std::int64_t blocks = steps(l.rows, kTensorTile) * steps(x.m, kTensorTile);
        note({.kernel = "matmulTensorKernel",
              .read = weight.bytesOfRows(l.rows) + number(x.m * k) * 2 + number(x.m) * kFloat +
                      (target.accumulate ? outputBytes(x.m, l.rows) : 0),
              .written = outputBytes(x.m, l.rows),
              .half = number(blocks * steps(l.cols, kTensorTile)) * 2 * kTensorTile * kTensorTile *
                      kTensorTile});
        return;
    }
    const std::int64_t turn = CudaBackend::rowsOfTurn(std::max(x.m * 4, unpack ? l.cols * 2 : 0));
    for (std::int64_t begin = 0; begin < l.rows; begin += turn) {
        const std::int64_t count = std::min(turn, l.rows - begin);
        const std::int64_t n = row8 ? roundUp(count, 4) : count;
        if (unpack)
            note({.kernel = "dequantizeKernel",
                  .read = weight.bytesOfRows(count),
                  .written = number(count * l.cols) * 2,
                  .float32 = 2 * number(count * l.cols)});
        KernelWork product;
        product.kernel = "library product";
        product.read = (number(x.m * k) + number(n * k)) * factorBytes;
        product.written = outputBytes(x.m, n);
        const double operations = 2 * number(x.m * n) * number(k);
        (row8 ? product.int8 : l.codes == Kind::F32 ? product.float32 : product.half) = operations;
        note(std::move(product));
        noteFinish(x.m, count, row8, l.codes != Kind::F32 && l.codes != Kind::BF16, target);
    }
}

void PlanningBackend::noteFinish(std::int64_t tokens, std::int64_t rows, bool rowScales,
                                 bool tokenScales, const LinearTarget& target) {
    const double of = (rowScales ? 1 : 0) + (target.bias ? 1 : 0);
    note({.kernel = "finishProductKernel",
          .read = outputBytes(tokens, rows) * (target.accumulate ? 2 : 1) +
                  of * number(rows) * kFloat + (tokenScales ? number(tokens) * kFloat : 0),
          .written = outputBytes(tokens, rows),
          .float32 = 4 * number(tokens * rows)});
}

bool PlanningBackend::multiplyCodes(const Weight& weight, Prepared& x, const LinearTarget& target) {
    const cuda::WeightLayout& l = weight.layout();
    const std::optional<cuda::BlasType> type = weight.product();
    if (!type)
        return false;
    const bool blocks = cuda::hasBlockScales(*type), four = *type == cuda::BlasType::NvFp4;
    const double each = four ? 0.5 : 1;
    const auto scalesOf = [&](std::int64_t rows) {
        return number(cuda::scaleTileBytes(rows, l.cols / scaleBlock(*type)));
    };
    if (x.codes != type || x.codesScale != weight.inputScale)
        note({.kernel = blocks ? "quantizeBlocksKernel" : "quantizePerTokenFp8Kernel",
              .read = number(x.m * x.k) * kFloat,
              .written = number(x.m * x.k) * each + (blocks ? scalesOf(x.m) : number(x.m) * kFloat),
              .float32 = 4 * number(x.m * x.k)});
    x.codes = type;
    x.codesScale = weight.inputScale;
    const std::int64_t turn = CudaBackend::rowsOfTurn(x.m * 4);
    for (std::int64_t begin = 0; begin < l.rows; begin += turn) {
        const std::int64_t count = std::min(turn, l.rows - begin);
        if (blocks)
            note({.kernel = "tileScalesKernel",
                  .read = number(count * (l.cols / scaleBlock(*type))),
                  .written = scalesOf(count)});
        KernelWork product;
        product.kernel = "library product";
        product.read = (number(x.m * l.cols) + number(count * l.cols)) * each +
                       (blocks ? scalesOf(x.m) + scalesOf(count) : 0);
        product.written = outputBytes(x.m, count);
        (four ? product.fp4 : product.fp8) = 2 * number(x.m * count) * number(l.cols);
        note(std::move(product));
        noteFinish(x.m, count, !blocks, !blocks, target);
    }
    return true;
}

void PlanningBackend::linear(const float*, std::int64_t m, std::int64_t k, std::int64_t,
                             std::span<const LinearTarget> targets) {
    Prepared prepared{.m = m, .k = k};
    for (const LinearTarget& target : targets) {
        const auto& weight = static_cast<const Weight&>(*target.weight);
        if (m > CudaBackend::kFewTokens && multiplyCodes(weight, prepared, target))
            continue;
        Prepared rounded{.m = m, .k = k};
        const bool asTheyAre = weight.rounding.value_or(kernels::ActivationFormat::None) ==
                               kernels::ActivationFormat::None;
        Prepared& input = asTheyAre ? prepared : rounded;
        if (&input == &rounded) {
            note({.kernel = "roundActivationsKernel",
                  .read = number(m * k) * kFloat,
                  .written = number(m * k) * kFloat,
                  .float32 = 6 * number(m * k)});
            prepared.half = false;
        }
        if (m <= CudaBackend::kFewTokens)
            multiplyFew(weight, input, target);
        else
            multiplyMany(weight, input, target);
    }
}

// ---- the rest of a layer; operations as the sources spell them, exp and tanh as one

void PlanningBackend::rmsNorm(const float*, std::int64_t, const float*, float, float,
                              std::int64_t rows, std::int64_t cols, float*, std::int64_t) {
    note({.kernel = "rmsNormKernel",
          .read = (number(rows * cols) + number(cols)) * kFloat,
          .written = number(rows * cols) * kFloat,
          .float32 = 5 * number(rows * cols)});
}

void PlanningBackend::layerNorm(const float*, std::int64_t, const float*, const float* b, float,
                                std::int64_t rows, std::int64_t cols, float*, std::int64_t) {
    note({.kernel = "layerNormKernel",
          .read = (number(rows * cols) + number(cols) * (b ? 2 : 1)) * kFloat,
          .written = number(rows * cols) * kFloat,
          .float32 = 8 * number(rows * cols)});
}

void PlanningBackend::pointwise(const char* kernel, std::int64_t count, double readEach,
                                double operationsEach) {
    if (count > 0)
        note({.kernel = kernel,
              .read = number(count) * readEach * kFloat,
              .written = number(count) * kFloat,
              .float32 = number(count) * operationsEach});
}
void PlanningBackend::siluMul(float*, const float*, std::int64_t count) {
    pointwise("pointwiseKernel<SiluMul>", count, 2, 5);
}
void PlanningBackend::geluTanhMul(float*, const float*, std::int64_t count) {
    pointwise("pointwiseKernel<GeluTanhMul>", count, 2, 10);
}
void PlanningBackend::geluTanh(float*, std::int64_t count) {
    pointwise("inPlaceKernel<GeluTanh>", count, 1, 9);
}
void PlanningBackend::add(float*, const float*, std::int64_t count) {
    pointwise("pointwiseKernel<Add>", count, 2, 1);
}
void PlanningBackend::softcap(float*, float, std::int64_t count) {
    pointwise("inPlaceKernel<Softcap>", count, 1, 3);
}

void PlanningBackend::rope(float*, std::int64_t tokens, std::int64_t, std::int64_t heads,
                           std::int64_t headDim, const float*) {
    const double values = number(tokens * heads * headDim);
    note({.kernel = "ropeKernel",
          .read = (values + number(tokens * headDim)) * kFloat,
          .written = values * kFloat,
          .float32 = 3 * values});
}

void PlanningBackend::appendKv(const float*, const float*, std::int64_t, void*, void*,
                               kernels::KvType type, std::int64_t, std::int64_t,
                               std::int64_t tokens, std::int64_t kvHeads, std::int64_t headDim) {
    const double values = 2 * number(tokens * kvHeads * headDim);
    note({.kernel = kernels::hasScales(type) ? "appendScaledKvKernel" : "appendKvKernel",
          .read = values * kFloat,
          .written = tokenBytes(type, tokens * kvHeads, headDim)});
}

void PlanningBackend::keepKv(void*, void*, kernels::KvType type, std::int64_t, std::int64_t,
                             std::span<const std::int32_t> kept, std::int64_t kvHeads,
                             std::int64_t headDim) {
    const auto heads = static_cast<std::int64_t>(kept.size()) * kvHeads;
    if (heads == 0)
        return;
    const double moved = tokenBytes(type, heads, headDim);
    const double scales = kernels::hasScales(type) ? 2 * number(heads) * kFloat : 0;
    const double blocks =
        type == kernels::KvType::NvFp4 ? 2 * number(heads * (headDim / kernels::kKvBlock)) : 0;
    const double codes = moved - scales - blocks;
    note({.kernel = "keepKvKernel", .read = codes, .written = codes});
    if (scales > 0)
        note({.kernel = "keepKvKernel", .read = scales, .written = scales});
    if (blocks > 0)
        note({.kernel = "keepKvKernel", .read = blocks, .written = blocks});
}

void PlanningBackend::attendParts(const kernels::AttentionArgs& a) {
    double seen = 0;
    for (std::int64_t t = 0; t < a.tokens; ++t)
        seen += number(seenBy(a, t));
    const double parts = number(steps(a.past + a.tokens, cuda::kAttentionPart));
    const double queries = number(a.tokens * a.heads * a.headDim) * kFloat;
    const double between =
        number(a.tokens * a.heads) * parts * (number(a.headDim) + kPartHeader) * kFloat;
    note({.kernel = "attentionPartKernel",
          .read = cacheBytes(a) + queries,
          .written = between,
          .float32 = seen * number(a.heads) * (4 * number(a.headDim) + 5)});
    note({.kernel = "attentionJoinKernel",
          .read = between,
          .written = queries,
          .float32 = number(a.tokens * a.heads * a.headDim) * parts * 6});
}

void PlanningBackend::attendPrompt(const kernels::AttentionArgs& a) {
    // Dim, warps that share queries: as attentionPrefill() chooses them.
    const std::int64_t dim = a.headDim <= 64 ? 64 : a.headDim <= 128 ? 128 : 256;
    const std::int64_t shares = dim == 256 ? 2 : 1, warps = 4, queries = warps / shares * 16;
    std::int64_t tiles = 0;
    for (std::int64_t first = 0; first < a.tokens; first += queries) {
        const std::int64_t end = a.past + std::min(first + queries, a.tokens);
        const std::int64_t seen = a.past + first + 1 - seenBy(a, first);
        tiles += steps(end - seen, kPromptPositions);
    }
    const std::int64_t mmaOfTile = warps * (dim / 16 * 4 + 2 * (dim / 8 / shares));
    const double values = number(a.tokens * a.heads * a.headDim) * kFloat;
    note({.kernel = "attentionPrefillKernel",
          .read = cacheBytes(a) + values,
          .written = values,
          .half = number(tiles * a.heads * mmaOfTile) * kMmaOperations});
}

void PlanningBackend::attention(const kernels::AttentionArgs& args) {
    const bool prompt = args.kvType == kernels::KvType::F16 && args.headDim % 8 == 0 &&
                        args.headDim <= cuda::kMaxHeadDim;
    if (args.tokens > CudaBackend::kFewTokens && !args.parents && prompt)
        return attendPrompt(args);
    for (std::int64_t first = 0; first < args.tokens; first += CudaBackend::kFewTokens) {
        kernels::AttentionArgs turn = args;
        turn.past += first;
        turn.tokens = std::min(CudaBackend::kFewTokens, args.tokens - first);
        attendParts(turn);
    }
}

// ---- logits

void PlanningBackend::summarizeLogits(const float*, std::int64_t rows, std::int64_t count,
                                      kernels::RowSummary* out) {
    note({.kernel = "summarizeLogitsKernel",
          .read = number(rows * count) * kFloat,
          .written = number(rows) * sizeof *out,
          .float32 = 4 * number(rows * count)});
    std::fill(out, out + rows, kernels::RowSummary{});
}

void PlanningBackend::klDivergence(const float*, const kernels::RowSummary*, const float*,
                                   const kernels::RowSummary*, std::int64_t rows,
                                   std::int64_t count, double* out) {
    note({.kernel = "klDivergenceKernel",
          .read = 2 * number(rows * count) * kFloat,
          .written = number(rows) * sizeof *out,
          .float32 = 6 * number(rows * count)});
    std::fill(out, out + rows, 0.0);
}

void PlanningBackend::gather(const float*, std::int64_t rows, std::int64_t, const std::int32_t*,
                             float* out) {
    note({.kernel = "gatherColumnsKernel",
          .read = 2 * number(rows) * kFloat,
          .written = number(rows) * kFloat});
    std::fill(out, out + rows, 0.0F);
}

}  // namespace fettle
