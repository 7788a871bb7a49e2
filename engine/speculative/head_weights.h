// Weights of draft heads as devices multiply them fast.
#pragma once

#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/core/run_control.h"
#include "engine/tensor/weight.h"

namespace fettle {

/// Values [rows, cols] as a float32 weight.
Weight asWeight(const std::vector<float>& values, std::int64_t rows, std::int64_t cols);
/// int8 per channel; as it is where its rows do not divide into 32.
Weight inInt8(const std::string& name, const Weight& weight, Backend& backend, RunControl& control);
}  // namespace fettle
