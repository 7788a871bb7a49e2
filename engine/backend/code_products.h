// Weights whose codes a CUDA device multiplies by the codes of their scheme's activations, without
// widening either: products of prompts, by tensor cores for small floats.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "kernels/cuda/blas.h"
#include "kernels/cuda/weight_layout.h"
#include "kernels/formats/activation_format.h"

namespace fettle {

constexpr int kFp8Capability = 89;           // tensor cores that multiply E4M3
constexpr int kBlockScaledCapability = 100;  // and those that take a scale for each block
constexpr std::int64_t kCodeRows = 16;       // the library's products take multiples

/// Of "sm_89"; 0 for anything else.
inline int capabilityOf(const std::string& isa) {
    return isa.rfind("sm_", 0) == 0 ? std::atoi(isa.c_str() + 3) : 0;
}

/// The product of such a weight on a device of this capability.
inline std::optional<kernels::cuda::BlasType> codeProduct(
    const kernels::cuda::WeightLayout& weight,
    const std::optional<kernels::ActivationFormat>& activations, int capability) {
    using kernels::ActivationFormat;
    using kernels::cuda::BlasType;
    using kernels::cuda::CodeKind;
    using kernels::cuda::ScaleKind;
    if (weight.rows % kCodeRows != 0)
        return std::nullopt;
    const auto is = [&](CodeKind codes, ScaleKind scales, ActivationFormat format) {
        return weight.codes == codes && weight.scales == scales && activations == format;
    };
    if (is(CodeKind::E4M3, ScaleKind::Row, ActivationFormat::Fp8Token) &&
        capability >= kFp8Capability)
        return BlasType::E4M3;
    if (capability < kBlockScaledCapability)
        return std::nullopt;
    if (is(CodeKind::E2M1, ScaleKind::E4M3, ActivationFormat::NvFp4))
        return BlasType::NvFp4;
    if (is(CodeKind::E4M3, ScaleKind::E8M0, ActivationFormat::MxFp8))
        return BlasType::MxFp8;
    return std::nullopt;
}

/// Neighbouring values that share a scale; of products that have block scales.
constexpr std::int64_t scaleBlock(kernels::cuda::BlasType type) {
    return type == kernels::cuda::BlasType::NvFp4 ? 16 : 32;
}

}  // namespace fettle
