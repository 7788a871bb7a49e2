#include "kernels/cpu/simd/int_scales.h"
#include "kernels/cpu/simd/matmul_int.h"
#include "kernels/cpu/simd/output.h"
#include "kernels/cpu/simd/row_parts.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

#if defined(__AVX2__)
constexpr int kTileRows = 8;
#else
constexpr int kTileRows = 1;
#endif
// How far ahead of the codes being multiplied memory is asked for. Measured on Zen 5: 4 KiB reaches
// 70 % of the bandwidth that these distances reach; narrow codes are multiplied faster and need
// more.
template <int Bits>
constexpr std::int64_t kPrefetchBytes = Bits == 8 ? 8192 : 12288;

struct Panel {
    const std::uint8_t* codes;
    const std::uint8_t* scales;
    const std::uint8_t* zeros;
    std::int64_t groups;
    std::int64_t groupsPerScale;
    std::int64_t bytes;       // to the next panel
    std::int64_t scaleBytes;  // of everything that is not codes
    std::int64_t scaleStep;   // of that, per group
};

/// Asks for what will be multiplied some groups from now: codes of this panel or the next, and the
/// next panel's scales, which are read beside its first codes.
template <int Bits>
FETTLE_INLINE void prefetchAhead(const Panel& p, const std::uint8_t* codes, std::int64_t g) {
    const std::uint8_t* ahead = codes + kPrefetchBytes<Bits>;
    ahead = opaque(ahead + (ahead >= p.scales ? p.scaleBytes : 0));
    FETTLE_UNROLL(8)
    for (int line = 0; line < kWidth<Bits>; ++line)
        prefetch(ahead + 64 * line);
    prefetch(p.scales + p.bytes + p.scaleStep * g);
}

/// Whether the sums of a group go in two halves of 16 k: where each has a scale of its own, and
/// where they are so few that they would wait for each other. AVX2 has them in memory anyway.
template <ScaleLayout S, int M>
constexpr bool kTwoSums =
    S == ScaleLayout::Sub16 || S == ScaleLayout::E4M3Halves || M <= 4 || kSignedBytes;

/// Exact integer sums of one group for M activation rows, in two halves or all in `low`.
template <int Bits, bool TwoSums, int M>
FETTLE_INLINE void groupSums(const std::uint8_t* codes, const std::int8_t* act, std::int64_t stride,
                             I32x16 (&low)[M], I32x16 (&high)[M]) {
    constexpr int steps = kDotSteps<Bits>;
    stride = opaque(stride);
    FETTLE_UNROLL(8)
    for (int s = 0; s < 8; s += steps) {
        U8x64 w[steps];
        for (int j = 0; j < steps; ++j)
            w[j] = stepCodes<Bits>(codes, s + j);
        FETTLE_UNROLL(8)
        for (int i = 0; i < M; ++i) {
            I32x16& sum = !TwoSums || s < 4 ? low[i] : high[i];
            sum = dotSteps<Bits>(sum, w, act + i * stride + 4 * s);
        }
    }
}

/// What the M integer sums of group g start from.
template <int Bits, ScaleLayout S, bool Zeros, int M>
FETTLE_INLINE void startSums(const IntActivations& x, std::int64_t row, std::int64_t g, I32x16 zero,
                             I32x16 (&low)[M], I32x16 (&high)[M]) {
    constexpr bool signedBytes = Bits == 8 && kSignedBytes;
    constexpr bool halves = S == ScaleLayout::Sub16 || S == ScaleLayout::E4M3Halves;
    for (int i = 0; i < M; ++i)
        low[i] = high[i] = zeroI();
    if constexpr (Zeros || halves || !(kHasMin<S> || signedBytes)) {
        const std::int32_t* const starts =
            opaque((Zeros ? x.sums : x.starts) + (halves ? 2 : 1) * g * x.stride + row);
        for (int i = 0; i < M; ++i) {
            low[i] = setI(starts[i]);
            if constexpr (Zeros)
                low[i] = sub(zeroI(), mul(zero, low[i]));
            if constexpr (halves)
                high[i] = setI(starts[x.stride + i]);
        }
    }
}

