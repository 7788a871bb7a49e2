#include "engine/model/rope_table.h"

#include <cmath>
#include <numbers>
#include <vector>

namespace fettle {

namespace {

std::vector<float> ropeFrequencies(const RopeConfig& rope, std::int64_t headDim) {
    std::vector<float> frequencies(static_cast<std::size_t>(headDim / 2));
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        double f = std::pow(static_cast<double>(rope.theta),
                            -2.0 * static_cast<double>(i) / static_cast<double>(headDim));
        if (rope.llama3Factor != 1) {
            // Llama 3.1: long wavelengths are stretched, short ones kept, those between blended.
            const double wavelength = 2 * std::numbers::pi / f;
            const double longest = rope.llama3OriginalContext / rope.llama3LowFreq;
            const double shortest = rope.llama3OriginalContext / rope.llama3HighFreq;
            if (wavelength > longest) {
                f /= rope.llama3Factor;
            } else if (wavelength > shortest) {
                const double blend =
                    (rope.llama3OriginalContext / wavelength - rope.llama3LowFreq) /
                    (rope.llama3HighFreq - rope.llama3LowFreq);
                f = (1 - blend) * f / rope.llama3Factor + blend * f;
            }
        }
        frequencies[i] = static_cast<float>(f / rope.linearFactor);
    }
    return frequencies;
}

}  // namespace

void fillRope(const RopeConfig& rope, std::int64_t headDim, std::int64_t begin, std::int64_t end,
              float* table) {
    const std::vector<float> frequencies = ropeFrequencies(rope, headDim);
    const std::size_t half = frequencies.size();
    for (std::int64_t p = begin; p < end; ++p) {
        float* row = table + p * headDim;
        for (std::size_t i = 0; i < half; ++i) {
            // As transformers does: the angle is a float32 product, cosine and sine are taken of
            // that.
            const float angle = static_cast<float>(p) * frequencies[i];
            row[i] = std::cos(angle);
            row[half + i] = std::sin(angle);
        }
    }
}

}  // namespace fettle
