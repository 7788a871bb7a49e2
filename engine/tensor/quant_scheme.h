// How a weight is quantized: element type, granularity, what it costs in bits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/formats/weight_format.h"

namespace fettle {

enum class Granularity : std::uint8_t { Tensor, Channel, Group };

struct QuantScheme {
    std::string id;  ///< "int8", "int4-g32", "q4_k", ...
    kernels::WeightFormat format = kernels::WeightFormat::Int8Channel;
    int bits = 8;
    Granularity granularity = Granularity::Channel;
    int groupSize = 0;  ///< along K; 0 = whole row
    bool symmetric = true;
    bool quantizesActivations = false;  ///< W8A8: dynamic per-token int8 activations

    /// Bits per weight with scales, for a row of k weights and scales of `scaleBits`.
    double bitsPerWeight(std::int64_t k, int scaleBits = 16) const;
    bool operator==(const QuantScheme&) const = default;
};

/// The scheme of a name, or nothing for an unknown one: "int8" (W8A8), "w8a16", "int4-gN" and
/// "int4-gN-asym" with N a multiple of 8, "int4-channel", and GGUF's blocks "q8_0", "q4_0", "q4_1",
/// "q5_0", "q5_1", "q4_k", "q5_k", "q6_k".
std::optional<QuantScheme> findQuantScheme(std::string_view id);
/// The scheme of a GGUF block format.
QuantScheme blockScheme(kernels::WeightFormat format);
/// int4 with groups of `groupSize` along a row (0 = the whole row).
QuantScheme int4Scheme(int groupSize, bool symmetric);

}  // namespace fettle
