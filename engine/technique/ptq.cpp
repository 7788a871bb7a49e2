#include "engine/technique/ptq.h"

#include <optional>

#include "engine/core/error.h"
#include "engine/eval/text_windows.h"
#include "engine/quant/calibration.h"
#include "engine/quant/rtn.h"

namespace fettle {

namespace {

TechniqueDescriptor makeDescriptor() {
    TechniqueDescriptor d;
    d.id = "ptq";
    d.title = "Post-training quantization";
    d.help =
        "Stores the weights of linear layers as small integers with scales. Takes seconds to "
        "minutes "
        "and needs no training: the first thing to try. int8 also multiplies 8-bit activations "
        "(W8A8); "
        "int4 halves the weights again. What that costs depends on the model - small ones and "
        "those with "
        "outlier activations lose more - so it is measured, not assumed.";
    d.usesCalibration = true;

    ParameterSchema scheme;
    scheme.name = "scheme";
    scheme.title = "Scheme";
    scheme.type = ParameterType::Choice;
    scheme.defaultValue = "int8";
    scheme.sweepable = true;
    scheme.choices = {
        {"int8", "int8 (W8A8)",
         "8-bit weights with one scale per output channel; activations are quantized per token "
         "while running."},
        {"int4-g32", "int4, groups of 32",
         "4-bit weights, one 16-bit scale per 32 weights: 4.5 bits per weight."},
        {"int4-g128", "int4, groups of 128",
         "4-bit weights, one 16-bit scale per 128 weights: 4.125 bits per weight."},
    };
    scheme.help = "What the weights become.";

    ParameterSchema method;
    method.name = "method";
    method.title = "Method";
    method.type = ParameterType::Choice;
    method.defaultValue = "rtn";
    method.choices = {
        {"rtn", "Round to nearest", "Each weight goes to the nearest code of its group's scale."}};
    method.help = "How codes are chosen.";

    ParameterSchema search;
    search.name = "scale_search";
    search.title = "Scales";
    search.type = ParameterType::Choice;
    search.defaultValue = "mse";
    search.sweepable = true;
    search.choices = {
        {"mse", "Least squared error",
         "Tries clipping ratios for every group and keeps the best; with calibration text, inputs "
         "that matter more weigh more."},
        {"absmax", "Largest magnitude",
         "The largest weight maps to the largest code. Quickest, no clipping."},
    };
    search.help = "How the scale of a group is found.";

    ParameterSchema calibrate;
    calibrate.name = "calibration_tokens";
    calibrate.title = "Calibration";
    calibrate.type = ParameterType::Int;
    calibrate.defaultValue = 8192;
    calibrate.minimum = 0;
    calibrate.maximum = 1048576;
    calibrate.unit = "tokens";
    calibrate.help =
        "How many tokens of the calibration text weigh the scale search. 0, or no calibration "
        "text: all inputs weigh the same.";
    calibrate.visibleWhen = VisibleWhen{"scale_search", {"mse"}};

    ParameterSchema head;
    head.name = "quantize_head";
    head.title = "Output head too";
    head.type = ParameterType::Bool;
    head.defaultValue = false;
    head.sweepable = true;
    head.help =
        "Quantizes the output projection as well. Large vocabularies spend most of their time "
        "there, but its errors go straight into the predictions. "
        "A head that shares its weights with the embedding gets a quantized copy of its own.";

    ParameterSchema exclude;
    exclude.name = "exclude";
    exclude.title = "Leave alone";
    exclude.type = ParameterType::PatternList;
    exclude.defaultValue = nlohmann::json::array();
    exclude.help =
        "Tensor names that stay as they are: globs such as layers.0.* or *.ffn.down.weight, or "
        "regular expressions after re:. Embeddings and norms always stay.";

    d.parameters = {scheme, method, search, calibrate, head, exclude};
    return d;
}

// The scheme for a weight of `cols` inputs: its own, or smaller groups where the rows do not
// divide; nothing if none fits.
std::optional<QuantScheme> schemeFor(const QuantScheme& wanted, std::int64_t cols) {
    if (wanted.granularity != Granularity::Group || cols % wanted.groupSize == 0)
        return cols % 32 == 0 || wanted.granularity != Granularity::Group ? std::optional(wanted)
                                                                          : std::nullopt;
    for (const char* id : {"int4-g64", "int4-g32"}) {
        const std::optional<QuantScheme> smaller = findQuantScheme(id);
        if (smaller && smaller->groupSize < wanted.groupSize && cols % smaller->groupSize == 0)
            return smaller;
    }
    return std::nullopt;
}

bool chosen(const std::string& name, const nlohmann::json& params,
            const std::vector<std::string>& exclude) {
    if (name == "lm_head.weight" && !params.at("quantize_head").get<bool>())
        return false;
    return !matchesAny(name, exclude);
}

QuantScheme wantedScheme(const nlohmann::json& params) {
    const std::string id = params.at("scheme").get<std::string>();
    const std::optional<QuantScheme> scheme = findQuantScheme(id);
    if (!scheme)
        throw EngineError(ErrorKind::Usage, "ptq: unknown scheme \"" + id + "\"");
    return *scheme;
}

// Scales take the model's own 16-bit type where it has one, as readers of the exported files
// expect.
DType scaleTypeFor(const Model& model) {
    const auto embed = model.weights.find("embed.weight");
    return embed != model.weights.end() && !embed->second.isQuantized() &&
                   embed->second.dense().dtype() == DType::BF16
               ? DType::BF16
               : DType::F16;
}

std::optional<CalibrationStatistics> calibrate(const Model& model, TechniqueContext& context) {
    const std::int64_t tokens = context.params.at("calibration_tokens").get<std::int64_t>();
    if (context.inputs.calibration.empty() || tokens == 0 ||
        context.params.at("scale_search") != "mse")
        return std::nullopt;
    MeasureOptions options = context.measure;
    options.maxTokens = tokens;
    options.protocol = PerplexityProtocol::Plain;
    const std::vector<TextWindow> windows =
        makeWindows(*model.tokenizer, readText(context.inputs.calibration), options);
    if (windows.empty())
        throwBadInput(context.inputs.calibration, "holds too little text to calibrate with");
    context.control.beginPhase("Calibrating", 0.4);
    Transformer transformer(model, context.backend, nullptr);
    CalibrationStatistics statistics =
        collectInputStatistics(transformer, windows, context.control);
    Measurement used;
    used.name = "calibration_tokens";
    used.unit = "tokens";
    for (const TextWindow& window : windows)
        used.value += static_cast<double>(window.ids.size());
    context.metrics.push_back(used);
    return statistics;
}

}  // namespace

const TechniqueDescriptor& Ptq::descriptor() const {
    static const TechniqueDescriptor descriptor = makeDescriptor();
    return descriptor;
}

StepEstimate Ptq::estimate(const ModelFacts& model, const nlohmann::json& params,
                           const RunInputs& inputs, const MachineSpeed& speed) const {
    StepEstimate estimate;
    estimate.output = model;
    const QuantScheme wanted = wantedScheme(params);
    const auto exclude = params.at("exclude").get<std::vector<std::string>>();
    const bool untie = params.at("quantize_head").get<bool>() && model.config.tiedEmbeddings;
    if (untie) {
        for (const WeightFacts& weight : model.weights)
            if (weight.name == "embed.weight")
                estimate.output.weights.push_back(
                    {"lm_head.weight", weight.rows, weight.cols, weight.bytes});
        estimate.output.config.tiedEmbeddings = false;
        estimate.notes.push_back(
            "the head shares its weights with the embedding: the embedding stays, the head becomes "
            "a quantized copy");
    }
    double quantized = 0;
    std::size_t skipped = 0;
    for (const std::string& name : linearWeightNames(estimate.output.config)) {
        for (WeightFacts& weight : estimate.output.weights) {
            if (weight.name != name || !chosen(name, params, exclude))
                continue;
            const std::optional<QuantScheme> scheme = schemeFor(wanted, weight.cols);
            if (!scheme) {
                ++skipped;
                continue;
            }
            weight.bytes = static_cast<double>(weight.rows * weight.cols) *
                           scheme->bitsPerWeight(weight.cols) / 8;
            quantized += static_cast<double>(weight.rows * weight.cols);
        }
    }
    if (quantized == 0)
        estimate.problems.push_back("nothing is left to quantize: every linear weight is excluded");
    if (skipped > 0)
        estimate.notes.push_back(
            std::to_string(skipped) +
            " weights stay as they are: their rows do not divide into groups of 32");
    const bool mse = params.at("scale_search") == "mse";
    estimate.seconds = quantized / (speed.quantizeRate * (mse ? 1 : 10));
    estimate.peakBytes = estimate.output.bytes();
    const double tokens = params.at("calibration_tokens").get<double>();
    if (mse && !inputs.calibration.empty() && tokens > 0) {
        estimate.seconds += tokens * model.activeElements() / speed.multiplyRate;
        estimate.peakBytes = std::max(estimate.peakBytes, model.activeBytes());
    }
    return estimate;
}

Model Ptq::apply(Model model, TechniqueContext& context) const {
    refuseNonFinite(model, context.control);
    const QuantScheme wanted = wantedScheme(context.params);
    const auto exclude = context.params.at("exclude").get<std::vector<std::string>>();
    const std::optional<CalibrationStatistics> statistics = calibrate(model, context);

    Model out = model;
    if (context.params.at("quantize_head").get<bool>() && model.config.tiedEmbeddings) {
        out.weights["lm_head.weight"] = model.weight("embed.weight");
        out.config.tiedEmbeddings = false;
    }
    RtnOptions options;
    options.search =
        context.params.at("scale_search") == "absmax" ? ScaleSearch::Absmax : ScaleSearch::Mse;
    options.scaleType = scaleTypeFor(model);
    const std::vector<std::string> names = linearWeightNames(out.config);
    double total = 0;
    for (const std::string& name : names)
        total += static_cast<double>(out.weight(name).elements());
    std::size_t quantized = 0;
    for (const std::string& name : names) {
        const Weight& weight = out.weight(name);
        context.control.beginPhase(
            "Quantizing",
            (statistics ? 0.6 : 1.0) * static_cast<double>(weight.elements()) / total);
        if (!chosen(name, context.params, exclude))
            continue;
        const std::optional<QuantScheme> scheme = schemeFor(wanted, weight.shape().at(1));
        if (!scheme) {
            context.control.warn(name + " stays as it is: rows of " +
                                 std::to_string(weight.shape().at(1)) +
                                 " do not divide into groups of 32");
            continue;
        }
        if (*scheme != wanted)
            context.control.info(
                name + " gets " + scheme->id + ": rows of " + std::to_string(weight.shape().at(1)) +
                " do not divide into groups of " + std::to_string(wanted.groupSize));
        options.scheme = *scheme;
        options.inputPower =
            statistics && statistics->count(name) ? &statistics->at(name).meanSquare : nullptr;
        RtnResult result = quantizeRtn(name, weight, options, context.pool, context.control);
        weight.dropPages();
        const int layer = layerOf(name);
        context.layerMetrics.push_back({layer, name, "sqnr_db", result.sqnrDb});
        context.layerMetrics.push_back({layer, name, "mse", result.mse});
        context.layerMetrics.push_back(
            {layer, name, "relative_output_error", result.relativeOutputError});
        context.layerMetrics.push_back(
            {layer, name, "bits", scheme->bitsPerWeight(weight.shape().at(1))});
        out.weights[name] = Weight(std::move(result.tensor));
        ++quantized;
    }
    if (quantized == 0)
        throw EngineError(ErrorKind::Usage,
                          "ptq: nothing is left to quantize: every linear weight is excluded");
    return out;
}

}  // namespace fettle
