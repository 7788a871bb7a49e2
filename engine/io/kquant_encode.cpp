#include "engine/io/kquant_encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "engine/core/error.h"

namespace fettle {
namespace {

using kernels::WeightFormat;

constexpr int kSuper = 256;
constexpr int kRounds = 4;  // of taking codes and scales in turn; hardly anything changes later

float asHalf(float value) {
    return kernels::halfToFloat(kernels::floatToHalf(value));
}

void storeHalf(float value, std::uint8_t* out) {
    const std::uint16_t half = kernels::floatToHalf(value);
    std::memcpy(out, &half, sizeof half);
}

int nearest(float x) {
    return static_cast<int>(std::nearbyint(x));
}

/// What each of the 256 values counts.
std::array<float, kSuper> weightsOf(const float* x, const float* importance) {
    float squares = 0;
    for (int i = 0; i < kSuper; ++i)
        squares += x[i] * x[i];
    const float sigma = 2 * squares / kSuper;
    std::array<float, kSuper> w;
    for (std::size_t i = 0; i < kSuper; ++i) {
        // An input that calibration never saw must not make the fit ill-posed.
        const float matters = importance ? std::max(importance[i], 1e-12f) : 1.0f;
        w[i] = matters * std::sqrt(sigma + x[i] * x[i]) + 1e-20f;
    }
    return w;
}

/// x ~ scale * q - min with q in 0..most, min >= 0.
struct Affine {
    float scale = 0, min = 0;
};

float affineError(const float* x, const float* w, int n, Affine a, int most, std::uint8_t* q) {
    const float inverse = a.scale > 0 ? 1 / a.scale : 0;
    float error = 0;
    for (int i = 0; i < n; ++i) {
        const int code = std::clamp(nearest((x[i] + a.min) * inverse), 0, most);
        q[i] = static_cast<std::uint8_t>(code);
        const float d = a.scale * static_cast<float>(code) - a.min - x[i];
        error += w[i] * d * d;
    }
    return error;
}

/// The least squares scale and min of given codes.
Affine fit(const float* x, const float* w, int n, const std::uint8_t* q) {
    double sw = 0, sl = 0, sl2 = 0, sx = 0, sxl = 0;
    for (int i = 0; i < n; ++i) {
        const double l = q[i];
        sw += w[i];
        sl += w[i] * l;
        sl2 += w[i] * l * l;
        sx += static_cast<double>(w[i]) * x[i];
        sxl += w[i] * l * x[i];
    }
    const double determinant = sw * sl2 - sl * sl;
    if (!(determinant > 0))
        return {};
    const double scale = (sw * sxl - sx * sl) / determinant,
                 min = (sl * sxl - sl2 * sx) / determinant;
    if (min > 0)
        return {static_cast<float>(scale), static_cast<float>(min)};
    return {static_cast<float>(sl2 > 0 ? sxl / sl2 : 0), 0};
}

/// The best of trial scales, each refined by least squares.
Affine searchAffine(const float* x, const float* w, int n, int most) {
    const auto [low, high] = std::minmax_element(x, x + n);
    const float least = std::min(*low, 0.0f), range = *high - least;
    if (!(range > 0))
        return {0, -least};
    std::uint8_t q[kSuper];
    Affine best{range / static_cast<float>(most), -least};
    float bestError = affineError(x, w, n, best, most, q);
    for (int k = -10; k <= 12; ++k) {
        Affine trial{range / (static_cast<float>(most) + 0.1f * static_cast<float>(k)), -least};
        affineError(x, w, n, trial, most, q);
        for (int round = 0; round < 2; ++round) {
            trial = fit(x, w, n, q);
            if (!(trial.scale > 0))
                break;
            const float error = affineError(x, w, n, trial, most, q);
            if (error < bestError) {
                bestError = error;
                best = trial;
            }
        }
    }
    return best;
}

/// Q4_K and Q5_K: eight sub-blocks of 32 under two float16 scales.
struct AffineBlock {
    float d = 0, dmin = 0;
    std::array<int, 8> scales{}, mins{};
    std::array<std::uint8_t, kSuper> codes{};

