// Cross-entropy and distillation of one row of logits, gradients in place.
#include "kernels/cpu/simd/lanes.h"
#include "kernels/cpu/simd/train_tables.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

constexpr std::int64_t kSumBlock = 1024;  // floats are summed over this many, blocks in double

float largest(const float* x, std::int64_t count) {
    F32x16 m = setF(-__builtin_inff());
    eachVector(count, [&](std::int64_t i, std::int64_t n) {
        m = max(take(x + i, n, -__builtin_inff()), m);
    });
    return maxLanes(m);
}

/// Sum of exp((x - shift) * factor).
double sumExp(const float* x, std::int64_t count, float shift, float factor) {
    double total = 0;
    for (std::int64_t begin = 0; begin < count; begin += kSumBlock) {
        F32x16 s = zeroF();
        eachVector(count - begin < kSumBlock ? count - begin : kSumBlock,
                   [&](std::int64_t i, std::int64_t n) {
                       const F32x16 v = sub(take(x + begin + i, n, -__builtin_inff()), setF(shift));
                       s = add(s, exp(mul(v, setF(factor))));
                   });
        total += static_cast<double>(sumLanes(s));
    }
    return total;
}

}  // namespace

double crossEntropyRow(float* logits, std::int64_t count, std::int64_t target, float scale) {
    const float shift = largest(logits, count);
    const double sum = sumExp(logits, count, shift, 1.0F);
    const double loss =
        static_cast<double>(shift) + __builtin_log(sum) - static_cast<double>(logits[target]);
    const F32x16 factor = setF(static_cast<float>(static_cast<double>(scale) / sum));
    eachVector(count, [&](std::int64_t i, std::int64_t n) {
        put(logits + i, n, mul(exp(sub(take(logits + i, n, 0), setF(shift))), factor));
    });
    logits[target] -= scale;
    return loss;
}

double distillRow(float* student, const float* teacher, std::int64_t count, float temperature,
                  float scale) {
    const float cool = 1.0F / temperature;
    const float shift = largest(student, count), teacherShift = largest(teacher, count);
    const double sum = sumExp(student, count, shift, cool);
    const double teacherSum = sumExp(teacher, count, teacherShift, cool);
    // log p_T - log p_S = (z_T - z_S) / T + this
    const double apart = (static_cast<double>(shift) - teacherShift) * static_cast<double>(cool) +
                         __builtin_log(sum) - __builtin_log(teacherSum);
    const F32x16 own = setF(static_cast<float>(1 / sum));
    const F32x16 wanted = setF(static_cast<float>(1 / teacherSum));
    const F32x16 factor = setF(temperature * scale);
    double loss = 0;
    for (std::int64_t begin = 0; begin < count; begin += kSumBlock) {
        F32x16 s = zeroF();
        eachVector(count - begin < kSumBlock ? count - begin : kSumBlock, [&](std::int64_t i,
                                                                              std::int64_t n) {
            const F32x16 zs = take(student + begin + i, n, 0);
            const F32x16 zt = take(teacher + begin + i, n, -__builtin_inff());
            const F32x16 ps = mul(exp(mul(sub(zs, setF(shift)), setF(cool))), own);
            const F32x16 pt = mul(exp(mul(sub(zt, setF(teacherShift)), setF(cool))), wanted);
            const F32x16 ratio = fma(sub(zt, zs), setF(cool), setF(static_cast<float>(apart)));
            s = add(s, selectLess(zeroF(), pt, mul(pt, ratio), pt));  // 0 log 0 = 0
            put(student + begin + i, n, mul(sub(ps, pt), factor));
        });
        loss += static_cast<double>(sumLanes(s));
    }
    return loss * static_cast<double>(temperature) * static_cast<double>(temperature);
}

double logSumExpRow(const float* x, std::int64_t count, float factor) {
    const float shift = largest(x, count);
    return static_cast<double>(shift) * static_cast<double>(factor) +
           __builtin_log(sumExp(x, count, shift, factor));
}

void expRow(float* x, std::int64_t count, float factor, float shift, float scale) {
    eachVector(count, [&](std::int64_t i, std::int64_t n) {
        const F32x16 power = fma(take(x + i, n, 0), setF(factor), setF(-shift));
        put(x + i, n, mul(exp(power), setF(scale)));
    });
}

}  // namespace fettle::kernels::FETTLE_SIMD
