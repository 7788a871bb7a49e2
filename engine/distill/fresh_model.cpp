#include "engine/distill/fresh_model.h"

#include <cmath>
#include <numbers>

#include "engine/core/error.h"
#include "engine/core/random.h"
#include "engine/model/architectures/architecture.h"

namespace fettle {

namespace {

constexpr double kDeviation = 0.02;

DType namedType(const ModelConfig& config) {
    for (const char* key : {"dtype", "torch_dtype"}) {
        const std::string name = config.source.is_object() && config.source.contains(key) &&
                                         config.source[key].is_string()
                                     ? config.source[key].get<std::string>()
                                     : "";
        if (name == "bfloat16")
            return DType::BF16;
        if (name == "float16")
            return DType::F16;
    }
    return DType::F32;
}

bool writesIntoStream(const std::string& name) {
    return name.ends_with("attn.o.weight") || name.ends_with("ffn.down.weight");
}

void store(DType type, double value, Tensor& tensor, std::int64_t at) {
    const auto number = static_cast<float>(value);
    if (type == DType::BF16)
        tensor.mutableAs<std::uint16_t>()[at] = kernels::floatToBfloat16(number);
    else if (type == DType::F16)
        tensor.mutableAs<std::uint16_t>()[at] = kernels::floatToHalf(number);
    else
        tensor.mutableAs<float>()[at] = number;
}

}  // namespace

Model freshModel(const ModelConfig& config, const Model& like, std::uint64_t seed,
                 RunControl& control) {
    if (config.vocabularySize != like.config.vocabularySize)
        throw EngineError(ErrorKind::Usage, "the student's configuration has " +
                                                std::to_string(config.vocabularySize) +
                                                " tokens, the model " +
                                                std::to_string(like.config.vocabularySize));
    Model model = like;
    model.config = config;
    model.weights.clear();
    model.fileNames.clear();
    model.fileTensors.clear();
    model.speculative.reset();
    for (const char* key : {"attention_bias", "mlp_bias"})  // the optional biases are left out
        if (model.config.source.is_object() && model.config.source.contains(key))
            model.config.source[key] = false;
    const DType type = namedType(config);
    const double residual = kDeviation / std::sqrt(2.0 * static_cast<double>(config.layerCount()));
    std::uint64_t stream = 0;
    for (const TensorPlace& place : tensorPlaces(config)) {
        control.check();
        if ((place.is(kTiedHead) && config.tiedEmbeddings) ||
            (place.is(kOptional) && !place.is(kTiedHead)))
            continue;
        Tensor tensor = Tensor::allocate(type, place.shape());
        Philox random(seed, ++stream);
        const bool bias = place.canonical.ends_with(".bias");
        const double deviation = writesIntoStream(place.canonical) ? residual : kDeviation;
        for (std::int64_t i = 0; i < tensor.elements(); ++i) {
            double value = bias ? 0 : 1 - static_cast<double>(config.normOffset);
            if (place.cols > 0)  // Box-Muller
                value = deviation * std::sqrt(-2 * std::log(1 - random.uniform())) *
                        std::cos(2 * std::numbers::pi * random.uniform());
            store(type, value, tensor, i);
        }
        model.weights[place.canonical] = Weight(std::move(tensor));
    }
    return model;
}

}  // namespace fettle
