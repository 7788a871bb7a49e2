#include "engine/train/fake_quantizer.h"

#include <algorithm>
#include <cmath>

#include "engine/core/error.h"
#include "engine/quant/group_quantizer.h"

namespace fettle {

namespace {

using kernels::ActivationRounding;
using kernels::WeightFormat;

kernels::CodeGrid gridOf(const std::string& name, const QuantScheme& scheme) {
    if (scheme.symmetric && scheme.format == WeightFormat::Int8Channel)
        return kernels::integerGrid(-127, 127);
    if (scheme.symmetric && scheme.format == WeightFormat::Int4Group)
        return kernels::integerGrid(-8, 7);
    throw EngineError(ErrorKind::Usage, name + " is stored as " + scheme.id +
                                            ", whose codes are not trained; start from the model "
                                            "before it was quantized, or name a scheme");
}

ActivationRounding activationsOf(const QuantScheme& scheme) {
    ActivationRounding rounding;
    rounding.scale = ActivationRounding::Scale::Plain;
    rounding.grid = kernels::integerGrid(-127, 127);
    rounding.block = scheme.format == WeightFormat::Int8Channel ? 0 : 32;
    return rounding;
}

float storedScale(float scale, DType type) {
    constexpr float kSmallestHalf = 6.103515625e-05F;
    switch (type) {
        case DType::F16:
            return kernels::halfToFloat(kernels::floatToHalf(std::max(scale, kSmallestHalf)));
        case DType::BF16:
            return kernels::bfloat16ToFloat(kernels::floatToBfloat16(scale));
        default:
            return scale;
    }
}

}  // namespace

FakeQuantizer::FakeQuantizer(const std::string& name, const QuantizedTensor& start,
                             ScaleLearning learning)
    : m_start(start),
      m_learning(learning),
      m_grid(gridOf(name, start.scheme)),
      m_group(start.scheme.granularity == Granularity::Group && start.scheme.groupSize > 0
                  ? start.scheme.groupSize
                  : start.cols),
      m_activations(activationsOf(start.scheme)) {
    const Weight weight(start);
    const kernels::WeightView view = weight.view();
    m_step.resize(static_cast<std::size_t>(start.rows * groups()));
    for (std::size_t i = 0; i < m_step.size(); ++i)
        m_step[i] = kernels::weightScale(view, static_cast<std::int64_t>(i));
    m_scale = m_step;
}

kernels::FakeQuantArgs FakeQuantizer::args(const float* values,
                                           const std::vector<float>& scales) const {
    const std::vector<float>& step = m_learning == ScaleLearning::Step ? scales : m_step;
    return {m_grid,  values,      m_start.rows,  m_start.cols,
            m_group, step.data(), scales.data(), nullptr};
}

std::vector<float> FakeQuantizer::scalesAt(const float* p) const {
    std::vector<float> scales = m_step;
    if (m_learning != ScaleLearning::None)
        for (std::size_t i = 0; i < scales.size(); ++i)
            scales[i] = storedScale(scales[i] * std::exp(p[i]), m_start.scales.dtype());
    return scales;
}

std::vector<float> FakeQuantizer::codesOf(const float* values, const std::vector<float>& scales,
                                          kernels::WorkerPool& pool) const {
    const std::vector<float> ones(scales.size(), 1.0F);
    std::vector<float> codes(static_cast<std::size_t>(m_start.rows * m_start.cols));
    kernels::FakeQuantArgs a = args(values, scales);
    a.scale = ones.data();
    kernels::fakeQuant(a, codes.data(), pool);
    return codes;
}

void FakeQuantizer::keepCodes(float* values, kernels::WorkerPool& pool) const {
    // How far inside the range of its code a value comes to lie that had another one: on the edge
    // the first step would take it back.
    constexpr float kInside = 0.25F;
    constexpr int kHalvings = 20;
    const std::vector<float> centres = Weight(m_start).toFloat();
    std::vector<float> now(centres.size());
    kernels::FakeQuantArgs a = args(values, m_step);
    kernels::fakeQuant(a, now.data(), pool);
    const std::vector<float> before = now;
    // Bisection between the code's own value and the value there was, for all of them at once.
    std::vector<float> inside = centres, outside(values, values + centres.size()), middle = centres;
    a.w = middle.data();
    for (int i = 0; i < kHalvings; ++i) {
        for (std::size_t j = 0; j < middle.size(); ++j)
            middle[j] = before[j] == centres[j] ? centres[j] : (inside[j] + outside[j]) / 2;
        kernels::fakeQuant(a, now.data(), pool);
        for (std::size_t j = 0; j < middle.size(); ++j)
            (now[j] == centres[j] ? inside[j] : outside[j]) = middle[j];
    }
    for (std::size_t j = 0; j < centres.size(); ++j)
        if (before[j] != centres[j])
            values[j] = inside[j] + kInside * (centres[j] - inside[j]);
}

void FakeQuantizer::quantize(const float* values, const float* p, float* deployed,
                             kernels::WorkerPool& pool) {
    if (m_learning != ScaleLearning::None)
        m_scale = scalesAt(p);
    kernels::fakeQuant(args(values, m_scale), deployed, pool);
}

void FakeQuantizer::backward(const float* values, float* grad, float* dp,
                             kernels::WorkerPool& pool) {
    const auto kind = m_learning == ScaleLearning::Step ? kernels::ScaleGradient::Step
                                                        : kernels::ScaleGradient::Scale;
    if (m_learning == ScaleLearning::None)
        return kernels::fakeQuantBackward(args(values, m_scale), kind, grad, nullptr, pool);
    m_slope.assign(m_scale.size(), 0.0F);
    kernels::fakeQuantBackward(args(values, m_scale), kind, grad, m_slope.data(), pool);
    for (std::size_t i = 0; i < m_slope.size(); ++i)
        dp[i] += m_slope[i] * m_scale[i];  // ds/dp = s
}

QuantizedTensor FakeQuantizer::pack(const float* values, const float* p,
                                    kernels::WorkerPool& pool) const {
    const std::vector<float> scales = scalesAt(p), codes = codesOf(values, scales, pool);
    std::vector<std::int8_t> bytes(codes.size());
    std::transform(codes.begin(), codes.end(), bytes.begin(),
                   [](float code) { return static_cast<std::int8_t>(code); });
    return packCodes(m_start.scheme, m_start.rows, m_start.cols, bytes.data(), scales.data(),
                     m_start.scales.dtype());
}

FakeQuantizer::Drift FakeQuantizer::drift(const float* values, const float* p,
                                          kernels::WorkerPool& pool) const {
    const std::vector<float> scales = scalesAt(p), codes = codesOf(values, scales, pool),
                             before = Weight(m_start).toFloat();
    Drift drift;
    for (std::size_t i = 0; i < codes.size(); ++i)
        drift.codes += codes[i] * m_step[i / static_cast<std::size_t>(m_group)] != before[i];
    for (std::size_t i = 0; i < scales.size(); ++i)
        drift.scales += std::fabs(static_cast<double>(scales[i]) / m_step[i] - 1);
    drift.codes /= static_cast<double>(codes.size());
    drift.scales /= static_cast<double>(scales.size());
    return drift;
}

}  // namespace fettle
