#include "kernels/cpu/simd/math.h"
#include "kernels/cpu/simd/tables.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

constexpr std::int64_t kLanes = 16;
constexpr std::int64_t kSumBlock =
    1024;  // float sums run over this many values, sums of blocks in double

/// f(vector at i, lanes used) over [0, count), the last one partial.
template <class F>
FETTLE_INLINE void eachVector(std::int64_t count, const F& f) {
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
        f(i, kLanes);
    if (i < count)
        f(i, count - i);
}

FETTLE_INLINE F32x16 take(const float* x, std::int64_t lanes, float rest) {
    return lanes == kLanes ? loadF(x) : loadPart(x, lanes, rest);
}
FETTLE_INLINE void put(float* x, std::int64_t lanes, F32x16 v) {
    if (lanes == kLanes)
        storeF(x, v);
    else
        storePart(x, lanes, v);
}

/// Sum of f(i) over the vectors of a row, on four independent chains.
template <class F>
FETTLE_INLINE float sumRow(std::int64_t count, const F& f) {
    F32x16 s[4] = {zeroF(), zeroF(), zeroF(), zeroF()};
    std::int64_t i = 0;
    for (; i + 4 * kLanes <= count; i += 4 * kLanes)
        for (int c = 0; c < 4; ++c)
            s[c] = f(s[c], i + c * kLanes, kLanes);
    for (; i < count; i += kLanes)
        s[0] = f(s[0], i, count - i < kLanes ? count - i : kLanes);
    return sumLanes(add(add(s[0], s[1]), add(s[2], s[3])));
}

FETTLE_INLINE F32x16 gelu(F32x16 x) {
    // x/2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3); Hendrycks & Gimpel
    // 2016
    const F32x16 cubic = fma(mul(mul(x, x), x), setF(0.044715F), x);
    return div(x, add(setF(1.0F), exp(mul(cubic, setF(-1.5957691216057308F)))));
}

}  // namespace

void rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset, float eps,
             std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride) {
    for (std::int64_t r = 0; r < rows; ++r, x += xStride, y += yStride) {
        const float sum = sumRow(cols, [&](F32x16 s, std::int64_t i, std::int64_t n) {
            const F32x16 v = take(x + i, n, 0);
            return fma(v, v, s);
        });
        const F32x16 factor = setF(1.0F / __builtin_sqrtf(sum / static_cast<float>(cols) + eps));
        eachVector(cols, [&](std::int64_t i, std::int64_t n) {
            put(y + i, n,
                mul(mul(take(x + i, n, 0), factor), add(take(w + i, n, 0), setF(offset))));
        });
    }
}

void layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b, float eps,
               std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride) {
    const auto count = static_cast<float>(cols);
    for (std::int64_t r = 0; r < rows; ++r, x += xStride, y += yStride) {
        const float mean = sumRow(cols, [&](F32x16 s, std::int64_t i,
                                            std::int64_t n) { return add(s, take(x + i, n, 0)); }) /
                           count;
        const F32x16 center = setF(mean);
        const float square = sumRow(cols, [&](F32x16 s, std::int64_t i, std::int64_t n) {
            const F32x16 v = sub(take(x + i, n, mean), center);
            return fma(v, v, s);
        });
        const F32x16 factor = setF(1.0F / __builtin_sqrtf(square / count + eps));
        eachVector(cols, [&](std::int64_t i, std::int64_t n) {
            const F32x16 v = mul(sub(take(x + i, n, 0), center), factor);
            put(y + i, n, fma(v, take(w + i, n, 0), b ? take(b + i, n, 0) : zeroF()));
        });
    }
}

void siluMul(float* gate, const float* up, std::int64_t count) {
    eachVector(count, [&](std::int64_t i, std::int64_t n) {
        const F32x16 x = take(gate + i, n, 0);
        const F32x16 silu = div(x, add(setF(1.0F), exp(sub(zeroF(), x))));
        put(gate + i, n, mul(silu, take(up + i, n, 0)));
    });
}

void geluTanhMul(float* gate, const float* up, std::int64_t count) {
    eachVector(count, [&](std::int64_t i, std::int64_t n) {
        put(gate + i, n, mul(gelu(take(gate + i, n, 0)), take(up + i, n, 0)));
    });
}

void geluTanh(float* x, std::int64_t count) {
    eachVector(count,
               [&](std::int64_t i, std::int64_t n) { put(x + i, n, gelu(take(x + i, n, 0))); });
}

void add(float* y, const float* x, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        y[i] += x[i];
}

