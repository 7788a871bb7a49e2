// Weights and activations of bfloat16 with VDPBF16PS: two steps of k a lane and instruction, the
// panels as they are packed. Each output is one chain of sums in float32 over the pairs of k, in
// order, however many rows are computed together.
#include "kernels/cpu/bf16/pack.h"
#include "kernels/cpu/simd/output.h"
#include "kernels/cpu/simd/row_parts.h"

namespace fettle::kernels::bf16 {
namespace {

// Few rows leave registers for four panels, whose chains keep the unit busy.
constexpr int kMostRows = 12, kFewRows = 4;
// How far ahead memory is asked for, over all panels that are read side by side.
constexpr std::int64_t kPrefetchBytes = 8192;

/// M activation rows x P neighbouring panels. A function of its own: inlined, few rows take twice
/// as long (gcc 12).
template <int M, int P>
__attribute__((noinline)) void tile(const MatmulArgs& a, std::int64_t panel, std::int64_t row) {
    const PackedLayout& l = *a.layout;
    const auto next = static_cast<std::int64_t>(l.panelBytes);
    const std::uint8_t* w = a.weight + panel * next;
    const std::uint8_t* const end = w + next;
    const std::uint32_t* x = a.pairs + row * a.pairStride;
    __m512 f[M][P];
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < P; ++p)
            f[i][p] = _mm512_setzero_ps();
    for (; w < end; w += 64, ++x) {
        // Behind the end of these panels the next ones are asked for.
        const std::uint8_t* ahead = w + kPrefetchBytes / P;
        ahead += ahead >= end ? (P - 1) * next : 0;
        __m512bh weights[P];
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
            weights[p] = (__m512bh)_mm512_loadu_si512(w + p * next);
            __asm__("" : "+v"(weights[p]));  // or gcc loads it again for each row
            _mm_prefetch(ahead + p * next, _MM_HINT_T0);
        }
#pragma GCC unroll 12
        for (int i = 0; i < M; ++i) {
            const auto pair = (__m512bh)_mm512_set1_epi32(static_cast<int>(x[i * a.pairStride]));
#pragma GCC unroll 4
            for (int p = 0; p < P; ++p)
                f[i][p] = _mm512_dpbf16_ps(f[i][p], weights[p], pair);
        }
    }
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < P; ++p)
            writeOutputs(a, row + i, panel + p, {f[i][p]});
}

/// Rows [row, row + M) of panels [begin, end).
template <int M>
void tiles(const MatmulArgs& a, std::int64_t begin, std::int64_t end, std::int64_t row) {
    constexpr int P = M <= kFewRows ? 4 : 2;
    std::int64_t panel = begin;
    for (; panel + P <= end; panel += P)
        tile<M, P>(a, panel, row);
    if (P > 2 && panel + 2 <= end) {
        tile<M, 2>(a, panel, row);
        panel += 2;
    }
    for (; panel < end; ++panel)
        tile<M, 1>(a, panel, row);
}

void panels(const MatmulArgs* args, std::int64_t begin, std::int64_t end) {
    inEvenParts<kMostRows>(args->m, begin, end,
                           [&]<int M>(std::int64_t panel, std::int64_t last, std::int64_t row) {
                               tiles<M>(*args, panel, last, row);
                           });
}

void packRow(const float* x, std::int64_t count, std::uint32_t* out) {
    std::int64_t k = 0;
    for (; k + 32 <= count; k += 32)
        _mm512_storeu_si512(out + k / 2, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + k + 16),
                                                                      _mm512_loadu_ps(x + k)));
    if (k < count)
        _mm512_mask_storeu_epi32(out + k / 2, firstLanes(pairs(count - k)),
                                 neighbours(x + k, count - k));
}

}  // namespace

extern const Bfloat16Kernels kMatmul;
const Bfloat16Kernels kMatmul = {panels, packRow};

}  // namespace fettle::kernels::bf16
