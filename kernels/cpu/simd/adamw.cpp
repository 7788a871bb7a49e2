// AdamW and the sum of squares for clipping.
#include "kernels/cpu/simd/lanes.h"
#include "kernels/cpu/simd/train_tables.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

FETTLE_INLINE F32x16 squareRoot(F32x16 x) {
    float lane[16];
    storeF(lane, x);
    for (float& v : lane)
        v = __builtin_sqrtf(v);
    return loadF(lane);
}

}  // namespace

void adamw(const AdamWArgs* args, std::int64_t begin, std::int64_t end) {
    const AdamWArgs& a = *args;
    const F32x16 keep1 = setF(a.beta1), keep2 = setF(a.beta2), take1 = setF(1.0F - a.beta1),
                 take2 = setF(1.0F - a.beta2), clip = setF(a.gradScale),
                 shrink = setF(1.0F - a.learningRate * a.decay),
                 step = setF(a.learningRate / a.correction1),
                 root = setF(1.0F / __builtin_sqrtf(a.correction2)), tiny = setF(a.epsilon);
    eachVector(end - begin, [&](std::int64_t offset, std::int64_t n) {
        const std::int64_t i = begin + offset;
        const F32x16 g = mul(take(a.grad + i, n, 0), clip);
        const F32x16 m = fma(keep1, take(a.m + i, n, 0), mul(take1, g));
        const F32x16 v = fma(keep2, take(a.v + i, n, 0), mul(take2, mul(g, g)));
        const F32x16 divisor = fma(squareRoot(v), root, tiny);
        const F32x16 w = mul(take(a.value + i, n, 0), shrink);
        put(a.m + i, n, m);
        put(a.v + i, n, v);
        put(a.value + i, n, sub(w, mul(step, div(m, divisor))));
    });
}

double sumSquares(const float* x, std::int64_t count) {
    constexpr std::int64_t kSpan = 256;
    double total = 0;
    for (std::int64_t begin = 0; begin < count; begin += kSpan) {
        F32x16 s = zeroF();
        eachVector(count - begin < kSpan ? count - begin : kSpan,
                   [&](std::int64_t i, std::int64_t n) {
                       const F32x16 v = take(x + begin + i, n, 0);
                       s = fma(v, v, s);
                   });
        total += static_cast<double>(sumLanes(s));
    }
    return total;
}

}  // namespace fettle::kernels::FETTLE_SIMD
