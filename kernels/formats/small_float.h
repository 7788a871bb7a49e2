// The small floats of weights and activations, bit by bit.
//   E4M3  sign, 4 bits of exponent (bias 7), 3 of mantissa; largest 448, no infinity, 0x7F and 0xFF
//         are NaN ("E4M3FN": the OCP 8-bit float, Micikevicius et al. 2022, arXiv 2209.05433)
//   E2M1  sign, 2 bits of exponent, 1 of mantissa: 0, 0.5, 1, 1.5, 2, 3, 4, 6; no infinity, no NaN
//   E5M2  sign, 5 bits of exponent (bias 15), 2 of mantissa; largest 57344; 0x7C is infinity, NaN
//   above E2M3  sign, 2 bits of exponent (bias 1), 3 of mantissa: the multiples of 1/8 up to 2,
//   then coarser,
//         up to 7.5; no infinity, no NaN
//   E3M2  sign, 3 bits of exponent (bias 3), 2 of mantissa, up to 28; no infinity, no NaN
//   E8M0  a power of two, 2^(code - 127); 0xFF is NaN (OCP Microscaling Formats 1.0)
//   NF4   sixteen quantiles of a normal distribution within [-1, 1], 0 among them; code values as
//   in
//         bitsandbytes (Dettmers et al. 2023, arXiv 2305.14314)
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

constexpr float kLargestE5m2 = 57344.0F;
constexpr float kLargestE2m3 = 7.5F;
constexpr float kLargestE3m2 = 28.0F;
float e5m2ToFloat(std::uint8_t code);
/// NaN becomes 0x7F with the sign; infinities saturate.
std::uint8_t floatToE5m2(float value);
/// The value of the low six bits; encoders turn NaN into the largest, as there is no code for it.
float e2m3ToFloat(std::uint8_t code);
std::uint8_t floatToE2m3(float value);
float e3m2ToFloat(std::uint8_t code);
std::uint8_t floatToE3m2(float value);

/// How the codes of a format lie on the line of numbers.
enum class CodeSpacing : std::uint8_t {
    Even,    ///< whole numbers
    Binade,  ///< evenly within each power of two: floats
    Nf4      ///< the sixteen values of kNf4
};

/// Ascending.
extern const float kNf4[16];
/// The code of the nearest value; the lower one halfway between two. NaN becomes code 15.
std::uint8_t floatToNf4(float value);

float e8m0ToFloat(std::uint8_t code);
/// The largest power of two not above a positive finite value, held within [2^-127, 2^127].
std::uint8_t floorE8m0(float value);

}  // namespace fettle::kernels
