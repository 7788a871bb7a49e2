// Quantized and taken back. Values are held within the grid before they are rounded, which also
// keeps compilers from fusing the product with the addition that rounds.
#include "kernels/cpu/simd/lanes.h"
#include "kernels/cpu/simd/nf4.h"
#include "kernels/cpu/simd/train_tables.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

constexpr float kFlat = 0x1p-100F;  // blocks below count as zero: 127 / largest would overflow

struct Grid {
    F32x16 lowest, highest, smallest, magic;
};

FETTLE_INLINE F32x16 held(const Grid& grid, F32x16 v) {
    return min(max(v, grid.lowest), grid.highest);
}
/// The code nearest to a value within the grid.
template <CodeSpacing S>
FETTLE_INLINE F32x16 nearest(const Grid& grid, F32x16 v) {
    if constexpr (S == CodeSpacing::Nf4) {
        return nearestOf16(kNf4, v);
    } else {
        // Whole numbers lie evenly: below `smallest` there is one spacing.
        const F32x16 power =
            S == CodeSpacing::Binade ? max(binade(v), grid.smallest) : grid.smallest;
        const F32x16 c = mul(power, grid.magic);
        return sub(add(v, c), c);
    }
}
/// body.operator()<spacing>() with the spacing of a grid.
template <class Body>
FETTLE_INLINE void withSpacing(CodeSpacing spacing, const Body& body) {
    switch (spacing) {
        case CodeSpacing::Even:
            return body.template operator()<CodeSpacing::Even>();
        case CodeSpacing::Binade:
            return body.template operator()<CodeSpacing::Binade>();
        case CodeSpacing::Nf4:
            return body.template operator()<CodeSpacing::Nf4>();
    }
}

FETTLE_INLINE Grid gridOf(const CodeGrid& g, float shift) {
    return {setF(g.lowest + shift), setF(g.highest + shift), setF(g.smallest), setF(g.magic)};
}

float floatOf(std::int32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
}

float roundedE4m3(float value) {
    constexpr float kSmallest = 0x1p-6F, kMagic = 12582912.0F / 8;
    std::int32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    const float power = floatOf(bits & 0x7F800000);
    const float c = (power > kSmallest ? power : kSmallest) * kMagic;
    return (value + c) - c;
}

/// What one unit of the grid stands for in a block with this largest magnitude; 0: all is zero.
float blockScale(const ActivationRounding& r, std::int32_t largestBits) {
    const float largest = floatOf(largestBits);
    if (largestBits >= 0x7F800000)
        return floatOf(0x7FC00000);  // NaN or infinite: so is the block
    if (r.scale == ActivationRounding::Scale::Fixed)
        return r.globalScale;
    if (r.scale == ActivationRounding::Scale::E4m3) {
        const float wanted = r.globalScale * (largest / 6.0F);
        const float within = wanted < 0x1p-9F ? 0x1p-9F : wanted > 448.0F ? 448.0F : wanted;
        return roundedE4m3(within) / r.globalScale * 0.5F;  // the grid counts in halves
    }
    if (r.scale == ActivationRounding::Scale::E8m0 && r.grid.highest == 448.0F) {
        const std::int32_t exponent = ((largestBits + (1 << 21) - 1) >> 23) - 8;
        return floatOf(exponent <= 0 ? 0x00400000 : exponent << 23);
    }
    if (r.scale == ActivationRounding::Scale::E8m0) {
        // To two bits first: what would lie beyond 6 by more than half a step gets the next power.
        const std::int32_t exponent = ((largestBits + (1 << 21)) >> 23) - 2;
        return floatOf(exponent <= 0 ? 0x00400000 : (exponent > 254 ? 254 : exponent) << 23) * 0.5F;
    }
    return largest < kFlat ? 0.0F : largest / r.grid.highest;
}

void roundBlock(const ActivationRounding& r, const Grid& grid, const float* x, float* out) {
    I32x16 top = zeroI();
    eachVector(r.block, [&](std::int64_t i, std::int64_t n) {
        top = max(top, magnitudeBits(take(x + i, n, 0)));
    });
    const std::int32_t largest = maxLanes(top);
    const float scale = blockScale(r, largest);
    const F32x16 unit = setF(scale);
    if (scale == 0) {
        eachVector(r.block, [&](std::int64_t i, std::int64_t n) { put(out + i, n, unit); });
    } else if (r.grid.spacing == CodeSpacing::Binade) {
        eachVector(r.block, [&](std::int64_t i, std::int64_t n) {
            const F32x16 v = held(grid, div(take(x + i, n, 0), unit));
            put(out + i, n, mul(nearest<CodeSpacing::Binade>(grid, v), unit));
        });
    } else {
        const F32x16 inverse =
            setF(r.scale == ActivationRounding::Scale::Fixed ? 1.0F / scale
                                                             : r.grid.highest / floatOf(largest));
        eachVector(r.block, [&](std::int64_t i, std::int64_t n) {
            const F32x16 v = held(grid, mul(take(x + i, n, 0), inverse));
            put(out + i, n, mul(nearest<CodeSpacing::Even>(grid, v), unit));
        });
    }
}

constexpr std::int64_t kGroup = 32;
constexpr std::int64_t kGroupsAtOnce = 16;