/// Scales and adds the integer sums of group g, the j-th of its scale block.
template <ScaleLayout S, int M>
FETTLE_INLINE void finishGroup(const IntActivations& x, std::int64_t row, std::int64_t g,
                               std::int64_t j, const Scales<S>& scales, const I32x16 (&low)[M],
                               const I32x16 (&high)[M], F32x16 (&f)[M]) {
    if constexpr (S == ScaleLayout::E4M3Halves) {
        const F32x16 first = scales.subScale(j, 0), second = scales.subScale(j, 1);
        const float* const actScales = opaque(x.scales + 2 * g * x.stride + row);
        for (int i = 0; i < M; ++i) {
            f[i] = fma(mul(toF(low[i]), setF(actScales[i])), first, f[i]);
            f[i] = fma(mul(toF(high[i]), setF(actScales[x.stride + i])), second, f[i]);
        }
        return;
    } else {
        const F32x16 scale = scales.scale(j);
        const float* const actScales = opaque(x.scales + g * x.stride + row);
        const float* const actSums = opaque(x.weightedSums + g * x.stride + row);
        for (int i = 0; i < M; ++i) {
            F32x16 sum;
            if constexpr (S == ScaleLayout::Sub16)  // whole numbers below 2^24: exact
                sum = fma(toF(high[i]), scales.subScale(j, 1),
                          mul(toF(low[i]), scales.subScale(j, 0)));
            else
                sum = toF(kTwoSums<S, M> ? add(low[i], high[i]) : low[i]);
            f[i] = fma(mul(sum, setF(actScales[i])), scale, f[i]);
            if constexpr (kHasMin<S>)
                f[i] = fma(setF(actSums[i]), scales.min(j), f[i]);
        }
    }
}

/// `Single`: every group has its own scale block.
template <int Bits, ScaleLayout S, bool Zeros, bool Single, int M>
void groupPanel(const MatmulArgs& a, const Panel& p, std::int64_t row, F32x16 (&f)[M]) {
    const IntActivations& x = a.ints;
    const std::int8_t* act = x.codes + row * x.codeStride;
    const std::uint8_t* codes = p.codes;
    const std::int64_t perBlock = Single ? 1 : p.groupsPerScale;
    Scales<S> scales;
    scales.section = p.scales;
    for (std::int64_t b = 0, g = 0; g < p.groups; ++b) {
        scales.block(b);
        const I32x16 zero = Zeros ? loadU8(p.zeros + 16 * b) : zeroI();
        for (std::int64_t j = 0; j < perBlock; ++j, ++g, codes += 64 * kWidth<Bits>, act += 32) {
            I32x16 low[M], high[M];
            startSums<Bits, S, Zeros>(x, row, g, zero, low, high);
            groupSums<Bits, kTwoSums<S, M>>(codes, act, x.codeStride, low, high);
            prefetchAhead<Bits>(p, codes, g);
            finishGroup(x, row, g, j, scales, low, high, f);
        }
    }
}

template <int Bits, ScaleLayout S, bool Zeros, bool Single, int M>
void rows(const MatmulArgs& a, const Panel& p, std::int64_t panel, std::int64_t row) {
    F32x16 f[M];
    for (int i = 0; i < M; ++i)
        f[i] = zeroF();
    groupPanel<Bits, S, Zeros, Single, M>(a, p, row, f);
    if constexpr (S == ScaleLayout::E4M3Halves)
        for (int i = 0; i < M; ++i)
            f[i] = mul(f[i], loadF(p.scales));
    for (int i = 0; i < M; ++i)
        writeOutputs(a, row + i, panel, f[i]);
}

