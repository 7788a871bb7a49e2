#include "engine/model/model_initializer.h"

#include <cmath>
#include <numbers>

#include "engine/core/error.h"
#include "engine/core/random.h"
#include "engine/model/architectures/architecture.h"

namespace fettle {

namespace {

constexpr double kDeviation = 0.02;

Weight stored(const std::vector<float>& values, const Shape& shape, DType type) {
    Tensor tensor = Tensor::allocate(type, shape);
    for (std::size_t i = 0; i < values.size(); ++i)
        if (type == DType::F32)
            tensor.mutableAs<float>()[i] = values[i];
        else
            tensor.mutableAs<std::uint16_t>()[i] = type == DType::BF16
                                                       ? kernels::floatToBfloat16(values[i])
                                                       : kernels::floatToHalf(values[i]);
    return Weight(std::move(tensor));
}

/// Normal numbers by Box & Muller, two per draw.
void refuseType(DType type) {
    if (type != DType::F32 && type != DType::F16 && type != DType::BF16)
        throw EngineError(ErrorKind::Usage, toString(type) + " is no type to train in");
}

}  // namespace

void fillNormal(std::vector<float>& values, double deviation, const Philox& random) {
    for (std::size_t i = 0; i < values.size(); i += 2) {
        const double radius = deviation * std::sqrt(-2 * std::log1p(-random.uniformAt(i)));
        const double angle = 2 * std::numbers::pi * random.uniformAt(i + 1);
        values[i] = static_cast<float>(radius * std::cos(angle));
        if (i + 1 < values.size())
            values[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
}

Model randomModel(ModelConfig config, std::shared_ptr<const Tokenizer> tokenizer,
                  std::uint64_t seed, DType type) {
    refuseType(type);
    Model model;
    model.name = "random " + config.architecture;
    model.format = "safetensors";
    model.tokenizer = std::move(tokenizer);
    double deviation = kDeviation;
    if (const auto given = config.source.find("initializer_range");
        given != config.source.end() && given->is_number() && given->get<double>() > 0)
        deviation = given->get<double>();
    const double residual =
        deviation /
        std::sqrt(2 * static_cast<double>(std::max<std::int64_t>(1, config.layerCount())));
    std::uint64_t stream = 0;
    for (const TensorPlace& place : tensorPlaces(config)) {
        ++stream;
        if (place.is(kOptional) || (place.is(kTiedHead) && config.tiedEmbeddings))
            continue;
        const std::string& name = place.canonical;
        const std::int64_t cols = std::max<std::int64_t>(1, place.cols);
        std::vector<float> values(static_cast<std::size_t>(place.rows * cols));
        if (name.ends_with(".bias"))
            std::fill(values.begin(), values.end(), 0.0F);
        else if (name.ends_with("norm.weight"))
            std::fill(values.begin(), values.end(), 1 - config.normOffset);
        else
            fillNormal(values,
                       name.ends_with("attn.o.weight") || name.ends_with("ffn.down.weight")
                           ? residual
                           : deviation,
                       Philox(seed, stream));
        const Shape shape = place.cols > 0 ? Shape{place.rows, place.cols} : Shape{place.rows};
        model.weights.emplace(name, stored(values, shape, type));
        model.fileNames.emplace(name, place.huggingFace);
    }
    model.config = std::move(config);
    return model;
}

Model withType(const Model& model, DType type) {
    refuseType(type);
    Model out = model;
    for (auto& [name, weight] : out.weights)
        if (weight.isQuantized() || weight.dense().dtype() != type)
            weight = stored(weight.toFloat(), weight.shape(), type);
    return out;
}

}  // namespace fettle
