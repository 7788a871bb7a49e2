// How far a fast kernel may stray from its plain twin, and what a quantized form may lose. One name
// per reason.
#pragma once

#include "kernels/formats/activation_format.h"

namespace fettle::kernels::budget {

/// float32 sums against double sums of the same terms, relative to |x| |w| (the Cauchy-Schwarz
/// bound of a product).
constexpr double kSum = 4e-6;
/// The same where minima are added apart: q * d and m are each larger than their difference.
constexpr double kSumWithMin = 4e-5;
/// Rounding activations to int8 per 32 values: uniform noise of amax / 127 / sqrt(12), relative to
/// |x| |w|.
constexpr double kActivationGroup = 0.012;
/// Per token: the largest of all values sets the step.
constexpr double kActivationToken = 0.03;
/// Int4 per 32 values: steps of amax / 7.
constexpr double kActivationInt4 = 0.2;
/// Three bits of mantissa: at most 1/16 of a value, 2.6 % on average over values and signs.
constexpr double kActivationFp8 = 0.03;
/// E2M1 with block scales: about a tenth of a block's power is lost (20 dB).
constexpr double kActivationE2m1 = 0.13;
inline double activations(ActivationFormat format) {
    switch (format) {
        case ActivationFormat::None:
            return kSum;
        case ActivationFormat::Int8Token:
        case ActivationFormat::Int8Tensor:
            return kActivationToken;
        case ActivationFormat::Int8Group32:
            return kActivationGroup;
        case ActivationFormat::Int4Group32:
            return kActivationInt4;
        case ActivationFormat::Fp8Token:
        case ActivationFormat::MxFp8:
            return kActivationFp8;
        default:
            return kActivationE2m1;
    }
}
/// exp, tanh and what is made of them, in units of the last place of the larger of result and 1.
constexpr double kElementwise = 3e-7;
/// Softmax of float32 scores over a float16 or float32 cache, relative to the largest value.
constexpr double kAttention = 3e-6;

}  // namespace fettle::kernels::budget
