// verifyExport: reads an export back with the ordinary reader and compares it, weight by weight, with the model.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "engine/core/error.h"
#include "engine/experiment/measurement.h"
#include "engine/io/export_parts.h"
#include "engine/io/strict_json.h"
#include "engine/model/architectures/gguf_config.h"

namespace fettle {
namespace {

using kernels::WeightFormat;

constexpr const char* kSampleText = "The quick brown fox jumps over the lazy dog. 12 + 30 = 42; na\xc3\xafve, \xe6\x97\xa5\xe6\x9c\xac.";

std::string shortNumber(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2g", value);
    return text;
}

bool sameBytes(const Tensor& a, const Tensor& b) {
    return a.bytes() == b.bytes() && (a.bytes() == 0 || std::memcmp(a.data(), b.data(), a.bytes()) == 0);
}

/// Both hold codes under the same format: then the codes must be the same, bit by bit.
bool sameKind(const Weight& a, const Weight& b) {
    if (!a.isQuantized() || !b.isQuantized())
        return false;
    const QuantScheme &x = a.quantized().scheme, &y = b.quantized().scheme;
    return x.format == y.format && x.groupSize == y.groupSize && x.symmetric == y.symmetric;
}

/// How far a value may move when a row is stored in `format`: half a step of each code, plus the rounding of scales.
class Tolerance {
public:
    Tolerance(WeightFormat format, bool keptCodes) : m_format(format), m_keptCodes(keptCodes) {}

    /// For the values [begin, begin + 32) of a row.
    void enterBlock(const float* values, std::size_t count) {
        m_largest = 0;
        for (std::size_t i = 0; i < count; ++i)
            m_largest = std::max(m_largest, std::fabs(values[i]));
    }

    float of(float value) const {
        const float magnitude = std::fabs(value);
        switch (m_format) {
            case WeightFormat::F32: return 1e-6f * magnitude;
            case WeightFormat::F16: return magnitude / 2048 + 6e-8f;
            case WeightFormat::BF16: return magnitude / 256 + 1e-38f;
            // Codes kept from int8 or int4: only the scale was rounded.
            case WeightFormat::Q8_0: return m_keptCodes ? magnitude / 1024 + 1e-5f * m_largest : m_largest * (1 / 253.9f + 1 / 2047.0f) + 8e-6f;
            // The far end of the range is cut at 7 of 8 steps.
            case WeightFormat::Q4_0: return m_keptCodes ? magnitude / 1024 + 1e-5f * m_largest : m_largest * (1 / 7.99f + 1 / 2047.0f) + 8e-7f;
            default: return 0;
        }
    }

private:
    WeightFormat m_format;
    bool m_keptCodes;
    float m_largest = 0;
};

class Verifier {
public:
    Verifier(const Model& model, ExportReport& report, RunControl& control) : m_model(model), m_report(report), m_control(control) {}

    void run() {
        Model reloaded;
        try {
            reloaded = loadModel(m_report.path, &m_control);
        } catch (const EngineError& error) {
            add("reload", false, error.what());
            return;
        }
        add("reload", true, formatBytes(static_cast<double>(reloaded.fileBytes)) + ", " + std::to_string(reloaded.weights.size()) + " weights");
        if (!checkComplete(reloaded))
            return;
        checkConfig(reloaded);
        checkTokenizer(reloaded);
        checkValues(reloaded);
        checkScales(reloaded);
    }

private:
    void add(const std::string& name, bool passed, const std::string& detail) { m_report.checks.push_back({name, passed, detail}); }

    bool checkComplete(const Model& other) {
        std::string wrong;
        std::size_t count = 0;
        for (const FileTensorPlan& plan : planTensors(m_model, FileKind::HuggingFace))
            for (const TensorPlace& place : plan.parts) {
                ++count;
                if (!other.has(place.canonical) || other.weight(place.canonical).shape() != m_model.weight(place.canonical).shape())
                    wrong = place.canonical;
            }
        const bool passed = wrong.empty() && other.weights.size() == count;
        add("tensors complete", passed, passed ? std::to_string(count) + " tensors with their shapes" : "missing or of another shape: " + wrong);
        return passed;
    }

    void checkConfig(const Model& other) {
        const ModelConfig &a = m_model.config, &b = other.config;
        const auto close = [](float x, float y) { return std::fabs(x - y) <= 1e-5f * std::fabs(x); };
        std::string wrong;
        const auto expect = [&](bool same, const char* what) {
            if (!same && wrong.empty())
                wrong = what;
        };
        expect(a.architecture == b.architecture, "architecture");
        expect(a.vocabularySize == b.vocabularySize && a.hiddenSize == b.hiddenSize && a.feedForwardSize == b.feedForwardSize, "sizes");
        expect(a.heads == b.heads && a.kvHeads == b.kvHeads && a.headDim == b.headDim, "heads");
        expect(a.contextLength == b.contextLength, "context length");
        expect(a.layerCount() == b.layerCount(), "layers");
        expect(close(a.normEpsilon, b.normEpsilon), "norm epsilon");
        expect(a.tiedEmbeddings == b.tiedEmbeddings, "tied embeddings");
        expect(a.finalSoftcap == b.finalSoftcap && a.attentionSoftcap == b.attentionSoftcap, "soft caps");
        for (std::size_t i = 0; i < std::min(a.layers.size(), b.layers.size()); ++i) {
            expect(a.layers[i].slidingWindow == b.layers[i].slidingWindow, "sliding windows");
            expect(sameRope(a.layers[i].rope, b.layers[i].rope), "positions");
        }
        add("configuration", wrong.empty(), wrong.empty() ? "equal" : wrong + " differ");
    }

