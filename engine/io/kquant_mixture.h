// llama.cpp's mixtures of K-quants: which weight of a layer gets how many bits.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/formats/weight_format.h"

namespace fettle {

/// The type of a layer's weight, by its canonical name, in the mixture named after `base` (Q3_K_M,
/// Q4_K_M, ...): Q3_K_M keeps values, o and ffn.down at four bits, the first of them at five; the
/// others keep some values and ffn.down at six.
kernels::WeightFormat kQuantMixture(kernels::WeightFormat base, const std::string& name,
                                    std::int64_t layers);

}  // namespace fettle
