// F32, F16, BF16, E4M3 and widened weights: float32 products, each output one chain of fused
// multiply-adds in K order, for E4M3 per channel times the scale in the end; those with scales in
// groups are scaled as they are read.
#include "kernels/cpu/simd/output.h"
#include "kernels/cpu/simd/row_parts.h"
#include "kernels/cpu/simd/tables.h"
#include "kernels/cpu/simd/tile.h"
#include "kernels/formats/small_float.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

// As many panels are read side by side as M rows leave registers for: chains of two steps leave a
// unit waiting for its own results where the weights come from a cache. Unpacking weights for whole
// blocks of rows pays only beyond kDirectParts times kDirectRows.
#if defined(__AVX512F__)
constexpr int kDirectRows = 8, kDirectParts = 4;
constexpr bool kFewRegisters = false;
constexpr int panelsBeside(int m) {
    return m <= 4 ? 4 : 2;
}
#elif defined(__AVX2__)
constexpr int kDirectRows = 5, kDirectParts = 4;
constexpr bool kFewRegisters = true;
constexpr int panelsBeside(int m) {
    return m == 1 ? 4 : m == 2 ? 2 : 1;
}
#else
constexpr int kDirectRows = 4, kDirectParts = 1;
constexpr bool kFewRegisters = true;
constexpr int panelsBeside(int m) {
    return m == 1 ? 4 : 2;
}
#endif
// How far ahead memory is asked for, over all panels that are read side by side: what is in flight
// decides how much of its bandwidth is reached.
constexpr std::int64_t kPrefetchBytes = 8192;
constexpr std::int64_t kPieceValues = 128;  // k per piece: two panels take 16 KiB as float
constexpr std::int64_t kBlockRows = 384;
constexpr int kTogether = 4;  // panels that take turns at a piece
// Of activations: what the first-level cache holds beside weights.
constexpr std::int64_t kLevelOneBytes = 24576;

struct Scratch {
    alignas(64) float weights[kTilePanels][kPieceValues][16];
    alignas(64) TileRow results[kBlockRows];
};
static_assert(sizeof(Scratch) <= kMatmulScratch);

template <WeightFormat F>
constexpr bool kGrouped =
    F == WeightFormat::MxFp8 || F == WeightFormat::MxFp6 || F == WeightFormat::Nf4Group;
template <WeightFormat F>
constexpr std::int64_t kStepBytes =
    F == WeightFormat::F32                         ? 64
    : F == WeightFormat::Nf4Group                  ? 8
    : F == WeightFormat::Fp8Channel || kGrouped<F> ? 16
                                                   : 32;  // one k of a panel

/// Scales of the group that k belongs to, for formats that have groups.
template <WeightFormat F>
FETTLE_INLINE F32x16 groupScale(const PackedLayout& l, const std::uint8_t* panel, std::int64_t k) {
    if constexpr (kGrouped<F>)
        return loadF(panel + l.scaleOffset + 64 * (k / l.scaleGroup));
    else
        return zeroF();
}

/// Weights of k and k + 1; `scale` is theirs as groupScale gives it.
template <WeightFormat F>
FETTLE_INLINE void loadPair(const std::uint8_t* p, F32x16 scale, F32x16& even, F32x16& odd) {
    if constexpr (kGrouped<F>) {
        if constexpr (F == WeightFormat::Nf4Group) {
            lookUpPair(p, kNf4, even, odd);
        } else if constexpr (F == WeightFormat::MxFp8) {
            even = loadE4m3(p);
            odd = loadE4m3(p + 16);
        } else {
            even = toF(loadI8(p));
            odd = toF(loadI8(p + 16));
        }
        even = mul(even, scale);
        odd = mul(odd, scale);
    } else if constexpr (F == WeightFormat::BF16) {
        even = evenBfloat(p);
        odd = oddBfloat(p);
    } else if constexpr (F == WeightFormat::F16) {
        even = loadHalf(p);
        odd = loadHalf(p + 32);
    } else if constexpr (F == WeightFormat::Fp8Channel) {
        even = loadE4m3(p);
        odd = loadE4m3(p + 16);
    } else {
        even = loadF(p);
        odd = loadF(p + 64);
    }
}

/// Times the channels' scales, where there are any.
template <WeightFormat F>
FETTLE_INLINE F32x16 scaled(const PackedLayout& l, const std::uint8_t* panel, F32x16 sum) {
    if constexpr (F == WeightFormat::Fp8Channel)
        return mul(sum, loadF(panel + l.scaleOffset));
    else
        return sum;
}

