// Activations to int8: scale = amax / 127, code = x * (127 / amax) rounded to even, within [-127,
// 127]; a whole row also under a given scale, codes beyond 127 clipped.
#include "kernels/cpu/simd/math.h"
#include "kernels/cpu/simd/tables.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

struct Step {
    float scale;
    float inverse;
};

Step stepOf(std::int32_t largestBits) {
    float amax;
    __builtin_memcpy(&amax, &largestBits, 4);
    if (amax < 0x1p-100F)  // 127 / amax would overflow; such values are as good as zero
        return {0.0F, 0.0F};
    return {amax / 127.0F, 127.0F / amax};
}

/// NaN becomes -128 (its scale is NaN and says so); the largest negative int32 would overflow the
/// sums.
FETTLE_INLINE I32x16 codesOf(F32x16 x, F32x16 inverse) {
    return max(roundI(mul(x, inverse)), setI(-128));
}

void quantizeGroups(const QuantizedRow& r) {
    for (std::int64_t g = 0, at = 0; g < r.count / 32; ++g, at += r.stride) {
        const F32x16 a = loadF(r.x + 32 * g), b = loadF(r.x + 32 * g + 16);
        const Step step = stepOf(maxLanes(max(magnitudeBits(a), magnitudeBits(b))));
        const I32x16 low = codesOf(a, setF(step.inverse)), high = codesOf(b, setF(step.inverse));
        storeI8(r.codes + 32 * g, low);
        storeI8(r.codes + 32 * g + 16, high);
        const std::int32_t lowSum = sumLanes(low), highSum = sumLanes(high);
        r.scales[at] = step.scale;
        r.sums[at] = lowSum + highSum;
        r.weightedSums[at] = step.scale * static_cast<float>(lowSum + highSum);
        r.halfSums[2 * at] = lowSum;
        r.halfSums[2 * at + r.stride] = highSum;
    }
}

/// Held within the codes first: beyond int32 there is nothing to clip any more.
FETTLE_INLINE I32x16 clippedCodesOf(F32x16 x, F32x16 inverse) {
    return roundI(min(max(mul(x, inverse), setF(-127.0F)), setF(127.0F)));
}

Step fixedStep(std::int32_t largestBits, float scale) {
    if (largestBits >= 0x7F800000)  // NaN or infinite: so is what comes of it
        return {__builtin_nanf(""), 0.0F};
    return {scale, 1.0F / scale};
}

void quantizeWhole(const QuantizedRow& r) {
    const std::int64_t whole = r.count / 16 * 16, rest = r.count - whole;
    const F32x16 tail = rest ? loadPart(r.x + whole, rest, 0) : zeroF();
    I32x16 largest = magnitudeBits(tail);
    for (std::int64_t i = 0; i < whole; i += 16)
        largest = max(largest, magnitudeBits(loadF(r.x + i)));
    const bool clips = r.fixed > 0;
    const Step step = clips ? fixedStep(maxLanes(largest), r.fixed) : stepOf(maxLanes(largest));
    const F32x16 inverse = setF(step.inverse);
    I32x16 sum = zeroI();
    for (std::int64_t i = 0; i < whole; i += 16) {
        const F32x16 x = loadF(r.x + i);
        const I32x16 codes = clips ? clippedCodesOf(x, inverse) : codesOf(x, inverse);
        storeI8(r.codes + i, codes);
        sum = add(sum, codes);
    }
    if (rest) {
        const I32x16 codes = clips ? clippedCodesOf(tail, inverse) : codesOf(tail, inverse);
        std::int8_t bytes[16];
        storeI8(bytes, codes);
        __builtin_memcpy(r.codes + whole, bytes, static_cast<std::size_t>(rest));
        sum = add(sum, codes);
    }
    *r.scales = step.scale;
    *r.sums = sumLanes(sum);
    *r.weightedSums = step.scale * static_cast<float>(*r.sums);
}

}  // namespace

void quantizeRow(const QuantizedRow* row) {
    if (row->group == 32 && row->halfSums && !(row->fixed > 0))
        quantizeGroups(*row);
    else
        quantizeWhole(*row);
}

}  // namespace fettle::kernels::FETTLE_SIMD
