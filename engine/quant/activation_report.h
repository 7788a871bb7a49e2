// What calibration text shows of the activations that go into a model's linear weights: their
// distribution, and the channels that stand out, which decide how few bits activations and weights
// bear.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/model/model.h"
#include "engine/quant/calibration.h"

namespace fettle {

/// Of one input that one or several weights share.
struct ActivationSummary {
    int layer = -1;                    ///< -1: the head's
    std::string name;                  ///< of the first weight that reads it
    std::vector<std::string> readers;  ///< all of them
    std::int64_t tokens = 0;
    std::int64_t channels = 0;
    double rms = 0;
    double largest = 0;   ///< max |x|
    double kurtosis = 0;  ///< E x^4 / (E x^2)^2: 3 for a normal distribution
    /// How often |x| falls into each half octave: bin b holds [2^((b - 32) / 2), 2^((b - 31) / 2));
    /// the first and last take all beyond.
    std::vector<std::int64_t> histogram;
    struct Channel {
        std::int64_t index = 0;
        double largest = 0;
        double ratio = 0;  ///< its rms against the median of all channels'
    };
    /// Channels whose rms is at least six times the median, largest first.
    std::vector<Channel> outliers;
    double outlierEnergy = 0;  ///< their share of the sum of squares
};

constexpr int kActivationBins = 64;
/// Lower edge of a bin.
double activationBinEdge(int bin);

/// All inputs in model order: per layer those of q, k, v; o; gate, up; down; then the head's.
std::vector<ActivationSummary> summarizeActivations(const Model& model, const CalibrationText& text,
                                                    Backend& backend, RunControl& control);

nlohmann::json toJson(const ActivationSummary& summary);

}  // namespace fettle
