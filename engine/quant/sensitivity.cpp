#include "engine/quant/sensitivity.h"

#include <algorithm>

#include "engine/core/error.h"
#include "engine/quant/sensitivity_units.h"

namespace fettle {

namespace {

using Half = Transformer::Half;

constexpr std::int64_t kLogitRows = 32;  // held at once: vocabularies reach 262,144

/// KL divergences of single units, from the layer of the unit onwards.
class DivergenceScores {
public:
    DivergenceScores(const Model& model, const CalibrationText& text,
                     const SensitivityOptions& options, std::vector<SensitivityUnit>& units,
                     Backend& backend, kernels::WorkerPool& pool, RunControl& control)
        : m_model(model),
          m_text(text),
          m_options(options),
          m_units(units),
          m_pool(pool),
          m_control(control),
          m_transformer(model, backend, &control),
          m_width(model.config.hiddenSize) {}

    /// Instead of under the units' schemes: both ways of unitDivergences().
    std::vector<UnitDivergence> compare(const Model& quantized) {
        m_quantized = &quantized;
        run();
        return std::move(m_compared);
    }

    void run() {
        observeBaseline();
        embed();
        std::size_t done = 0;
        for (std::int64_t layer = 0; layer < m_model.config.layerCount(); ++layer)
            for (const Half half : {Half::Attention, Half::FeedForward}) {
                for (SensitivityUnit& unit : m_units)
                    if (unit.values.layer == layer && halfOf(unit) == half)
                        score(unit, layer, half, done++);
                for (std::vector<float>& x : m_stream)
                    m_transformer.runHalf(layer, half, x.data(), tokensOf(x));
            }
        for (SensitivityUnit& unit : m_units)
            if (unit.values.layer < 0)
                score(unit, m_model.config.layerCount(), Half::Attention, done++);
    }

private:
    static Half halfOf(const SensitivityUnit& unit) {
        return unit.values.name.find(".attn.") != std::string::npos ? Half::Attention
                                                                    : Half::FeedForward;
    }
    std::int64_t tokensOf(const std::vector<float>& x) const {
        return static_cast<std::int64_t>(x.size()) / m_width;
    }

    void embed() {
        m_stream.clear();
        for (const std::vector<std::int32_t>& ids : m_text.sequences) {
            m_stream.emplace_back(ids.size() * static_cast<std::size_t>(m_width));
            m_transformer.embedTokens(ids, m_stream.back().data());
        }
    }

    /// The baseline's last hidden states, and how strong each input of each linear weight is.
    void observeBaseline() {
        std::map<std::string, std::vector<double>> squares;
        m_transformer.observeLinears([&](const std::string& name, const float* x, std::int64_t rows,
                                         std::int64_t cols, std::int64_t stride) {
            std::vector<double>& sum = squares[name];
            sum.resize(static_cast<std::size_t>(cols));
            for (std::int64_t r = 0; r < rows; ++r)
                for (std::int64_t c = 0; c < cols; ++c)
                    sum[static_cast<std::size_t>(c)] +=
                        static_cast<double>(x[r * stride + c]) * x[r * stride + c];
        });
        embed();
        for (std::vector<float>& x : m_stream) {
            runFrom(0, Half::Attention, x);
            m_baseline.push_back(finalOf(x));
            m_tokens += tokensOf(x);
        }
        m_transformer.observeLinears({});
        for (const auto& [name, sum] : squares) {
            std::vector<float>& power = m_inputPower[name];
            for (const double s : sum)
                power.push_back(static_cast<float>(s / static_cast<double>(m_tokens)));
        }
    }

    void runFrom(std::int64_t layer, Half half, std::vector<float>& x) {
        for (; layer < m_model.config.layerCount(); ++layer, half = Half::Attention) {
            m_control.check();
            if (half == Half::Attention)
                m_transformer.runHalf(layer, Half::Attention, x.data(), tokensOf(x));
            m_transformer.runHalf(layer, Half::FeedForward, x.data(), tokensOf(x));
        }
    }

    std::vector<float> finalOf(const std::vector<float>& x) {
        const float* out = m_transformer.finalInput(x.data(), tokensOf(x));
        return {out, out + x.size()};
    }

    void compareUnit(const SensitivityUnit& unit, std::int64_t layer, Half half, std::size_t done) {
        UnitDivergence result;
        for (const std::string& name : unit.values.weights)
            if (m_quantized->weight(name).isQuantized() && !m_model.weight(name).isQuantized())
                result.weights.push_back(name);
        if (result.weights.empty())
            return;
        m_control.progress(static_cast<double>(done) / static_cast<double>(m_units.size()),
                           unit.values.name);
        for (const bool chosen : {false, true}) {
            for (const std::string& name : result.weights) {
                const Weight& weight = m_quantized->weight(name);
                m_transformer.replaceLinear(
                    name, chosen ? weight
                                 : roundedWeight(m_model, name, weight.quantized().scheme,
                                                 m_options, power(name), m_pool, m_control));
            }
            (chosen ? result.chosen : result.nearest) =
                divergence(layer, half, unit.values.layer < 0);
        }
        for (const std::string& name : result.weights)
            m_transformer.replaceLinear(name, m_model.weight(name));
        m_compared.push_back(std::move(result));
    }