    Affine sub(int s) const {
        const auto at = static_cast<std::size_t>(s);
        return {d * static_cast<float>(scales[at]), dmin * static_cast<float>(mins[at])};
    }
    float error(const float* x, const float* w, int most) {
        float sum = 0;
        for (int s = 0; s < 8; ++s)
            sum += affineError(x + 32 * s, w + 32 * s, 32, sub(s), most, codes.data() + 32 * s);
        return sum;
    }
};

/// The six-bit scale and min of a sub-block around where they are; codes follow.
void improveSub(AffineBlock& block, const float* x, const float* w, int s, int most) {
    const auto at = static_cast<std::size_t>(s);
    std::uint8_t q[32];
    const auto errorOf = [&] { return affineError(x, w, 32, block.sub(s), most, q); };
    float best = errorOf();
    const int scale = block.scales[at], min = block.mins[at];
    int bestScale = scale, bestMin = min;
    for (int ds = -1; ds <= 1; ++ds)
        for (int dm = -1; dm <= 1; ++dm) {
            block.scales[at] = std::clamp(scale + ds, 0, 63);
            block.mins[at] = std::clamp(min + dm, 0, 63);
            const float e = errorOf();
            if (e < best) {
                best = e;
                bestScale = block.scales[at];
                bestMin = block.mins[at];
            }
        }
    block.scales[at] = bestScale;
    block.mins[at] = bestMin;
}

/// d and dmin by least squares under the codes and six-bit scales at hand.
void refitSuper(AffineBlock& block, const float* x, const float* w) {
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int i = 0; i < kSuper; ++i) {
        const auto s = static_cast<std::size_t>(i / 32);
        const double a = block.scales[s] * block.codes[static_cast<std::size_t>(i)],
                     b = -block.mins[s];
        aa += w[i] * a * a;
        ab += w[i] * a * b;
        bb += w[i] * b * b;
        ax += w[i] * a * x[i];
        bx += w[i] * b * x[i];
    }
    const double determinant = aa * bb - ab * ab;
    if (determinant > 1e-9 * aa * bb) {
        block.d = asHalf(static_cast<float>((bb * ax - ab * bx) / determinant));
        block.dmin = asHalf(static_cast<float>((aa * bx - ab * ax) / determinant));
    } else if (aa > 0) {
        block.d = asHalf(static_cast<float>((ax - ab * block.dmin) / aa));
    }
}

AffineBlock fitAffineBlock(const float* x, const float* importance, int most) {
    const std::array<float, kSuper> w = weightsOf(x, importance);
    std::array<Affine, 8> subs;
    float largest = 0, largestMin = 0;
    for (int s = 0; s < 8; ++s) {
        Affine& a = subs[static_cast<std::size_t>(s)];
        a = searchAffine(x + 32 * s, w.data() + 32 * s, 32, most);
        largest = std::max(largest, a.scale);
        largestMin = std::max(largestMin, a.min);
    }
    AffineBlock block;
    block.d = asHalf(largest / 63);
    block.dmin = asHalf(largestMin / 63);
    for (std::size_t s = 0; s < 8; ++s) {
        block.scales[s] = block.d > 0 ? std::clamp(nearest(subs[s].scale / block.d), 0, 63) : 0;
        block.mins[s] = block.dmin > 0 ? std::clamp(nearest(subs[s].min / block.dmin), 0, 63) : 0;
    }
    AffineBlock best = block;
    float bestError = best.error(x, w.data(), most);
    for (int round = 0; round < kRounds; ++round) {
        for (int s = 0; s < 8; ++s)
            improveSub(block, x + 32 * s, w.data() + 32 * s, s, most);
        block.error(x, w.data(), most);
        refitSuper(block, x, w.data());
        if (!(block.d >= 0) || !(block.dmin >= 0) || !std::isfinite(block.d) ||
            !std::isfinite(block.dmin))
            break;
        const float error = block.error(x, w.data(), most);
        if (error < bestError) {
            bestError = error;
            best = block;
        }
    }
    return best;
}

void packSubScales(const AffineBlock& block, std::uint8_t* out) {
    for (std::size_t j = 0; j < 4; ++j) {
        out[j] = static_cast<std::uint8_t>(block.scales[j] | (block.scales[j + 4] >> 4) << 6);
        out[j + 4] = static_cast<std::uint8_t>(block.mins[j] | (block.mins[j + 4] >> 4) << 6);
        out[j + 8] =
            static_cast<std::uint8_t>((block.scales[j + 4] & 15) | (block.mins[j + 4] & 15) << 4);
    }
}

using Codes = std::array<std::uint8_t, kSuper>;  // as they are stored, from zero on

void packNibbles(const Codes& codes, std::uint8_t* out) {
    for (int c = 0; c < 4; ++c)
        for (int l = 0; l < 32; ++l) {
            const std::uint8_t* q = codes.data() + 64 * c + l;
            out[32 * c + l] = static_cast<std::uint8_t>((q[0] & 15) | (q[32] & 15) << 4);
        }
}

void packFiveBits(const Codes& codes, std::uint8_t* high, std::uint8_t* low) {
    std::fill_n(high, 32, std::uint8_t{0});
    for (int i = 0; i < kSuper; ++i)
        high[i % 32] = static_cast<std::uint8_t>(
            high[i % 32] | (codes[static_cast<std::size_t>(i)] >> 4) << (i / 32));
    packNibbles(codes, low);
}

void packThreeBits(const Codes& codes, std::uint8_t* high, std::uint8_t* low) {
    std::fill_n(high, 32, std::uint8_t{0});
    std::fill_n(low, 64, std::uint8_t{0});
    for (int e = 0; e < kSuper; ++e) {
        const int half = e / 128, k = e % 128 / 32, l = e % 32;
        const int q = codes[static_cast<std::size_t>(e)];
        std::uint8_t& two = low[32 * half + l];
        two = static_cast<std::uint8_t>(two | (q & 3) << (2 * k));
        high[l] = static_cast<std::uint8_t>(high[l] | (q >> 2) << (4 * half + k));
    }
}

void packSixBits(const Codes& codes, std::uint8_t* low, std::uint8_t* high) {
    std::fill_n(low, 128, std::uint8_t{0});
    std::fill_n(high, 64, std::uint8_t{0});
    for (int e = 0; e < kSuper; ++e) {
        const int half = e / 128, k = e % 128 / 32, l = e % 32;
        const int q = codes[static_cast<std::size_t>(e)];
        std::uint8_t& four = low[64 * half + 32 * (k % 2) + l];
        std::uint8_t& two = high[32 * half + l];
        four = static_cast<std::uint8_t>(four | (q & 15) << (4 * (k / 2)));
        two = static_cast<std::uint8_t>(two | (q >> 4) << (2 * k));
    }
}

/// Codes where a block of the format keeps them.
void packCodes(WeightFormat format, const Codes& codes, std::uint8_t* block) {
    switch (format) {
        case WeightFormat::Q3_K:
            return packThreeBits(codes, block, block + 32);
        case WeightFormat::Q4_K:
            return packNibbles(codes, block + 16);
        case WeightFormat::Q5_K:
            return packFiveBits(codes, block + 16, block + 48);
        default:
            return packSixBits(codes, block, block + 128);
    }
}

void encodeAffine(const float* x, const float* importance, WeightFormat format, std::uint8_t* out) {
    const AffineBlock block = fitAffineBlock(x, importance, format == WeightFormat::Q5_K ? 31 : 15);
    storeHalf(block.d, out);
    storeHalf(block.dmin, out + 2);
    packSubScales(block, out + 4);
    packCodes(format, block.codes, out);
}

/// Q3_K and Q6_K: sixteen sub-blocks of 16, codes from -codes to codes - 1 under whole scales from
/// -scales to scales - 1.
struct SymmetricRange {
    int codes = 0, scales = 0;
};
constexpr SymmetricRange kThreeBits = {4, 32}, kSixBits = {32, 128};

struct SymmetricBlock {
    float d = 0;
    std::array<int, 16> scales{};
    std::array<int, kSuper> codes{};
};

float symmetricError(const float* x, const float* w, float scale, int most, int* q) {
    const float inverse = scale != 0 ? 1 / scale : 0;
    float error = 0;
    for (int i = 0; i < 16; ++i) {
        q[i] = std::clamp(nearest(x[i] * inverse), -most, most - 1);
        const float d = scale * static_cast<float>(q[i]) - x[i];
        error += w[i] * d * d;
    }
    return error;
}

float searchSymmetric(const float* x, const float* w, int most) {
    float largest = 0;
    for (int i = 0; i < 16; ++i)
        if (std::fabs(x[i]) > std::fabs(largest))
            largest = x[i];
    if (largest == 0)
        return 0;
    int q[16];
    float best = largest / static_cast<float>(-most),
          bestError = std::numeric_limits<float>::infinity();
    for (int k = -9; k <= 9; ++k) {
        float scale = largest / (static_cast<float>(-most) + 0.1f * static_cast<float>(k));
        symmetricError(x, w, scale, most, q);
        double xl = 0, ll = 0;
        for (int i = 0; i < 16; ++i) {
            xl += static_cast<double>(w[i]) * x[i] * q[i];
            ll += static_cast<double>(w[i]) * q[i] * q[i];
        }
        if (ll > 0)
            scale = static_cast<float>(xl / ll);
        const float error = symmetricError(x, w, scale, most, q);
        if (error < bestError) {
            bestError = error;
            best = scale;
        }
    }
    return best;
}

SymmetricBlock fitSymmetricBlock(const float* x, const float* importance, SymmetricRange range) {
    const std::array<float, kSuper> w = weightsOf(x, importance);
    std::array<float, 16> subs;
    float largest = 0;
    for (std::size_t s = 0; s < 16; ++s) {
        subs[s] = searchSymmetric(x + 16 * s, w.data() + 16 * s, range.codes);
        if (std::fabs(subs[s]) > std::fabs(largest))
            largest = subs[s];
    }
    SymmetricBlock block, best;
    block.d = asHalf(largest / static_cast<float>(-range.scales));
    float bestError = std::numeric_limits<float>::infinity();
    for (int round = 0; round < kRounds; ++round) {
        float error = 0;
        double aa = 0, ax = 0;
        for (std::size_t s = 0; s < 16; ++s) {
            const float* values = x + 16 * s;
            const float* counts = w.data() + 16 * s;
            int* q = block.codes.data() + 16 * s;
            const int lowest = -range.scales, highest = range.scales - 1;
            const int middle =
                block.d != 0 ? std::clamp(nearest(subs[s] / block.d), lowest, highest) : 0;
            float least = std::numeric_limits<float>::infinity();
            for (int scale = std::max(lowest, middle - 1); scale <= std::min(highest, middle + 1);
                 ++scale) {
                int trial[16];
                const float e = symmetricError(values, counts, block.d * static_cast<float>(scale),
                                               range.codes, trial);
                if (e >= least)
                    continue;
                least = e;
                block.scales[s] = scale;
                std::copy_n(trial, 16, q);
            }
            error += least;
            for (int i = 0; i < 16; ++i) {
                const double a = block.scales[s] * q[i];
                aa += counts[i] * a * a;
                ax += counts[i] * a * values[i];
            }
        }
        if (error < bestError) {
            bestError = error;
            best = block;
        }
        const float next = aa > 0 ? asHalf(static_cast<float>(ax / aa)) : block.d;
        if (next == block.d || !std::isfinite(next))
            break;
        block.d = next;
    }
    return best;
}

void encodeSymmetric(const float* x, const float* importance, WeightFormat format,
                     std::uint8_t* out) {
    const bool three = format == WeightFormat::Q3_K;
    const SymmetricRange range = three ? kThreeBits : kSixBits;
    const SymmetricBlock block = fitSymmetricBlock(x, importance, range);
    Codes codes;
    for (std::size_t i = 0; i < codes.size(); ++i)
        codes[i] = static_cast<std::uint8_t>(block.codes[i] + range.codes);
    packCodes(format, codes, out);
    storeHalf(block.d, out + (three ? 108 : 208));
    if (!three) {
        for (std::size_t s = 0; s < 16; ++s)
            out[192 + s] = static_cast<std::uint8_t>(static_cast<std::int8_t>(block.scales[s]));
        return;
    }
    std::uint8_t* sc = out + 96;
    std::fill_n(sc, 12, std::uint8_t{0});
    for (int s = 0; s < 16; ++s) {
        const int scale = block.scales[static_cast<std::size_t>(s)] + range.scales;
        sc[s % 8] = static_cast<std::uint8_t>(sc[s % 8] | (scale & 15) << (4 * (s / 8)));
        sc[8 + s % 4] = static_cast<std::uint8_t>(sc[8 + s % 4] | (scale >> 4) << (2 * (s / 4)));
    }
}

}  // namespace

