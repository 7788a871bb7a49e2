#include "engine/io/gguf_quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/core/error.h"

namespace fettle {
namespace {

using kernels::WeightFormat;

constexpr std::int64_t kQuantizedBlock = 32;

void storeHalf(float value, std::byte* out) {
    const std::uint16_t half = kernels::floatToHalf(value);
    std::memcpy(out, &half, sizeof half);
}

/// 1/d of the unrounded scale; 0 where it would not be finite (the block then rounds to zeros, as
/// its float16 scale does).
float inverseOf(float d) {
    const float inverse = d != 0 ? 1 / d : 0;
    return std::isfinite(inverse) ? inverse : 0;
}

/// roundf for |x| < 2^31, halves away from zero, without a call per value.
int roundAway(float x) {
    const int whole = static_cast<int>(x);
    const float rest = x - static_cast<float>(whole);
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

void encodeQ8_0(const float* x, std::byte* out) {
    float amax = 0;
    for (int i = 0; i < kQuantizedBlock; ++i)
        amax = std::max(amax, std::fabs(x[i]));
    const float d = amax / 127;
    const float inverse = inverseOf(d);
    std::int8_t codes[kQuantizedBlock];
    for (int i = 0; i < kQuantizedBlock; ++i)
        codes[i] = static_cast<std::int8_t>(roundAway(x[i] * inverse));
    storeBlock(WeightFormat::Q8_0, d, codes, out);
}

/// Q4_0 and Q5_0: the value of the largest magnitude gets the lowest code, -half.
void encodeCentred(WeightFormat format, int half, const float* x, std::byte* out) {
    float largest = 0;  // by magnitude, with its sign; the first of equals
    for (int i = 0; i < kQuantizedBlock; ++i)
        if (std::fabs(x[i]) > std::fabs(largest))
            largest = x[i];
    const float d = largest / static_cast<float>(-half), inverse = inverseOf(d);
    std::int8_t codes[kQuantizedBlock];
    // The product lies in [-half, half], so the sum is positive and the cast cuts as trunc would.
    for (int i = 0; i < kQuantizedBlock; ++i)
        codes[i] = static_cast<std::int8_t>(
            std::min(2 * half - 1,
                     static_cast<int>(x[i] * inverse + (static_cast<float>(half) + 0.5f))) -
            half);
    storeBlock(format, d, codes, out);
}

}  // namespace

void storeBlock(WeightFormat format, float scale, const std::int8_t* codes, std::byte* out) {
    storeHalf(scale, out);
    out += 2;
    if (format == WeightFormat::Q8_0) {
        std::memcpy(out, codes, kQuantizedBlock);
        return;
    }
    const bool five = format == WeightFormat::Q5_0;
    const int half = five ? 16 : 8;
    std::uint8_t bytes[4 + kQuantizedBlock / 2] = {};  // the fifth bits, then pairs of nibbles
    for (int i = 0; i < kQuantizedBlock; ++i) {
        const int code = codes[i] + half;
        bytes[i / 8] = static_cast<std::uint8_t>(bytes[i / 8] | (code >> 4) << (i % 8));
        std::uint8_t& pair = bytes[4 + i % 16];
        pair = static_cast<std::uint8_t>(pair | (code & 15) << (i < 16 ? 0 : 4));
    }
    std::memcpy(out, five ? bytes : bytes + 4, five ? sizeof bytes : sizeof bytes - 4);
}

void encodeRow(WeightFormat format, const float* values, std::int64_t count, std::byte* out) {
    switch (format) {
        case WeightFormat::F32:
            std::memcpy(out, values, static_cast<std::size_t>(count) * sizeof(float));
            return;
        case WeightFormat::F16:
        case WeightFormat::BF16:
            for (std::int64_t i = 0; i < count; ++i) {
                const std::uint16_t bits = format == WeightFormat::F16
                                               ? kernels::floatToHalf(values[i])
                                               : kernels::floatToBfloat16(values[i]);
                std::memcpy(out + 2 * i, &bits, sizeof bits);
            }
            return;
        case WeightFormat::Q8_0:
            for (std::int64_t i = 0; i < count; i += kQuantizedBlock, out += 34)
                encodeQ8_0(values + i, out);
            return;
        case WeightFormat::Q5_0:
            for (std::int64_t i = 0; i < count; i += kQuantizedBlock, out += 22)
                encodeCentred(format, 16, values + i, out);
            return;
        case WeightFormat::Q4_0:
            for (std::int64_t i = 0; i < count; i += kQuantizedBlock, out += 18)
                encodeCentred(format, 8, values + i, out);
            return;
        default:
            throw EngineError(ErrorKind::Internal,
                              std::string("no encoder for ") + kernels::name(format));
    }
}

void repackRow(const kernels::WeightView& source, std::int64_t row, std::byte* out) {
    if (source.format == WeightFormat::Int8Channel) {
        const auto* codes = static_cast<const std::int8_t*>(source.data) + row * source.cols;
        const float scale = kernels::weightScale(source, row);
        for (std::int64_t k = 0; k < source.cols; k += kQuantizedBlock, out += 34) {
            storeHalf(scale, out);
            std::memcpy(out + 2, codes + k, static_cast<std::size_t>(kQuantizedBlock));
        }
        return;
    }
    const auto* words = static_cast<const std::uint32_t*>(source.data) + row * (source.cols / 8);
    const auto code = [&](std::int64_t k) { return words[k / 8] >> (4 * (k % 8)) & 15u; };
    const std::int64_t groups = source.cols / source.groupSize;
    for (std::int64_t k = 0; k < source.cols; k += kQuantizedBlock, out += 18) {
        storeHalf(kernels::weightScale(source, row * groups + k / source.groupSize), out);
        for (std::int64_t j = 0; j < kQuantizedBlock / 2; ++j)
            out[2 + j] =
                static_cast<std::byte>(code(k + j) | code(k + j + kQuantizedBlock / 2) << 4);
    }
}

double halfScaleError(const kernels::WeightView& source) {
    const std::int64_t perRow =
        source.format == WeightFormat::Int8Channel ? 1 : source.cols / source.groupSize;
    double worst = 0;
    for (std::int64_t i = 0; i < source.rows * perRow; ++i) {
        const float scale = kernels::weightScale(source, i);
        const float half = kernels::halfToFloat(kernels::floatToHalf(scale));
        worst = std::max(worst, scale != 0 ? std::fabs(static_cast<double>(half) - scale) /
                                                 std::fabs(static_cast<double>(scale))
                                           : 0.0);
    }
    return worst;
}

}  // namespace fettle
