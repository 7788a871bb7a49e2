// One linear weight of a network that trains in the numbers it will be deployed with. The network
// keeps float32 values ("master" weights) that the optimizer moves; what it multiplies with are
// their codes times scales, exactly as a QuantizedTensor of the same scheme dequantizes. Gradients
// go straight through the rounding; scales may be learned.
//
// A learned scale is s = s0 exp(p) with the scale s0 that training starts from and a parameter p
// that starts at 0: p moves by the learning rate whatever the size of the weights, and s stays
// positive. What is used is s as it will be stored, rounded.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/tensor/weight.h"
#include "kernels/ops/fake_quant.h"

namespace fettle {

enum class ScaleLearning {
    None,   ///< the scales of the start stay
    Scale,  ///< codes are chosen with the scales of the start, what multiplies them is learned
    Step    ///< one learned step does both: LSQ
};

class FakeQuantizer {
public:
    /// Throws EngineError(Usage) with `name` where the codes of `start` are of a kind that is not
    /// trained (GGUF's blocks).
    FakeQuantizer(const std::string& name, const QuantizedTensor& start, ScaleLearning learning);

    const QuantizedTensor& start() const { return m_start; }
    ScaleLearning learning() const { return m_learning; }
    const kernels::CodeGrid& grid() const { return m_grid; }
    std::int64_t groupSize() const { return m_group; }
    /// [rows, groups]: scales of the start, as stored, and shifts of an asymmetric start, else
    /// empty.
    const std::vector<float>& startScales() const { return m_step; }
    const std::vector<float>& shifts() const { return m_shift; }
    std::int64_t groups() const { return m_start.cols / m_group; }  ///< of a row
    /// What the deployed product does to its inputs.
    const kernels::ActivationRounding& activations() const { return m_activations; }

    /// Moves each of `values` [rows, cols] no further than it takes to get the code that the start
    /// holds for it, so that training starts from exactly that model.
    void keepCodes(float* values, kernels::WorkerPool& pool) const;
    /// deployed [rows, cols] of `values` and p [rows, groups]; p may be null where no scales are
    /// learned.
    void quantize(const float* values, const float* p, float* deployed, kernels::WorkerPool& pool);
    /// grad holds the gradient of what quantize() gave and becomes that of `values`; the gradient
    /// of p is added to dp. After quantize() of the same values.
    void backward(const float* values, float* grad, float* dp, kernels::WorkerPool& pool);
    /// What quantize() gives, stored.
    QuantizedTensor pack(const float* values, const float* p, kernels::WorkerPool& pool) const;
    /// How far training has come from the start.
    struct Drift {
        double codes = 0;   ///< share of codes that changed
        double scales = 0;  ///< mean |s / s0 - 1|
    };
    Drift drift(const float* values, const float* p, kernels::WorkerPool& pool) const;

private:
    /// With `scales` as they are now.
    kernels::FakeQuantArgs args(const float* values, const std::vector<float>& scales) const;
    std::vector<float> scalesAt(const float* p, kernels::WorkerPool& pool) const;
    std::vector<float> codesOf(const float* values, const std::vector<float>& scales,
                               kernels::WorkerPool& pool) const;

    QuantizedTensor m_start;
    ScaleLearning m_learning;
    kernels::CodeGrid m_grid;
    std::int64_t m_group = 0;
    kernels::ActivationRounding m_activations;
    std::vector<float> m_step;   ///< [rows, groups] scales of the start, as stored
    std::vector<float> m_shift;  ///< [rows, groups] of an asymmetric start, else empty
    std::vector<float> m_scale;  ///< as quantize() last used them
    std::vector<float> m_slope;  ///< scratch of backward
};

}  // namespace fettle
