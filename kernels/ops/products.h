// What products of BF16 weights multiply, where their activations are to stay as they are.
#pragma once

#include <cstdint>

namespace fettle::kernels {

/// float32, exactly as the weights and activations are, whatever the instructions; or bfloat16, to
/// which the activations are rounded: half the instructions, on processors that have them
/// (hasBf16Products(), cpu/isa.h). Sums are float32 in both.
enum class Products : std::uint8_t { Float32, BFloat16 };

}  // namespace fettle::kernels
