// What a matrix product does to its activations before multiplying them, exactly.
//
// Training that simulates a quantized model calls roundActivations() on every row that goes into a
// quantized weight, with activationsOf(weight.view()) (or QuantScheme::kernelActivations) and the
// weight's inputGlobalScale; the result is what the deployed kernel multiplies, bit for bit, at
// every instruction-set level.
#pragma once

#include <cstdint>

namespace fettle::kernels {

enum class ActivationFormat : std::uint8_t {
    None,         ///< float32 as they are
    Int8Token,    ///< int8, one scale per row: amax / 127
    Int8Group32,  ///< int8, one scale per 32 values: amax / 127
    Int4Group32,  ///< int4 in -7..7, one scale per 32 values: amax / 7
    Fp8Token,     ///< E4M3, one scale per row: amax / 448
    NvFp4,        ///< E2M1, one E4M3 scale per 16 values under a fixed global scale
    MxFp4,        ///< E2M1, one power of two per 32 values
    Int8Tensor,   ///< int8 under one fixed scale for all tokens; what lies beyond 127 is clipped
    MxFp8         ///< E4M3, one power of two per 32 values
};
constexpr int kActivationFormats = 9;

/// "none", "int8 per token", "int8 per 32", ...
const char* name(ActivationFormat format);
/// Values that share a scale; 0 for a whole row or none.
std::int64_t activationBlock(ActivationFormat format);

/// Codes and scales of one row for the formats that multiply integers: x[i] ~ codes[i] *
/// scales[i / block]. E2M1 codes are twice the value, so that they are whole; the scale is half of
/// what the format stores. `count` must be a multiple of the block. A block that holds NaN or an
/// infinity gets the scale NaN. `globalScale` is NvFp4's multiplier g, the block's scale being
/// E4M3(g * amax / 6) / g, and Int8Tensor's scale itself.
void quantizeActivations(ActivationFormat format, const float* x, std::int64_t count,
                         float globalScale, std::int8_t* codes, float* scales);

/// A row as the kernels multiply it: quantized and taken back. out may be x.
void roundActivations(ActivationFormat format, const float* x, std::int64_t count, float* out,
                      float globalScale = 1);

/// NvFp4's global scale for activations (and weights) whose largest magnitude is `amax`: 448 * 6 /
/// amax, so that the largest block scale is the largest E4M3; 1 where amax is 0 or not finite.
float nvFp4GlobalScale(float amax);

}  // namespace fettle::kernels
