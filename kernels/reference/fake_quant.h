// Plain twins of fake quantization in double: codes by searching the list of all that exist.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace fettle::kernels::reference {

/// Every whole number of a range.
inline std::vector<double> integerCodes(int lowest, int highest) {
    std::vector<double> codes;
    for (int q = lowest; q <= highest; ++q)
        codes.push_back(q);
    return codes;
}

/// Every value of a small float without infinities, in order: `mantissa` bits, the exponents from
/// `lowestExponent` (whose binade the subnormal numbers share), up to `highest`.
inline std::vector<double> floatCodes(int mantissa, int lowestExponent, double highest) {
    std::vector<double> codes{0};
    const int steps = 1 << mantissa;
    for (int m = 1; m < steps; ++m)
        codes.push_back(std::ldexp(m, lowestExponent - mantissa));
    for (int e = lowestExponent; codes.back() < highest; ++e)
        for (int m = 0; m < steps; ++m)
            if (std::ldexp(steps + m, e - mantissa) <= highest)
                codes.push_back(std::ldexp(steps + m, e - mantissa));
    std::vector<double> all;
    for (std::size_t i = codes.size(); i-- > 1;)
        all.push_back(-codes[i]);
    all.insert(all.end(), codes.begin(), codes.end());
    return all;
}

/// Which of two equally near codes is taken: that whose place counted from zero is even, or the
/// lower one.
enum class Ties { Even, Lower };
inline double nearestCode(const std::vector<double>& codes, double v, Ties ties = Ties::Even) {
    std::size_t best = 0, zero = 0;
    for (std::size_t i = 0; i < codes.size(); ++i)
        if (codes[i] == 0)
            zero = i;
    for (std::size_t i = 1; i < codes.size(); ++i) {
        const double here = std::fabs(codes[i] - v), there = std::fabs(codes[best] - v);
        const std::size_t place = i > zero ? i - zero : zero - i;
        if (here < there || (here == there && ties == Ties::Even && place % 2 == 0))
            best = i;
    }
    return codes[best];
}

struct FakeQuantGradient {
    double dw = 0;
    double dScale = 0;  ///< of the scale alone
    double dStep = 0;   ///< of a step that is also the scale (LSQ)
};
/// Of one weight w with gradient dy of its output.
inline FakeQuantGradient fakeQuantGradient(const std::vector<double>& codes, double w, double step,
                                           double scale, double dy) {
    const double v = w / step, q = nearestCode(codes, v);
    FakeQuantGradient g;
    g.dScale = dy * q;
    g.dStep = dy * (v > codes.front() && v < codes.back() ? q - v : q);
    const bool outward = (v < codes.front() && dy > 0) || (v > codes.back() && dy < 0);
    g.dw = outward ? 0 : dy * scale / step;
    return g;
}

}  // namespace fettle::kernels::reference
