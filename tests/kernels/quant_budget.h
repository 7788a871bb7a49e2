// How far a fast kernel may stray from its plain twin, and what a quantized form may lose. One name
// per reason.
#pragma once

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
/// exp, tanh and what is made of them, in units of the last place of the larger of result and 1.
constexpr double kElementwise = 3e-7;
/// Softmax of float32 scores over a float16 or float32 cache, relative to the largest value.
constexpr double kAttention = 3e-6;

}  // namespace fettle::kernels::budget