template <WeightFormat F>
FETTLE_INLINE F32x16 loadLast(const std::uint8_t* p) {
    if constexpr (F == WeightFormat::BF16)
        return evenBfloat(p);
    else if constexpr (F == WeightFormat::F16)
        return loadHalf(p);
    else if constexpr (F == WeightFormat::Fp8Channel)
        return loadE4m3(p);
    else
        return loadF(p);
}

/// Sums of some rows and neighbouring panels, at row * kTogether + panel.
using Sums = float[kDirectParts * kDirectRows * kTogether][16];

/// What of P neighbouring panels is multiplied, and what memory is asked for meanwhile.
struct Span {
    const std::uint8_t* weight;  // of the first panel
    std::int64_t begin, end;     // k; begin is even
    const std::uint8_t* ahead;   // asked for first
    std::int64_t aheadStep;      // on from there for every two k
    const std::uint8_t* jumpAt;  // from there on P - 1 panels, asked for already, are left out
};

/// M activation rows x P neighbouring panels straight from memory; P > 1 gives the adder
/// independent chains.
template <WeightFormat F, int M, int P>
void direct(const MatmulArgs& a, const Span& span, std::int64_t row, float (*sums)[16]) {
    const PackedLayout& l = *a.layout;
    const auto next = static_cast<std::int64_t>(l.panelBytes);
    const float* x = a.x + row * a.xStride;
    F32x16 f[M][P];
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < P; ++p)
            f[i][p] = loadF(sums[i * kTogether + p]);
    const std::uint8_t *w = span.weight + span.begin * kStepBytes<F>, *ahead = span.ahead;
    F32x16 scales[P];
    for (int p = 0; p < P; ++p)
        scales[p] = groupScale<F>(l, span.weight + p * next, span.begin);
    std::int64_t k = span.begin;
    for (; k + 2 <= span.end; k += 2, w += 2 * kStepBytes<F>, ahead += span.aheadStep) {
        const std::uint8_t* ask = ahead;
        if constexpr (P > 1)
            ask += ahead >= span.jumpAt ? (P - 1) * next : 0;
        if constexpr (kGrouped<F>)
            if (k % l.scaleGroup == 0)
                for (int p = 0; p < P; ++p)
                    scales[p] = groupScale<F>(l, span.weight + p * next, k);
        F32x16 even[P], odd[P];
        FETTLE_UNROLL(4)
        for (int p = 0; p < P; ++p) {
            const std::uint8_t* here = w + p * next;
            loadPair<F>(here, scales[p], even[p], odd[p]);
            prefetch(ask + p * next);
            if constexpr (kStepBytes<F> == 64)
                prefetch(ask + p * next + 64);
            if constexpr (kFewRegisters) {
                // One panel's weights at a time, and of one k: the other registers hold sums.
                FETTLE_UNROLL(8)
                for (int i = 0; i < M; ++i)
                    f[i][p] = fma(even[p], setF(x[i * a.xStride + k]), f[i][p]);
                asm("" : "+r"(here));  // to be read again, not kept
                loadPair<F>(here, scales[p], even[p], odd[p]);
                FETTLE_UNROLL(8)
                for (int i = 0; i < M; ++i)
                    f[i][p] = fma(odd[p], setF(x[i * a.xStride + k + 1]), f[i][p]);
            }
        }
        if constexpr (!kFewRegisters) {
            // All weights first: one row's values are then needed only for as long as they
            // multiply.
            FETTLE_UNROLL(8)
            for (int i = 0; i < M; ++i) {
                const F32x16 first = setF(x[i * a.xStride + k]),
                             second = setF(x[i * a.xStride + k + 1]);
                FETTLE_UNROLL(4)
                for (int p = 0; p < P; ++p) {
                    f[i][p] = fma(even[p], first, f[i][p]);
                    f[i][p] = fma(odd[p], second, f[i][p]);
                }
            }
        }
    }
    if (!kGrouped<F> && k < span.end)
        for (int p = 0; p < P; ++p)
            for (int i = 0; i < M; ++i)
                f[i][p] = fma(loadLast<F>(w + p * next), setF(x[i * a.xStride + k]), f[i][p]);
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < P; ++p)
            storeF(sums[i * kTogether + p], f[i][p]);
}

