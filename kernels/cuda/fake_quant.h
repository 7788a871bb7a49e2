// CUDA twins of kernels/ops/fake_quant.h: weights that take the codes they would be stored as, with
// gradients straight through the rounding and scales that learn. The same bits every time. Pointers
// are device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/formats/small_float.h"

namespace fettle::kernels::cuda {

/// A weight in groups of neighbouring values, one scale each; names as in kernels/ops/fake_quant.h.
struct FakeQuantArgs {
    // kernels::CodeGrid
    float lowest = 0, highest = 0, smallest = 0, magic = 0;
    CodeSpacing spacing = CodeSpacing::Even;
    const float* w = nullptr;  ///< [groups, group]
    std::int64_t groups = 0, group = 0;
    const float* step = nullptr;   ///< [groups] what codes are chosen with, positive
    const float* scale = nullptr;  ///< [groups] what they are multiplied with; may be `step`
    const float* shift = nullptr;  ///< [groups] added to lowest and highest; null: 0

    template <class Check>
    void forEachPointer(Check check) const {
        check(w), check(step), check(scale), check(shift);
    }
};

/// out [groups, group] = code * scale; out may be w.
Status fakeQuantize(const FakeQuantArgs& args, float* out, Stream stream);

enum class ScaleGradient : std::uint8_t { Scale, Step };

/// grad holds the gradient of the output and becomes that of w. dLog, where not null, gets the
/// gradient of the logarithm of each scale added: scale times that of the scale.
Status fakeQuantizeBackward(const FakeQuantArgs& args, ScaleGradient kind, float* grad, float* dLog,
                            Stream stream);

/// How a file stores scales.
enum class StoredScale : std::uint8_t {
    F32,
    F16,  ///< never below its smallest normal number
    BF16,
    NvFp4  ///< twice the scale as E4M3 under a global multiplier
};

/// out = what is stored of start * exp(p); start itself where p is 0. globalScale: NvFp4's.
Status learnedScales(const float* start, const float* p, std::int64_t count, StoredScale stored,
                     float globalScale, float* out, Stream stream);

}  // namespace fettle::kernels::cuda
