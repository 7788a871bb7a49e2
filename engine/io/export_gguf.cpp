// Writes GGUF: one file, weights as F16, Q8_0, Q4_0 or K-quants, norms, biases and positions as
// F32.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "engine/io/export_parts.h"
#include "engine/io/gguf_quantize.h"
#include "engine/io/gguf_writer.h"
#include "engine/io/kquant_encode.h"
#include "engine/io/kquant_mixture.h"
#include "engine/model/architectures/gguf_config.h"
#include "engine/model/architectures/gguf_keys.h"
#include "engine/model/weight_reader.h"

namespace fettle {
namespace {

using kernels::WeightFormat;

constexpr double kHalfRounding =
    1.0 / 2048;  // a scale within the normal range of float16 is rounded by less
constexpr std::int64_t kBlock = 32;
constexpr std::int64_t kSuper = 256;
constexpr std::int64_t kRowsPerCheck = 64;

/// How one file tensor gets its bytes.
enum class Way { Encode, CopyBlocks, KeepCodes };

bool isSuper(WeightFormat format) {
    return kernels::blockValues(format) == kSuper;
}

/// The largest magnitude whose scale, or value, float16 holds.
float largestValue(WeightFormat format) {
    switch (format) {
        case WeightFormat::F16:
            return kLargestHalf;
        case WeightFormat::Q8_0:
            return kLargestHalf * 127;
        case WeightFormat::Q4_0:
            return kLargestHalf * 8;
        case WeightFormat::Q5_0:
            return kLargestHalf * 16;
        case WeightFormat::Q3_K:
        case WeightFormat::Q4_K:
        case WeightFormat::Q5_K:
        case WeightFormat::Q6_K:
            return kLargestHalf;
        default:
            return std::numeric_limits<float>::max();
    }
}

class GgufExport {
public:
    GgufExport(const Model& model, const GgufTarget& target, RunControl& control)
        : m_model(model), m_target(target), m_format(target.format), m_control(control) {}

    ExportReport write(const std::filesystem::path& out) {
        GgufWriter writer;
        writeGgufConfig(m_model.config, m_model.name, m_model.parameters(), m_target.fileType,
                        writer);
        writeGgufTokenizer(m_model.tokenizer->toGguf(), m_model.config.vocabularySize, writer);
        for (FileTensorPlan& plan : planTensors(m_model, FileKind::Gguf))
            addTensor(std::move(plan), writer);
        addRopeFactors(writer);
        StagedOutput staged(out, StagedOutput::Kind::File, writer.dataBytes());
        ExportProgress progress(m_control, writer.dataBytes());
        m_progress = &progress;
        writer.write(staged.path(), [](const std::string&, std::uint64_t) {});
        refuseChangedFiles(m_model);
        staged.commit();
        ExportReport report;
        report.path = out.string();
        report.bytes = std::filesystem::file_size(out);
        report.lossy = m_notes.list();
        for (const std::string& note : ggufConfigNotes(m_model.config))
            report.lossy.push_back(note);
        return report;
    }

private:
    /// The type of a tensor: F32 for small ones; blocks where rows divide; and a head that was not
    /// quantized stays above four bits, as llama.cpp's own mixtures keep it (Q6_K there).
    WeightFormat typeOf(const FileTensorPlan& plan) const {
        const TensorPlace& place = plan.place();
        if (plan.oneDimensional() || place.is(kNorm) || place.is(kKeepFloat))
            return WeightFormat::F32;
        if (m_format == WeightFormat::F16 || plan.cols() % kBlock != 0)
            return WeightFormat::F16;
        const bool head = place.is(kTiedHead) ||
                          (place.canonical == "embed.weight" && m_model.config.tiedEmbeddings);
        if (isSuper(m_format)) {
            const WeightFormat wanted =
                head ? WeightFormat::Q6_K
                     : kQuantMixture(m_format, place.canonical, m_model.config.layerCount());
            return kQuantForRows(wanted, plan.cols());
        }
        const bool fourBits = plan.weights.front()->isQuantized() &&
                              plan.weights.front()->quantized().scheme.bits <= 4;
        return head && !fourBits ? WeightFormat::Q8_0 : m_format;
    }

