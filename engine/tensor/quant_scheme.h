// How a weight is quantized: element type, granularity, what it costs in bits, and what happens to
// the activations it multiplies.
//
// A scheme says two things about activations. `activations` is what the scheme prescribes and what
// exported files declare; weight-only schemes prescribe None. kernelActivations() is what the CPU's
// product does: for weight-only integer schemes it rounds activations to int8 per 32 values, so
// that integers can be multiplied. Whoever simulates the deployed model (quantization-aware
// training) rounds the inputs with kernels::roundActivations(scheme.kernelActivations(cols), ...)
// and the weights with GroupQuantizer (engine/quant/group_quantizer.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/formats/weight_format.h"

namespace fettle {

using kernels::ActivationFormat;

enum class Granularity : std::uint8_t { Tensor, Channel, Group };

struct QuantScheme {
    std::string id;  ///< "int8", "int4-g32", "nvfp4", "q4_k", ...
    kernels::WeightFormat format = kernels::WeightFormat::Int8Channel;
    int bits = 8;
    Granularity granularity = Granularity::Channel;
    int groupSize = 0;  ///< along K; 0 = whole row
    bool symmetric = true;
    ActivationFormat activations = ActivationFormat::None;  ///< what the scheme prescribes

    bool quantizesActivations() const { return activations != ActivationFormat::None; }
    /// What the CPU kernel does to a row of `cols` activations: as prescribed; weight-only integer
    /// schemes as int8 per 32 values (w8a16 with rows that do not divide into 32: int8 per token).
    ActivationFormat kernelActivations(std::int64_t cols) const;
    /// How many rows have one scale: all of them per tensor, 128 for fp8-block128.
    std::int64_t rowsPerScale() const;
    /// Whether quantizers here can make its codes: integers and small floats, not GGUF's blocks.
    bool hasQuantizer() const;
    /// Whether it is one of GGUF's blocks of 32 whole numbers under one float16 scale: Q4_0, Q5_0,
    /// Q8_0.
    bool isScaledBlock() const { return symmetric && kernels::blockValues(format) == 32; }
    /// Whether it is one of GGUF's super-blocks of 256 values.
    bool isSuperBlock() const { return kernels::blockValues(format) == 256; }
    /// Bits of one scale where the format fixes it (8 for NVFP4 and the MX formats), `otherwise`
    /// elsewhere.
    int scaleBits(int otherwise = 16) const;
    /// Bits per weight with scales, for a row of k weights and scales of `scaleBits`.
    double bitsPerWeight(std::int64_t k, int scaleBits = 16) const;
    bool operator==(const QuantScheme&) const = default;
};

/// The scheme of a name, or nothing for an unknown one:
///   int8 (W8A8, activations per token), int8-static (under one scale from calibration), w8a16,
///   int4-channel
///   int4-gN, int4-gN-asym with N a multiple of 8; int3-gN, int2-gN with N a multiple of 32
///   any of these with -a8 (activations int8 per token) or -a4 (int4 per 32) behind
///   fp8, fp8-tensor (E4M3 per channel or per tensor, activations per token), fp8-block128 (per
///   128 x 128 weights, weights only), nvfp4, mxfp4, mxfp8 (activations likewise) and
///   nvfp4-w4a16, mxfp4-w4a16, mxfp8-w8a16, mxfp6-w6a16, nf4 (groups of 64), nf4-g32 (weights only)
///   GGUF's blocks q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k
std::optional<QuantScheme> findQuantScheme(std::string_view id);
/// The scheme of a GGUF block format.
QuantScheme blockScheme(kernels::WeightFormat format);
/// int4 with groups of `groupSize` along a row (0 = the whole row).
QuantScheme int4Scheme(int groupSize, bool symmetric);
/// Integers of 2, 3 or 4 bits in groups of `groupSize` (0 = the whole row); asymmetric with 4 bits
/// only.
QuantScheme intScheme(int bits, int groupSize, bool symmetric, ActivationFormat activations);
/// The same scheme with smaller groups; only for integers and NF4 in groups.
QuantScheme withGroupSize(const QuantScheme& scheme, int groupSize);

}  // namespace fettle
