// The integer grid of a scheme, for one channel or group of weights: which scale it gets and which
// code a value has under a scale. Everything that makes or simulates integer codes goes through
// here, so that methods, training and stored codes agree bit for bit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/tensor/weight.h"

namespace fettle {

enum class ScaleSearch { Absmax, Mse };

class GroupQuantizer {
public:
    /// `scaleType` F32, F16 or BF16: scales are rounded to it before codes are chosen. Throws
    /// EngineError(Internal) for a scheme that has no integer codes.
    GroupQuantizer(const QuantScheme& scheme, ScaleSearch search, DType scaleType);

    /// Values that share a scale in a row of `cols`.
    std::int64_t groupSize(std::int64_t cols) const { return m_group > 0 ? m_group : cols; }
    /// The scale of n values, as stored: largest magnitude to largest code, or the least squared
    /// error over a grid of clipping ratios refined by least squares, weighted by h [n] where it is
    /// not null. 1 for a group of zeros.
    float scaleOf(const float* w, const float* h, std::int64_t n) const;
    /// The code of a value, a whole number, under the scale whose inverse is given.
    float codeOf(float value, float inverseScale) const {
        const float q = (value * inverseScale + kRoundMagic) - kRoundMagic;
        return q < m_lowest ? m_lowest : q > m_highest ? m_highest : q;
    }

private:
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even, and vectorizes
    // everywhere.
    static constexpr float kRoundMagic = 12582912.0f;

    double error(const float* w, const float* h, std::int64_t n, float scale, double* wq,
                 double* qq) const;

    float m_lowest;
    float m_highest;
    std::int64_t m_group;
    ScaleSearch m_search;
    DType m_scaleType;
};

/// Codes [rows, cols] and stored scales [rows, groups] as a weight in the scheme's layout.
QuantizedTensor packCodes(const QuantScheme& scheme, std::int64_t rows, std::int64_t cols,
                          const std::int8_t* codes, const float* scales, DType scaleType);

}  // namespace fettle
