// The small floats of weights and activations, bit by bit.
//   E4M3  sign, 4 bits of exponent (bias 7), 3 of mantissa; largest 448, no infinity, 0x7F and 0xFF
//         are NaN ("E4M3FN": the OCP 8-bit float, Micikevicius et al. 2022, arXiv 2209.05433)
//   E2M1  sign, 2 bits of exponent, 1 of mantissa: 0, 0.5, 1, 1.5, 2, 3, 4, 6; no infinity, no NaN
//   E8M0  a power of two, 2^(code - 127); 0xFF is NaN (OCP Microscaling Formats 1.0)
// Encoders round to nearest, ties to the even code, and saturate: what lies beyond the largest
// value becomes the largest.
#pragma once

#include <cstdint>

namespace fettle::kernels {

constexpr float kLargestE4m3 = 448.0F;
constexpr float kSmallestE4m3 = 0x1p-9F;  ///< above zero
constexpr float kLargestE2m1 = 6.0F;

float e4m3ToFloat(std::uint8_t code);
/// NaN becomes 0x7F with the sign; infinities saturate.
std::uint8_t floatToE4m3(float value);

/// The value of the low four bits.
float e2m1ToFloat(std::uint8_t code);
/// NaN becomes 6, as there is no other code for it.
std::uint8_t floatToE2m1(float value);
/// Twice the value of each code, a whole number: products of these are exact integers.
extern const std::int8_t kTwiceE2m1[16];

float e8m0ToFloat(std::uint8_t code);
/// The largest power of two not above a positive finite value, held within [2^-127, 2^127].
std::uint8_t floorE8m0(float value);

}  // namespace fettle::kernels
