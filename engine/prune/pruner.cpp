#include "engine/prune/pruner.h"

#include "engine/core/error.h"
#include "engine/model/architectures/architecture.h"
#include "kernels/formats/weight_format.h"

namespace fettle {

namespace {

using Indices = std::vector<std::int64_t>;

/// Elements of heads, in the order of heads.
Indices headElements(const Indices& heads, std::int64_t headDim) {
    Indices elements;
    for (const std::int64_t head : heads)
        for (std::int64_t i = 0; i < headDim; ++i)
            elements.push_back(head * headDim + i);
    return elements;
}

/// What is kept along a dimension of a tensor of layer `layer` of the original.
Indices keptAlong(Dim dim, const ModelConfig& config, const PruningPlan& plan, int layer) {
    const auto at = static_cast<std::size_t>(std::max(layer, 0));
    switch (dim) {
        case Dim::Hidden:
            return plan.channels;
        case Dim::Query:
            return headElements(plan.heads[at], config.headDim);
        case Dim::KeyValue:
            return headElements(plan.kvHeads[at], config.headDim);
        case Dim::FeedForward:
            return plan.neurons[at];
        default:
            return allIndices(sizeOf(dim, config));
    }
}

void store(DType type, float value, Tensor& tensor, std::int64_t at) {
    if (type == DType::BF16)
        tensor.mutableAs<std::uint16_t>()[at] = kernels::floatToBfloat16(value);
    else if (type == DType::F16)
        tensor.mutableAs<std::uint16_t>()[at] = kernels::floatToHalf(value);
    else
        tensor.mutableAs<float>()[at] = value;
}

DType floatTypeOf(const Weight& weight) {
    return weight.isQuantized() ? DType::F32 : weight.dense().dtype();
}

Weight cut(const Weight& weight, const Indices& rows, const Indices& cols, bool matrix) {
    const kernels::WeightView view = weight.view();
    const DType type = floatTypeOf(weight);
    const auto rowCount = static_cast<std::int64_t>(rows.size()),
               colCount = static_cast<std::int64_t>(cols.size());
    Tensor out = Tensor::allocate(type, matrix ? Shape{rowCount, colCount} : Shape{rowCount});
    std::vector<float> row(static_cast<std::size_t>(view.cols));
    if (!matrix) {
        weight.rowToFloat(0, row.data());
        for (std::int64_t i = 0; i < rowCount; ++i)
            store(type, row[static_cast<std::size_t>(rows[static_cast<std::size_t>(i)])], out, i);
        return Weight(std::move(out));
    }
    for (std::int64_t r = 0; r < rowCount; ++r) {
        weight.rowToFloat(rows[static_cast<std::size_t>(r)], row.data());
        for (std::int64_t c = 0; c < colCount; ++c)
            store(type, row[static_cast<std::size_t>(cols[static_cast<std::size_t>(c)])], out,
                  r * colCount + c);
    }
    weight.dropPages();
    return Weight(std::move(out));
}

void requireUniform(const PruningPlan& plan, const PrunedShape& shape) {
    for (const std::int64_t layer : plan.layers) {
        const auto at = static_cast<std::size_t>(layer);
        if (static_cast<std::int64_t>(plan.heads[at].size()) != shape.heads ||
            static_cast<std::int64_t>(plan.kvHeads[at].size()) != shape.kvHeads ||
            static_cast<std::int64_t>(plan.neurons[at].size()) != shape.feedForward)
            throw EngineError(ErrorKind::Internal, "prune: the plan leaves layer " +
                                                       std::to_string(layer) +
                                                       " with other sizes than the first one");
    }
}

/// "layers.3.attn.q.weight" as it is called in the original, where that layer is number `layer`.
std::string originalName(const TensorPlace& place, std::int64_t layer) {
    if (place.layer < 0)
        return place.canonical;
    const std::string prefix = "layers." + std::to_string(place.layer) + ".";
    return "layers." + std::to_string(layer) + "." + place.canonical.substr(prefix.size());
}

}  // namespace

Weight weightLike(const Weight& like, const std::vector<float>& values) {
    const DType type = floatTypeOf(like);
    Tensor tensor = Tensor::allocate(type, like.shape());
    for (std::size_t i = 0; i < values.size(); ++i)
        store(type, values[i], tensor, static_cast<std::int64_t>(i));
    return Weight(std::move(tensor));
}

Model pruneModel(const Model& model, const PruningPlan& plan, RunControl& control) {
    const PrunedShape shape = shapeOf(plan);
    requireUniform(plan, shape);
    Model out = model;
    out.config = withShape(model.config, shape, plan.layers);
    out.weights.clear();
    out.fileNames.clear();
    out.fileTensors.clear();
    for (const TensorPlace& place : tensorPlaces(out.config)) {
        control.check();
        const int layer =
            place.layer < 0 ? -1
                            : static_cast<int>(plan.layers[static_cast<std::size_t>(place.layer)]);
        const std::string name = originalName(place, layer);
        if (!model.has(name))
            continue;
        const Weight& weight = model.weight(name);
        const Indices rows = keptAlong(place.rule->rows, model.config, plan, layer);
        const bool matrix = place.rule->cols != Dim::None;
        const Indices cols =
            matrix ? keptAlong(place.rule->cols, model.config, plan, layer) : Indices{};
        const std::int64_t colCount = weight.shape().back();
        const bool whole = matrix ? rows == allIndices(weight.elements() / colCount) &&
                                        cols == allIndices(colCount)
                                  : rows == allIndices(weight.elements());
        out.weights[place.canonical] = whole ? weight : cut(weight, rows, cols, matrix);
        if (const auto file = model.fileNames.find(name); file != model.fileNames.end())
            out.fileNames[place.canonical] = place.huggingFace;
    }
    return out;
}

}  // namespace fettle
