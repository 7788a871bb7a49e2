#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

#include "kernels/cpu/kernel_table.h"
#include "kernels/ops/matmul.h"

namespace fettle::kernels {
namespace {

constexpr std::int64_t kParallelValues =
    32768;  // below this, quantizing is cheaper than waking a thread

using Quantized = Activations::Quantized;

/// Calls body(begin, end) for runs of rows, in parallel when that pays: whole cache lines of
/// [k/group, m] per thread.
template <class Body>
void eachRow(const Activations& x, WorkerPool& pool, const Body& body) {
    const auto part = [&](std::int64_t begin, std::int64_t end, int) { body(begin, end); };
    if (x.rows() * x.cols() < kParallelValues)
        return part(0, x.rows(), 0);
    pool.parallelFor(x.rows(), std::max<std::int64_t>(1, kParallelValues / 4 / x.cols() / 16) * 16,
                     std::ref(part));
}

void resize(const Activations& x, std::int64_t group, Quantized& q) {
    const std::int64_t m = x.rows(), k = x.cols(), groups = group > 0 ? k / group : 0;
    q.group = group;
    q.codeStride = (k + 63) / 64 * 64;
    if (q.codeStride % 1024 == 0)
        q.codeStride += 64;
    q.codes.resize(static_cast<std::size_t>(m * q.codeStride));
    q.scales.resize(static_cast<std::size_t>(m * groups));
    const bool whole = group == k && group != kGroupValues;
    q.sums.resize(static_cast<std::size_t>(whole ? m : m * (k / kGroupValues)));
    q.weightedSums.resize(q.sums.size());
    q.halfSums.resize(whole ? 0 : 2 * q.sums.size());
    q.startsKey = -1;
}

/// int8 with the vector code: per token (group = k) or per 32; under the scale `fixed` unless 0.
void quantizeInt8(const Activations& x, std::int64_t group, float fixed, Quantized& q,
                  WorkerPool& pool) {
    const std::int64_t m = x.rows(), k = x.cols();
    resize(x, group, q);
    q.globalScale = fixed;
    const KernelTable& table = kernels();
    eachRow(x, pool, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            std::int8_t* codes = q.codes.data() + i * q.codeStride;
            const QuantizedRow row = {x.data() + i * x.stride(),
                                      k,
                                      group,
                                      codes,
                                      q.scales.data() + i,
                                      q.sums.data() + i,
                                      q.weightedSums.data() + i,
                                      q.halfSums.empty() ? nullptr : q.halfSums.data() + i,
                                      m,
                                      fixed};
            table.quantizeRow(&row);
            std::fill(codes + k, codes + q.codeStride, std::int8_t{0});
        }
    });
}

/// Sums and scales of row i, whose codes are there, with one scale for every `block` values (a
/// multiple of q.group or a whole row).
void finishRow(const Activations& x, std::int64_t i, const float* scales, std::int64_t block,
               Quantized& q) {
    const std::int64_t m = x.rows();
    std::int8_t* codes = q.codes.data() + i * q.codeStride;
    std::fill(codes + x.cols(), codes + q.codeStride, std::int8_t{0});
    for (std::int64_t h = 0; h < x.cols() / 16; ++h) {
        const auto at = static_cast<std::size_t>(h * m + i);
        q.halfSums[at] = std::accumulate(codes + 16 * h, codes + 16 * h + 16, 0);
        if (q.group == 16)
            q.scales[at] = scales[16 * h / block];
        if (h % 2 == 0)
            continue;
        const auto group = static_cast<std::size_t>(h / 2 * m + i);
        q.sums[group] = q.halfSums[at - static_cast<std::size_t>(m)] + q.halfSums[at];
        if (q.group == 16)
            continue;
        q.scales[group] = scales[16 * h / block];
        q.weightedSums[group] = q.scales[group] * static_cast<float>(q.sums[group]);
    }
}

/// Any format in groups of 32 or 16, by its definition.
void quantizeGrouped(const Activations& x, ActivationFormat format, std::int64_t group,
                     float globalScale, Quantized& q, WorkerPool& pool) {
    const std::int64_t k = x.cols();
    const std::int64_t block = activationBlock(format) > 0 ? activationBlock(format) : k;
    resize(x, group, q);
    q.globalScale = globalScale;
    eachRow(x, pool, [&](std::int64_t begin, std::int64_t end) {
        std::vector<float> scales(static_cast<std::size_t>(k / block));
        for (std::int64_t i = begin; i < end; ++i) {
            quantizeActivations(format, x.data() + i * x.stride(), k, globalScale,
                                q.codes.data() + i * q.codeStride, scales.data());
            finishRow(x, i, scales.data(), block, q);
        }
    });
}

/// Per token: one start for every kExactGroups groups.
void tokenStarts(const Activations& x, int zero, Activations::Quantized& q) {
    const std::int64_t span = kExactGroups * kGroupValues, spans = (x.cols() + span - 1) / span;
    q.starts.resize(static_cast<std::size_t>(x.rows() * spans));
    for (std::int64_t i = 0; i < x.rows(); ++i) {
        const std::int8_t* codes = q.codes.data() + i * q.codeStride;
        for (std::int64_t s = 0; s < spans; ++s) {
            const std::int32_t sum =
                spans == 1 ? q.sums[static_cast<std::size_t>(i)]
                           : std::accumulate(codes + s * span,
                                             codes + std::min(x.cols(), (s + 1) * span), 0);
            q.starts[static_cast<std::size_t>(s * x.rows() + i)] = -zero * sum;
        }
    }
}

}  // namespace

