#include "engine/io/export_parts.h"

#include <cmath>

#include "engine/core/error.h"
#include "engine/io/strict_json.h"

namespace fettle {
namespace {

const std::string& nameIn(const TensorPlace& place, FileKind kind) {
    return kind == FileKind::Gguf ? place.gguf : place.huggingFace;
}

void refuseZeroScales(const Model& model, const std::string& name, const Weight& weight) {
    const kernels::WeightView view = weight.view();
    const std::int64_t scales = weight.quantized().scales.elements();
    for (std::int64_t i = 0; i < scales; ++i)
        if (kernels::weightScale(view, i) == 0)
            throwBadInput(model.path, "tensor " + inQuotes(name) + " has a scale of zero (scale " +
                                          std::to_string(i) + ")");
}

}  // namespace

std::int64_t FileTensorPlan::rows() const {
    std::int64_t total = 0;
    for (const TensorPlace& part : parts)
        total += part.rows;
    return total;
}

std::vector<FileTensorPlan> planTensors(const Model& model, FileKind kind) {
    std::vector<FileTensorPlan> plans;
    for (TensorPlace& place : tensorPlaces(model.config)) {
        const bool tied = place.is(kTiedHead) && model.config.tiedEmbeddings;
        if (tied || (place.is(kOptional) && !model.has(place.canonical)))
            continue;
        const Weight& weight = model.weight(place.canonical);
        const Shape shape = weight.shape();
        if (shape != place.shape())
            throwBadInput(model.path, "tensor " + inQuotes(place.canonical) + " has shape " +
                                          toString(shape) + ", the configuration wants " +
                                          toString(place.shape()));
        if (place.rule->part <= 0)
            plans.emplace_back();
        else if (nameIn(plans.back().place(), kind) != nameIn(place, kind))
            throw EngineError(
                ErrorKind::Internal,
                place.canonical + ": the parts of a fused tensor are not together in the table");
        plans.back().weights.push_back(&weight);
        plans.back().parts.push_back(std::move(place));
    }
    return plans;
}

void ExportProgress::add(const std::string& tensor, std::uint64_t bytes) {
    m_done += bytes;
    m_control.progress(m_total > 0 ? static_cast<double>(m_done) / static_cast<double>(m_total) : 1,
                       tensor);
}

void readRow(const Weight& weight, std::int64_t row, ValueChange change, std::vector<float>& out) {
    out.resize(static_cast<std::size_t>(weight.view().cols));
    weight.rowToFloat(row, out.data());
    if (change.none())
        return;
    for (float& value : out)
        value = value * change.factor + change.add;
}

std::vector<std::string> LossyNotes::list() const {
    std::vector<std::string> notes;
    for (const auto& [what, count] : m_counts)
        notes.push_back(what +
                        (count == 1 ? " (1 tensor)" : " (" + std::to_string(count) + " tensors)"));
    return notes;
}

void refuseUnwritable(const Model& model, RunControl& control) {
    refuseNonFinite(model, control);
    for (const auto& [name, weight] : model.weights)
        if (isPackable(weight))
            refuseZeroScales(model, name, weight);
}

void refuseBeyond(const std::vector<float>& row, float limit, const Model& model,
                  const std::string& tensor, const char* type) {
    bool beyond = false;  // no early exit, so that the usual case runs in vectors
    for (const float value : row)
        beyond |= !(std::fabs(value) <= limit);
    if (!beyond)
        return;
    for (const float value : row)
        if (!(std::fabs(value) <= limit))
            throwBadInput(model.path, "tensor " + inQuotes(tensor) + " holds " +
                                          std::to_string(value) + ", which " + type +
                                          " cannot hold");
}

bool isPackable(const Weight& weight) {
    if (!weight.isQuantized())
        return false;
    return weight.quantized().scheme.format >= kernels::WeightFormat::Int8Channel;
}

}  // namespace fettle
