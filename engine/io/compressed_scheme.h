// What compressed-tensors' configuration says of a quantization scheme, in both directions: format
// names and QuantizationArgs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/tensor/quant_scheme.h"

namespace fettle {

/// "pack-quantized", "int-quantized", "float-quantized", "nvfp4-pack-quantized" or
/// "mxfp4-pack-quantized".
const char* compressedFormatName(const QuantScheme& scheme);
/// QuantizationArgs of the weights. Readers refuse keys they do not know, so only those that a
/// scheme needs are written.
nlohmann::json weightArguments(const QuantScheme& scheme);
/// QuantizationArgs of the activations; null where the scheme leaves them alone.
nlohmann::json activationArguments(const QuantScheme& scheme);

/// The scheme of a group of config_groups. `format` is the one that holds for it; `where` names the
/// group in errors. Throws BadInput for schemes that are not supported, naming them; adds a warning
/// where activations are computed otherwise than the file says.
QuantScheme schemeFromGroup(const nlohmann::json& group, const std::string& format,
                            const std::string& where, const std::string& origin,
                            std::vector<std::string>& warnings);

}  // namespace fettle