void Activations::assign(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride) {
    if (m < 0 || k <= 0 || (m > 1 && stride < k))
        throw std::invalid_argument("activations: bad shape [" + std::to_string(m) + ", " +
                                    std::to_string(k) + "], stride " + std::to_string(stride));
    m_x = x;
    m_m = m;
    m_k = k;
    m_stride = stride;
    m_perToken.valid = m_perTensor.valid = false;
    m_fp8Format = ActivationFormat::None;
    m_hasPairs = false;
    m_tileParts = 0;
    for (auto& forms : m_grouped)
        for (Quantized& q : forms)
            q.valid = false;
}

Activations::Quantized& Activations::formFor(const PackedLayout& layout, WorkerPool& pool) {
    const ActivationFormat format = layout.activations;
    const bool fixed = format == ActivationFormat::Int8Tensor;
    if (layout.scales == ScaleLayout::Channel) {
        Quantized& q = fixed ? m_perTensor : m_perToken;
        const float scale = fixed ? layout.inputGlobalScale : 0.0F;
        if (!q.valid || q.globalScale != scale)
            quantizeInt8(*this, m_k, scale, q, pool);
        q.valid = true;
        return q;
    }
    if (m_k % kGroupValues != 0)
        throw std::invalid_argument("activations: " + std::to_string(m_k) +
                                    " columns are no multiple of 32");
    const bool halves = layout.scales == ScaleLayout::E4M3Halves;
    Quantized& q = m_grouped[static_cast<std::size_t>(format)][halves ? 1 : 0];
    const bool same =
        (format != ActivationFormat::NvFp4 && !fixed) || q.globalScale == layout.inputGlobalScale;
    if (q.valid && same)
        return q;
    if (format == ActivationFormat::Int8Group32 && !halves)
        quantizeInt8(*this, kGroupValues, 0, q, pool);
    else
        quantizeGrouped(*this, format, halves ? 16 : kGroupValues, layout.inputGlobalScale, q,
                        pool);
    q.valid = true;
    return q;
}

const Activations::Quantized& Activations::startsFor(const PackedLayout& layout, WorkerPool& pool) {
    const bool token = layout.scales == ScaleLayout::Channel,
               halves =
                   layout.scales == ScaleLayout::Sub16 || layout.scales == ScaleLayout::E4M3Halves;
    Quantized& q = formFor(layout, pool);
    const std::int64_t key = layout.zero * 2 + (halves ? 1 : 0);
    if (q.startsKey == key)
        return q;
    if (token) {
        tokenStarts(*this, layout.zero, q);
    } else {
        const std::vector<std::int32_t>& sums = halves ? q.halfSums : q.sums;
        q.starts.resize(sums.size());
        for (std::size_t i = 0; i < sums.size(); ++i)
            q.starts[i] = -layout.zero * sums[i];
    }
    q.startsKey = key;
    return q;
}

const std::uint32_t* Activations::bfloat16Pairs(WorkerPool& pool) {
    if (m_hasPairs)
        return m_pairs.data();
    const std::int64_t stride = (m_k + 1) / 2;
    m_pairs.resize(static_cast<std::size_t>(m_m * stride));
    const Bfloat16Kernels& table = bfloat16Kernels();
    eachRow(*this, pool, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
            table.packRow(m_x + i * m_stride, m_k, m_pairs.data() + i * stride);
    });
    m_hasPairs = true;
    return m_pairs.data();
}

const std::uint32_t* Activations::tileRows(const PackedLayout& layout, WorkerPool& pool) {
    const int parts = layout.tileParts;
    if (m_tileParts != parts) {
        constexpr std::int64_t width = 16;
        const std::int64_t steps = m_k / kGroupValues, perRow = steps * parts;
        const auto lines = static_cast<std::size_t>(m_m * perRow + kTileSlack / width);
        if (m_tileRows.size() < lines)
            m_tileRows.resize(lines);
        const TileKernels& table = tileKernels();
        eachRow(*this, pool, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                const std::int64_t row = i % layout.tileRows, first = i - row;
                const std::int64_t rows = std::min<std::int64_t>(layout.tileRows, m_m - first);
                table.packRow(
                    m_x + i * m_stride, m_k, parts,
                    m_tileRows[static_cast<std::size_t>(first * perRow + row)].pairs.data(),
                    rows * parts * width, rows * width);
            }
        });
        m_tileParts = parts;
    }
    return m_tileRows.front().pairs.data();
}

const float* Activations::roundedToFp8(ActivationFormat format, WorkerPool& pool) {
    if (m_fp8Format == format)
        return m_fp8.data();
    m_fp8.resize(static_cast<std::size_t>(m_m * m_k));
    eachRow(*this, pool, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
            roundActivations(format, m_x + i * m_stride, m_k, m_fp8.data() + i * m_k);
    });
    m_fp8Format = format;
    return m_fp8.data();
}

}  // namespace fettle::kernels
