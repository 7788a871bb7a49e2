#include "engine/technique/kquant_codes.h"

#include "engine/io/kquant_mixture.h"
#include "engine/technique/ptq_layers.h"

namespace fettle {

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
        if (layerOf(name) < 0)
            return std::nullopt;
        const std::int64_t cols = original.weight(name).shape().at(1);
        const QuantScheme scheme = blockScheme(
            kQuantForRows(kQuantMixture(base, name, original.config.layerCount()), cols));
        if (cols % scheme.groupSize != 0)
            return std::nullopt;
        return scheme;
    };
    quantizeLayerwise(model, text, options, context);
    return model;
}

}  // namespace fettle
