// The fixed scale of activations that are rounded to int8 per tensor, from calibration: as wide as
// the largest value, or narrower, so that the many small values get finer steps (the calibrators of
// TensorRT and NVIDIA Model Optimizer; Migacz 2017, "8-bit inference with TensorRT").
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/formats/activation_format.h"

namespace fettle {

enum class RangeSearch {
    Largest,     ///< nothing is clipped
    Percentile,  ///< a given share of the values lies within
    Mse,         ///< least squared error of what is clipped and rounded
    Entropy      ///< least Kullback-Leibler divergence of the distributions before and after
};

/// Magnitudes counted in bins of one width, which grows with the values that come.
class MagnitudeHistogram {
public:
    static constexpr std::int64_t kBins = 2048;

    /// Values that are NaN or infinite are left out.
    void add(const float* x, std::int64_t count);
    float largest() const { return m_largest; }
    double binWidth() const { return m_width; }
    const std::vector<std::int64_t>& counts() const { return m_counts; }

    /// The magnitude that the largest code stands for, for symmetric codes up to `codes`; 0 where
    /// no value but zero was added. `percentile` in percent.
    float range(RangeSearch search, int codes, double percentile) const;

private:
    double percentileRange(double percentile) const;
    double mseRange(int codes) const;
    double entropyRange(int codes) const;

    std::vector<std::int64_t> m_counts;
    double m_width = 0;
    std::int64_t m_zeros = 0;
    float m_largest = 0;
};

/// What a weight's inputGlobalScale has to be for inputs up to `range`: NVFP4's multiplier, the
/// scale of Int8Tensor, 1 for all other formats.
float inputScaleFor(kernels::ActivationFormat format, float range);

}  // namespace fettle
