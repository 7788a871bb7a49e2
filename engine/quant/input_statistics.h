// What calibration text tells about an input that one or several linear weights share.
#pragma once

#include <cstdint>
#include <vector>

namespace fettle {

/// How far inputs x are from those p that the plain model has in their place.
struct InputDrift {
    std::vector<float> product;  ///< [cols, cols] mean of (p - x) x^T over tokens not held back
    /// Tokens held back, a sixteenth in stretches of the text, [heldRows, cols]: whether what is
    /// learned from the product holds for others.
    std::vector<float> heldInputs, heldDrift;  ///< x and p - x
    std::int64_t heldRows = 0;
};

/// Of one input that one or several linear weights share. x_j is input channel j of a token.
struct InputStatistics {
    std::vector<float> meanSquare;     ///< [cols] mean of x_j^2: llama.cpp's importance matrix
    std::vector<float> meanMagnitude;  ///< [cols] mean of |x_j|
    std::vector<float> mean;           ///< [cols] mean of x_j
    std::vector<float> maximum;        ///< [cols] max |x_j|
    std::vector<float> gram;           ///< [cols, cols] mean of x x^T; empty unless asked for
    /// What the plain model has more in the place of x; empty unless asked for.
    InputDrift drift;
    std::vector<float> sample;  ///< [sampleRows, cols] tokens evenly spread over the text
    std::int64_t sampleRows = 0;
    std::int64_t tokens = 0;
    std::int64_t cols = 0;
};

}  // namespace fettle