/// The rows left after whole tiles.
template <int Bits, ScaleLayout S, bool Zeros, bool Single>
void fewerRows(const MatmulArgs& a, const Panel& p, std::int64_t panel, std::int64_t row) {
    constexpr int most = kTileRows;
    switch (a.m - row) {
        case 7:
            return rows < Bits, S, Zeros, Single, most < 7 ? most : 7 > (a, p, panel, row);
        case 3:
            return rows < Bits, S, Zeros, Single, most < 3 ? most : 3 > (a, p, panel, row);
        case 6:
            return rows < Bits, S, Zeros, Single, most < 6 ? most : 6 > (a, p, panel, row);
        case 5:
            return rows < Bits, S, Zeros, Single, most < 5 ? most : 5 > (a, p, panel, row);
        case 4:
            return rows < Bits, S, Zeros, Single, most < 4 ? most : 4 > (a, p, panel, row);
        case 2:
            return rows < Bits, S, Zeros, Single, most < 2 ? most : 2 > (a, p, panel, row);
        case 1:
            return rows<Bits, S, Zeros, Single, 1>(a, p, panel, row);
        default:
            return;
    }
}

template <int Bits, ScaleLayout S, bool Zeros, bool Single>
void panels(const MatmulArgs& a, std::int64_t begin, std::int64_t end) {
    const PackedLayout& l = *a.layout;
    for (std::int64_t panel = begin; panel < end; ++panel) {
        const std::uint8_t* at = a.weight + static_cast<std::size_t>(panel) * l.panelBytes;
        const auto bytes = static_cast<std::int64_t>(l.panelBytes),
                   codes = static_cast<std::int64_t>(l.scaleOffset);
        const Panel p = {
            at,    at + codes,    at + l.zeroOffset,         l.groups, l.groupsPerScale,
            bytes, bytes - codes, (bytes - codes) / l.groups};
        std::int64_t row = 0;
        for (; row + kTileRows <= a.m; row += kTileRows)
            rows<Bits, S, Zeros, Single, kTileRows>(a, p, panel, row);
        fewerRows<Bits, S, Zeros, Single>(a, p, panel, row);
    }
}

/// M activation rows x P neighbouring panels of bytes with one scale a row. Their sums are exact in
/// any order: panels share each load of activations, and few sums go in two halves, so as not to
/// wait for each other.
template <int M, int P>
void channelTile(const MatmulArgs& a, std::int64_t panel, std::int64_t row) {
    constexpr int kHalves = M * P <= 4 ? 2 : 1;
    const PackedLayout& l = *a.layout;
    const IntActivations& x = a.ints;
    const auto next = static_cast<std::int64_t>(l.panelBytes);
    const std::uint8_t* const start = a.weight + panel * next;
    const std::uint8_t* const end = start + l.scaleOffset;
    F32x16 total[M][P];
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < P; ++p)
            total[i][p] = zeroF();
    const std::uint8_t* codes = start;
    const std::int8_t* act = x.codes + row * x.codeStride;
    const std::int64_t spans = (l.groups + kExactGroups - 1) / kExactGroups;
    for (std::int64_t span = 0; span < spans; ++span) {
        const std::int64_t left = l.groups - span * kExactGroups;
        I32x16 sum[kHalves][M][P];
        for (int i = 0; i < M; ++i)
            for (int p = 0; p < P; ++p) {
                sum[kHalves - 1][i][p] = zeroI();
                sum[0][i][p] = kSignedBytes ? zeroI() : setI(x.starts[span * x.stride + row + i]);
            }
        for (std::int64_t g = 0; g < (left < kExactGroups ? left : kExactGroups); ++g) {
            // Behind the end of these panels the next ones are asked for.
            const std::uint8_t* ahead = codes + kPrefetchBytes<8> / P;
            ahead += ahead >= end ? (P - 1) * next : 0;
            const std::uint8_t *here[P], *ask[P];
            FETTLE_UNROLL(4)
            for (int p = 0; p < P; ++p) {
                here[p] = opaque(codes + p * next);
                ask[p] = opaque(ahead + p * next);
            }
            const std::int64_t stride = opaque(x.codeStride);
            constexpr int steps = kDotSteps<8>;
            FETTLE_UNROLL(8)
            for (int s = 0; s < 8; s += steps) {
                auto& half = sum[s * kHalves / 8];
                U8x64 w[P][steps];
                FETTLE_UNROLL(4)
                for (int p = 0; p < P; ++p)
                    for (int j = 0; j < steps; ++j) {
                        w[p][j] = stepCodes<8>(here[p], s + j);
                        prefetch(ask[p] + 64 * (s + j));
                    }
                FETTLE_UNROLL(8)
                for (int i = 0; i < M; ++i) {
                    FETTLE_UNROLL(4)
                    for (int p = 0; p < P; ++p)
                        half[i][p] = dotSteps<8>(half[i][p], w[p], act + i * stride + 4 * s);
                }
            }
            codes += 512;
            act += 32;
        }
        for (int i = 0; i < M; ++i)
            for (int p = 0; p < P; ++p)
                total[i][p] = add(
                    total[i][p],
                    toF(kHalves == 1 ? sum[0][i][p] : add(sum[0][i][p], sum[kHalves - 1][i][p])));
    }
    for (int p = 0; p < P; ++p) {
        const F32x16 scale = loadF(start + p * next + l.scaleOffset);
        for (int i = 0; i < M; ++i)
            writeOutputs(a, row + i, panel + p,
                         mul(mul(total[i][p], setF(x.scales[row + i])), scale));
    }
}

