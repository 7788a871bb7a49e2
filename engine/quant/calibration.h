// What calibration text tells about the inputs of each linear weight.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/eval/text_windows.h"
#include "engine/model/transformer.h"

namespace fettle {

struct InputStatistics {
    std::vector<float> meanSquare;  ///< [cols] mean of x_j^2 over tokens
    std::vector<float> maximum;     ///< [cols] max |x_j|
    std::int64_t tokens = 0;
};
using CalibrationStatistics = std::map<std::string, InputStatistics>;

/// Runs `windows` through the model and collects statistics by canonical weight name.
CalibrationStatistics collectInputStatistics(Transformer& transformer,
                                             const std::vector<TextWindow>& windows,
                                             RunControl& control);

}  // namespace fettle
