// How keys and values lie in a cache. Codes of all heads come first, kvHeads * capacity * headDim
// of them in the order that the device's appendKv and attention agree on; narrow types have one
// float32 scale per token and head behind them, [kvHeads][capacity]: value = code * scale.
//   Int8  amax / 127 over the head's dimensions
//   Fp8   E4M3, amax / 448
//   Int4  codes -7..7 stored + 8, two a byte, the even element in the low nibble; amax / 7. headDim
//         must be even.
//   NvFp4 E2M1 codes, two a byte likewise, and one E4M3 scale per 16 dimensions under the float32
//         one, which is amax / (6 * 448): value = code * (block scale * scale). headDim must be a
//         multiple of 16. Block scales stand behind all float32 scales, in the order of the codes
//         with headDim / 16 in the place of headDim.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace fettle::kernels {

enum class KvType : std::uint8_t { F32, F16, Int8, Fp8, Int4, NvFp4 };

constexpr std::int64_t kKvBlock = 16;  ///< dimensions under one of NvFp4's block scales

/// "f32", "f16", "int8", "fp8", "int4", "nvfp4"; and back.
const char* name(KvType type);
std::optional<KvType> findKvType(std::string_view name);
bool hasScales(KvType type);
/// What the head size must be a multiple of.
std::int64_t kvHeadUnit(KvType type);
int kvBits(KvType type);
/// Where the scales begin; the end of the codes for types without.
std::size_t kvScaleOffset(KvType type, std::int64_t elements);
/// Where the block scales begin, NvFp4's alone; the end of the scales for others.
std::size_t kvBlockScaleOffset(KvType type, std::int64_t kvHeads, std::int64_t capacity,
                               std::int64_t headDim);
/// Bytes of one token's head among keys, or among values, scales included.
double kvTokenBytes(KvType type, std::int64_t headDim);
/// Bytes of one layer's keys, or of its values.
std::size_t kvBytes(KvType type, std::int64_t kvHeads, std::int64_t capacity, std::int64_t headDim);
/// Codes of one token's head and their scale, for types that have scales: Int4's and NvFp4's one a
/// byte. NvFp4's block scales go to `blockScales` [count / 16]. A head of zeros, or with a value
/// that is not finite, gets the scale 0 or NaN.
void quantizeKv(KvType type, const float* x, std::int64_t count, std::uint8_t* codes, float* scale,
                std::uint8_t* blockScales = nullptr);
/// What a code stands for before its scale.
float kvCodeValue(KvType type, std::uint8_t code);

}  // namespace fettle::kernels
