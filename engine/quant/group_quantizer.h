// The grid of a scheme, for one channel or group of weights: which scale it gets and which code a
// value has under a scale. Everything that makes or simulates codes goes through here, so that
// methods, training and stored codes agree bit for bit.
//
// Simulating a scheme in training: for each group of groupSize(cols) weights of a row
//     scale = quantizer.storedScale(learnt scale);         // as the file will hold it
//     quantizer.roundTrip(w, n, {scale, shift}, out);      // what the kernel will multiply
// with the inputs rounded by kernels::roundActivations(scheme.kernelActivations(cols), ...); w lies
// within the grid's range where lowest() <= w / scale - shift <= highest(). In the end
// quantizeWithGrids() makes the stored weight, whose dequantized values are `out`, bit for bit.
// gridOf() gives grids to start from.
//
// A scale is what one unit of the grid stands for, whatever the format stores: integers count in
// units of one; E2M1 in halves, so that its grid 0, 1, 2, 3, 4, 6, 8, 12 is whole; E2M3 likewise in
// eighths; E4M3 in units of one, up to 448; NF4's grid lies within [-1, 1]. NVFP4's scale holds the
// global scale already: (E4M3 / globalScale) / 2. Asymmetric integers shift their range: see
// GroupGrid.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/tensor/weight.h"
#include "kernels/ops/code_panel.h"

namespace fettle {

enum class ScaleSearch { Absmax, Mse };

/// What the values of a channel or group share. Codes run from lowest() + shift to highest() +
/// shift and stand for themselves times the scale. The shift is 0 but for asymmetric integers,
/// whose zero point is 2^(bits - 1) - shift, and GGUF's super-blocks with minima, where it need not
/// be whole.
struct GroupGrid {
    float scale = 1;
    float shift = 0;
};

/// Units of the grid in a value of one under a stored scale of one.
float unitsOf(kernels::WeightFormat format);

class GroupQuantizer {
public:
    /// `scaleType` F32, F16 or BF16: scales are rounded to it before codes are chosen, unless the
    /// format has a type of its own (NVFP4, MXFP4). For super-blocks codes only: their scales are
    /// those of SuperBlocks. `globalScale` is NVFP4's multiplier
    /// (kernels::nvFp4GlobalScale). Throws EngineError(Internal) for a scheme whose codes are not
    /// made here.
    GroupQuantizer(const QuantScheme& scheme, ScaleSearch search, DType scaleType,
                   float globalScale = 1);

    /// Values that share a scale in a row of `cols`.
    std::int64_t groupSize(std::int64_t cols) const { return m_group > 0 ? m_group : cols; }
    /// The grid of n values, its scale as stored: largest magnitude to largest code (asymmetric:
    /// smallest and largest value to the ends), or the least squared error over a grid of clipping
    /// ratios refined by least squares, weighted by h [n] where it is not null. 1 (or the nearest
    /// stored scale) for a group of zeros.
    GroupGrid gridOf(const float* w, const float* h, std::int64_t n) const;
    /// Whether gridOf() chooses the scale alone, from trials.
    bool searchesScales() const { return m_symmetric && m_search == ScaleSearch::Mse; }
    /// The scales that gridOf() finds, of n columns of a panel w [n, kCodeRows] at a time.
    void searchScales(const float* w, const float* h, std::int64_t n, float* scales) const;
    /// codeOf() as kernels take it.
    kernels::CodeRule rule() const;
    /// The nearest scale that can be stored, above zero.
    float storedScale(float scale) const;
    /// The code of a value under the scale whose inverse is given, in units of the grid.
    float codeOf(float value, float inverseScale, float shift = 0) const {
        switch (m_grid) {
            case Grid::E2m1:
                return e2m1Code(value * inverseScale);
            case Grid::E4m3:
                return e4m3Code(value * inverseScale);
            case Grid::E2m3:
                return e2m3Code(value * inverseScale);
            case Grid::Nf4:
                return nf4Code(value * inverseScale);
            case Grid::Affine:
                return affineCode(value * inverseScale, shift);
            case Grid::Integer:
                break;
        }
        return integerCode(value * inverseScale, shift);
    }
    /// Codes of n values under one grid and back: what a stored weight dequantizes to.
    void roundTrip(const float* w, std::int64_t n, GroupGrid grid, float* out) const;
    /// A code as packCodes takes it.
    std::int8_t encode(float code, float shift = 0) const;
    float lowest() const { return m_lowest; }    ///< the smallest code of a grid without shift
    float highest() const { return m_highest; }  ///< the largest
    DType scaleType() const { return m_scaleType; }
    float globalScale() const { return m_globalScale; }

private:
    enum class Grid { Integer, Affine, E2m1, E4m3, E2m3, Nf4 };

    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even, and vectorizes
    // everywhere.
    static constexpr float kRoundMagic = 12582912.0f;

