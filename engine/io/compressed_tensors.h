// compressed-tensors: how config.json's quantization_config says which linear modules are
// quantized, and the tensors that stand for one quantized weight.
//
//   int-quantized   <module>.weight I8 [N, K], <module>.weight_scale [N, 1]
//                   (weight-only int8 may also be pack-quantized: words of four bytes q + 128)
//   pack-quantized  <module>.weight_packed I32 [N, K/8] (nibble j of word c = column 8c + j, stored
//   q + 8),
//                   <module>.weight_scale [N, K/G], <module>.weight_shape I64 [2] = [N, K],
//                   asymmetric: <module>.weight_zero_point I32 [ceil(N/8), K/G], packed along N
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