void scale(float* x, float factor, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        x[i] *= factor;
}

void softcap(float* x, float cap, std::int64_t count) {
    eachVector(count, [&](std::int64_t i, std::int64_t n) {
        put(x + i, n, mul(setF(cap), tanh(div(take(x + i, n, 0), setF(cap)))));
    });
}

void rope(float* x, std::int64_t heads, std::int64_t headDim, const float* cosSin) {
    const std::int64_t half = headDim / 2;
    for (std::int64_t h = 0; h < heads; ++h, x += headDim) {
        eachVector(half, [&](std::int64_t i, std::int64_t n) {
            const F32x16 c = take(cosSin + i, n, 0), s = take(cosSin + half + i, n, 0);
            const F32x16 a = take(x + i, n, 0), b = take(x + half + i, n, 0);
            put(x + i, n, sub(mul(a, c), mul(b, s)));
            put(x + half + i, n, add(mul(b, c), mul(a, s)));
        });
    }
}

float maximum(const float* x, std::int64_t count) {
    F32x16 largest[4];
    for (F32x16& m : largest)
        m = setF(x[0]);
    std::int64_t i = 0;
    for (; i + 4 * kLanes <= count; i += 4 * kLanes)
        for (int c = 0; c < 4; ++c)
            largest[c] = max(loadF(x + i + c * kLanes), largest[c]);
    float value = maxLanes(max(max(largest[0], largest[1]), max(largest[2], largest[3])));
    for (; i < count; ++i)
        value = x[i] > value ? x[i] : value;
    return value;
}

namespace {

struct Largest {
    float value;
    std::int64_t index;  ///< the first one
};

Largest largestOf(const float* x, std::int64_t count) {
    constexpr std::int64_t kBlock = 16 * kLanes;
    const float value = maximum(x, count);
    const F32x16 wanted = setF(value), zero = zeroF(), one = setF(1.0F);
    for (std::int64_t begin = 0; begin < count; begin += kBlock) {
        const std::int64_t end = begin + kBlock < count ? begin + kBlock : count;
        if (end - begin == kBlock) {
            F32x16 here = zero;
            for (std::int64_t k = begin; k < end; k += kLanes)
                here = max(selectLess(loadF(x + k), wanted, zero, one), here);
            if (maxLanes(here) == 0)
                continue;
        }
        for (std::int64_t k = begin; k < end; ++k)
            if (x[k] == value)
                return {value, k};
    }
    return {value, 0};  // not a number
}

}  // namespace

std::int64_t argmax(const float* x, std::int64_t count) {
    return largestOf(x, count).index;
}

void summarizeLogits(const float* x, std::int64_t count, RowSummary* out) {
    const Largest largest = largestOf(x, count);
    out->argmax = largest.index;
    double sum = 0;
    const F32x16 shift = setF(largest.value);
    for (std::int64_t begin = 0; begin < count; begin += kSumBlock) {
        const std::int64_t block = begin + kSumBlock < count ? kSumBlock : count - begin;
        sum += static_cast<double>(sumRow(block, [&](F32x16 s, std::int64_t k, std::int64_t n) {
            return add(s, exp(sub(take(x + begin + k, n, -__builtin_inff()), shift)));
        }));
    }
    out->logSumExp = static_cast<float>(static_cast<double>(largest.value) + __builtin_log(sum));
}

double klDivergence(const float* p, float pLogSumExp, const float* q, float qLogSumExp,
                    std::int64_t count) {
    const F32x16 shift = setF(pLogSumExp);
    const F32x16 apart = setF(static_cast<float>(static_cast<double>(qLogSumExp) - pLogSumExp));
    double sum = 0;
    for (std::int64_t begin = 0; begin < count; begin += kSumBlock) {
        const std::int64_t block = begin + kSumBlock < count ? kSumBlock : count - begin;
        sum += static_cast<double>(sumRow(block, [&](F32x16 s, std::int64_t k, std::int64_t n) {
            const F32x16 logits = take(p + begin + k, n, -__builtin_inff());
            const F32x16 probability = exp(sub(logits, shift));
            // log p - log q; the logits' difference is exact where they are close, which is where
            // precision counts.
            const F32x16 ratio = add(sub(logits, take(q + begin + k, n, 0)), apart);
            return add(s, selectLess(zeroF(), probability, mul(probability, ratio),
                                     probability));  // 0 log 0 = 0
        }));
    }
    return sum;
}

}  // namespace fettle::kernels::FETTLE_SIMD
