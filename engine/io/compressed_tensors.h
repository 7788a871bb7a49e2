// compressed-tensors: how config.json's quantization_config says which linear modules are
// quantized, and the tensors that stand for one quantized weight.
//
//   int-quantized   <module>.weight I8 [N, K], <module>.weight_scale [N, 1]
//                   (weight-only int8 may also be pack-quantized: words of four bytes q + 128)
//   pack-quantized  <module>.weight_packed I32 [N, K*b/32], b = 2, 3 or 4: column k in bits [k*b,
//                   k*b + b) of the row's bit string, lowest first, stored q + 2^(b-1). For b = 3
//                   this is the dense packing of releases since 2026; earlier ones left bits
//                   unused. <module>.weight_scale [N, K/G], <module>.weight_shape I64 [2] = [N, K],
//                   asymmetric: <module>.weight_zero_point I32 [ceil(N/8), K/G], packed along N
//   float-quantized <module>.weight F8_E4M3 [N, K], <module>.weight_scale [N, 1]
//   nvfp4-pack-quantized <module>.weight_packed U8 [N, K/2] (even column in the low nibble),
//                   <module>.weight_scale F8_E4M3 [N, K/16], <module>.weight_global_scale F32 [1];
//                   with activations: <module>.input_global_scale F32 [1]
//   mxfp4-pack-quantized <module>.weight_packed likewise, <module>.weight_scale U8 [N, K/32] (E8M0)
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/io/stored_tensor.h"
#include "engine/tensor/weight.h"

namespace fettle {

class CompressedTensorsConfig {
public:
    /// Nothing where config.json has no quantization_config. Throws BadInput for other methods and
    /// for schemes that are not supported, naming them.
    static std::optional<CompressedTensorsConfig> fromConfig(const nlohmann::json& config,
                                                             const std::string& origin);

    /// The scheme of a linear module by its name in the file; nothing where it is left alone.
    std::optional<QuantScheme> schemeOf(const std::string& module) const;
    const std::vector<std::string>& warnings() const { return m_warnings; }

private:
    struct Group {
        std::vector<std::string> targets;
        QuantScheme scheme;
    };
    void readGroup(const std::string& name, const nlohmann::json& json, const std::string& format);

    std::string m_origin;
    std::vector<Group> m_groups;
    std::vector<std::string> m_ignore;
    std::vector<std::string> m_warnings;
};

/// The weight of `module` with the shape [rows, cols]. Throws BadInput for missing, misshapen or
/// mistyped parts.
QuantizedTensor readCompressedWeight(const StoredTensors& tensors, const std::string& module,
                                     const QuantScheme& scheme, std::int64_t rows,
                                     std::int64_t cols, const std::string& origin);

/// "Linear", an exact name, or "re:" and a pattern that matches from the start.
bool matchesTarget(const std::string& target, const std::string& module);

}  // namespace fettle
