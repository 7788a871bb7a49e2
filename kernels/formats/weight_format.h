// The weight formats that kernels read, as they lie in files ("canonical" form). A linear weight W
// is [rows = out features N, cols = in features K], row-major; y = x W^T.
//
// Block formats are GGUF's, byte for byte; blocks run along a row.
//   Q8_0  32 values /  34 bytes: f16 d; i8 q[32]                                   w = d*q
//   Q4_0  32 /  18: f16 d; u8 qs[16], byte j = value j | value j+16 << 4            w = d*(q-8)
//   Q4_1  32 /  20: f16 d, m; qs[16]                                               w = d*q + m
//   Q5_0  32 /  22: f16 d; u8 qh[4]; qs[16]                                        w = d*(q-16)
//   Q5_1  32 /  24: f16 d, m; qh[4]; qs[16]                                        w = d*q + m
//   Q3_K 256 / 110: u8 hmask[32]; qs[64]; u8 sc[12]; f16 d                          w = d*(s-32)*q,
//   q = -4..3
//   Q4_K 256 / 144: f16 d, dmin; u8 sc[12]; qs[128]                                w = d*s*q -
//   dmin*m Q5_K 256 / 176: f16 d, dmin; u8 sc[12]; qh[32]; qs[128] Q6_K 256 / 210: u8 ql[128];
//   qh[64]; i8 sc[16]; f16 d                           w = d*s*(q-32)
// Int8Channel: i8 codes [N,K], one scale per row. Int2Group, Int3Group, Int4Group:
// compressed-tensors' pack-quantized form, 32-bit words [N, K*b/32], element k of a row in bits
// [k*b, k*b + b) of the row's bit string, lowest first, stored u = q + 2^(b-1); scales
// [N, K/groupSize]; Int4Group with zero points (asymmetric) u - z, packed the same way along N:
// word [ceil(N/8), K/groupSize]. Fp8Channel: E4M3 codes [N,K], one scale per row. NvFp4: E2M1 codes
// [N, K/2], even columns in the low nibble, E4M3 scales [N, K/16], and one float32 multiplier g for
// all: w = code * (scale / g). MxFp4: E2M1 codes the same way, E8M0 scales [N, K/32]: w = code *
// scale. MxFp8 (E4M3 codes [N, K]) and MxFp6 (E2M3 codes, six bits each, lowest first, [N, K*6/8]):
// likewise. Fp8Group: E4M3 codes [N, K], scales [N, K/groupSize]. Nf4Group: codes [N, K/2] as
// MxFp4's, scales [N, K/groupSize]: w = kNf4[code] * scale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/formats/activation_format.h"

namespace fettle::kernels {

enum class WeightFormat : std::uint8_t {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Int8Channel,
    Int4Group,
    Int3Group,
    Int2Group,
    Fp8Channel,
    NvFp4,
    MxFp4,
    MxFp8,
    Fp8Group,
    MxFp6,
    Nf4Group
};
enum class ScaleType : std::uint8_t { F32, F16, BF16, E4M3, E8M0 };

/// A borrowed weight in canonical form. All pointers must outlive its use.
struct WeightView {
    WeightFormat format = WeightFormat::F32;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    const void* data = nullptr;
    const void* scales = nullptr;  ///< per channel [rows], per group [rows, cols/groupSize]
    ScaleType scaleType = ScaleType::F32;
    std::int64_t groupSize = 0;                ///< of formats with group scales; divides cols
    const std::int32_t* zeroPoints = nullptr;  ///< Int4Group asymmetric only, else null
    float globalScale = 1;                     ///< NvFp4: the scales' multiplier
    float inputGlobalScale = 1;  ///< NvFp4 activations: their multiplier; Int8Tensor: their scale
    /// What a product does to its activations; nothing: as the format does by itself, see
    /// activationsOf.
    std::optional<ActivationFormat> activations;
};

/// What a product with `weight` does to its activations. By itself: nothing for plain formats, int8
/// per token for Int8Channel, E4M3 per token for Fp8Channel, int8 per 32 values for all others.
ActivationFormat activationsOf(const WeightView& weight);
/// Codes with a scale per group: Int4Group, Int3Group, Int2Group, NvFp4, MxFp4, MxFp8, Fp8Group,
/// MxFp6, Nf4Group.
bool hasGroups(WeightFormat format);
/// Those of them whose products are float32, scaled as the codes are read: MxFp8, Fp8Group,
/// MxFp6, Nf4Group.
bool isWidened(WeightFormat format);
/// What a code of a format that hasGroups, or of Fp8Channel, stands for before its scale; of
/// integers, of the unsigned code.
float codeValue(WeightFormat format, std::uint8_t code);
/// Bits of one code of a format that hasGroups, and of Int8Channel and Fp8Channel.
int codeBits(WeightFormat format);

/// Values in one block: 32 or 256 for block formats, 1 otherwise.
std::int64_t blockValues(WeightFormat format);
/// Bytes of one block, or of one element for plain and channel formats; 0 for group formats, whose
/// codes are narrower.
std::size_t blockBytes(WeightFormat format);
/// Bytes of one row of codes; cols must be a multiple of blockValues (of 8 for
/// Int4Group, of 32 for the other group formats).
std::size_t rowBytes(WeightFormat format, std::int64_t cols);
const char* name(WeightFormat format);

/// Row `row` as float32, exactly as the format defines it (bit-exact with the gguf package for its
/// types).
void dequantizeRow(const WeightView& weight, std::int64_t row, float* out);

/// Scale number `index`: [rows] per channel, [rows, cols/groupSize] per group; NvFp4's is divided
/// by the global scale.
float weightScale(const WeightView& weight, std::int64_t index);
/// Int4Group's zero point in codes 0..15; 8 where the weight is symmetric.
int zeroPoint(const WeightView& weight, std::int64_t row, std::int64_t group);
/// The stored codes of values 32 g .. 32 g + 31 of a row of a format that hasGroups.
void groupCodes(const WeightView& weight, std::int64_t row, std::int64_t g, std::uint8_t* out);
/// 6-bit scale and min of sub-block 0..7, out of the 12 packed bytes of a Q4_K or Q5_K block.
struct SubScale {
    int scale = 0;
    int min = 0;
};
SubScale subScale(const std::uint8_t* sc, int subBlock);
/// Scale -32..31 of sub-block 0..15, out of the 12 packed bytes of a Q3_K block.
int threeBitScale(const std::uint8_t* sc, int subBlock);
/// Code 0..7 of element 0..255 of a Q3_K block; 4 stands for 0.
int threeBitCode(const std::uint8_t* block, int element);
/// Code 0..63 of element 0..255 of a Q6_K block.
int sixBitCode(const std::uint8_t* block, int element);

float halfToFloat(std::uint16_t half);
std::uint16_t floatToHalf(float value);  ///< round to nearest even
float bfloat16ToFloat(std::uint16_t bits);
std::uint16_t floatToBfloat16(float value);  ///< round to nearest even, NaN kept

}  // namespace fettle::kernels