/// Whether rows and panels take turns at pieces of k. One or two rows are little beside the
/// weights.
bool inPieces(std::int64_t rows, std::int64_t cols, std::int64_t parts) {
    return parts > 1 || (rows > 2 && rows * cols * 4 > kLevelOneBytes);
}

/// The rows in parts of Most and of one less, as span says.
template <WeightFormat F, int Most, int P>
void directParts(const MatmulArgs& a, Span span, std::int64_t parts, float (*sums)[16]) {
    const std::int64_t whole = a.m - parts * (Most - 1);  // parts of Most rows
    const std::int64_t aheadBytes = (span.end - span.begin) / 2 * span.aheadStep;
    std::int64_t row = 0;
    for (std::int64_t part = 0; part < parts; ++part, span.ahead += aheadBytes) {
        if (Most == 1 || part < whole) {
            direct<F, Most, P>(a, span, row, sums + row * kTogether);
            row += Most;
        } else {
            direct<F, Most == 1 ? 1 : Most - 1, P>(a, span, row, sums + row * kTogether);
            row += Most - 1;
        }
    }
}

/// All rows x `count` neighbouring panels, P at once. Where there are several parts of rows, or
/// more activations than the first-level cache holds, parts and panels take turns at a piece of k:
/// what both read comes from that cache, and memory is asked for evenly.
template <WeightFormat F, int Most, int P>
void directPanels(const MatmulArgs& a, std::int64_t panel, std::int64_t count) {
    const PackedLayout& l = *a.layout;
    const auto next = static_cast<std::int64_t>(l.panelBytes);
    alignas(64) Sums sums;
    for (std::int64_t i = 0; i < a.m; ++i)
        for (std::int64_t p = 0; p < count; ++p)
            storeF(sums[i * kTogether + p], zeroF());
    const std::int64_t parts = (a.m + Most - 1) / Most;
    const std::uint8_t* const weight = a.weight + panel * next;
    Span span;
    if (inPieces(a.m, l.cols, parts)) {
        constexpr std::int64_t bytes = kPieceValues * kStepBytes<F>;
        constexpr std::int64_t visitsAhead = (kPrefetchBytes + P * bytes - 1) / (P * bytes);
        const std::int64_t perPiece = count / P;
        const std::int64_t visits = (l.cols + kPieceValues - 1) / kPieceValues * perPiece;
        span.aheadStep = 2 * kStepBytes<F> / parts;
        span.jumpAt = reinterpret_cast<const std::uint8_t*>(~std::uintptr_t{0});
        for (std::int64_t visit = 0; visit < visits; ++visit) {
            const std::int64_t p = visit % perPiece * P;
            std::int64_t ahead = visit + visitsAhead;
            span.weight = weight + p * next;
            span.begin = visit / perPiece * kPieceValues;
            span.end = l.cols - span.begin < kPieceValues ? l.cols : span.begin + kPieceValues;
            span.ahead = weight;
            if (ahead >= visits) {  // of the next panels
                ahead -= visits;
                span.ahead += count * next;
            }
            span.ahead += ahead % perPiece * P * next + ahead / perPiece * bytes;
            directParts<F, Most, P>(a, span, parts, sums + p);
        }
    } else {
        for (std::int64_t p = 0; p < count; p += P) {
            span.weight = weight + p * next;
            span.begin = 0;
            span.end = l.cols;
            span.ahead = span.weight + kPrefetchBytes / P;
            span.aheadStep = 2 * kStepBytes<F>;
            span.jumpAt = span.weight + next;
            directParts<F, Most, P>(a, span, parts, sums + p);
        }
    }
    for (std::int64_t i = 0; i < a.m; ++i)
        for (std::int64_t p = 0; p < count; ++p)
            writeOutputs(a, i, panel + p,
                         scaled<F>(l, weight + p * next, loadF(sums[i * kTogether + p])));
}

/// Values [from, from + count) of a panel's rows; `from` begins a piece, `count` is even where
/// there are groups.
template <WeightFormat F>
void unpack(const PackedLayout& l, const std::uint8_t* panel, std::int64_t from, std::int64_t count,
            float (*out)[16]) {
    const std::uint8_t* w = panel + from * kStepBytes<F>;
    F32x16 scale = zeroF();
    std::int64_t k = 0;
    for (; k + 2 <= count; k += 2) {
        if constexpr (kGrouped<F>)
            if (k == 0 || (from + k) % l.scaleGroup == 0)
                scale = groupScale<F>(l, panel, from + k);
        F32x16 even, odd;
        loadPair<F>(w + k * kStepBytes<F>, scale, even, odd);
        storeF(out[k], even);
        storeF(out[k + 1], odd);
    }
    if (k < count)
        storeF(out[k], loadLast<F>(w + k * kStepBytes<F>));
}

