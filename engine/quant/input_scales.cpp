#include "engine/quant/input_scales.h"

#include <algorithm>
#include <cmath>

#include "engine/quant/input_range.h"
#include "engine/quant/rtn.h"

namespace fettle {

namespace {

constexpr float kSmallest = 1e-4f;
constexpr double kStep = 0.1;
constexpr double kLastAwq = 0.95;  // r = 1 leaves the weights no say at all
constexpr double kFirstSmooth = 0.3;
constexpr double kLastSmooth = 0.95;

Tensor toTensor(const std::vector<float>& values, Shape shape) {
    Tensor tensor = Tensor::allocate(DType::F32, std::move(shape));
    std::copy(values.begin(), values.end(), tensor.mutableAs<float>());
    return tensor;
}

std::vector<float> columnMaxima(const std::vector<Weight>& consumers, std::int64_t cols) {
    std::vector<float> maxima(static_cast<std::size_t>(cols));
    for (const Weight& weight : consumers) {
        const std::vector<float> values = weight.toFloat();
        for (std::size_t i = 0; i < values.size(); ++i) {
            float& m = maxima[i % maxima.size()];
            m = std::max(m, std::fabs(values[i]));
        }
    }
    return maxima;
}

class Search {
public:
    Search(const std::vector<Weight>& consumers, const InputStatistics& statistics,
           const InputScaleOptions& options, Backend& backend, kernels::WorkerPool& pool,
           RunControl& control)
        : m_statistics(statistics),
          m_options(options),
          m_backend(backend),
          m_pool(pool),
          m_control(control.nested(m_quiet)) {
        for (const Weight& weight : consumers) {
            m_values.push_back(weight.toFloat());
            m_rows.push_back(weight.shape().at(0));
            const std::unique_ptr<DeviceWeight> plain = m_backend.prepareWeight(weight.view());
            m_wanted.push_back(product(*plain, m_statistics.sample));
        }
        if (options.scaling == InputScaling::SmoothQuant)
            m_columnMaxima = columnMaxima(consumers, statistics.cols);
    }

    InputScales run() {
        InputScales best;
        best.loss = best.plainLoss =
            lossOf(std::vector<float>(static_cast<std::size_t>(m_statistics.cols), 1.0f));
        if (m_options.exponent > 0) {
            best.exponent = m_options.exponent;
            best.scales = candidate(best.exponent);
            best.loss = lossOf(best.scales);
            return best;
        }
        const bool awq = m_options.scaling == InputScaling::Awq;
        for (double e = awq ? kStep : kFirstSmooth; e < (awq ? kLastAwq : kLastSmooth);
             e += kStep) {
            m_control.check();
            std::vector<float> s = candidate(e);
            const double loss = lossOf(s);
            if (loss < best.loss) {
                best.loss = loss;
                best.exponent = e;
                best.scales = std::move(s);
            }
        }
        return best;
    }

private:
    std::vector<float> candidate(double exponent) const {
        const auto cols = static_cast<std::size_t>(m_statistics.cols);
        std::vector<float> s(cols);
        for (std::size_t j = 0; j < cols; ++j) {
            if (m_options.scaling == InputScaling::Awq)
                s[j] = static_cast<float>(std::pow(m_statistics.meanMagnitude[j], exponent));
            else
                s[j] =
                    static_cast<float>(std::pow(m_statistics.maximum[j], exponent) /
                                       std::pow(std::max(m_columnMaxima[j], 1e-5f), 1 - exponent));
            // A channel that calibration never saw keeps a usable scale.
            if (!(s[j] >= kSmallest) || !std::isfinite(s[j]))
                s[j] = kSmallest;
        }
        std::vector<float> largest(cols);
        for (std::size_t j = 0; j < cols && !m_options.classes.empty(); ++j) {
            float& m = largest[static_cast<std::size_t>(m_options.classes[j])];
            m = std::max(m, s[j]);
        }
        for (std::size_t j = 0; j < cols && !m_options.classes.empty(); ++j)
            s[j] = largest[static_cast<std::size_t>(m_options.classes[j])];
        const auto [low, high] = std::minmax_element(s.begin(), s.end());
        const float middle = std::sqrt(*low) * std::sqrt(*high);
        for (float& value : s)
            value /= middle;
        return s;
    }