    void score(SensitivityUnit& unit, std::int64_t layer, Half half, std::size_t done) {
        if (m_quantized)
            return compareUnit(unit, layer, half, done);
        for (std::size_t c = 0; c < unit.schemes.size(); ++c) {
            m_control.progress((static_cast<double>(done) +
                                static_cast<double>(c) / static_cast<double>(unit.schemes.size())) /
                                   static_cast<double>(m_units.size()),
                               unit.values.name + " as " + unit.schemes[c].id);
            for (const std::string& name : unit.values.weights)
                m_transformer.replaceLinear(
                    name, roundedWeight(m_model, name, unit.schemes[c], m_options, power(name),
                                        m_pool, m_control));
            unit.values.choices[c].loss = divergence(layer, half, unit.values.layer < 0);
        }
        for (const std::string& name : unit.values.weights)
            m_transformer.replaceLinear(name, m_model.weight(name));
    }

    const std::vector<float>* power(const std::string& name) const {
        const auto found = m_inputPower.find(name);
        return found == m_inputPower.end() ? nullptr : &found->second;
    }

    /// Mean KL(baseline || now) over the text's tokens. The head is only replaced itself, and then
    /// the baseline's logits must come from the head as it was.
    double divergence(std::int64_t layer, Half half, bool head) {
        double sum = 0;
        for (std::size_t s = 0; s < m_stream.size(); ++s) {
            std::vector<float> x = m_stream[s];
            runFrom(layer, half, x);
            const std::vector<float> last = finalOf(x);
            for (std::int64_t first = 0; first < tokensOf(x); first += kLogitRows) {
                m_control.check();
                sum += divergenceOfRows(m_baseline[s].data() + first * m_width,
                                        last.data() + first * m_width,
                                        std::min(kLogitRows, tokensOf(x) - first), head);
            }
        }
        return sum / static_cast<double>(m_tokens);
    }

    double divergenceOfRows(const float* before, const float* now, std::int64_t rows, bool head) {
        const std::int64_t vocabulary = m_model.config.vocabularySize;
        const auto count = static_cast<std::size_t>(rows * vocabulary);
        m_p.resize(count);
        m_q.resize(count);
        m_transformer.headLogits(now, rows, m_q.data());
        if (head) {
            if (!m_plainHead)
                m_plainHead =
                    m_transformer.backend().prepareWeight(m_model.weight("lm_head.weight").view());
            const LinearTarget target{m_plainHead.get(), m_p.data(), vocabulary, nullptr, false};
            m_transformer.backend().linear(before, rows, m_width, m_width, {&target, 1});
            if (m_model.config.finalSoftcap > 0)
                m_transformer.backend().softcap(m_p.data(), m_model.config.finalSoftcap,
                                                rows * vocabulary);
        } else {
            m_transformer.headLogits(before, rows, m_p.data());
        }
        std::vector<kernels::RowSummary> ps(static_cast<std::size_t>(rows)), qs = ps;
        std::vector<double> kl(static_cast<std::size_t>(rows));
        Backend& backend = m_transformer.backend();
        backend.summarizeLogits(m_p.data(), rows, vocabulary, ps.data());
        backend.summarizeLogits(m_q.data(), rows, vocabulary, qs.data());
        backend.klDivergence(m_p.data(), ps.data(), m_q.data(), qs.data(), rows, vocabulary,
                             kl.data());
        double sum = 0;
        for (const double each : kl)
            sum += std::max(0.0, each);
        return sum;
    }

    const Model& m_model;
    const CalibrationText& m_text;
    const SensitivityOptions& m_options;
    std::vector<SensitivityUnit>& m_units;
    kernels::WorkerPool& m_pool;
    RunControl& m_control;
    Transformer m_transformer;
    std::unique_ptr<DeviceWeight> m_plainHead;
    std::int64_t m_width;
    std::int64_t m_tokens = 0;
    std::map<std::string, std::vector<float>> m_inputPower;
    std::vector<std::vector<float>> m_stream, m_baseline;  // per sequence
    std::vector<float> m_p, m_q;                           // logits
    const Model* m_quantized = nullptr;                    // to compare with
    std::vector<UnitDivergence> m_compared;
};

}  // namespace

std::vector<UnitDivergence> unitDivergences(const Model& plain, const Model& quantized,
                                            const CalibrationText& text, SensitivityOptions options,
                                            Backend& backend, kernels::WorkerPool& pool,
                                            RunControl& control) {
    if (!backend.sharesMemory())
        throw EngineError(ErrorKind::Device,
                          "divergences of single weights are measured on the CPU");
    options.schemes = {*findQuantScheme("int8")};  // units have one for any rows
    std::vector<SensitivityUnit> units = sensitivityUnits(plain, options);
    return DivergenceScores(plain, text, options, units, backend, pool, control).compare(quantized);
}

std::vector<AllocationUnit> measureSensitivity(const Model& model, const CalibrationText& text,
                                               const SensitivityOptions& options, Backend& backend,
                                               kernels::WorkerPool& pool, RunControl& control) {
    if (!backend.sharesMemory())
        throw EngineError(ErrorKind::Device, "sensitivity is measured on the CPU");
    std::vector<SensitivityUnit> units = sensitivityUnits(model, options);
    if (options.score == SensitivityScore::Divergence)
        DivergenceScores(model, text, options, units, backend, pool, control).run();
    else
        addGradientScores(model, text, options, units, pool, control);
    std::vector<AllocationUnit> values;
    values.reserve(units.size());
    for (SensitivityUnit& unit : units)
        values.push_back(std::move(unit.values));
    return values;
}

}  // namespace fettle
