// How much each layer changes what passes through it: 1 - the mean cosine between the residual
// stream before and after it. Layers of little influence can be left out of a draft. Men et al.
// 2024 (ShortGPT), equation 1.
#pragma once

#include <span>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/model/transformer.h"

namespace fettle {

/// One value per layer, from the tokens of `texts`, each run on its own.
std::vector<double> blockInfluence(Transformer& transformer,
                                   std::span<const std::vector<std::int32_t>> texts,
                                   RunControl& control);

/// The `count` layers of least influence, ascending.
std::vector<int> leastInfluential(const std::vector<double>& influence, int count);

}  // namespace fettle
