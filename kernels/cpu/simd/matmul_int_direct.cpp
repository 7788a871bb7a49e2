#include "kernels/cpu/simd/int_scales.h"
#include "kernels/cpu/simd/matmul_int.h"
#include "kernels/cpu/simd/output.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

#if defined(__AVX2__)
constexpr int kTileRows = 4;
#else
constexpr int kTileRows = 1;
#endif
constexpr std::int64_t kPrefetchBytes = 4096;  // how far ahead of the codes being multiplied memory is asked for

struct Panel {
    const std::uint8_t* codes;
    const std::uint8_t* scales;
    const std::uint8_t* zeros;
    std::int64_t groups;
    std::int64_t groupsPerScale;
};

/// Exact integer sums of one group for M activation rows, the two halves of 16 k apart.
template <int Bits, int M>
FETTLE_INLINE void groupSums(const std::uint8_t* codes, const std::int8_t* act, std::int64_t stride,
                             I32x16 (&low)[M], I32x16 (&high)[M]) {
    FETTLE_UNROLL(8)
    for (int s = 0; s < 8; ++s) {
        const U8x64 w = stepCodes<Bits>(codes, s);
    FETTLE_UNROLL(4)
        for (int i = 0; i < M; ++i) {
            I32x16& sum = s < 4 ? low[i] : high[i];
            sum = dot<Bits>(sum, w, broadcast4(act + i * stride + 4 * s));
        }
    }
    FETTLE_UNROLL(8)
    for (int line = 0; line < Bits; ++line)
        prefetch(codes + kPrefetchBytes + 64 * line);
}

template <int Bits, ScaleLayout S, bool Zeros, int M>
void groupPanel(const MatmulArgs& a, const Panel& p, std::int64_t row, F32x16 (&f)[M]) {
    constexpr bool signedBytes = Bits == 8 && kSignedBytes;
    const IntActivations& x = a.ints;
    const std::int8_t* act = x.codes + row * x.codeStride;
    const std::int64_t at = row * p.groups;
    const std::int64_t blocks = p.groups / p.groupsPerScale;
    const std::uint8_t* codes = p.codes;
    Scales<S> scales;
    scales.section = p.scales;
    for (std::int64_t b = 0, g = 0; b < blocks; ++b) {
        scales.block(b);
        const I32x16 zero = Zeros ? loadU8(p.zeros + 16 * b) : zeroI();
        for (std::int64_t j = 0; j < p.groupsPerScale; ++j, ++g, codes += 64 * Bits, act += 32) {
            I32x16 low[M], high[M];
            for (int i = 0; i < M; ++i) {
                const std::int64_t r = at + i * p.groups + g;
                high[i] = S == ScaleLayout::Sub16 ? setI(x.starts[2 * r + 1]) : zeroI();
                if constexpr (Zeros)
                    low[i] = sub(zeroI(), mul(zero, setI(x.sums[r])));
                else if constexpr (S == ScaleLayout::Sub16)
                    low[i] = setI(x.starts[2 * r]);
                else
                    low[i] = kHasMin<S> || signedBytes ? zeroI() : setI(x.starts[r]);
            }
            groupSums<Bits>(codes, act, x.codeStride, low, high);
            const F32x16 scale = scales.scale(j);
            for (int i = 0; i < M; ++i) {
                const std::int64_t r = at + i * p.groups + g;
                I32x16 sum;
                if constexpr (S == ScaleLayout::Sub16)
                    sum = add(mul(low[i], scales.subScale(j, 0)), mul(high[i], scales.subScale(j, 1)));
                else
                    sum = add(low[i], high[i]);
                f[i] = fma(mul(toF(sum), setF(x.scales[r])), scale, f[i]);
                if constexpr (kHasMin<S>)
                    f[i] = fma(setF(x.weightedSums[r]), scales.min(j), f[i]);
            }
        }
    }
}