    double lossOf(const std::vector<float>& s) {
        std::vector<float> inputs = m_statistics.sample;
        for (std::size_t i = 0; i < inputs.size(); ++i)
            inputs[i] /= s[i % s.size()];
        float largest = 0;
        for (const float x : inputs)
            largest = std::max(largest, std::fabs(x));
        double loss = 0;
        for (std::size_t c = 0; c < m_values.size(); ++c) {
            std::vector<float> scaled = m_values[c];
            for (std::size_t i = 0; i < scaled.size(); ++i)
                scaled[i] *= s[i % s.size()];
            RtnOptions options;
            options.scheme = m_options.scheme;
            // With few codes the largest weight says little about a good scale.
            options.search = m_options.scheme.bits < 4 ? ScaleSearch::Mse : ScaleSearch::Absmax;
            options.scaleType = m_options.scaleType;
            QuantizedTensor tensor =
                quantizeRtn("", Weight(toTensor(scaled, {m_rows[c], m_statistics.cols})), options,
                            m_pool, m_control)
                    .tensor;
            tensor.inputGlobalScale = inputScaleFor(m_options.scheme.activations, largest);
            const Weight quantized(std::move(tensor));
            const std::vector<float> y =
                product(*m_backend.prepareWeight(quantized.view()), inputs);
            for (std::size_t i = 0; i < y.size(); ++i) {
                const double d = static_cast<double>(y[i]) - m_wanted[c][i];
                loss += d * d;
            }
        }
        return loss;
    }

    std::vector<float> product(const DeviceWeight& weight, const std::vector<float>& x) {
        std::vector<float> y(static_cast<std::size_t>(m_statistics.sampleRows * weight.rows()));
        const std::unique_ptr<DeviceBuffer> input = uploaded(m_backend, x);
        const std::unique_ptr<DeviceBuffer> output = m_backend.allocate(y.size() * sizeof(float));
        const LinearTarget target{&weight, static_cast<float*>(output->data()), weight.rows(),
                                  nullptr, false};
        m_backend.linear(static_cast<const float*>(input->data()), m_statistics.sampleRows,
                         m_statistics.cols, m_statistics.cols, {&target, 1});
        m_backend.download(y.data(), output->data(), y.size() * sizeof(float));
        return y;
    }

    const InputStatistics& m_statistics;
    const InputScaleOptions& m_options;
    Backend& m_backend;
    kernels::WorkerPool& m_pool;
    NullProgress m_quiet;
    RunControl m_control;
    std::vector<std::vector<float>> m_values, m_wanted;  // per consumer
    std::vector<std::int64_t> m_rows;
    std::vector<float> m_columnMaxima;
};

}  // namespace

InputScales searchInputScales(const std::vector<Weight>& consumers,
                              const InputStatistics& statistics, const InputScaleOptions& options,
                              Backend& backend, kernels::WorkerPool& pool, RunControl& control) {
    return Search(consumers, statistics, options, backend, pool, control).run();
}

void scaleColumns(Model& model, const std::string& name, const std::vector<float>& s) {
    const Weight& weight = model.weight(name);
    std::vector<float> values = weight.toFloat();
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] *= s[i % s.size()];
    model.weights[name] = Weight(toTensor(values, weight.shape()));
}

void divideRows(Model& model, const std::string& name, const std::vector<float>& s) {
    const Weight& weight = model.weight(name);
    std::vector<float> values = weight.toFloat();
    const std::size_t cols = values.size() / s.size();
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] /= s[i / cols];
    model.weights[name] = Weight(toTensor(values, weight.shape()));
    const std::string bias = name.substr(0, name.rfind('.')) + ".bias";
    if (!model.has(bias))
        return;
    std::vector<float> offsets = model.weight(bias).toFloat();
    for (std::size_t i = 0; i < offsets.size(); ++i)
        offsets[i] /= s[i];
    model.weights[bias] = Weight(toTensor(offsets, {static_cast<std::int64_t>(offsets.size())}));
}

void divideNorm(Model& model, const std::string& name, const std::vector<float>& s) {
    const float offset = model.config.normOffset;
    std::vector<float> values = model.weight(name + ".weight").toFloat();
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = (values[i] + offset) / s[i] - offset;
    const Shape shape{static_cast<std::int64_t>(values.size())};
    model.weights[name + ".weight"] = Weight(toTensor(values, shape));
    if (!model.has(name + ".bias"))
        return;
    std::vector<float> offsets = model.weight(name + ".bias").toFloat();
    for (std::size_t i = 0; i < offsets.size(); ++i)
        offsets[i] /= s[i];
    model.weights[name + ".bias"] = Weight(toTensor(offsets, shape));
}

}  // namespace fettle
