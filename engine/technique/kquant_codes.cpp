#include "engine/technique/kquant_codes.h"

#include "engine/io/kquant_mixture.h"
#include "engine/technique/ptq_layers.h"

namespace fettle {

namespace {

constexpr std::int64_t kSuper = 256;

}  // namespace

Model withKQuantCodes(Model model, kernels::WeightFormat base, const CalibrationText& text,
                      Backend& backend, RunControl& control) {
    const Model original = model;
    const RunInputs inputs;
    const MeasureOptions measure;
    const nlohmann::json params;
    std::vector<LayerMetric> layerMetrics;
    std::vector<Measurement> metrics;
    TechniqueContext context{original, backend, backend.pool(), inputs,       measure,
                             params,   1,       control,        layerMetrics, metrics};
    LayerwiseOptions options;
    options.gptq = true;
    options.schemeOf = [&](const std::string& name) -> std::optional<QuantScheme> {
        if (layerOf(name) < 0 || original.weight(name).shape().at(1) % kSuper != 0)
            return std::nullopt;
        return blockScheme(kQuantMixture(base, name, original.config.layerCount()));
    };
    quantizeLayerwise(model, text, options, context);
    return model;
}

}  // namespace fettle
