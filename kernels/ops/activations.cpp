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

void quantize(const Activations& x, std::int64_t group, Activations::Quantized& q,
              WorkerPool& pool) {
    const std::int64_t m = x.rows(), k = x.cols(), groups = group > 0 ? k / group : 0;
    q.group = group;
    q.codeStride = (k + 63) / 64 * 64;
    if (q.codeStride % 1024 == 0)
        q.codeStride += 64;
    q.codes.resize(static_cast<std::size_t>(m * q.codeStride));
    q.scales.resize(static_cast<std::size_t>(m * groups));
    q.sums.resize(q.scales.size());
    q.weightedSums.resize(q.scales.size());
    q.halfSums.resize(group == kGroupValues ? 2 * q.scales.size() : 0);
    q.startsKey = -1;
    const KernelTable& table = kernels();
    const auto body = [&](std::int64_t begin, std::int64_t end, int) {
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
                                      m};
            table.quantizeRow(&row);
            std::fill(codes + k, codes + q.codeStride, std::int8_t{0});
        }
    };
    if (m * k < kParallelValues)
        body(0, m, 0);
    else
        // Whole cache lines of [k/group, m] per thread.
        pool.parallelFor(m, std::max<std::int64_t>(1, kParallelValues / 4 / k / 16) * 16,
                         std::ref(body));
    q.valid = true;
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
    m_perToken.valid = m_perGroup.valid = false;
}

const Activations::Quantized& Activations::perToken(WorkerPool& pool) {
    if (!m_perToken.valid)
        quantize(*this, m_k, m_perToken, pool);
    return m_perToken;
}

const Activations::Quantized& Activations::perGroup32(WorkerPool& pool) {
    if (m_k % kGroupValues != 0)
        throw std::invalid_argument("activations: " + std::to_string(m_k) +
                                    " columns are no multiple of 32");
    if (!m_perGroup.valid)
        quantize(*this, kGroupValues, m_perGroup, pool);
    return m_perGroup;
}

const Activations::Quantized& Activations::startsFor(const PackedLayout& layout, WorkerPool& pool) {
    const bool token = layout.scales == ScaleLayout::Channel,
               halves = layout.scales == ScaleLayout::Sub16;
    token ? perToken(pool) : perGroup32(pool);
    Quantized& q = token ? m_perToken : m_perGroup;
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

}  // namespace fettle::kernels
