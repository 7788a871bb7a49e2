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

/// `format`, or where rows of `cols` do not divide into its super-blocks the next format of blocks
/// of 32.
kernels::WeightFormat kQuantForRows(kernels::WeightFormat format, std::int64_t cols);

}  // namespace fettle
