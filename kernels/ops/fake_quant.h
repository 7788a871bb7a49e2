// Fake quantization: values take the codes that they would be stored as, so that a network trains
// with the very numbers its deployed form computes with. Gradients go straight through the rounding
// (Bengio et al. 2013, arXiv 1308.3432); step sizes may be learned (Esser et al. 2020, LSQ, arXiv
// 1902.08153).
#pragma once

#include <cstdint>

#include "kernels/formats/small_float.h"
#include "kernels/ops/worker_pool.h"

namespace fettle::kernels {

/// The codes a value may take before its scale.
struct CodeGrid {
    float lowest = 0, highest = 0;
    CodeSpacing spacing = CodeSpacing::Even;
    // Of codes spaced evenly, on the whole or within a power of two:
    float smallest = 0;  ///< powers of two below this one share its spacing
    float magic = 0;  ///< times the power of two: what rounds to the spacing when added and taken
                      ///< away again, ties to even
};
/// Whole numbers, within +-255.
CodeGrid integerGrid(int lowest, int highest);
/// 8-bit floats, +-448.
CodeGrid e4m3Grid();
/// 4-bit floats, counted in halves: 0, 1, 2, 3, 4, 6, 8, 12 and their negatives.
CodeGrid e2m1Grid();
/// 6-bit floats, counted in eighths: 0 to 16, every second to 32, every fourth to 60, and their
/// negatives.
CodeGrid e2m3Grid();
/// The values of NF4, within +-1; halfway between two the lower one is taken.
CodeGrid nf4Grid();

/// A weight w [rows, cols] whose rows have a scale per `group` values: code = nearest of the grid
/// to w / step, value = code * scale.
struct FakeQuantArgs {
    CodeGrid grid;
    const float* w = nullptr;
    std::int64_t rows = 0, cols = 0;
    std::int64_t group = 0;        ///< divides cols
    const float* step = nullptr;   ///< [rows, cols / group] what codes are chosen with, positive
    const float* scale = nullptr;  ///< likewise, what they are multiplied with; may be `step`
    const float* shift = nullptr;  ///< likewise, added to lowest and highest of the grid; null: 0
};
/// out [rows, cols] = code * scale; out may be w.
void fakeQuant(const FakeQuantArgs& args, float* out, WorkerPool& pool);

enum class ScaleGradient : std::uint8_t {
    Scale,  ///< of `scale` alone: sum of dy * code. Smooth: it has no straight-through part.
    Step    ///< of one step that is both (LSQ): sum of dy * (code - w / step within the grid, else
            ///< the grid's end)
};
/// grad [rows, cols] holds the gradient of the output and becomes that of w: times scale / step;
/// zero where w lies beyond the grid and descent would push it further out. The gradient of the
/// scales is added to dScale [rows, cols / group] where it is not null.
void fakeQuantBackward(const FakeQuantArgs& args, ScaleGradient kind, float* grad, float* dScale,
                       WorkerPool& pool);

/// What a product does to its activations before it multiplies them: a scale per block of a row
/// from the largest magnitude in it.
struct ActivationRounding {
    enum class Scale : std::uint8_t {
        None,   ///< values stay as they are
        Plain,  ///< largest / highest code
        E4m3,   ///< E2M1 only: the same, rounded to E4M3 under globalScale (NVFP4)
        E8m0,   ///< E2M1: the power of two that maps the largest into [3.5, 7) (MXFP4); E4M3: the
                ///< smallest that maps it to 448 at most (MXFP8)
        Fixed   ///< globalScale, whatever the largest; values beyond the grid are clipped
    };
    CodeGrid grid;
    std::int64_t block = 0;  ///< divides a row; 0: the whole row
    Scale scale = Scale::None;
    float globalScale = 1;
    bool none() const { return scale == Scale::None; }
    bool operator==(const ActivationRounding& other) const;
};
/// out [rows, cols] = x [rows, xStride], quantized and taken back; out may be x.
void fakeQuantActivations(const ActivationRounding& rounding, const float* x, std::int64_t xStride,
                          std::int64_t rows, std::int64_t cols, float* out, WorkerPool& pool);

}  // namespace fettle::kernels
