#include "kernels/formats/activation_format.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/formats/small_float.h"

namespace fettle::kernels {
namespace {

constexpr float kRoundMagic = 12582912.0F;  // adding and subtracting it rounds, ties to even
constexpr float kFlat = 0x1p-100F;          // rows below count as zero: 127 / amax would overflow
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// The largest magnitude; NaN where a value is NaN or infinite.
float largestOf(const float* x, std::int64_t count) {
    std::uint32_t bits = 0;
    for (std::int64_t i = 0; i < count; ++i)
        bits = std::max(bits, std::bit_cast<std::uint32_t>(x[i]) & 0x7FFFFFFFu);
    return bits >= 0x7F800000u ? kNan : std::bit_cast<float>(bits);
}

void integers(const float* x, std::int64_t count, float most, std::int8_t* codes, float* scale) {
    const float amax = largestOf(x, count);
    if (std::isnan(amax) || amax < kFlat) {
        *scale = std::isnan(amax) ? kNan : 0.0F;
        std::fill_n(codes, count, std::int8_t{0});
        return;
    }
    *scale = amax / most;
    const float inverse = most / amax;
    for (std::int64_t i = 0; i < count; ++i)
        codes[i] = static_cast<std::int8_t>((x[i] * inverse + kRoundMagic) - kRoundMagic);
}

/// Under a scale that is known beforehand.
void fixedIntegers(const float* x, std::int64_t count, float fixed, std::int8_t* codes,
                   float* scale) {
    *scale = std::isnan(largestOf(x, count)) ? kNan : fixed;
    if (std::isnan(*scale)) {
        std::fill_n(codes, count, std::int8_t{0});
        return;
    }
    const float inverse = 1.0F / fixed;
    for (std::int64_t i = 0; i < count; ++i) {
        const float within = std::clamp(x[i] * inverse, -127.0F, 127.0F);
        codes[i] = static_cast<std::int8_t>((within + kRoundMagic) - kRoundMagic);
    }
}

/// Twice the nearest E2M1 of |x| <= 6, and beyond that 12: within each binade of E2M1 the step is
/// constant, and rounding to even there is rounding to the even code.
std::int8_t twiceE2m1(float x) {
    const float magnitude = std::min(std::fabs(x), kLargestE2m1);
    const float step = magnitude < 2 ? 0.5F : magnitude < 4 ? 1.0F : 2.0F;
    const float rounded = (magnitude / step + kRoundMagic) - kRoundMagic;
    return static_cast<std::int8_t>(std::copysign(2 * step * rounded, x));
}

/// `scale` is what one unit of E2M1 stands for; NaN codes as nothing, since the scale says it.
void fourBitFloats(const float* x, std::int64_t count, float scale, std::int8_t* codes) {
    if (std::isnan(scale)) {
        std::fill_n(codes, count, std::int8_t{0});
        return;
    }
    for (std::int64_t i = 0; i < count; ++i)
        codes[i] = twiceE2m1(x[i] / scale);
}

float nvFp4Scale(float amax, float globalScale) {
    if (std::isnan(amax))
        return kNan;
    const float wanted =
        std::clamp(globalScale * (amax / kLargestE2m1), kSmallestE4m3, kLargestE4m3);
    return e4m3ToFloat(floatToE4m3(wanted)) / globalScale;
}

/// The power of two that maps amax into [3.5, 7): rounded to two bits first, so that values which
/// would saturate at 6 by more than one half step get the next power.
float mxFp4Scale(float amax) {
    if (std::isnan(amax))
        return kNan;
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(amax) + (1u << 21);
    const int exponent = static_cast<int>(bits >> 23) - 2;
    return e8m0ToFloat(static_cast<std::uint8_t>(std::clamp(exponent, 0, 254)));
}

/// The smallest power of two under which amax is within 448: the few values of a block that carry
/// most are not clipped.
float mxFp8Scale(float amax) {
    if (std::isnan(amax))
        return kNan;
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(amax) + ((1u << 21) - 1);
    const int exponent = static_cast<int>(bits >> 23) - 8;
    return e8m0ToFloat(static_cast<std::uint8_t>(std::clamp(exponent, 0, 254)));
}

}  // namespace

const char* name(ActivationFormat format) {
    switch (format) {
        case ActivationFormat::None:
            return "none";
        case ActivationFormat::Int8Token:
            return "int8 per token";
        case ActivationFormat::Int8Group32:
            return "int8 per 32";
        case ActivationFormat::Int4Group32:
            return "int4 per 32";
        case ActivationFormat::Fp8Token:
            return "fp8 per token";
        case ActivationFormat::NvFp4:
            return "nvfp4";
        case ActivationFormat::MxFp4:
            return "mxfp4";
        case ActivationFormat::Int8Tensor:
            return "int8 under a fixed scale";
        case ActivationFormat::MxFp8:
            return "mxfp8";
    }
    return "unknown";
}

std::int64_t activationBlock(ActivationFormat format) {
    switch (format) {
        case ActivationFormat::Int8Group32:
        case ActivationFormat::Int4Group32:
        case ActivationFormat::MxFp4:
        case ActivationFormat::MxFp8:
            return 32;
        case ActivationFormat::NvFp4:
            return 16;
        default:
            return 0;
    }
}

void quantizeActivations(ActivationFormat format, const float* x, std::int64_t count,
                         float globalScale, std::int8_t* codes, float* scales) {
    const std::int64_t block = activationBlock(format) > 0 ? activationBlock(format) : count;
    if (format == ActivationFormat::None || format == ActivationFormat::Fp8Token ||
        format == ActivationFormat::MxFp8 || count % std::max<std::int64_t>(block, 1) != 0)
        throw std::invalid_argument(std::string("activations: ") + std::to_string(count) +
                                    " values have no integer codes as " + name(format));
    for (std::int64_t at = 0; at < count; at += block, ++scales) {
        const float* values = x + at;
        switch (format) {
            case ActivationFormat::NvFp4:
                *scales = nvFp4Scale(largestOf(values, block), globalScale);
                fourBitFloats(values, block, *scales, codes + at);
                *scales *= 0.5F;
                break;
            case ActivationFormat::MxFp4:
                *scales = mxFp4Scale(largestOf(values, block));
                fourBitFloats(values, block, *scales, codes + at);
                *scales *= 0.5F;
                break;
            case ActivationFormat::Int8Tensor:
                fixedIntegers(values, block, globalScale, codes + at, scales);
                break;
            default:
                integers(values, block, format == ActivationFormat::Int4Group32 ? 7.0F : 127.0F,
                         codes + at, scales);
        }
    }
}

namespace {

/// Under one scale.
void roundToFp8(ActivationFormat format, const float* x, std::int64_t count, float* out) {
    const float amax = largestOf(x, count);
    const float scale = format == ActivationFormat::MxFp8   ? mxFp8Scale(amax)
                        : std::isnan(amax) || amax >= kFlat ? amax / kLargestE4m3
                                                            : 0.0F;
    for (std::int64_t i = 0; i < count; ++i)
        out[i] = scale == 0 ? 0.0F : e4m3ToFloat(floatToE4m3(x[i] / scale)) * scale;
}

}  // namespace

void roundActivations(ActivationFormat format, const float* x, std::int64_t count, float* out,
                      float globalScale) {
    if (format == ActivationFormat::None) {
        std::copy_n(x, x == out ? 0 : count, out);
        return;
    }
    const std::int64_t block = activationBlock(format) > 0 ? activationBlock(format) : count;
    if (format == ActivationFormat::Fp8Token || format == ActivationFormat::MxFp8) {
        for (std::int64_t at = 0; at < count; at += block)
            roundToFp8(format, x + at, std::min(block, count - at), out + at);
        return;
    }
    std::vector<std::int8_t> codes(static_cast<std::size_t>(block));
    for (std::int64_t at = 0; at < count; at += block) {
        const std::int64_t here = std::min(block, count - at);
        float scale = 0;
        quantizeActivations(format, x + at, here, globalScale, codes.data(), &scale);
        for (std::int64_t i = 0; i < here; ++i)
            out[at + i] = static_cast<float>(codes[static_cast<std::size_t>(i)]) * scale;
    }
}

float nvFp4GlobalScale(float amax) {
    const float scale = kLargestE4m3 * kLargestE2m1 / amax;
    return amax > 0 && std::isfinite(scale) ? scale : 1.0F;
}

}  // namespace fettle::kernels
