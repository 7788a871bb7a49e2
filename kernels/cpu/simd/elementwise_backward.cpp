// Gradients of norms and activations. Formulas: elementwise_backward.h.
#include "kernels/cpu/simd/lanes.h"
#include "kernels/cpu/simd/train_tables.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

FETTLE_INLINE std::int64_t rowStart(const RowPlace& p, std::int64_t row, std::int64_t cols) {
    return p.inner == 1 ? row * p.outerStride
                        : row / p.inner * p.outerStride + row % p.inner * cols;
}

FETTLE_INLINE F32x16 sigmoid(F32x16 x) {
    return div(setF(1.0F), add(setF(1.0F), exp(sub(zeroF(), x))));
}

/// gelu(x) of the tanh form and its derivative. With u = 2 sqrt(2/pi) (x + 0.044715 x^3) and s =
/// sigmoid(u): gelu = x s, its derivative s + x s (1 - s) u'. Hendrycks & Gimpel 2016.
struct Gelu {
    F32x16 value, slope;
};
FETTLE_INLINE Gelu gelu(F32x16 x) {
    const F32x16 square = mul(x, x);
    const F32x16 u = mul(fma(mul(square, x), setF(0.044715F), x), setF(1.5957691216057308F));
    const F32x16 du = mul(fma(square, setF(3 * 0.044715F), setF(1.0F)), setF(1.5957691216057308F));
    const F32x16 s = sigmoid(u);
    // The gate closes faster than du grows; where s is 0 or 1 in float the product is taken as 0.
    const F32x16 rest = mul(s, sub(setF(1.0F), s));
    const F32x16 bend = selectLess(zeroF(), rest, mul(mul(x, rest), du), zeroF());
    return {mul(x, s), add(s, bend)};
}

}  // namespace

void rmsNormBackward(const NormBackwardArgs* args, std::int64_t begin, std::int64_t end,
                     float* dw) {
    // y = x r g with r = (mean x^2 + eps)^-1/2, g = w + offset: dx = r (dy g - x r^2 mean(dy g x)),
    // dw = sum dy x r
    const NormBackwardArgs& a = *args;
    const F32x16 offset = setF(a.offset);
    const auto count = static_cast<float>(a.cols);
    for (std::int64_t r = begin; r < end; ++r) {
        const float* x = a.x + rowStart(a.xPlace, r, a.cols);
        const float* dy = a.dy + rowStart(a.dyPlace, r, a.cols);
        float* dx = a.dx + rowStart(a.dxPlace, r, a.cols);
        F32x16 squares = zeroF(), products = zeroF();
        eachVector(a.cols, [&](std::int64_t i, std::int64_t n) {
            const F32x16 v = take(x + i, n, 0);
            squares = fma(v, v, squares);
            products = fma(mul(take(dy + i, n, 0), v), add(take(a.w + i, n, 0), offset), products);
        });
        const float inverse = 1.0F / __builtin_sqrtf(sumLanes(squares) / count + a.eps);
        const F32x16 factor = setF(inverse);
        const F32x16 pull = setF(inverse * inverse * inverse * sumLanes(products) / count);
        eachVector(a.cols, [&](std::int64_t i, std::int64_t n) {
            const F32x16 v = take(x + i, n, 0), d = take(dy + i, n, 0);
            const F32x16 g = add(take(a.w + i, n, 0), offset);
            put(dw + i, n, fma(mul(d, v), factor, take(dw + i, n, 0)));
            const F32x16 result = sub(mul(mul(d, g), factor), mul(v, pull));
            put(dx + i, n, a.accumulate ? add(take(dx + i, n, 0), result) : result);
        });
    }
}

void layerNormBackward(const NormBackwardArgs* args, std::int64_t begin, std::int64_t end,
                       float* dw, float* db) {
    // With h = (x - mean) r: dx = r (g - mean g - h mean(g h)), g = dy w
    const NormBackwardArgs& a = *args;
    const auto count = static_cast<float>(a.cols);
    for (std::int64_t r = begin; r < end; ++r) {
        const float* x = a.x + rowStart(a.xPlace, r, a.cols);
        const float* dy = a.dy + rowStart(a.dyPlace, r, a.cols);
        float* dx = a.dx + rowStart(a.dxPlace, r, a.cols);
        F32x16 sum = zeroF();
        eachVector(a.cols,
                   [&](std::int64_t i, std::int64_t n) { sum = add(sum, take(x + i, n, 0)); });
        const float mean = sumLanes(sum) / count;
        const F32x16 center = setF(mean);
        F32x16 squares = zeroF(), slopes = zeroF(), products = zeroF();
        eachVector(a.cols, [&](std::int64_t i, std::int64_t n) {
            const F32x16 v = sub(take(x + i, n, mean), center);
            const F32x16 g = mul(take(dy + i, n, 0), take(a.w + i, n, 0));
            squares = fma(v, v, squares);
            slopes = add(slopes, g);
            products = fma(g, v, products);
        });
        const float inverse = 1.0F / __builtin_sqrtf(sumLanes(squares) / count + a.eps);
        const F32x16 factor = setF(inverse), meanSlope = setF(sumLanes(slopes) / count);
        const F32x16 pull = setF(inverse * inverse * sumLanes(products) / count);
        eachVector(a.cols, [&](std::int64_t i, std::int64_t n) {
            const F32x16 v = sub(take(x + i, n, mean), center), d = take(dy + i, n, 0);
            const F32x16 g = mul(d, take(a.w + i, n, 0));
            put(dw + i, n, fma(mul(d, v), factor, take(dw + i, n, 0)));
            put(db + i, n, add(d, take(db + i, n, 0)));
            const F32x16 result = mul(factor, sub(sub(g, meanSlope), mul(v, pull)));
            put(dx + i, n, a.accumulate ? add(take(dx + i, n, 0), result) : result);
        });
    }
}