    static bool keepsCodes(const Weight& weight, WeightFormat type) {
        if (!weight.isQuantized() || weight.hasLowRank())
            return false;
        const QuantizedTensor& quantized = weight.quantized();
        const std::int64_t group =
            quantized.scheme.groupSize > 0 ? quantized.scheme.groupSize : quantized.cols;
        const bool eight =
            quantized.scheme.format == WeightFormat::Int8Channel && type == WeightFormat::Q8_0;
        const bool four = quantized.scheme.format == WeightFormat::Int4Group &&
                          type == WeightFormat::Q4_0 && quantized.zeroPoints.empty() &&
                          group % kBlock == 0;
        return (eight || four) && halfScaleError(weight.view()) < kHalfRounding;
    }

    Way wayOf(const FileTensorPlan& plan, WeightFormat type) const {
        bool copy = true, keep = true;
        for (const Weight* weight : plan.weights) {
            copy = copy && weight->view().format == type;
            keep = keep && keepsCodes(*weight, type);
        }
        const bool plain = changeOf(plan.place()).none();
        return copy && plain ? Way::CopyBlocks : keep ? Way::KeepCodes : Way::Encode;
    }

    void note(const FileTensorPlan& plan, WeightFormat type, Way way) {
        const Weight& weight = *plan.weights.front();
        const std::string from = weight.typeName(), to = kernels::name(type);
        if (way == Way::CopyBlocks)
            return;
        if (way == Way::KeepCodes) {
            double worst = 0;
            for (const Weight* part : plan.weights)
                worst = std::max(worst, halfScaleError(part->view()));
            if (worst > 0)
                m_notes.add("codes of " + from + " are kept, their scales are rounded to float16");
            return;
        }
        if (weight.isQuantized())
            m_notes.add(from + " is dequantized and written as " + to);
        else if (type == WeightFormat::F16 && weight.dense().dtype() != DType::F16)
            m_notes.add(from + " is rounded to " + to);
        else if (type != WeightFormat::F32 && type != WeightFormat::F16)
            m_notes.add(from + " is quantized to " + to);
        if (weight.isQuantized() && weight.quantized().scheme.quantizesActivations())
            m_notes.add("the runtime chooses how activations are computed");
    }

    /// Norms as multipliers; Gemma's attention scale where llama.cpp would use another.
    ValueChange changeOf(const TensorPlace& place) const {
        ValueChange change;
        if (!place.is(kNorm) || m_model.config.norm != NormKind::Rms)
            return change;
        change.add = m_model.config.normOffset;
        if (m_model.config.architecture == "gemma3" &&
            place.canonical.ends_with("attn.q_norm.weight")) {
            const float factor =
                m_model.config.attentionScale / gemma3GgufAttentionScale(m_model.config);
            if (std::fabs(factor - 1) > 1e-5f) {
                change.factor = factor;
                change.add *= factor;
            }
        }
        return change;
    }

    void addTensor(FileTensorPlan plan, GgufWriter& writer) {
        GgufTensorToWrite tensor;
        tensor.name = plan.place().gguf;
        tensor.format = typeOf(plan);
        tensor.shape = plan.oneDimensional() ? Shape{plan.rows()} : Shape{plan.rows(), plan.cols()};
        const WeightFormat type = tensor.format;
        const Way way = wayOf(plan, type);
        note(plan, type, way);
        tensor.write = [this, plan = std::move(plan), type, way](FileWriter& file) {
            writeTensor(plan, type, way, file);
        };
        writer.addTensor(std::move(tensor));
    }

    void writeTensor(const FileTensorPlan& plan, WeightFormat type, Way way, FileWriter& file) {
        const std::string& name = plan.place().gguf;
        for (std::size_t part = 0; part < plan.weights.size(); ++part) {
            const TensorPlace& place = plan.parts[part];
            const Weight& weight = *plan.weights[part];
            const bool permuted = place.is(kPermuted);
            if (plan.oneDimensional())
                writeVector(weight, changeOf(place), permuted, file);
            else
                writeRows(weight, type, way, permuted, name, importanceOf(place.canonical), file);
            weight.dropPages();
        }
        m_progress->add(name, 0);
    }

