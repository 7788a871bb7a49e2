// A model with random weights: what is trained from scratch.
#pragma once

#include "engine/model/model.h"

namespace fettle {

/// A model of this configuration with the tokenizer and side files of `like`. Matrices are normal
/// with deviation 0.02, those that write into the residual stream less by the root of twice the
/// layers (Radford et al. 2019); norms are one, biases zero. In the float type that the
/// configuration names, float32 where it names none. The same weights for the same seed. Throws
/// EngineError(Usage) where the configuration has other tokens than `like`.
Model freshModel(const ModelConfig& config, const Model& like, std::uint64_t seed,
                 RunControl& control);

}  // namespace fettle
