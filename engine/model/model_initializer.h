// A model that knows nothing yet.
#pragma once

#include <cstdint>

#include "engine/core/random.h"
#include "engine/model/model.h"

namespace fettle {

/// Random weights for `config`: normal, deviation initializer_range of its config.json or 0.02,
/// divided by sqrt(2 layers) where a matrix writes into the residual stream (Radford et al. 2019);
/// norms start as the identity, biases as zero. Optional biases are left out. `type` F32, F16 or
/// BF16. The same for the same configuration and seed.
Model randomModel(ModelConfig config, std::shared_ptr<const Tokenizer> tokenizer,
                  std::uint64_t seed, DType type);

/// Draws of a normal distribution around zero, from the start of `random`.
void fillNormal(std::vector<float>& values, double deviation, const Philox& random);

/// The same weights as `type` (F32, F16 or BF16); quantized ones dequantized.
Model withType(const Model& model, DType type);

}  // namespace fettle
