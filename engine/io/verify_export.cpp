// verifyExport: reads an export back with the ordinary reader and compares it, weight by weight,
// with the model.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "engine/core/error.h"
#include "engine/experiment/measurement.h"
#include "engine/io/export_parts.h"
#include "engine/io/strict_json.h"
#include "engine/model/architectures/gguf_config.h"

namespace fettle {
namespace {

using kernels::WeightFormat;

constexpr const char* kSampleText =
    "The quick brown fox jumps over the lazy dog. 12 + 30 = 42; na\xc3\xafve, "
    "\xe6\x97\xa5\xe6\x9c\xac.";

std::string shortNumber(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2g", value);
    return text;
}

bool sameBytes(const Tensor& a, const Tensor& b) {
    return a.bytes() == b.bytes() &&
           (a.bytes() == 0 || std::memcmp(a.data(), b.data(), a.bytes()) == 0);
}

/// Both hold codes under the same format: then the codes must be the same, bit by bit.
bool sameKind(const Weight& a, const Weight& b) {
    if (!a.isQuantized() || !b.isQuantized())
        return false;
    const QuantScheme &x = a.quantized().scheme, &y = b.quantized().scheme;
    return x.format == y.format && x.groupSize == y.groupSize && x.symmetric == y.symmetric;
}

/// How far a value may move when it is stored in `format`: relative to itself, relative to the
/// largest of its block of 32, and at all (subnormal scales).
struct Tolerance {
    float ofValue = 0;
    float ofLargest = 0;
    float absolute = 0;
};
Tolerance toleranceOf(WeightFormat format, bool keptCodes) {
    const bool codes = format == WeightFormat::Q8_0 || format == WeightFormat::Q4_0;
    if (codes && keptCodes)
        return {1 / 1024.0f, 1e-5f, 0};  // only the scale was rounded, to float16
    switch (format) {
        case WeightFormat::F32:
            return {1e-6f, 0, 0};
        case WeightFormat::F16:
            return {1 / 2048.0f, 0, 6e-8f};
        case WeightFormat::BF16:
            return {1 / 256.0f, 0, 1e-38f};
        // Half a step of largest/127, and the rounding of the scale.
        case WeightFormat::Q8_0:
            return {0, 1 / 253.9f + 1 / 2047.0f, 8e-6f};
        // A whole step of largest/8: the far end of the range is cut at 7 steps.
        case WeightFormat::Q4_0:
            return {0, 1 / 7.99f + 1 / 2047.0f, 8e-7f};
        case WeightFormat::Q5_0:
            return {0, 1 / 15.99f + 1 / 2047.0f, 8e-7f};
        // A sub-block whose range is small beside the others' may lose all of it; the tensor as a
        // whole may not, see largestError.
        case WeightFormat::Q3_K:
        case WeightFormat::Q4_K:
        case WeightFormat::Q5_K:
        case WeightFormat::Q6_K:
            return {0, 1.05f, 1e-6f};
        default:
            return {};
    }
}

/// How much of a tensor's power may be lost, relative, where single values say little.
double largestError(WeightFormat format) {
    switch (format) {
        case WeightFormat::Q3_K:
            return 0.4;
        case WeightFormat::Q4_K:
            return 0.2;
        case WeightFormat::Q5_K:
            return 0.1;
        case WeightFormat::Q6_K:
            return 0.05;
        default:
            return std::numeric_limits<double>::infinity();
    }
}

/// Sums over the values of a tensor, and the first that moved too far.
struct Comparison {
    double error = 0;
    double power = 0;
    std::ptrdiff_t wrong = -1;

    void add(const std::vector<float>& before, const std::vector<float>& after,
             const Tolerance& tolerance) {
        for (std::size_t begin = 0; begin < before.size(); begin += 32) {
            const std::size_t count = std::min<std::size_t>(32, before.size() - begin);
            const float *a = before.data() + begin, *b = after.data() + begin;
            float largest = 0, squares = 0, errors = 0;
            for (std::size_t i = 0; i < count; ++i)
                largest = std::max(largest, std::fabs(a[i]));
            const float base = largest * tolerance.ofLargest + tolerance.absolute;
            bool bad = false;
            for (std::size_t i = 0; i < count; ++i) {
                const float difference = a[i] - b[i];
                bad |= !(std::fabs(difference) <= base + tolerance.ofValue * std::fabs(a[i]));
                errors += difference * difference;
                squares += a[i] * a[i];
            }
            error += errors;
            power += squares;
            if (bad && wrong < 0)
                wrong = static_cast<std::ptrdiff_t>(begin);
        }
    }
};

class Verifier {
public:
    Verifier(const Model& model, ExportReport& report, RunControl& control)
        : m_model(model), m_report(report), m_control(control) {}

    void run() {
        Model reloaded;
        try {
            reloaded = loadModel(m_report.path, &m_control);
        } catch (const EngineError& error) {
            add("reload", false, error.what());
            return;
        }
        add("reload", true,
            formatBytes(static_cast<double>(reloaded.fileBytes)) + ", " +
                std::to_string(reloaded.weights.size()) + " weights");
        if (!checkComplete(reloaded))
            return;
        checkConfig(reloaded);
        checkTokenizer(reloaded);
        checkValues(reloaded);
        checkScales(reloaded);
    }

private:
    void add(const std::string& name, bool passed, const std::string& detail) {
        m_report.checks.push_back({name, passed, detail});
    }