void gatedForward(const GatedForwardArgs* args, std::int64_t begin, std::int64_t end) {
    const GatedForwardArgs& a = *args;
    for (std::int64_t r = begin; r < end; ++r) {
        const float* gate = a.gate + r * a.inStride;
        const float* up = a.up + r * a.inStride;
        float* out = a.out + r * a.outStride;
        if (a.kind == GatedKind::Silu)
            eachVector(a.cols, [&](std::int64_t i, std::int64_t n) {
                // The order of operations of the inference kernel.
                const F32x16 x = take(gate + i, n, 0);
                const F32x16 silu = div(x, add(setF(1.0F), exp(sub(zeroF(), x))));
                put(out + i, n, mul(silu, take(up + i, n, 0)));
            });
        else if (a.kind == GatedKind::GeluTanh)
            eachVector(a.cols, [&](std::int64_t i, std::int64_t n) {
                put(out + i, n, mul(gelu(take(gate + i, n, 0)).value, take(up + i, n, 0)));
            });
        else
            eachVector(a.cols, [&](std::int64_t i, std::int64_t n) {
                put(out + i, n, gelu(take(up + i, n, 0)).value);
            });
    }
}

void siluMulBackward(const GatedBackwardArgs* args, std::int64_t begin, std::int64_t end) {
    const GatedBackwardArgs& a = *args;
    for (std::int64_t r = begin; r < end; ++r)
        eachVector(a.cols, [&](std::int64_t i, std::int64_t n) {
            const F32x16 x = take(a.gate + r * a.inStride + i, n, 0);
            const F32x16 u = take(a.up + r * a.inStride + i, n, 0);
            const F32x16 d = take(a.dOut + r * a.outStride + i, n, 0);
            const F32x16 s = sigmoid(x);
            const F32x16 slope = mul(s, fma(x, sub(setF(1.0F), s), setF(1.0F)));
            put(a.dUp + r * a.gradStride + i, n, mul(d, mul(x, s)));
            put(a.dGate + r * a.gradStride + i, n, mul(mul(d, u), slope));
        });
}

void geluTanhMulBackward(const GatedBackwardArgs* args, std::int64_t begin, std::int64_t end) {
    const GatedBackwardArgs& a = *args;
    for (std::int64_t r = begin; r < end; ++r)
        eachVector(a.cols, [&](std::int64_t i, std::int64_t n) {
            const Gelu g = gelu(take(a.gate + r * a.inStride + i, n, 0));
            const F32x16 u = take(a.up + r * a.inStride + i, n, 0);
            const F32x16 d = take(a.dOut + r * a.outStride + i, n, 0);
            put(a.dUp + r * a.gradStride + i, n, mul(d, g.value));
            put(a.dGate + r * a.gradStride + i, n, mul(mul(d, u), g.slope));
        });
}

void geluTanhBackward(const GatedBackwardArgs* args, std::int64_t begin, std::int64_t end) {
    const GatedBackwardArgs& a = *args;
    for (std::int64_t r = begin; r < end; ++r)
        eachVector(a.cols, [&](std::int64_t i, std::int64_t n) {
            const Gelu g = gelu(take(a.up + r * a.inStride + i, n, 0));
            put(a.dUp + r * a.gradStride + i, n,
                mul(take(a.dOut + r * a.outStride + i, n, 0), g.slope));
        });
}

void softcapBackward(const float* y, float cap, float* dy, std::int64_t count) {
    eachVector(count, [&](std::int64_t i, std::int64_t n) {
        const F32x16 ratio = div(take(y + i, n, 0), setF(cap));
        put(dy + i, n, mul(take(dy + i, n, 0), sub(setF(1.0F), mul(ratio, ratio))));
    });
}

void addScaled(float* y, const float* x, float factor, std::int64_t count) {
    eachVector(count, [&](std::int64_t i, std::int64_t n) {
        put(y + i, n, fma(take(x + i, n, 0), setF(factor), take(y + i, n, 0)));
    });
}

}  // namespace fettle::kernels::FETTLE_SIMD
