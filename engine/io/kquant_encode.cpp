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

void packNibbles(const AffineBlock& block, std::uint8_t* out) {
    for (int c = 0; c < 4; ++c)
        for (int l = 0; l < 32; ++l) {
            const std::uint8_t* q = block.codes.data() + 64 * c + l;
            out[32 * c + l] = static_cast<std::uint8_t>((q[0] & 15) | (q[32] & 15) << 4);
        }
}

void encodeAffine(const float* x, const float* importance, bool five, std::uint8_t* out) {
    const AffineBlock block = fitAffineBlock(x, importance, five ? 31 : 15);
    storeHalf(block.d, out);
    storeHalf(block.dmin, out + 2);
    packSubScales(block, out + 4);
    if (!five)
        return packNibbles(block, out + 16);
    std::fill_n(out + 16, 32, std::uint8_t{0});
    for (int i = 0; i < kSuper; ++i)
        out[16 + i % 32] = static_cast<std::uint8_t>(
            out[16 + i % 32] | (block.codes[static_cast<std::size_t>(i)] >> 4) << (i / 32));
    packNibbles(block, out + 48);
}

/// Q6_K: sixteen sub-blocks of 16 with signed 8-bit scales.
struct SymmetricBlock {
    float d = 0;
    std::array<int, 16> scales{};
    std::array<int, kSuper> codes{};  // -32..31
};

float symmetricError(const float* x, const float* w, float scale, int* q) {
    const float inverse = scale != 0 ? 1 / scale : 0;
    float error = 0;
    for (int i = 0; i < 16; ++i) {
        q[i] = std::clamp(nearest(x[i] * inverse), -32, 31);
        const float d = scale * static_cast<float>(q[i]) - x[i];
        error += w[i] * d * d;
    }
    return error;
}

float searchSymmetric(const float* x, const float* w) {
    float largest = 0;
    for (int i = 0; i < 16; ++i)
        if (std::fabs(x[i]) > std::fabs(largest))
            largest = x[i];
    if (largest == 0)
        return 0;
    int q[16];
    float best = largest / -32, bestError = std::numeric_limits<float>::infinity();
    for (int k = -9; k <= 9; ++k) {
        float scale = largest / (-32 + 0.1f * static_cast<float>(k));
        symmetricError(x, w, scale, q);
        double xl = 0, ll = 0;
        for (int i = 0; i < 16; ++i) {
            xl += static_cast<double>(w[i]) * x[i] * q[i];
            ll += static_cast<double>(w[i]) * q[i] * q[i];
        }
        if (ll > 0)
            scale = static_cast<float>(xl / ll);
        const float error = symmetricError(x, w, scale, q);
        if (error < bestError) {
            bestError = error;
            best = scale;
        }
    }
    return best;
}

SymmetricBlock fitSymmetricBlock(const float* x, const float* importance) {
    const std::array<float, kSuper> w = weightsOf(x, importance);
    std::array<float, 16> subs;
    float largest = 0;
    for (std::size_t s = 0; s < 16; ++s) {
        subs[s] = searchSymmetric(x + 16 * s, w.data() + 16 * s);
        if (std::fabs(subs[s]) > std::fabs(largest))
            largest = subs[s];
    }
    SymmetricBlock block, best;
    block.d = asHalf(largest / -128);
    float bestError = std::numeric_limits<float>::infinity();
    for (int round = 0; round < kRounds; ++round) {
        float error = 0;
        double aa = 0, ax = 0;
        for (std::size_t s = 0; s < 16; ++s) {
            const float* values = x + 16 * s;
            const float* counts = w.data() + 16 * s;
            int* q = block.codes.data() + 16 * s;
            const int middle = block.d != 0 ? std::clamp(nearest(subs[s] / block.d), -128, 127) : 0;
            float least = std::numeric_limits<float>::infinity();
            for (int scale = std::max(-128, middle - 1); scale <= std::min(127, middle + 1);
                 ++scale) {
                int trial[16];
                const float e =
                    symmetricError(values, counts, block.d * static_cast<float>(scale), trial);
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

void encodeSymmetric(const float* x, const float* importance, std::uint8_t* out) {
    const SymmetricBlock block = fitSymmetricBlock(x, importance);
    std::fill_n(out, 192, std::uint8_t{0});
    for (int e = 0; e < kSuper; ++e) {
        const int half = e / 128, k = e % 128 / 32, l = e % 32;
        const int q = block.codes[static_cast<std::size_t>(e)] + 32;
        std::uint8_t& low = out[64 * half + 32 * (k % 2) + l];
        std::uint8_t& high = out[128 + 32 * half + l];
        low = static_cast<std::uint8_t>(low | (q & 15) << (4 * (k / 2)));
        high = static_cast<std::uint8_t>(high | (q >> 4) << (2 * k));
    }
    for (std::size_t s = 0; s < 16; ++s)
        out[192 + s] = static_cast<std::uint8_t>(static_cast<std::int8_t>(block.scales[s]));
    storeHalf(block.d, out + 208);
}

}  // namespace

void encodeKQuantRow(WeightFormat format, const float* values, const float* importance,
                     std::int64_t count, std::byte* out) {
    if (format != WeightFormat::Q4_K && format != WeightFormat::Q5_K &&
        format != WeightFormat::Q6_K)
        throw EngineError(ErrorKind::Internal,
                          std::string("no encoder of super-blocks for ") + kernels::name(format));
    auto* bytes = reinterpret_cast<std::uint8_t*>(out);
    for (std::int64_t i = 0; i < count; i += kSuper, bytes += kernels::blockBytes(format)) {
        const float* matters = importance ? importance + i : nullptr;
        if (format == WeightFormat::Q6_K)
            encodeSymmetric(values + i, matters, bytes);
        else
            encodeAffine(values + i, matters, format == WeightFormat::Q5_K, bytes);
    }
}

}  // namespace fettle
