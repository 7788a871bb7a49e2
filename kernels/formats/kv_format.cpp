#include "kernels/formats/kv_format.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/formats/small_float.h"

namespace fettle::kernels {
namespace {

constexpr float kFlat = 0x1p-100F;  // below, the inverse of the scale would overflow

}  // namespace

const char* name(KvType type) {
    switch (type) {
        case KvType::F32:
            return "f32";
        case KvType::F16:
            return "f16";
        case KvType::Int8:
            return "int8";
        case KvType::Fp8:
            return "fp8";
        case KvType::Int4:
            return "int4";
        case KvType::NvFp4:
            return "nvfp4";
    }
    return "unknown";
}

std::optional<KvType> findKvType(std::string_view wanted) {
    for (const KvType type :
         {KvType::F32, KvType::F16, KvType::Int8, KvType::Fp8, KvType::Int4, KvType::NvFp4})
        if (wanted == name(type))
            return type;
    return std::nullopt;
}

bool hasScales(KvType type) {
    return type != KvType::F32 && type != KvType::F16;
}

std::int64_t kvHeadUnit(KvType type) {
    return type == KvType::NvFp4 ? kKvBlock : type == KvType::Int4 ? 2 : 1;
}

int kvBits(KvType type) {
    switch (type) {
        case KvType::F32:
            return 32;
        case KvType::F16:
            return 16;
        case KvType::Int4:
        case KvType::NvFp4:
            return 4;
        default:
            return 8;
    }
}

std::size_t kvScaleOffset(KvType type, std::int64_t elements) {
    const std::size_t bytes = static_cast<std::size_t>(elements * kvBits(type) + 7) / 8;
    return (bytes + 63) / 64 * 64;
}

std::size_t kvBlockScaleOffset(KvType type, std::int64_t kvHeads, std::int64_t capacity,
                               std::int64_t headDim) {
    return kvScaleOffset(type, kvHeads * capacity * headDim) +
           (hasScales(type) ? static_cast<std::size_t>(kvHeads * capacity) * sizeof(float) : 0);
}

double kvTokenBytes(KvType type, std::int64_t headDim) {
    const auto size = static_cast<double>(headDim);
    return size * kvBits(type) / 8 + (hasScales(type) ? sizeof(float) : 0) +
           (type == KvType::NvFp4 ? size / static_cast<double>(kKvBlock) : 0);
}

std::size_t kvBytes(KvType type, std::int64_t kvHeads, std::int64_t capacity,
                    std::int64_t headDim) {
    return kvBlockScaleOffset(type, kvHeads, capacity, headDim) +
           (type == KvType::NvFp4
                ? static_cast<std::size_t>(kvHeads * capacity * (headDim / kKvBlock))
                : 0);
}

namespace {

/// Under a scale of amax / (6 * 448), so that the largest block's own is E4M3's largest.
void quantizeBlocks(const float* x, std::int64_t count, float amax, std::uint8_t* codes,
                    float* scale, std::uint8_t* blockScales) {
    *scale = amax / (kLargestE2m1 * kLargestE4m3);
    const float inverse = kLargestE4m3 / amax;
    for (std::int64_t b = 0; b < count; b += kKvBlock) {
        float most = 0;
        for (std::int64_t i = b; i < b + kKvBlock; ++i)
            most = std::max(most, std::fabs(x[i]));
        const std::uint8_t stored = floatToE4m3(most * inverse);
        const float step = e4m3ToFloat(stored) * *scale;
        const float units = step > 0 ? 1.0F / step : 0.0F;
        blockScales[b / kKvBlock] = stored;
        for (std::int64_t i = b; i < b + kKvBlock; ++i)
            codes[i] = floatToE2m1(x[i] * units);
    }
}

}  // namespace

void quantizeKv(KvType type, const float* x, std::int64_t count, std::uint8_t* codes, float* scale,
                std::uint8_t* blockScales) {
    float amax = 0;
    bool finite = true;
    for (std::int64_t i = 0; i < count; ++i) {
        amax = std::max(amax, std::fabs(x[i]));
        finite = finite && std::isfinite(x[i]);
    }
    const std::uint8_t zero = type == KvType::Int4 ? 8 : 0;
    if (!finite || amax < kFlat) {
        *scale = finite ? 0.0F : std::numeric_limits<float>::quiet_NaN();
        std::fill_n(codes, count, zero);
        if (type == KvType::NvFp4)
            std::fill_n(blockScales, count / kKvBlock, std::uint8_t{0});
        return;
    }
    if (type == KvType::NvFp4)
        return quantizeBlocks(x, count, amax, codes, scale, blockScales);
    const float most = type == KvType::Int8 ? 127.0F : type == KvType::Int4 ? 7.0F : kLargestE4m3;
    *scale = amax / most;
    const float inverse = most / amax;
    for (std::int64_t i = 0; i < count; ++i)
        codes[i] = type == KvType::Fp8
                       ? floatToE4m3(x[i] * inverse)
                       : static_cast<std::uint8_t>(
                             static_cast<int>(std::nearbyint(x[i] * inverse)) + zero);
}

float kvCodeValue(KvType type, std::uint8_t code) {
    switch (type) {
        case KvType::Int8:
            return static_cast<std::int8_t>(code);
        case KvType::Fp8:
            return e4m3ToFloat(code);
        case KvType::NvFp4:
            return e2m1ToFloat(code);
        default:
            return static_cast<float>(static_cast<int>(code) - 8);
    }
}

}  // namespace fettle::kernels