    float clamped(float q, float shift = 0) const {
        const float low = m_lowest + shift, high = m_highest + shift;
        return q < low ? low : q > high ? high : q;
    }
    float integerCode(float x, float shift) const {
        return clamped((x + kRoundMagic) - kRoundMagic, shift);
    }
    float affineCode(float x, float shift) const {
        return clamped((x - shift + kRoundMagic) - kRoundMagic) + shift;
    }
    float e2m1Code(float x) const;
    float e4m3Code(float x) const;
    float e2m3Code(float x) const;
    float nf4Code(float x) const;
    template <Grid G>
    float gridCode(float x, float shift) const;
    template <Grid G>
    double error(const float* w, const float* h, std::int64_t n, GroupGrid grid, double* wq,
                 double* qq) const;
    float scaleOf(const float* w, const float* h, std::int64_t n, float amax) const;
    template <Grid G>
    float searchedScale(const float* w, const float* h, std::int64_t n, float base) const;
    GroupGrid rangeOf(float low, float high) const;
    GroupGrid searchedRange(const float* w, const float* h, std::int64_t n, float low,
                            float high) const;

    Grid m_grid;
    bool m_symmetric;
    float m_lowest;
    float m_highest;
    float m_firstRatio;
    float m_lastRatio;
    std::int64_t m_group;
    kernels::WeightFormat m_format;
    ScaleSearch m_search;
    DType m_scaleType;
    float m_globalScale;
};

/// Rounds x to the nearest of E2M1's values doubled (0, 1, 2, 3, 4, 6, 8, 12), ties to the even
/// code: within a binade the step is constant.
inline float GroupQuantizer::e2m1Code(float x) const {
    const float q = clamped(x);
    const float magnitude = q < 0 ? -q : q;
    const float step = magnitude < 4 ? 1.0f : magnitude < 8 ? 2.0f : 4.0f;
    return (q / step + kRoundMagic - kRoundMagic) * step;
}

/// Likewise to E2M3's values times eight: every integer to 16, every second to 32, every fourth to
/// 60.
inline float GroupQuantizer::e2m3Code(float x) const {
    const float q = clamped(x);
    const float magnitude = q < 0 ? -q : q;
    const float step = magnitude < 16 ? 1.0f : magnitude < 32 ? 2.0f : 4.0f;
    return (q / step + kRoundMagic - kRoundMagic) * step;
}

/// How grids are found for a scheme: where rows share scales, the largest magnitude decides, as
/// what is best for one of them is not for the others.
ScaleSearch searchOf(const QuantScheme& scheme, ScaleSearch wanted);
/// Takes the scales [rows, groups] that a scheme has one of for several rows (rowsPerScale) to the
/// largest among them.
void shareScales(const QuantScheme& scheme, std::int64_t rows, std::int64_t groups,
                 GroupGrid* grids);

/// Codes [rows, cols] as encode() gives them and grids [rows, groups] with stored scales as a
/// weight in the scheme's layout.
QuantizedTensor packCodes(const QuantScheme& scheme, std::int64_t rows, std::int64_t cols,
                          const std::int8_t* codes, const GroupGrid* grids, DType scaleType,
                          float globalScale = 1);

/// Values [rows, cols] under given grids [rows, groups] (each scale is taken to its storedScale) as
/// a weight.
QuantizedTensor quantizeWithGrids(const QuantScheme& scheme, std::int64_t rows, std::int64_t cols,
                                  const float* values, const GroupGrid* grids, DType scaleType,
                                  float globalScale = 1);

/// The shift of every group of an asymmetric weight, [rows, groups]; empty for a symmetric one.
std::vector<float> shiftsOf(const QuantizedTensor& weight);

}  // namespace fettle
