// How keys and values lie in a cache. Codes of all heads come first, kvHeads * capacity * headDim
// of them in the order that the device's appendKv and attention agree on; narrow types have one
// float32 scale per token and head behind them, [kvHeads][capacity]: value = code * scale.
//   Int8  amax / 127 over the head's dimensions
//   Fp8   E4M3, amax / 448
//   Int4  codes -7..7 stored + 8, two a byte, the even element in the low nibble; amax / 7. headDim
//         must be even.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace fettle::kernels {

enum class KvType : std::uint8_t { F32, F16, Int8, Fp8, Int4 };

/// "f32", "f16", "int8", "fp8", "int4"; and back.
const char* name(KvType type);
std::optional<KvType> findKvType(std::string_view name);
bool hasScales(KvType type);
int kvBits(KvType type);
/// Where the scales begin; the end of the codes for types without.
std::size_t kvScaleOffset(KvType type, std::int64_t elements);
/// Bytes of one layer's keys, or of its values.
std::size_t kvBytes(KvType type, std::int64_t kvHeads, std::int64_t capacity, std::int64_t headDim);
/// Codes of one token's head and their scale, for types that have scales: Int4's one a byte.
/// A head of zeros, or with a value that is not finite, gets the scale 0 or NaN.
void quantizeKv(KvType type, const float* x, std::int64_t count, std::uint8_t* codes, float* scale);
/// What a code stands for before its scale.
float kvCodeValue(KvType type, std::uint8_t code);

}  // namespace fettle::kernels