template <int M>
void channelTiles(const MatmulArgs& a, std::int64_t begin, std::int64_t end, std::int64_t row) {
#if defined(__AVX512F__)
    // One or two rows are a matter of memory, which one stream of codes reads fastest.
    constexpr int P = M <= 2 ? 1 : M <= 4 ? 4 : 2;
#else
    constexpr int P = 1;
#endif
    std::int64_t panel = begin;
    for (; panel + P <= end; panel += P)
        channelTile<M, P>(a, panel, row);
    for (; panel < end; ++panel)
        channelTile<M, 1>(a, panel, row);
}

void channelPanels(const MatmulArgs& a, std::int64_t begin, std::int64_t end) {
    inEvenParts<kTileRows>(a.m, begin, end,
                           [&]<int M>(std::int64_t panel, std::int64_t last, std::int64_t row) {
                               channelTiles<M>(a, panel, last, row);
                           });
}

/// Scales per group or per row, of integers without a minimum.
template <ScaleLayout S>
void grouped(const MatmulArgs& a, std::int64_t begin, std::int64_t end) {
    const PackedLayout& l = *a.layout;
    if (l.zeroPoints)
        return panels<4, S, true, false>(a, begin, end);
    switch (l.codeBits) {
        case 2:
            return panels<2, S, false, false>(a, begin, end);
        case 3:
            return panels<3, S, false, false>(a, begin, end);
        default:
            return l.groupsPerScale == 1 ? panels<4, S, false, true>(a, begin, end)
                                         : panels<4, S, false, false>(a, begin, end);
    }
}

}  // namespace

void intDirect(const MatmulArgs& a, std::int64_t begin, std::int64_t end) {
    using L = ScaleLayout;
    const int bits = a.layout->codeBits;
    switch (a.layout->scales) {
        case L::F16:
            if (bits == 8)
                panels<8, L::F16, false, true>(a, begin, end);
            else if (bits == 5)
                panels<5, L::F16, false, true>(a, begin, end);
            else
                grouped<L::F16>(a, begin, end);
            return;
        case L::BF16:
            return grouped<L::BF16>(a, begin, end);
        case L::F32:
            return bits == 8 ? panels<8, L::F32, false, false>(a, begin, end)
                             : grouped<L::F32>(a, begin, end);
        case L::E8M0:
            return panels<kE2m1, L::E8M0, false, true>(a, begin, end);
        case L::E4M3Halves:
            return panels<kE2m1, L::E4M3Halves, false, true>(a, begin, end);
        case L::F16Min:
            return bits == 5 ? panels<5, L::F16Min, false, true>(a, begin, end)
                             : panels<4, L::F16Min, false, true>(a, begin, end);
        case L::SubMin:
            return bits == 5 ? panels<5, L::SubMin, false, false>(a, begin, end)
                             : panels<4, L::SubMin, false, false>(a, begin, end);
        case L::Sub16:
            return bits == 3 ? panels<3, L::Sub16, false, false>(a, begin, end)
                             : panels<6, L::Sub16, false, false>(a, begin, end);
        case L::Channel:
            return channelPanels(a, begin, end);
        case L::None:
            return;
    }
}

}  // namespace fettle::kernels::FETTLE_SIMD
