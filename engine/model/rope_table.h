// Angles of rotary positions, shared by inference and training. Su et al. 2021.
#pragma once

#include <cstdint>

#include "engine/model/model_config.h"

namespace fettle {

/// Rows [begin, end) of a table [positions, headDim]: headDim/2 cosines, then sines.
void fillRope(const RopeConfig& rope, std::int64_t headDim, std::int64_t begin, std::int64_t end,
              float* table);

}  // namespace fettle