    static bool sameRope(const RopeConfig& a, const RopeConfig& b) {
        if (a.llama3Factor == 1 && b.llama3Factor == 1)
            return a.theta == b.theta && a.linearFactor == b.linearFactor;
        return a == b;
    }

    void checkTokenizer(const Model& other) {
        const auto before = m_model.tokenizer->encode(kSampleText, true), after = other.tokenizer->encode(kSampleText, true);
        add("tokenizer", before == after, before == after ? std::to_string(before.size()) + " tokens of a sample text are the same" : "a sample text gives other tokens");
    }

    /// Effective norm values differ in convention between files; q norms may carry Gemma's attention scale.
    ValueChange changeOf(const Model& model, const TensorPlace& place) const {
        ValueChange change;
        if (!place.is(kNorm) || model.config.norm != NormKind::Rms)
            return change;
        change.add = model.config.normOffset;
        if (place.canonical.ends_with("attn.q_norm.weight")) {
            change.factor = model.config.attentionScale;
            change.add *= change.factor;
        }
        return change;
    }

    void checkValues(const Model& other) {
        std::size_t codes = 0, values = 0;
        double largest = 0;
        std::string wrong;
        for (const FileTensorPlan& plan : planTensors(m_model, FileKind::HuggingFace))
            for (const TensorPlace& place : plan.parts) {
                const Weight &a = m_model.weight(place.canonical), &b = other.weight(place.canonical);
                m_control.progress(static_cast<double>(codes + values) / static_cast<double>(m_model.weights.size()), place.canonical);
                if (sameKind(a, b)) {
                    ++codes;
                    const QuantizedTensor &x = a.quantized(), &y = b.quantized();
                    if (!sameBytes(x.codes, y.codes) || !sameBytes(x.scales, y.scales) || !sameBytes(x.zeroPoints, y.zeroPoints))
                        wrong = place.canonical + ": other codes or scales";
                } else {
                    ++values;
                    compareRows(place, other, largest, wrong);
                }
                a.dropPages();
                b.dropPages();
            }
        if (codes > 0)
            add("codes identical", wrong.empty(), wrong.empty() ? std::to_string(codes) + " tensors, bit by bit" : wrong);
        if (values > 0)
            add("values", wrong.empty(),
                wrong.empty() ? std::to_string(values) + " tensors within the rounding of their type; largest relative error of a tensor " + shortNumber(largest) : wrong);
    }

    void compareRows(const TensorPlace& place, const Model& other, double& largest, std::string& wrong) {
        const Weight &a = m_model.weight(place.canonical), &b = other.weight(place.canonical);
        const ValueChange changeA = changeOf(m_model, place), changeB = changeOf(other, place);
        const kernels::WeightView view = b.view();
        const bool kept = isPackable(a) && (view.format == WeightFormat::Q8_0 || view.format == WeightFormat::Q4_0) &&
                          a.quantized().scheme.bits == (view.format == WeightFormat::Q8_0 ? 8 : 4);
        Tolerance tolerance(view.format, kept);
        std::vector<float> before, after;
        double error = 0, power = 0;
        for (std::int64_t r = 0; r < view.rows; ++r) {
            if (r % 256 == 0)
                m_control.check();
            readRow(a, r, changeA, before);
            readRow(b, r, changeB, after);
            for (std::size_t i = 0; i < before.size(); ++i) {
                if (i % 32 == 0)
                    tolerance.enterBlock(before.data() + i, std::min<std::size_t>(32, before.size() - i));
                const float difference = std::fabs(before[i] - after[i]);
                // Norms pass through 1 + w, which rounds w to the precision of 1.
                const float allowed = tolerance.of(before[i]) + (place.is(kNorm) ? 2e-7f : 0);
                if (!(difference <= allowed) && wrong.empty())
                    wrong = place.canonical + ": " + std::to_string(before[i]) + " came back as " + std::to_string(after[i]);
                error += static_cast<double>(difference) * difference;
                power += static_cast<double>(before[i]) * before[i];
            }
        }
        largest = std::max(largest, power > 0 ? std::sqrt(error / power) : 0);
    }

    void checkScales(const Model& other) {
        try {
            refuseUnwritable(other, m_control);
            add("scales finite", true, "no NaN, no infinity, no scale of zero");
        } catch (const EngineError& error) {
            add("scales finite", false, error.what());
        }
    }

    const Model& m_model;
    ExportReport& m_report;
    RunControl& m_control;
};

}  // namespace

void verifyExport(const Model& model, ExportReport& report, RunControl& control) {
    Verifier(model, report, control).run();
}

}  // namespace fettle