template <WeightFormat F>
void blocked(const MatmulArgs& a, std::int64_t panel, std::int64_t end, std::int64_t row,
             std::int64_t count, Scratch& scratch) {
    const PackedLayout& l = *a.layout;
    for (std::int64_t i = 0; i < count; ++i)
        for (int p = 0; p < kTilePanels; ++p)
            storeF(scratch.results[i][p], zeroF());
    for (std::int64_t k = 0; k < l.cols; k += kPieceValues) {
        const std::int64_t values = l.cols - k < kPieceValues ? l.cols - k : kPieceValues;
        const float* w[kTilePanels];
        for (int p = 0; p < kTilePanels; ++p) {
            const std::int64_t here = panel + p < end ? panel + p : end - 1;
            const std::uint8_t* from = a.weight + static_cast<std::size_t>(here) * l.panelBytes;
            if constexpr (F == WeightFormat::F32) {
                w[p] = reinterpret_cast<const float*>(from + k * kStepBytes<F>);
            } else {
                unpack<F>(l, from, k, values, scratch.weights[p]);
                w[p] = scratch.weights[p][0];
            }
        }
        multiplyRows(w, values, a.x + row * a.xStride + k, a.xStride, scratch.results, count);
    }
    for (std::int64_t i = 0; i < count; ++i)
        for (int p = 0; p < kTilePanels && panel + p < end; ++p)
            writeOutputs(a, row + i, panel + p,
                         scaled<F>(l, a.weight + static_cast<std::size_t>(panel + p) * l.panelBytes,
                                   loadF(scratch.results[i][p])));
}

template <WeightFormat F>
void panels(const MatmulArgs& a, std::int64_t begin, std::int64_t end, Scratch& scratch) {
    if (a.m <= kDirectParts * kDirectRows) {
        // The largest part decides how many panels go side by side.
        const std::int64_t parts = (a.m + kDirectRows - 1) / kDirectRows;
        return withRows<kDirectRows>((a.m + parts - 1) / parts, [&]<int Most>() {
            constexpr int P = panelsBeside(Most);
            std::int64_t panel = begin;
            for (; panel + kTogether <= end; panel += kTogether)
                directPanels<F, Most, P>(a, panel, kTogether);
            for (; panel + 2 <= end; panel += 2)
                directPanels<F, Most, (P < 2 ? P : 2)>(a, panel, 2);
            if (panel < end)
                directPanels<F, Most, 1>(a, panel, 1);
        });
    }
    for (std::int64_t panel = begin; panel < end; panel += kTilePanels)
        for (std::int64_t row = 0; row < a.m; row += kBlockRows)
            blocked<F>(a, panel, end, row, a.m - row < kBlockRows ? a.m - row : kBlockRows,
                       scratch);
}

}  // namespace

void plainPanels(const MatmulArgs* a, WeightFormat format, std::int64_t begin, std::int64_t end,
                 void* memory) {
    Scratch& scratch = *static_cast<Scratch*>(memory);
    if (format == WeightFormat::F32)
        panels<WeightFormat::F32>(*a, begin, end, scratch);
    else if (format == WeightFormat::F16)
        panels<WeightFormat::F16>(*a, begin, end, scratch);
    else if (format == WeightFormat::Fp8Channel)
        panels<WeightFormat::Fp8Channel>(*a, begin, end, scratch);
    else if (format == WeightFormat::MxFp8 || format == WeightFormat::Fp8Group)  // laid out alike
        panels<WeightFormat::MxFp8>(*a, begin, end, scratch);
    else if (format == WeightFormat::MxFp6)
        panels<WeightFormat::MxFp6>(*a, begin, end, scratch);
    else if (format == WeightFormat::Nf4Group)
        panels<WeightFormat::Nf4Group>(*a, begin, end, scratch);
    else
        panels<WeightFormat::BF16>(*a, begin, end, scratch);
}

}  // namespace fettle::kernels::FETTLE_SIMD