template <int M>
void channelPanel(const MatmulArgs& a, const Panel& p, std::int64_t row, F32x16 (&f)[M]) {
    const IntActivations& x = a.ints;
    const F32x16 scale = loadF(p.scales);
    F32x16 total[M];
    for (int i = 0; i < M; ++i)
        total[i] = zeroF();
    const std::int64_t spans = (p.groups + kExactGroups - 1) / kExactGroups;
    for (std::int64_t span = 0; span < spans; ++span) {
        const std::int64_t begin = span * kExactGroups;
        const std::int64_t end = begin + kExactGroups < p.groups ? begin + kExactGroups : p.groups;
        I32x16 low[M], high[M];
        for (int i = 0; i < M; ++i) {
            low[i] = kSignedBytes ? zeroI() : setI(x.starts[(row + i) * spans + span]);
            high[i] = zeroI();
        }
        for (std::int64_t g = begin; g < end; ++g)
            groupSums<8>(p.codes + 512 * g, x.codes + row * x.codeStride + 32 * g, x.codeStride, low, high);
        for (int i = 0; i < M; ++i)
            total[i] = add(total[i], toF(add(low[i], high[i])));
    }
    for (int i = 0; i < M; ++i)
        f[i] = mul(mul(total[i], setF(x.scales[row + i])), scale);
}

template <int Bits, ScaleLayout S, bool Zeros, int M>
void rows(const MatmulArgs& a, const Panel& p, std::int64_t panel, std::int64_t row) {
    F32x16 f[M];
    for (int i = 0; i < M; ++i)
        f[i] = zeroF();
    if constexpr (S == ScaleLayout::Channel)
        channelPanel<M>(a, p, row, f);
    else
        groupPanel<Bits, S, Zeros, M>(a, p, row, f);
    for (int i = 0; i < M; ++i)
        writeOutputs(a, row + i, panel, f[i]);
}

template <int Bits, ScaleLayout S, bool Zeros>
void panels(const MatmulArgs& a, std::int64_t begin, std::int64_t end) {
    const PackedLayout& l = *a.layout;
    for (std::int64_t panel = begin; panel < end; ++panel) {
        const std::uint8_t* at = a.weight + static_cast<std::size_t>(panel) * l.panelBytes;
        const Panel p = {at, at + l.scaleOffset, at + l.zeroOffset, l.groups, l.groupsPerScale};
        std::int64_t row = 0;
        for (; row + kTileRows <= a.m; row += kTileRows)
            rows<Bits, S, Zeros, kTileRows>(a, p, panel, row);
        switch (a.m - row) {  // fewer than a tile
            case 3: rows<Bits, S, Zeros, kTileRows < 3 ? kTileRows : 3>(a, p, panel, row); break;
            case 2: rows<Bits, S, Zeros, kTileRows < 2 ? kTileRows : 2>(a, p, panel, row); break;
            case 1: rows<Bits, S, Zeros, 1>(a, p, panel, row); break;
            default: break;
        }
    }
}

template <ScaleLayout S>
void fourBits(const MatmulArgs& a, std::int64_t begin, std::int64_t end) {
    if (a.layout->zeroPoints)
        panels<4, S, true>(a, begin, end);
    else
        panels<4, S, false>(a, begin, end);
}

}  // namespace

void intDirect(const MatmulArgs& a, std::int64_t begin, std::int64_t end) {
    const int bits = a.layout->codeBits;
    switch (a.layout->scales) {
        case ScaleLayout::F16:
            if (bits == 8)
                panels<8, ScaleLayout::F16, false>(a, begin, end);
            else if (bits == 5)
                panels<5, ScaleLayout::F16, false>(a, begin, end);
            else
                fourBits<ScaleLayout::F16>(a, begin, end);
            return;
        case ScaleLayout::BF16: return fourBits<ScaleLayout::BF16>(a, begin, end);
        case ScaleLayout::F32: return fourBits<ScaleLayout::F32>(a, begin, end);
        case ScaleLayout::F16Min:
            return bits == 5 ? panels<5, ScaleLayout::F16Min, false>(a, begin, end)
                             : panels<4, ScaleLayout::F16Min, false>(a, begin, end);
        case ScaleLayout::SubMin:
            return bits == 5 ? panels<5, ScaleLayout::SubMin, false>(a, begin, end)
                             : panels<4, ScaleLayout::SubMin, false>(a, begin, end);
        case ScaleLayout::Sub16: return panels<6, ScaleLayout::Sub16, false>(a, begin, end);
        case ScaleLayout::Channel: return panels<8, ScaleLayout::Channel, false>(a, begin, end);
        case ScaleLayout::None: return;
    }
}

}  // namespace fettle::kernels::FETTLE_SIMD