    void writeVector(const Weight& weight, ValueChange change, bool permuted, FileWriter& file) {
        readRow(weight, 0, change, m_row);
        if (permuted) {
            std::vector<float> turned(m_row.size());
            for (std::size_t i = 0; i < m_row.size(); ++i)
                turned[static_cast<std::size_t>(
                    permutedRow(static_cast<std::int64_t>(i), m_model.config.headDim))] = m_row[i];
            m_row.swap(turned);
        }
        file.write(m_row.data(), m_row.size() * sizeof(float));
        m_progress->add({}, m_row.size() * sizeof(float));
    }

    /// Canonical row of the file's row (the inverse of permutedRow).
    std::int64_t canonicalRow(std::int64_t row) const {
        const std::int64_t dim = m_model.config.headDim, within = row % dim;
        return row / dim * dim + within % 2 * (dim / 2) + within / 2;
    }

    /// Of a weight's inputs, or null.
    const float* importanceOf(const std::string& canonical) const {
        if (!m_target.importance)
            return nullptr;
        const auto found = m_target.importance->find(canonical);
        return found == m_target.importance->end() ? nullptr : found->second.data();
    }

    void writeRows(const Weight& weight, WeightFormat type, Way way, bool permuted,
                   const std::string& name, const float* importance, FileWriter& file) {
        const kernels::WeightView view = weight.view();
        const std::size_t rowBytes = kernels::rowBytes(type, view.cols);
        m_bytes.resize(rowBytes);
        for (std::int64_t r = 0; r < view.rows; ++r) {
            const std::int64_t row = permuted ? canonicalRow(r) : r;
            if (way == Way::CopyBlocks) {
                file.write(static_cast<const std::byte*>(view.data) +
                               static_cast<std::size_t>(row) * rowBytes,
                           rowBytes);
            } else {
                if (way == Way::KeepCodes) {
                    repackRow(view, row, m_bytes.data());
                } else {
                    readRow(weight, row, {}, m_row);
                    refuseBeyond(m_row, largestValue(type), m_model, name, kernels::name(type));
                    if (isSuper(type))
                        encodeKQuantRow(type, m_row.data(), importance, view.cols, m_bytes.data());
                    else
                        encodeRow(type, m_row.data(), view.cols, m_bytes.data());
                }
                file.write(m_bytes.data(), rowBytes);
            }
            if (r % kRowsPerCheck == 0)
                m_progress->add(name, rowBytes * static_cast<std::size_t>(
                                                     std::min(kRowsPerCheck, view.rows - r)));
        }
    }

    void addRopeFactors(GgufWriter& writer) {
        const ModelConfig& config = m_model.config;
        if (config.architecture != "llama" || config.layers.empty() ||
            config.layers.front().rope.llama3Factor == 1)
            return;
        std::vector<float> factors = llama3RopeFactors(config.layers.front().rope, config.headDim);
        GgufTensorToWrite tensor;
        tensor.name = "rope_freqs.weight";
        tensor.shape = {static_cast<std::int64_t>(factors.size())};
        tensor.write = [factors = std::move(factors)](FileWriter& file) {
            file.write(factors.data(), factors.size() * sizeof(float));
        };
        writer.addTensor(std::move(tensor));
    }

    const Model& m_model;
    const GgufTarget& m_target;
    WeightFormat m_format;
    RunControl& m_control;
    ExportProgress* m_progress = nullptr;
    LossyNotes m_notes;
    std::vector<float> m_row;
    std::vector<std::byte> m_bytes;
};

}  // namespace

ExportReport exportGguf(const Model& model, const GgufTarget& target,
                        const std::filesystem::path& out, RunControl& control) {
    return GgufExport(model, target, control).write(out);
}

}  // namespace fettle
