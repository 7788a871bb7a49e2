// How a packed weight lies in memory. Sixteen output rows make a panel, one row per lane of a
// 16-lane vector; panels follow each other, so a product reads memory in one forward stream. A
// panel is a code section and a scale section.
//
// Code section of integer formats, per group of 32 k: eight steps of 4 k. Step s, byte 4r+i holds
// the unsigned code of row r, k = 4s+i: the operand order of vpdpbusd, vpmaddubsw and AMX tiles.
// Codes stay as narrow as they are:
//   2 bits  128 bytes: byte b of vector j (0..1) has in bits 2i, 2i+1 the code of step 4j+i
//   3 bits  192 bytes: the 2-bit form of the low bits, then 64 bytes: bit s of byte b = high bit of
//   step s
//   4 bits  256 bytes: byte b of vector j (0..3) = step 2j | step 2j+1 << 4
//   5 bits  320 bytes: the 4-bit form of the low bits, then 64 bytes: bit s of byte b = high bit of
//   step s 6 bits  384 bytes: the 4-bit form of the low bits, then 2 x 64 bytes: byte b of vector h
//   has in bits 2i, 2i+1 the
//           high bits of step 4h+i
//   8 bits  512 bytes, int8 codes stored + 128
// Four-bit codes of E2M1 are looked up as twice their value + 12.
// Code section of plain formats: F32, F16 [cols][16]; BF16 in pairs of k, [ceil(cols/2)][16][2],
// odd cols padded with 0; E4M3 [cols][16], with a Channel scale section. Widened formats are plain
// too, with an F32 scale section of one entry per scaleGroup values: MxFp8 and Fp8Group [cols][16];
// MxFp6 as eight times the value, i8 [cols][16]; Nf4Group in pairs of k, [cols/2][16], the even one
// in the low nibble. Scale section, [16] meaning one entry per row:
//   Channel  float [16]
//   F16, BF16, F32  per scale block: scale [16], of that type
//   E8M0     per group: u8 [16], 2^(u - 127)
//   E4M3Halves  float factor [16], then per group: u8 [16] for its first 16 k, u8 [16] for the rest
//   F16Min   per group: f16 d [16], f16 m [16]                     w = d*u + m          (Q4_1,
//   Q5_1) SubMin   per 256: f16 d [16], f16 dmin [16], 8 x u8 scale [16], 8 x u8 min [16] (Q4_K,
//   Q5_K) Sub16    per 256: f16 d [16], 16 x i8 scale [16] (Q3_K, Q6_K)
// With zero points: u8 [16] per scale block, behind all scales.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/weight_format.h"

namespace fettle::kernels {

enum class ScaleLayout : std::uint8_t {
    None,
    Channel,
    F16,
    BF16,
    F32,
    F16Min,
    SubMin,
    Sub16,
    E8M0,
    E4M3Halves
};

struct PackedLayout {
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    int codeBits = 0;   ///< 2 to 6, 8; 16 and 32 for plain formats
    bool e2m1 = false;  ///< codes stand for E2M1
    ScaleLayout scales = ScaleLayout::None;
    int zero = 0;  ///< code that means 0 where it is the same for all; 0 with mins or zero points
    bool zeroPoints = false;
    std::int64_t groups = 0;          ///< groups of 32 k; 0 for plain formats
    std::int64_t scaleGroup = 0;      ///< values per scale of a widened format, else 0
    std::int64_t groupsPerScale = 1;  ///< all of a row for Int8Channel with activations per group
    std::size_t groupBytes = 0;       ///< codes of one group of one panel
    std::size_t scaleOffset = 0;      ///< scale section within a panel, bytes
    std::size_t zeroOffset = 0;
    std::size_t panelBytes = 0;  ///< a multiple of 64
    std::int64_t panels = 0;
    ActivationFormat activations = ActivationFormat::None;
    bool roundsInputs = false;  ///< BF16: products of bfloat16, activations are rounded to it
    /// BF16 where AMX's tiles multiply it: as how many numbers of bfloat16 an activation is
    /// multiplied; 1 where it is rounded, 3 where it is kept to the last bit of its float32; 0:
    /// never on tiles.
    int tileParts = 0;
    int tileRows = 0;            ///< how many activations share tiles: 32 of one part, 16 of three
    float inputGlobalScale = 1;  ///< of NvFp4 and Int8Tensor activations
};

constexpr std::int64_t kPanelRows = 16;
constexpr std::int64_t kGroupValues = 32;
constexpr std::int64_t kExactGroups =
    2048;  ///< sums of 2048 * 32 products of 128 * 127 still fit an int32

/// Throws std::invalid_argument where sizes do not fit the format.
PackedLayout packedLayout(const WeightView& weight);

/// Packs panels [begin, end) of `weight` into `out`, the first byte of panel 0.
void packPanels(const WeightView& weight, const PackedLayout& layout, std::int64_t begin,
                std::int64_t end, std::byte* out);

}  // namespace fettle::kernels
