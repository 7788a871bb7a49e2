// How a weight lies in device memory, made for lanes that read 16 bytes each beside each other.
// Rows follow each other in up to four sections; a group is 32 neighbouring values of a row.
//
//   codes   Bits4, Bits5, Bits6, E2M1, Nf4, E2M3  16 bytes a group: nibbles of value 8w+e in byte e
//           of word w for e < 4 (low) and of value 8w+4+e (high), so that word & 0x0f0f0f0f are
//           values 8w..8w+3
//           Bits2, Bits3  8 bytes a group: word h has in bits 8b+2s, 8b+2s+1 those of value
//           16h+4s+b
//           Bits8, E4M3  a byte a value  Row8  int8, rows padded with zeros to 16 bytes
//           F16, BF16, F32  rows padded with zeros to 16 bytes
//   high    Bits5, Bits3  4 bytes a group: bit 8b+s is the highest bit of value 4s+b
//           Bits6, E2M3  8 bytes a group: word h has in bits 8b+2s, 8b+2s+1 those of value 16h+4s+b
//   scales  F16, BF16, F32  one per scale block    Row  float per row
//           E4M3  a byte per 16 values, over `global`    E8M0  a byte a group
//           F16Min  f16 d, m per group, w = d*q + m
//           SubMin  f16 d, dmin per 256 values, w = d*sc*q - dmin*m
//           Sub16   f16 d per 256 values, w = d*sc*(q - zero)
//   sub     zero points u8 per scale block; SubMin u8 sc, m per group; Sub16 i8 sc per 16 values
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/formats/weight_format.h"

namespace fettle::kernels::cuda {

enum class CodeKind : std::uint8_t {
    F32,
    F16,
    BF16,
    Bits4,
    Bits5,
    Bits6,
    Bits8,
    Row8,
    Bits2,
    Bits3,
    E4M3,
    E2M1,
    E2M3,
    Nf4
};
/// Each: any of Row, F16, BF16, F32, E4M3 and E8M0, told apart by kernels as they read one.
enum class ScaleKind : std::uint8_t {
    None,
    Row,
    F16,
    BF16,
    F32,
    F16Min,
    SubMin,
    Sub16,
    E4M3,
    E8M0,
    Each
};

constexpr std::int64_t kGroupValues = 32;

struct WeightLayout {
    std::int64_t rows = 0, cols = 0;
    CodeKind codes = CodeKind::F32;
    ScaleKind scales = ScaleKind::None;
    int zero = 0;             ///< the code of 0 where it is the same for all
    bool zeroPoints = false;  ///< in section sub
    /// Multiplied in float32 after its codes were made float32, by activations that were rounded
    /// before: the device has no kernel that multiplies these codes by those activations.
    bool widened = false;
    float global = 1;  ///< what E4M3 scales are divided by
    int groupsPerScale = 1;
    struct Section {
        std::size_t begin = 0;   ///< bytes from the weight's start, a multiple of 256
        std::size_t stride = 0;  ///< bytes of a row; 0: there is no such section
        std::int64_t rows = 0;   ///< Row8 has rows of zeros up to a multiple of 4
    };
    enum { kCodes, kHigh, kScales, kSub, kSections };
    std::array<Section, kSections> sections;
    std::size_t bytes = 0;
};

/// Whether `weight` has a layout of its own; others, which have odd widths, are to be dequantized
/// first.
bool hasLayout(const WeightView& weight);
/// Of a weight that has one: cols is a multiple of 32 but for plain types and int8 that is
/// multiplied by int8 per token.
WeightLayout weightLayout(const WeightView& weight);
/// Rows [begin, end) of a section into `out`, which holds nothing else.
void packSection(const WeightView& weight, const WeightLayout& layout, int section,
                 std::int64_t begin, std::int64_t end, std::byte* out);

/// A weight in device memory.
struct DeviceWeightView {
    WeightLayout layout;
    const std::byte* data = nullptr;
    const std::byte* section(int s) const { return data + layout.sections[s].begin; }
};

}  // namespace fettle::kernels::cuda
