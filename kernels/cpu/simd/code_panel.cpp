// Codes chosen column by column, four vectors of rows at a time; see ops/code_panel.h. Rounding and
// holding within the grid are those of fake_quant.cpp.
#include "kernels/cpu/quant_table.h"
#include "kernels/cpu/simd/math.h"
#include "kernels/cpu/simd/nf4.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

constexpr int kVectors = static_cast<int>(kCodeRows / 16);

// Rows of a and vectors of lanes that a product keeps in registers.
#if defined(__AVX512F__)
constexpr int kRows = 8, kTogether = 2;
#elif defined(__AVX2__)
constexpr int kRows = 4, kTogether = 1;
#else
constexpr int kRows = 2, kTogether = 1;
#endif

template <int Rows>
FETTLE_INLINE void productRows(const PanelProduct& p, std::int64_t first, std::int64_t lane) {
    F32x16 sums[Rows][kTogether];
    const float* a = p.a + first * p.aRow;
    float* out = p.out + first * kCodeRows + lane;
    FETTLE_UNROLL(8)
    for (int r = 0; r < Rows; ++r)
        FETTLE_UNROLL(2)
    for (int v = 0; v < kTogether; ++v)
        sums[r][v] = p.accumulate ? loadF(out + r * kCodeRows + 16 * v) : zeroF();
    for (std::int64_t k = 0; k < p.steps; ++k) {
        F32x16 x[kTogether];
        FETTLE_UNROLL(2)
        for (int v = 0; v < kTogether; ++v)
            x[v] = loadF(p.x + k * kCodeRows + lane + 16 * v);
        FETTLE_UNROLL(8)
        for (int r = 0; r < Rows; ++r) {
            const F32x16 factor = setF(a[r * p.aRow + k * p.aStep]);
            FETTLE_UNROLL(2)
            for (int v = 0; v < kTogether; ++v)
                sums[r][v] = fma(factor, x[v], sums[r][v]);
        }
    }
    FETTLE_UNROLL(8)
    for (int r = 0; r < Rows; ++r)
        FETTLE_UNROLL(2)
    for (int v = 0; v < kTogether; ++v)
        storeF(out + r * kCodeRows + 16 * v, sums[r][v]);
}

using Kind = CodeRule::Kind;

/// The code nearest to x, in units of the scale.
template <Kind K>
FETTLE_INLINE F32x16 codeOf(const CodeRule& rule, F32x16 x, F32x16 shift) {
    const CodeGrid& g = rule.grid;
    if constexpr (K == Kind::Table) {
        return nearestOf16(rule.table, x);
    } else {
        F32x16 lowest = setF(g.lowest), highest = setF(g.highest);
        if constexpr (K == Kind::Whole) {
            lowest = add(lowest, shift);
            highest = add(highest, shift);
        }
        if constexpr (K == Kind::Shifted)
            x = sub(x, shift);
        x = min(max(x, lowest), highest);
        F32x16 spacing = setF(g.smallest * g.magic);
        if constexpr (K == Kind::Floating)
            spacing = mul(max(binade(x), setF(g.smallest)), setF(g.magic));
        const F32x16 code = sub(add(x, spacing), spacing);
        return K == Kind::Shifted ? add(code, shift) : code;
    }
}

template <Kind K>
void tryScalesOf(const ScaleTrial& t) {
    for (std::int64_t lane = 0; lane < kCodeRows; lane += 16) {
        const F32x16 scale = loadF(t.scales + lane), inverse = div(setF(1), scale), none = zeroF();
        F32x16 error = none, wq = none, qq = none;
        for (std::int64_t j = 0; j < t.n; ++j) {
            const F32x16 w = loadF(t.w + j * kCodeRows + lane);
            const F32x16 h = setF(t.h ? t.h[j] : 1);
            const F32x16 q = codeOf<K>(t.rule, mul(w, inverse), none);
            const F32x16 d = sub(w, mul(q, scale));
            error = add(error, mul(mul(h, d), d));
            wq = add(wq, mul(mul(h, w), q));
            qq = add(qq, mul(mul(h, q), q));
        }
        storeF(t.error + lane, error);
        storeF(t.wq + lane, wq);
        storeF(t.qq + lane, qq);
    }
}

