#include "engine/train/fake_quantizer.h"

#include <algorithm>
#include <cmath>

#include "engine/core/error.h"
#include "engine/quant/group_quantizer.h"

namespace fettle {

namespace {

using kernels::ActivationRounding;
using kernels::WeightFormat;

constexpr std::int64_t kScaleGrain = 1024;

void refuseUntrained(const std::string& name, const QuantScheme& scheme) {
    if (!scheme.hasQuantizer())
        throw EngineError(ErrorKind::Usage, name + " is stored as " + scheme.id +
                                                ", whose codes are not trained; start from the "
                                                "model before it was quantized");
}

/// As the CPU's product does it.
ActivationRounding activationsOf(const QuantizedTensor& start) {
    const ActivationFormat format = start.scheme.kernelActivations(start.cols);
    ActivationRounding rounding;
    rounding.block = kernels::activationBlock(format);
    rounding.globalScale = start.inputGlobalScale;
    rounding.scale = ActivationRounding::Scale::Plain;
    switch (format) {
        case ActivationFormat::None:
            return {};
        case ActivationFormat::Int8Token:
        case ActivationFormat::Int8Group32:
            rounding.grid = kernels::integerGrid(-127, 127);
            break;
        case ActivationFormat::Int8Tensor:
            rounding.grid = kernels::integerGrid(-127, 127);
            rounding.scale = ActivationRounding::Scale::Fixed;
            break;
        case ActivationFormat::Int4Group32:
            rounding.grid = kernels::integerGrid(-7, 7);
            break;
        case ActivationFormat::Fp8Token:
            rounding.grid = kernels::e4m3Grid();
            break;
        case ActivationFormat::NvFp4:
            rounding.grid = kernels::e2m1Grid();
            rounding.scale = ActivationRounding::Scale::E4m3;
            break;
        case ActivationFormat::MxFp4:
            rounding.grid = kernels::e2m1Grid();
            rounding.scale = ActivationRounding::Scale::E8m0;
            break;
        case ActivationFormat::MxFp8:
            rounding.grid = kernels::e4m3Grid();
            rounding.scale = ActivationRounding::Scale::E8m0;
            break;
    }
    return rounding;
}

/// Scales of the start as GroupQuantizer counts them.
std::vector<float> scalesOf(const QuantizedTensor& start, std::int64_t count) {
    const Weight weight(start);
    const kernels::WeightView view = weight.view();
    std::vector<float> scales(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i)
        scales[static_cast<std::size_t>(i)] = kernels::weightScale(view, i) / unitsOf(view.format);
    return scales;
}

/// Powers of two have nothing between them to learn; what many rows share stays as it is.
bool scalesStay(const QuantizedTensor& start) {
    return start.scales.dtype() == DType::U8 || start.scheme.rowsPerScale() > 1;
}

GroupQuantizer quantizerOf(const QuantizedTensor& start) {
    return {start.scheme, ScaleSearch::Absmax, start.scales.dtype(), start.globalScale};
}

kernels::CodeGrid gridOf(const std::string& name, const QuantizedTensor& start) {
    refuseUntrained(name, start.scheme);
    return quantizerOf(start).rule().grid;
}

}  // namespace

FakeQuantizer::FakeQuantizer(const std::string& name, const QuantizedTensor& start,
                             ScaleLearning learning)
    : m_start(start),
      m_learning(scalesStay(start) ? ScaleLearning::None : learning),
      m_grid(gridOf(name, start)),
      m_group(start.scheme.granularity == Granularity::Group && start.scheme.groupSize > 0
                  ? start.scheme.groupSize
                  : start.cols),
      m_activations(activationsOf(start)),
      m_step(scalesOf(start, start.rows * groups())),
      m_shift(shiftsOf(start)),
      m_scale(m_step) {}

kernels::FakeQuantArgs FakeQuantizer::args(const float* values,
                                           const std::vector<float>& scales) const {
    const std::vector<float>& step = m_learning == ScaleLearning::Step ? scales : m_step;
    return {m_grid,  values,      m_start.rows,  m_start.cols,
            m_group, step.data(), scales.data(), m_shift.empty() ? nullptr : m_shift.data()};
}

std::vector<float> FakeQuantizer::scalesAt(const float* p, kernels::WorkerPool& pool) const {
    std::vector<float> scales = m_step;
    if (m_learning == ScaleLearning::None)
        return scales;
    const GroupQuantizer quantizer = quantizerOf(m_start);
    pool.parallelFor(
        static_cast<std::int64_t>(scales.size()), kScaleGrain,
        [&](std::int64_t begin, std::int64_t end, int) {
            for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
                if (p[i] != 0)  // a file of others may hold scales that would not be stored here
                    scales[i] = quantizer.storedScale(scales[i] * std::exp(p[i]));
        });
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
        m_scale = scalesAt(p, pool);
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
    const std::vector<float> scales = scalesAt(p, pool), codes = codesOf(values, scales, pool);
    const GroupQuantizer quantizer = quantizerOf(m_start);
    std::vector<std::int8_t> bytes(codes.size());
    std::vector<GroupGrid> grids(scales.size());
    for (std::size_t g = 0; g < grids.size(); ++g)
        grids[g] = {scales[g], m_shift.empty() ? 0 : m_shift[g]};
    for (std::size_t i = 0; i < codes.size(); ++i)
        bytes[i] = quantizer.encode(codes[i], grids[i / static_cast<std::size_t>(m_group)].shift);
    QuantizedTensor packed = packCodes(m_start.scheme, m_start.rows, m_start.cols, bytes.data(),
                                       grids.data(), m_start.scales.dtype(), m_start.globalScale);
    packed.inputGlobalScale = m_start.inputGlobalScale;
    return packed;
}

FakeQuantizer::Drift FakeQuantizer::drift(const float* values, const float* p,
                                          kernels::WorkerPool& pool) const {
    const std::vector<float> scales = scalesAt(p, pool), codes = codesOf(values, scales, pool),
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
