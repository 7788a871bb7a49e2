// What passes by in an input of linear weights, kept on the device: for calibration. Pointers are
// device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace fettle::kernels::cuda {

constexpr int kObservedBins = 64;

/// Begins with zeros; every call adds.
struct Observations {
    float* largest = nullptr;   ///< [cols] max |x|
    double* squares = nullptr;  ///< [cols] sum of x^2
    double* fourths = nullptr;  ///< [cols] sum of x^4
    /// [kObservedBins] how often |x| falls into each half octave: bin b holds
    /// [2^((b - 32) / 2), 2^((b - 31) / 2)), the first and last take all beyond; NaN is in the
    /// first.
    unsigned long long* histogram = nullptr;

    template <class Check>
    void forEachPointer(Check check) const {
        check(largest);
        check(squares);
        check(fourths);
        check(histogram);
    }
};

/// Of x [rows, cols]. Every channel is summed in the order of the rows.
Status observe(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t cols,
               const Observations& into, Stream stream);

}  // namespace fettle::kernels::cuda