    bool checkComplete(const Model& other) {
        std::string wrong;
        std::size_t count = 0;
        for (const FileTensorPlan& plan : planTensors(m_model, FileKind::HuggingFace))
            for (const TensorPlace& place : plan.parts) {
                ++count;
                if (!other.has(place.canonical) || other.weight(place.canonical).shape() !=
                                                       m_model.weight(place.canonical).shape())
                    wrong = place.canonical;
            }
        const bool passed = wrong.empty() && other.weights.size() == count;
        add("tensors complete", passed,
            passed ? std::to_string(count) + " tensors with their shapes"
                   : "missing or of another shape: " + wrong);
        return passed;
    }

    void checkConfig(const Model& other) {
        const ModelConfig &a = m_model.config, &b = other.config;
        const auto close = [](float x, float y) {
            return std::fabs(x - y) <= 1e-5f * std::fabs(x);
        };
        std::string wrong;
        const auto expect = [&](bool same, const char* what) {
            if (!same && wrong.empty())
                wrong = what;
        };
        expect(a.architecture == b.architecture, "architecture");
        expect(a.vocabularySize == b.vocabularySize && a.hiddenSize == b.hiddenSize &&
                   a.feedForwardSize == b.feedForwardSize,
               "sizes");
        expect(a.heads == b.heads && a.kvHeads == b.kvHeads && a.headDim == b.headDim, "heads");
        expect(a.contextLength == b.contextLength, "context length");
        expect(a.layerCount() == b.layerCount(), "layers");
        expect(close(a.normEpsilon, b.normEpsilon), "norm epsilon");
        expect(a.tiedEmbeddings == b.tiedEmbeddings, "tied embeddings");
        expect(a.finalSoftcap == b.finalSoftcap && a.attentionSoftcap == b.attentionSoftcap,
               "soft caps");
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
        const auto before = m_model.tokenizer->encode(kSampleText, true),
                   after = other.tokenizer->encode(kSampleText, true);
        add("tokenizer", before == after,
            before == after
                ? std::to_string(before.size()) + " tokens of a sample text are the same"
                : "a sample text gives other tokens");
    }

    /// Effective norm values differ in convention between files; q norms may carry Gemma's
    /// attention scale.
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
                const Weight &a = m_model.weight(place.canonical),
                             &b = other.weight(place.canonical);
                m_control.progress(static_cast<double>(codes + values) /
                                       static_cast<double>(m_model.weights.size()),
                                   place.canonical);
                if (sameKind(a, b)) {
                    ++codes;
                    const QuantizedTensor &x = a.quantized(), &y = b.quantized();
                    if (!sameBytes(x.codes, y.codes) || !sameBytes(x.scales, y.scales) ||
                        !sameBytes(x.zeroPoints, y.zeroPoints) ||
                        !sameBytes(x.lowRankIn, y.lowRankIn) ||
                        !sameBytes(x.lowRankOut, y.lowRankOut) || x.globalScale != y.globalScale ||
                        x.inputGlobalScale != y.inputGlobalScale)
                        wrong = place.canonical + ": other codes or scales";
                } else {
                    ++values;
                    compareRows(place, other, largest, wrong);
                }
                a.dropPages();
                b.dropPages();
            }
        if (codes > 0)
            add("codes identical", wrong.empty(),
                wrong.empty() ? std::to_string(codes) + " tensors, bit by bit" : wrong);
        if (values > 0)
            add("values", wrong.empty(),
                wrong.empty() ? std::to_string(values) +
                                    " tensors within the rounding of their type; largest relative "
                                    "error of a tensor " +
                                    shortNumber(largest)
                              : wrong);
    }

    void compareRows(const TensorPlace& place, const Model& other, double& largest,
                     std::string& wrong) {
        const Weight &a = m_model.weight(place.canonical), &b = other.weight(place.canonical);
        const ValueChange changeA = changeOf(m_model, place), changeB = changeOf(other, place);
        const kernels::WeightView view = b.view();
        const bool kept =
            isPackable(a) && a.quantized().scheme.scaleBits() != 8 &&
            a.quantized().scheme.format != WeightFormat::Fp8Channel &&
            !kernels::isWidened(a.quantized().scheme.format) &&
            (view.format == WeightFormat::Q8_0 || view.format == WeightFormat::Q4_0) &&
            a.quantized().scheme.bits == (view.format == WeightFormat::Q8_0 ? 8 : 4);
        Tolerance tolerance = toleranceOf(view.format, kept);
        if (place.is(kNorm))
            tolerance.absolute +=
                2e-7f;  // norms pass through 1 + w, which rounds w to the precision of 1
        Comparison comparison;
        std::vector<float> before, after;
        for (std::int64_t r = 0; r < view.rows; ++r) {
            if (r % 256 == 0)
                m_control.check();
            readRow(a, r, changeA, before);
            readRow(b, r, changeB, after);
            comparison.add(before, after, tolerance);
            if (comparison.wrong >= 0 && wrong.empty()) {
                const auto at = static_cast<std::size_t>(comparison.wrong);
                wrong = place.canonical + " row " + std::to_string(r) + ": values near " +
                        std::to_string(before[at]) + " came back as " + std::to_string(after[at]);
            }
        }
        const double lost =
            comparison.power > 0 ? std::sqrt(comparison.error / comparison.power) : 0;
        if (lost > largestError(view.format) && wrong.empty())
            wrong = place.canonical + ": " + shortNumber(lost) + " of it is lost";
        largest = std::max(largest, lost);
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