/// roundBlock of whole numbers in up to sixteen groups of 32, whose scales are divided out
/// together.
void roundGroups(const Grid& grid, const float* x, std::int64_t groups, float* out) {
    std::int32_t largest[kGroupsAtOnce] = {};
    float amaxes[kGroupsAtOnce], scales[kGroupsAtOnce], inverses[kGroupsAtOnce];
    for (std::int64_t g = 0; g < groups; ++g)
        largest[g] = maxLanes(
            max(magnitudeBits(loadF(x + kGroup * g)), magnitudeBits(loadF(x + kGroup * g + 16))));
    __builtin_memcpy(amaxes, largest, sizeof amaxes);
    const F32x16 amax = loadF(amaxes), flat = setF(kFlat), zero = zeroF();
    const F32x16 scale = selectLess(amax, flat, zero, div(amax, grid.highest));
    storeF(scales, selectLess(amax, setF(floatOf(0x7F800000)), scale, setF(floatOf(0x7FC00000))));
    storeF(inverses, selectLess(amax, flat, zero, div(grid.highest, amax)));
    for (std::int64_t g = 0; g < groups; ++g) {
        const F32x16 unit = setF(scales[g]), inverse = setF(inverses[g]);
        for (std::int64_t i = kGroup * g; i < kGroup * (g + 1); i += 16) {
            const F32x16 v = held(grid, mul(loadF(x + i), inverse));
            storeF(out + i, mul(nearest<CodeSpacing::Even>(grid, v), unit));
        }
    }
}

}  // namespace

void fakeQuantRow(const ActivationRounding* rounding, const float* x, std::int64_t cols,
                  float* out) {
    const Grid grid = gridOf(rounding->grid, 0);
    if (rounding->block == kGroup && rounding->scale == ActivationRounding::Scale::Plain &&
        rounding->grid.spacing == CodeSpacing::Even) {
        constexpr std::int64_t kSpan = kGroupsAtOnce * kGroup;
        for (std::int64_t at = 0; at < cols; at += kSpan)
            roundGroups(grid, x + at, (cols - at < kSpan ? cols - at : kSpan) / kGroup, out + at);
        return;
    }
    for (std::int64_t at = 0; at < cols; at += rounding->block)
        roundBlock(*rounding, grid, x + at, out + at);
}

namespace {

template <CodeSpacing S>
void quantizeRows(const FakeQuantArgs& a, std::int64_t begin, std::int64_t end, float* out) {
    const std::int64_t groups = a.cols / a.group;
    for (std::int64_t g = begin * groups; g < end * groups; ++g) {
        const Grid grid = gridOf(a.grid, a.shift ? a.shift[g] : 0);
        const F32x16 inverse = setF(1.0F / a.step[g]), scale = setF(a.scale[g]);
        const float* w = a.w + g * a.group;
        float* to = out + g * a.group;
        eachVector(a.group, [&](std::int64_t i, std::int64_t n) {
            const F32x16 v = held(grid, mul(take(w + i, n, 0), inverse));
            put(to + i, n, mul(nearest<S>(grid, v), scale));
        });
    }
}

template <CodeSpacing S>
void backwardRows(const FakeQuantArgs& a, bool ofStep, std::int64_t begin, std::int64_t end,
                  float* grad, float* dScale) {
    const std::int64_t groups = a.cols / a.group;
    const F32x16 zero = zeroF();
    for (std::int64_t g = begin * groups; g < end * groups; ++g) {
        const Grid grid = gridOf(a.grid, a.shift ? a.shift[g] : 0);
        const F32x16 inverse = setF(1.0F / a.step[g]), ratio = setF(a.scale[g] / a.step[g]);
        const float* w = a.w + g * a.group;
        float* dy = grad + g * a.group;
        F32x16 sum = zero;
        eachVector(a.group, [&](std::int64_t i, std::int64_t n) {
            const F32x16 v = mul(take(w + i, n, 0), inverse);
            const F32x16 d = take(dy + i, n, 0), code = nearest<S>(grid, held(grid, v));
            F32x16 slope = code;
            if (ofStep)  // within the grid a step is felt as the rounding error
                slope = selectLess(grid.lowest, v, selectLess(v, grid.highest, sub(code, v), code),
                                   code);
            sum = fma(d, slope, sum);
            // Below the grid only a negative gradient, which raises w, may pass; above it likewise.
            const F32x16 low = min(d, zero), high = max(d, zero);
            const F32x16 passed =
                selectLess(v, grid.lowest, low, selectLess(grid.highest, v, high, d));
            put(dy + i, n, mul(passed, ratio));
        });
        if (dScale)
            dScale[g] += sumLanes(sum);
    }
}

}  // namespace

void fakeQuant(const FakeQuantArgs* args, std::int64_t begin, std::int64_t end, float* out) {
    withSpacing(args->grid.spacing,
                [&]<CodeSpacing S> { quantizeRows<S>(*args, begin, end, out); });
}

void fakeQuantBackward(const FakeQuantArgs* args, bool ofStep, std::int64_t begin, std::int64_t end,
                       float* grad, float* dScale) {
    withSpacing(args->grid.spacing,
                [&]<CodeSpacing S> { backwardRows<S>(*args, ofStep, begin, end, grad, dScale); });
}

}  // namespace fettle::kernels::FETTLE_SIMD