void encodeKQuantRow(WeightFormat format, const float* values, const float* importance,
                     std::int64_t count, std::byte* out) {
    if (kernels::blockValues(format) != kSuper)
        throw EngineError(ErrorKind::Internal,
                          std::string("no encoder of super-blocks for ") + kernels::name(format));
    auto* bytes = reinterpret_cast<std::uint8_t*>(out);
    for (std::int64_t i = 0; i < count; i += kSuper, bytes += kernels::blockBytes(format)) {
        const float* matters = importance ? importance + i : nullptr;
        if (format == WeightFormat::Q4_K || format == WeightFormat::Q5_K)
            encodeAffine(values + i, matters, format, bytes);
        else
            encodeSymmetric(values + i, matters, format, bytes);
    }
}

void storeKQuantCodes(WeightFormat format, const std::int8_t* codes, std::int64_t count,
                      std::byte* blocks) {
    const int middle = format == WeightFormat::Q3_K   ? 4
                       : format == WeightFormat::Q4_K ? 8
                       : format == WeightFormat::Q5_K ? 16
                                                      : 32;
    auto* bytes = reinterpret_cast<std::uint8_t*>(blocks);
    for (std::int64_t i = 0; i < count; i += kSuper, bytes += kernels::blockBytes(format)) {
        Codes stored;
        for (std::size_t j = 0; j < stored.size(); ++j)
            stored[j] = static_cast<std::uint8_t>(codes[static_cast<std::size_t>(i) + j] + middle);
        packCodes(format, stored, bytes);
    }
}

}  // namespace fettle
