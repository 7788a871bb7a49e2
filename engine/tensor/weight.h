// A named weight of a model: plain, or quantized under a scheme. Canonical form, as files hold it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/tensor/quant_scheme.h"
#include "engine/tensor/tensor.h"
#include "kernels/formats/weight_format.h"

namespace fettle {

/// Packed codes + scales (+ zero points, global scales) under one scheme. Layouts:
/// kernels/formats/weight_format.h. With a low-rank correction the weight is what the codes say
/// plus lowRankOut lowRankIn.
struct QuantizedTensor {
    QuantScheme scheme;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    /// I8 [N,K]; I32 [N,K*b/32]; F8E4M3 [N,K]; U8 [N,K/2] (E2M1); or Block [N, ...]
    Tensor codes;
    /// F32, F16 or BF16: [N,1] or [N,K/G]; F8E4M3 for NVFP4, U8 for MXFP4; empty for block formats
    Tensor scales;
    Tensor zeroPoints;      ///< I32 [ceil(N/8), K/G]; empty if symmetric
    float globalScale = 1;  ///< NVFP4: multiplier of the scales; weights that share inputs share it
    /// From calibration. NVFP4 activations: their multiplier; int8-static: their scale.
    float inputGlobalScale = 1;
    Tensor lowRankIn;   ///< [rank, K], F32, F16 or BF16; empty without a correction
    Tensor lowRankOut;  ///< [N, rank] of the same type; likewise
};

/// Whether the low-rank correction of a quantized weight has its shape and a plain type.
bool fitsLowRank(const QuantizedTensor& weight);

/// The plain dtype as kernels name it; nothing for integer and block types.
std::optional<kernels::WeightFormat> plainFormat(DType dtype);

class Weight {
public:
    Weight() = default;
    explicit Weight(Tensor dense) : m_dense(std::move(dense)) {}
    explicit Weight(QuantizedTensor quantized)
        : m_quantized(std::move(quantized)), m_isQuantized(true) {}

    bool empty() const { return !m_isQuantized && m_dense.empty(); }
    bool isQuantized() const { return m_isQuantized; }
    bool hasLowRank() const { return m_isQuantized && !m_quantized.lowRankIn.empty(); }
    const Tensor& dense() const { return m_dense; }
    const QuantizedTensor& quantized() const { return m_quantized; }

    Shape shape() const;
    std::int64_t elements() const { return elementCount(shape()); }
    std::uint64_t bytes() const;   ///< codes, scales, zero points and low-rank correction
    std::string typeName() const;  ///< "BF16", "Q4_K", "int4-g32"
    double bitsPerWeight() const;
    /// As a matrix for the kernels (1-d tensors are one row), without the low-rank correction.
    /// Borrowed: valid while this Weight lives.
    kernels::WeightView view() const;
    /// All values as float32, dequantized, the low-rank correction added: [elements()].
    std::vector<float> toFloat() const;
    /// One row of them, [view().cols].
    void rowToFloat(std::int64_t row, float* out) const;
    /// Gives back the resident pages of what lies in a mapped file.
    void dropPages() const;

private:
    void addLowRank(std::int64_t first, std::int64_t rows, float* out) const;

    Tensor m_dense;
    QuantizedTensor m_quantized;
    bool m_isQuantized = false;
};

}  // namespace fettle