template <Kind K>
void sweepColumnsOf(const PanelSweep& s) {
    for (std::int64_t j = 0; j < s.width; ++j) {
        const float* factor = s.factor + j * s.factorStride;
        F32x16 sums[kVectors];
        for (int v = 0; v < kVectors; ++v)
            sums[v] = loadF(s.sums + j * kCodeRows + 16 * v);
        for (std::int64_t i = 0; i < j; ++i) {
            const F32x16 f = setF(factor[i]);
            FETTLE_UNROLL(4)
            for (int v = 0; v < kVectors; ++v)
                sums[v] = fma(f, loadF(s.errors + i * kCodeRows + 16 * v), sums[v]);
        }
        const F32x16 own = setF(factor[j]);
        const std::int64_t column = s.columns[j] * kCodeRows,
                           group = s.columns[j] / s.group * kCodeRows;
        for (int v = 0; v < kVectors; ++v) {
            const std::int64_t lane = 16 * v;
            const F32x16 w = loadF(s.weights + column + lane),
                         scale = loadF(s.scales + group + lane),
                         shift = loadF(s.shifts + group + lane);
            const F32x16 target = add(w, div(sums[v], own));
            const F32x16 q = codeOf<K>(s.rule, mul(target, div(setF(1), scale)), shift);
            const F32x16 value = mul(q, scale);
            storeF(s.codes + column + lane, q);
            storeF(s.errors + j * kCodeRows + lane, sub(w, value));
            const F32x16 left = mul(sub(target, value), own);
            storeF(s.losses + lane, fma(left, left, loadF(s.losses + lane)));
        }
    }
}

template <Kind K>
void improveCodesOf(const PanelDescent& d) {
    for (std::int64_t j = 0; j < d.width; ++j) {
        const float* gram = d.gram + j * d.gramStride;
        const std::int64_t group = (d.firstColumn + j) / d.group * kCodeRows;
        const F32x16 curve = setF(gram[j] + d.ridge), ridge = setF(d.ridge);
        float* codes = d.codes + j * kCodeRows;
        float* own = d.gradient + j * kCodeRows;
        F32x16 change[kVectors];
        F32x16 most = zeroF();
        for (int v = 0; v < kVectors; ++v) {
            const std::int64_t lane = 16 * v;
            const F32x16 scale = loadF(d.scales + group + lane),
                         shift = loadF(d.shifts + group + lane), code = loadF(codes + lane);
            const F32x16 wanted = add(mul(code, scale), div(loadF(own + lane), curve));
            const F32x16 best = codeOf<K>(d.rule, mul(wanted, div(setF(1), scale)), shift);
            change[v] = mul(sub(code, best), scale);
            most = max(most, abs(change[v]));
            storeF(codes + lane, best);
        }
        if (!(maxLanes(most) > 0))
            continue;
        for (std::int64_t i = 0; i < d.width; ++i) {
            const F32x16 h = setF(gram[i]);
            float* to = d.gradient + i * kCodeRows;
            FETTLE_UNROLL(4)
            for (int v = 0; v < kVectors; ++v)
                storeF(to + 16 * v, fma(h, change[v], loadF(to + 16 * v)));
        }
        for (int v = 0; v < kVectors; ++v)
            storeF(own + 16 * v, fma(ridge, change[v], loadF(own + 16 * v)));
    }
}

template <class Args, class F>
FETTLE_INLINE void byKind(const Args& args, const F& f) {
    switch (args.rule.kind) {
        case Kind::Whole:
            return f.template operator()<Kind::Whole>(args);
        case Kind::Shifted:
            return f.template operator()<Kind::Shifted>(args);
        case Kind::Floating:
            return f.template operator()<Kind::Floating>(args);
        case Kind::Table:
            return f.template operator()<Kind::Table>(args);
    }
}

void product(const PanelProduct* product) {
    for (std::int64_t lane = 0; lane < kCodeRows; lane += 16 * kTogether) {
        std::int64_t row = 0;
        for (; row + kRows <= product->count; row += kRows)
            productRows<kRows>(*product, row, lane);
        for (; row < product->count; ++row)
            productRows<1>(*product, row, lane);
    }
}
void solve(const PanelSolve* solve) {
    const PanelSolve& s = *solve;
    for (std::int64_t i = 0; i < s.width; ++i) {
        const float* t = s.t + i * s.tRow;
        float* own = s.x + i * s.xStep;
        F32x16 sums[kVectors];
        for (int v = 0; v < kVectors; ++v)
            sums[v] = loadF(s.sums + i * s.xStep + 16 * v);
        for (std::int64_t k = 0; k < i; ++k) {
            const F32x16 factor = setF(t[k * s.tStep]);
            FETTLE_UNROLL(4)
            for (int v = 0; v < kVectors; ++v)
                sums[v] = fma(factor, loadF(s.x + k * s.xStep + 16 * v), sums[v]);
        }
        const F32x16 diagonal = setF(t[i * s.tStep]);
        for (int v = 0; v < kVectors; ++v)
            storeF(own + 16 * v, div(sub(loadF(own + 16 * v), sums[v]), diagonal));
    }
}
void trial(const ScaleTrial* trial) {
    byKind(*trial, []<Kind K>(const ScaleTrial& t) { tryScalesOf<K>(t); });
}
void sweep(const PanelSweep* sweep) {
    byKind(*sweep, []<Kind K>(const PanelSweep& s) { sweepColumnsOf<K>(s); });
}
void descent(const PanelDescent* descent) {
    byKind(*descent, []<Kind K>(const PanelDescent& d) { improveCodesOf<K>(d); });
}

}  // namespace

extern const QuantTable kQuantTable;
const QuantTable kQuantTable = {product, solve, trial, sweep, descent};

}  // namespace fettle::kernels::FETTLE_SIMD
