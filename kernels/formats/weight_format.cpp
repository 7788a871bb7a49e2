#include "kernels/formats/weight_format.h"

#include <bit>
#include <cstring>

#include "kernels/formats/group_format.h"
#include "kernels/formats/small_float.h"

namespace fettle::kernels {
namespace {

constexpr std::int64_t kBlock = 32;        // values of the small blocks
constexpr std::int64_t kSuperBlock = 256;  // values of the K-quants' super-blocks

std::uint16_t loadU16(const std::uint8_t* p) {
    std::uint16_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

float loadHalf(const std::uint8_t* p) {
    return halfToFloat(loadU16(p));
}

void dequantizeQ8_0(const std::uint8_t* b, float* out) {
    const float d = loadHalf(b);
    for (int i = 0; i < 32; ++i)
        out[i] = d * static_cast<float>(static_cast<std::int8_t>(b[2 + i]));
}

void dequantizeQ4_0(const std::uint8_t* b, float* out) {
    const float d = loadHalf(b);
    for (int i = 0; i < 16; ++i) {
        out[i] = d * static_cast<float>((b[2 + i] & 15) - 8);
        out[i + 16] = d * static_cast<float>((b[2 + i] >> 4) - 8);
    }
}

void dequantizeQ4_1(const std::uint8_t* b, float* out) {
    const float d = loadHalf(b), m = loadHalf(b + 2);
    for (int i = 0; i < 16; ++i) {
        out[i] = d * static_cast<float>(b[4 + i] & 15) + m;
        out[i + 16] = d * static_cast<float>(b[4 + i] >> 4) + m;
    }
}

/// The 5-bit code of value i of a Q5_0 or Q5_1 block.
int fiveBitCode(const std::uint8_t* qh, const std::uint8_t* qs, int i) {
    const int low = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
    return low | ((qh[i / 8] >> (i % 8)) & 1) << 4;
}

void dequantizeQ5_0(const std::uint8_t* b, float* out) {
    const float d = loadHalf(b);
    for (int i = 0; i < 32; ++i)
        out[i] = d * static_cast<float>(fiveBitCode(b + 2, b + 6, i) - 16);
}

void dequantizeQ5_1(const std::uint8_t* b, float* out) {
    const float d = loadHalf(b), m = loadHalf(b + 2);
    for (int i = 0; i < 32; ++i)
        out[i] = d * static_cast<float>(fiveBitCode(b + 4, b + 8, i)) + m;
}

void dequantizeQ3_K(const std::uint8_t* b, float* out) {
    const float d = loadHalf(b + 108);
    for (int e = 0; e < 256; ++e) {
        const float ds = d * static_cast<float>(threeBitScale(b + 96, e / 16));
        out[e] = ds * static_cast<float>(threeBitCode(b, e) - 4);
    }
}

void dequantizeQ4_K(const std::uint8_t* b, float* out) {
    const float d = loadHalf(b), dmin = loadHalf(b + 2);
    const std::uint8_t* qs = b + 16;
    for (int s = 0; s < 8; ++s) {
        const SubScale sub = subScale(b + 4, s);
        const float ds = d * static_cast<float>(sub.scale), dm = dmin * static_cast<float>(sub.min);
        for (int l = 0; l < 32; ++l) {
            const int q = qs[32 * (s / 2) + l] >> (4 * (s % 2)) & 15;
            out[32 * s + l] = ds * static_cast<float>(q) - dm;
        }
    }
}

void dequantizeQ5_K(const std::uint8_t* b, float* out) {
    const float d = loadHalf(b), dmin = loadHalf(b + 2);
    const std::uint8_t* qh = b + 16;
    const std::uint8_t* qs = b + 48;
    for (int s = 0; s < 8; ++s) {
        const SubScale sub = subScale(b + 4, s);
        const float ds = d * static_cast<float>(sub.scale), dm = dmin * static_cast<float>(sub.min);
        for (int l = 0; l < 32; ++l) {
            const int low = qs[32 * (s / 2) + l] >> (4 * (s % 2)) & 15;
            const int q = low | ((qh[l] >> s) & 1) << 4;
            out[32 * s + l] = ds * static_cast<float>(q) - dm;
        }
    }
}

void dequantizeQ6_K(const std::uint8_t* b, float* out) {
    const float d = loadHalf(b + 208);
    const auto* sc = reinterpret_cast<const std::int8_t*>(b + 192);
    for (int e = 0; e < 256; ++e) {
        const float ds = d * static_cast<float>(sc[e / 16]);
        out[e] = ds * static_cast<float>(sixBitCode(b, e) - 32);
    }
}

using BlockReader = void (*)(const std::uint8_t* block, float* out);

void readBlocks(const WeightView& w, std::int64_t row, BlockReader read, float* out) {
    const std::int64_t values = blockValues(w.format);
    const std::size_t bytes = blockBytes(w.format);
    const auto* block = static_cast<const std::uint8_t*>(w.data) +
                        static_cast<std::size_t>(row) * rowBytes(w.format, w.cols);
    for (std::int64_t k = 0; k < w.cols; k += values, block += bytes)
        read(block, out + k);
}

}  // namespace

SubScale subScale(const std::uint8_t* sc, int s) {
    if (s < 4)
        return {sc[s] & 63, sc[s + 4] & 63};
    return {(sc[s + 4] & 15) | (sc[s - 4] >> 6) << 4, (sc[s + 4] >> 4) | (sc[s] >> 6) << 4};
}

int threeBitScale(const std::uint8_t* sc, int s) {
    const int low = s < 8 ? sc[s] & 15 : sc[s - 8] >> 4;
    return (low | (sc[8 + s % 4] >> (2 * (s / 4)) & 3) << 4) - 32;
}

int threeBitCode(const std::uint8_t* block, int e) {
    const int half = e / 128, k = e % 128 / 32, l = e % 32;
    const int low = block[32 + 32 * half + l] >> (2 * k) & 3;
    return low | (block[l] >> (4 * half + k) & 1) << 2;
}

int sixBitCode(const std::uint8_t* block, int e) {
    const int half = e / 128, k = e % 128 / 32, l = e % 32;
    const int low = block[64 * half + 32 * (k % 2) + l] >> (4 * (k / 2)) & 15;
    const int high = block[128 + 32 * half + l] >> (2 * k) & 3;
    return low | high << 4;
}

float weightScale(const WeightView& w, std::int64_t index) {
    switch (w.scaleType) {
        case ScaleType::F32:
            return static_cast<const float*>(w.scales)[index];
        case ScaleType::F16:
            return halfToFloat(static_cast<const std::uint16_t*>(w.scales)[index]);
        case ScaleType::BF16:
            return bfloat16ToFloat(static_cast<const std::uint16_t*>(w.scales)[index]);
        case ScaleType::E4M3:
            return e4m3ToFloat(static_cast<const std::uint8_t*>(w.scales)[index]) / w.globalScale;
        case ScaleType::E8M0:
            return e8m0ToFloat(static_cast<const std::uint8_t*>(w.scales)[index]);
    }
    return 0;
}

int zeroPoint(const WeightView& w, std::int64_t row, std::int64_t group) {
    if (!w.zeroPoints)
        return 8;
    const auto word =
        static_cast<std::uint32_t>(w.zeroPoints[row / 8 * (w.cols / w.groupSize) + group]);
    return static_cast<int>(word >> (4 * (row % 8)) & 15u);
}

std::int64_t blockValues(WeightFormat format) {
    switch (format) {
        case WeightFormat::Q8_0:
        case WeightFormat::Q4_0:
        case WeightFormat::Q4_1:
        case WeightFormat::Q5_0:
        case WeightFormat::Q5_1:
            return kBlock;
        case WeightFormat::Q3_K:
        case WeightFormat::Q4_K:
        case WeightFormat::Q5_K:
        case WeightFormat::Q6_K:
            return kSuperBlock;
        default:
            return 1;
    }
}

std::size_t blockBytes(WeightFormat format) {
    switch (format) {
        case WeightFormat::F32:
            return 4;
        case WeightFormat::F16:
        case WeightFormat::BF16:
            return 2;
        case WeightFormat::Q8_0:
            return 34;
        case WeightFormat::Q4_0:
            return 18;
        case WeightFormat::Q4_1:
            return 20;
        case WeightFormat::Q5_0:
            return 22;
        case WeightFormat::Q5_1:
            return 24;
        case WeightFormat::Q3_K:
            return 110;
        case WeightFormat::Q4_K:
            return 144;
        case WeightFormat::Q5_K:
            return 176;
        case WeightFormat::Q6_K:
            return 210;
        case WeightFormat::Int8Channel:
        case WeightFormat::Fp8Channel:
            return 1;
        default:
            return 0;
    }
    return 0;
}

std::size_t rowBytes(WeightFormat format, std::int64_t cols) {
    if (hasGroups(format))
        return static_cast<std::size_t>(cols * codeBits(format) / 8);
    return static_cast<std::size_t>(cols / blockValues(format)) * blockBytes(format);
}

const char* name(WeightFormat format) {
    switch (format) {
        case WeightFormat::F32:
            return "F32";
        case WeightFormat::F16:
            return "F16";
        case WeightFormat::BF16:
            return "BF16";
        case WeightFormat::Q8_0:
            return "Q8_0";
        case WeightFormat::Q4_0:
            return "Q4_0";
        case WeightFormat::Q4_1:
            return "Q4_1";
        case WeightFormat::Q5_0:
            return "Q5_0";
        case WeightFormat::Q5_1:
            return "Q5_1";
        case WeightFormat::Q3_K:
            return "Q3_K";
        case WeightFormat::Q4_K:
            return "Q4_K";
        case WeightFormat::Q5_K:
            return "Q5_K";
        case WeightFormat::Q6_K:
            return "Q6_K";
        case WeightFormat::Int8Channel:
            return "Int8Channel";
        case WeightFormat::Int4Group:
            return "Int4Group";
        case WeightFormat::Int3Group:
            return "Int3Group";
        case WeightFormat::Int2Group:
            return "Int2Group";
        case WeightFormat::Fp8Channel:
            return "Fp8Channel";
        case WeightFormat::NvFp4:
            return "NvFp4";
        case WeightFormat::MxFp4:
            return "MxFp4";
        case WeightFormat::MxFp8:
            return "MxFp8";
        case WeightFormat::Fp8Group:
            return "Fp8Group";
        case WeightFormat::MxFp6:
            return "MxFp6";
        case WeightFormat::Nf4Group:
            return "Nf4Group";
    }
    return "unknown";
}

void dequantizeRow(const WeightView& w, std::int64_t row, float* out) {
    switch (w.format) {
        case WeightFormat::F32:
            std::memcpy(out, static_cast<const float*>(w.data) + row * w.cols,
                        static_cast<std::size_t>(w.cols) * sizeof(float));
            return;
        case WeightFormat::F16: {
            const auto* p = static_cast<const std::uint16_t*>(w.data) + row * w.cols;
            for (std::int64_t k = 0; k < w.cols; ++k)
                out[k] = halfToFloat(p[k]);
            return;
        }
        case WeightFormat::BF16: {
            const auto* p = static_cast<const std::uint16_t*>(w.data) + row * w.cols;
            for (std::int64_t k = 0; k < w.cols; ++k)
                out[k] = bfloat16ToFloat(p[k]);
            return;
        }
        case WeightFormat::Int8Channel: {
            const auto* p = static_cast<const std::int8_t*>(w.data) + row * w.cols;
            const float s = weightScale(w, row);
            for (std::int64_t k = 0; k < w.cols; ++k)
                out[k] = s * static_cast<float>(p[k]);
            return;
        }
        case WeightFormat::Q8_0:
            return readBlocks(w, row, dequantizeQ8_0, out);
        case WeightFormat::Q4_0:
            return readBlocks(w, row, dequantizeQ4_0, out);
        case WeightFormat::Q4_1:
            return readBlocks(w, row, dequantizeQ4_1, out);
        case WeightFormat::Q5_0:
            return readBlocks(w, row, dequantizeQ5_0, out);
        case WeightFormat::Q5_1:
            return readBlocks(w, row, dequantizeQ5_1, out);
        case WeightFormat::Q3_K:
            return readBlocks(w, row, dequantizeQ3_K, out);
        case WeightFormat::Q4_K:
            return readBlocks(w, row, dequantizeQ4_K, out);
        case WeightFormat::Q5_K:
            return readBlocks(w, row, dequantizeQ5_K, out);
        case WeightFormat::Q6_K:
            return readBlocks(w, row, dequantizeQ6_K, out);
        case WeightFormat::Fp8Channel: {
            const auto* p = static_cast<const std::uint8_t*>(w.data) + row * w.cols;
            const float s = weightScale(w, row);
            for (std::int64_t k = 0; k < w.cols; ++k)
                out[k] = e4m3ToFloat(p[k]) * s;
            return;
        }
        case WeightFormat::Int4Group:
        case WeightFormat::Int3Group:
        case WeightFormat::Int2Group:
        case WeightFormat::NvFp4:
        case WeightFormat::MxFp4:
        case WeightFormat::MxFp8:
        case WeightFormat::Fp8Group:
        case WeightFormat::MxFp6:
        case WeightFormat::Nf4Group:
            return dequantizeGroups(w, row, out);
    }
}

float halfToFloat(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
    const std::uint32_t exponent = half >> 10 & 31u, mantissa = half & 0x3FFu;
    if (exponent == 31)  // infinity, or NaN made quiet as the processor's own conversion does
        return std::bit_cast<float>(sign | 0x7F800000u | mantissa << 13 |
                                    (mantissa ? 0x400000u : 0u));
    if (exponent != 0)
        return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // zero and subnormals, exact
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

std::uint16_t floatToHalf(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
    const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u)
        return static_cast<std::uint16_t>(sign | 0x7E00u | (magnitude >> 13 & 0x3FFu));
    if (magnitude >= 0x47800000u)  // 65536 and above
        return static_cast<std::uint16_t>(sign | 0x7C00u);
    if (magnitude < 0x38800000u) {
        // Below 2^-14: adding 0.5 leaves the result's 10 bits, rounded to even, at the end of the
        // mantissa.
        const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
        return static_cast<std::uint16_t>(sign |
                                          (std::bit_cast<std::uint32_t>(shifted) - 0x3F000000u));
    }
    const std::uint32_t odd = magnitude >> 13 & 1u;
    return static_cast<std::uint16_t>(sign | (magnitude - 0x38000000u + 0xFFFu + odd) >> 13);
}

float bfloat16ToFloat(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t floatToBfloat16(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
    return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace fettle::kernels
