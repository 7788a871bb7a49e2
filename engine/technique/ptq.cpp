#include "engine/technique/ptq.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "engine/core/error.h"
#include "engine/quant/calibration.h"
#include "engine/quant/rtn.h"
#include "engine/technique/mixed_precision.h"
#include "engine/technique/ptq_layers.h"

namespace fettle {

namespace {

TechniqueDescriptor ptqDescriptor() {
    TechniqueDescriptor d;
    d.id = "ptq";
    d.title = "Post-training quantization";
    d.help =
        "Stores the weights of linear layers as small integers or floats with scales. Takes "
        "seconds to minutes and needs no training: the first thing to try. int8 also multiplies "
        "8-bit activations (W8A8); int4 halves the weights again. What that costs depends on the "
        "model - small ones and those with outlier activations lose more - so it is measured, not "
        "assumed. On the CPU weight-only schemes round activations to int8 per 32 values while "
        "running, so that integers are multiplied; other devices may keep them at 16 bits.";
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
        {"int4-g64", "int4, groups of 64",
         "4-bit weights, one 16-bit scale per 64 weights: 4.25 bits per weight."},
        {"int4-g128", "int4, groups of 128",
         "4-bit weights, one 16-bit scale per 128 weights: 4.125 bits per weight."},
        {"w8a16", "int8, weights only (W8A16)",
         "8-bit weights with one scale per output channel; activations keep their precision, on "
         "the CPU int8 per 32 values."},
        {"int4-g32-a8", "int4, groups of 32, int8 activations (W4A8)",
         "As int4 in groups of 32, with activations quantized to int8 per token while running."},
        {"int4-g128-a8", "int4, groups of 128, int8 activations (W4A8)",
         "As int4 in groups of 128, with activations quantized to int8 per token while running."},
        {"int4-g32-a4", "int4, groups of 32, int4 activations (W4A4)",
         "As int4 in groups of 32, with activations quantized to int4 per 32 values: costs much "
         "without training."},
        {"int3-g32", "int3, groups of 32",
         "3-bit weights, one 16-bit scale per 32 weights: 3.5 bits per weight."},
        {"int3-g64", "int3, groups of 64",
         "3-bit weights, one 16-bit scale per 64 weights: 3.25 bits per weight."},
        {"int3-g128", "int3, groups of 128",
         "3-bit weights, one 16-bit scale per 128 weights: 3.125 bits per weight."},
        {"int2-g32", "int2, groups of 32",
         "2-bit weights, one 16-bit scale per 32 weights: 2.5 bits per weight. Needs training to "
         "be of use."},
        {"int2-g64", "int2, groups of 64",
         "2-bit weights, one 16-bit scale per 64 weights: 2.25 bits per weight. Needs training to "
         "be of use."},
        {"int2-g128", "int2, groups of 128",
         "2-bit weights, one 16-bit scale per 128 weights: 2.125 bits per weight. Needs training "
         "to be of use."},
        {"fp8", "fp8 (E4M3, W8A8)",
         "8-bit floats per output channel; activations likewise per token. No CPU multiplies them: "
         "here they are widened to float32 and the speed says nothing about other devices."},
        {"nvfp4", "nvfp4 (W4A4)",
         "4-bit floats, one 8-bit scale per 16 weights: 4.5 bits per weight. Activations likewise, "
         "under a scale from the calibration text."},
        {"nvfp4-w4a16", "nvfp4, weights only",
         "As nvfp4; activations keep their precision, on the CPU int8 per 32 values."},
        {"mxfp4", "mxfp4 (W4A4)",
         "4-bit floats, one power of two per 32 weights: 4.25 bits per weight. Activations "
         "likewise."},
        {"mxfp4-w4a16", "mxfp4, weights only",
         "As mxfp4; activations keep their precision, on the CPU int8 per 32 values."},
    };
    scheme.help = "What the weights become.";

    ParameterSchema method;
    method.name = "method";
    method.title = "Method";
    method.type = ParameterType::Choice;
    method.defaultValue = "rtn";
    method.choices = {
        {"rtn", "Round to nearest", "Each weight goes to the nearest code of its group's scale."},
        {"gptq", "GPTQ",
         "Weights are rounded one input at a time; those that follow make up for the error of the "
         "outputs. Needs calibration text."},
        {"awq", "AWQ",
         "Inputs that carry much are scaled up before rounding, so that their weights keep more "
         "precision. Needs calibration text."},
        {"smoothquant", "SmoothQuant",
         "Moves outliers of the inputs into the weights: for int8, where activations are rounded "
         "too. Needs calibration text."},
        {"auto", "Best of all",
         "GPTQ, with SmoothQuant's scales first for int8. Without calibration text it rounds to "
         "nearest and says so."}};
    method.help = "How codes are chosen.";
    method.sweepable = true;

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
    calibrate.defaultValue = 16384;
    calibrate.minimum = 0;
    calibrate.maximum = 1048576;
    calibrate.unit = "tokens";
    calibrate.help =
        "How many tokens of the calibration text are run through the model, drawn by the recipe's "
        "seed. 0, or no calibration text: all inputs weigh the same. GPTQ wants several times as "
        "many as the widest layer has inputs.";

    ParameterSchema length;
    length.name = "calibration_length";
    length.title = "Sequence length";
    length.type = ParameterType::Int;
    length.defaultValue = 0;
    length.minimum = 0;
    length.maximum = 32768;
    length.unit = "tokens";
    length.help = "Length of a calibration sequence. 0: the context that is evaluated with.";

    ParameterSchema damping;
    damping.name = "damping";
    damping.title = "Damping";
    damping.type = ParameterType::Double;
    damping.defaultValue = 0.01;
    damping.minimum = 0.0001;
    damping.maximum = 1;
    damping.sweepable = true;
    damping.help =
        "Share of the mean input power that is added to every input: more trusts the calibration "
        "text less.";
    damping.visibleWhen = VisibleWhen{"method", {"gptq", "auto"}};

    ParameterSchema order;
    order.name = "activation_order";
    order.title = "Largest inputs first";
    order.type = ParameterType::Bool;
    order.defaultValue = true;
    order.help =
        "Rounds the weights of the largest inputs first, while most others can still make up for "
        "them.";
    order.visibleWhen = VisibleWhen{"method", {"gptq", "auto"}};

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

    d.parameters = {scheme, method, search, calibrate, length, damping, order, head, exclude};
    for (ParameterSchema& parameter : mixedPrecisionParameters())
        d.parameters.push_back(std::move(parameter));
    return d;
}

// The scheme for a weight of `cols` inputs: its own, or smaller groups where the rows do not
// divide; nothing if none fits.
std::optional<QuantScheme> schemeFor(const QuantScheme& wanted, std::int64_t cols) {
    if (wanted.granularity != Granularity::Group)
        return wanted;
    if (cols % 32 != 0)
        return std::nullopt;
    if (cols % wanted.groupSize == 0)
        return wanted;
    for (const int group : {64, 32})
        if (group < wanted.groupSize && cols % group == 0)
            return withGroupSize(wanted, group);
    return std::nullopt;
}

/// The scheme wanted for a weight, before it is made to fit its rows; nothing: it stays as it is.
std::optional<QuantScheme> wantedFor(const std::string& name, const nlohmann::json& params,
                                     const QuantScheme& otherwise,
                                     const std::vector<std::string>& exclude,
                                     const SchemeAssignments& assigned) {
    if ((name == "lm_head.weight" && !params.at("quantize_head").get<bool>()) ||
        matchesAny(name, exclude))
        return std::nullopt;
    std::optional<QuantScheme> own;
    return assigned.find(name, own) ? own : otherwise;
}

QuantScheme wantedScheme(const nlohmann::json& params) {
    const std::string id = params.at("scheme").get<std::string>();
    const std::optional<QuantScheme> scheme = findQuantScheme(id);
    if (!scheme)
        throw EngineError(ErrorKind::Usage, "ptq: unknown scheme \"" + id + "\"");
    return *scheme;
}

/// Whether a scheme of the recipe rounds activations to NVFP4, whose scale comes from the text.
bool roundsToNvFp4(const nlohmann::json& params) {
    const std::vector<std::string> own = params.at("schemes").get<std::vector<std::string>>();
    return wantedScheme(params).activations == ActivationFormat::NvFp4 ||
           std::any_of(own.begin(), own.end(),
                       [](const std::string& each) { return each.ends_with("=nvfp4"); });
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

/// The text to calibrate with; nothing where none is given or wanted, or where the method and the
/// scale search make no use of it.
std::optional<CalibrationText> calibrationFor(const Model& model, TechniqueContext& context) {
    const nlohmann::json& params = context.params;
    const std::string method = params.at("method").get<std::string>();
    const std::int64_t tokens = params.at("calibration_tokens").get<std::int64_t>();
    if (context.inputs.calibration.empty() || tokens == 0) {
        if (wantsMixedPrecision(params))
            throw EngineError(ErrorKind::Usage,
                              "ptq: target_bits needs a calibration text to find out what each "
                              "weight can bear");
        if (method == "auto")
            context.control.warn(
                "ptq: there is no calibration text, so \"auto\" rounds to nearest");
        else if (method != "rtn")
            throw EngineError(ErrorKind::Usage,
                              "ptq: the method " + method +
                                  " needs a calibration text and calibration_tokens above 0");
        if (roundsToNvFp4(params))
            context.control.warn(
                "ptq: there is no calibration text, so activations get the global scale 1: blocks "
                "of them below 0.01 vanish");
        return std::nullopt;
    }
    const bool inputs = roundsToNvFp4(params);
    if (method == "rtn" && params.at("scale_search") != "mse" && !inputs &&
        !wantsMixedPrecision(params))
        return std::nullopt;
    std::int64_t length = params.at("calibration_length").get<std::int64_t>();
    if (length < 2)
        length = context.measure.context;
    length = std::min(length, model.config.contextLength);
    CalibrationText text = sampleCalibration(*model.tokenizer, context.inputs.calibration, tokens,
                                             length, context.seed);
    warnOfOverlap(context.control, "the calibration text", context.inputs.calibration,
                  context.inputs.evaluate);
    Measurement used;
    used.name = "calibration_tokens";
    used.unit = "tokens";
    used.value = static_cast<double>(text.tokens);
    context.metrics.push_back(used);
    return text;
}

/// What is wanted for each weight, with smaller groups where rows do not divide.
std::map<std::string, QuantScheme> givenSchemes(
    const Model& model,
    const std::function<std::optional<QuantScheme>(const std::string&)>& wantedOf,
    const RunControl& control) {
    std::map<std::string, QuantScheme> schemes;
    for (const std::string& name : linearWeightNames(model.config)) {
        const std::optional<QuantScheme> asked = wantedOf(name);
        if (!asked)
            continue;
        const QuantScheme& wanted = *asked;
        const std::int64_t cols = model.weight(name).shape().at(1);
        const std::optional<QuantScheme> scheme = schemeFor(wanted, cols);
        if (!scheme) {
            control.warn(name + " stays as it is: rows of " + std::to_string(cols) +
                         " do not divide into groups of 32");
            continue;
        }
        if (*scheme != wanted)
            control.info(name + " gets " + scheme->id + ": rows of " + std::to_string(cols) +
                         " do not divide into groups of " + std::to_string(wanted.groupSize));
        schemes.emplace(name, *scheme);
    }
    return schemes;
}

/// "auto" moves outliers out of inputs that are rounded to few integers per token.
bool smooths(const std::string& method, const QuantScheme& wanted) {
    return method == "smoothquant" ||
           (method == "auto" && wanted.activations == ActivationFormat::Int8Token &&
            wanted.bits == 8);
}

LayerwiseOptions layerwiseOptions(const nlohmann::json& params, const QuantScheme& wanted) {
    const std::string method = params.at("method").get<std::string>();
    LayerwiseOptions options;
    if (method == "awq")
        options.scaling = InputScaling::Awq;
    if (smooths(method, wanted))
        options.scaling = InputScaling::SmoothQuant;
    options.gptq = method == "gptq" || method == "auto";
    options.search = params.at("scale_search") == "absmax" ? ScaleSearch::Absmax : ScaleSearch::Mse;
    options.damping = params.at("damping").get<double>();
    options.activationOrder = params.at("activation_order").get<bool>();
    return options;
}

/// The names among which `name` is, of weights that runtimes multiply as one.
std::vector<std::string> fusedWith(const std::string& name) {
    for (const std::vector<const char*>& parts :
         {std::vector{"attn.q.weight", "attn.k.weight", "attn.v.weight"},
          std::vector{"ffn.gate.weight", "ffn.up.weight"}})
        for (const char* part : parts) {
            if (!name.ends_with(part))
                continue;
            const std::string front = name.substr(0, name.size() - std::strlen(part));
            std::vector<std::string> names;
            for (const char* each : parts)
                names.push_back(front + each);
            return names;
        }
    return {name};
}

/// NVFP4's multiplier for `name` and what is fused with it, as they were in `model`; 0 where it has
/// none or its own.
float globalScaleOf(const std::string& name, const std::map<std::string, QuantScheme>& schemes,
                    const Model& model, kernels::WorkerPool& pool) {
    const std::vector<std::string> fused = fusedWith(name);
    if (schemes.at(name).format != kernels::WeightFormat::NvFp4 || fused.size() == 1)
        return 0;
    std::vector<const Weight*> weights;
    for (const std::string& each : fused)
        if (model.has(each) && schemes.contains(each))
            weights.push_back(&model.weight(each));
    return sharedGlobalScale(weights, pool);
}

/// Without calibration: every weight by itself, a row at a time.
void roundToNearest(const Model& model, Model& out,
                    const std::map<std::string, QuantScheme>& schemes,
                    const LayerwiseOptions& layerwise, TechniqueContext& context) {
    RtnOptions options;
    options.search = layerwise.search;
    options.scaleType = layerwise.scaleType;
    double total = 0;
    for (const auto& [name, scheme] : schemes)
        total += static_cast<double>(out.weight(name).elements());
    for (const std::string& name : linearWeightNames(out.config)) {
        const auto found = schemes.find(name);
        if (found == schemes.end())
            continue;
        const Weight& weight = out.weight(name);
        context.control.beginPhase("Quantizing", static_cast<double>(weight.elements()) / total);
        options.scheme = found->second;
        options.globalScale = globalScaleOf(name, schemes, model, context.pool);
        RtnResult result = quantizeRtn(name, weight, options, context.pool, context.control);
        weight.dropPages();
        const int layer = layerOf(name);
        context.layerMetrics.push_back({layer, name, "sqnr_db", result.sqnrDb});
        context.layerMetrics.push_back({layer, name, "mse", result.mse});
        context.layerMetrics.push_back(
            {layer, name, "relative_output_error", result.relativeOutputError});
        context.layerMetrics.push_back(
            {layer, name, "bits", found->second.bitsPerWeight(weight.shape().at(1))});
        if (context.unquantized)
            (*context.unquantized)[name] = weight;
        out.weights[name] = Weight(std::move(result.tensor));
    }
}

}  // namespace

const TechniqueDescriptor& Ptq::descriptor() const {
    static const TechniqueDescriptor descriptor = ptqDescriptor();
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
    const bool mixed = wantsMixedPrecision(params);
    std::optional<SchemeAssignments> assigned;
    try {
        assigned.emplace(params);
    } catch (const EngineError& error) {
        estimate.problems.push_back(error.what());
        return estimate;
    }
    double quantized = 0;
    std::size_t skipped = 0;
    for (const std::string& name : linearWeightNames(estimate.output.config)) {
        for (WeightFacts& weight : estimate.output.weights) {
            if (weight.name != name)
                continue;
            const std::optional<QuantScheme> own =
                wantedFor(name, params, wanted, exclude, *assigned);
            if (!own)
                continue;
            const std::optional<QuantScheme> scheme = schemeFor(*own, weight.cols);
            if (!scheme) {
                ++skipped;
                continue;
            }
            weight.bytes = static_cast<double>(weight.rows * weight.cols) *
                           (mixed ? params.at("target_bits").get<double>()
                                  : scheme->bitsPerWeight(weight.cols)) /
                           8;
            quantized += static_cast<double>(weight.rows * weight.cols);
        }
    }
    if (quantized == 0)
        estimate.problems.push_back("nothing is left to quantize: every linear weight is excluded");
    if (skipped > 0)
        estimate.notes.push_back(
            std::to_string(skipped) +
            " weights stay as they are: their rows do not divide into groups of 32");
    if (mixed) {
        const auto schemes = static_cast<double>(params.at("mix").size());
        // Every unit and scheme runs half the model on average, and every weight is rounded once
        // per scheme; gradients cost three passes.
        const double passes = params.at("sensitivity") == "kl"
                                  ? schemes * 4 * static_cast<double>(model.config.layerCount()) / 2
                                  : 3.0 * (params.at("sensitivity") == "fisher" ? 1 : 16);
        estimate.seconds += passes * kScoredTokens * model.activeElements() / speed.multiplyRate +
                            schemes * quantized / speed.quantizeRate;
        if (inputs.calibration.empty())
            estimate.problems.push_back("target_bits needs a calibration text");
    }
    const bool mse = params.at("scale_search") == "mse";
    estimate.seconds += quantized / (speed.quantizeRate * (mse ? 1 : 10));
    estimate.peakBytes = estimate.output.bytes();
    const double tokens = params.at("calibration_tokens").get<double>();
    const std::string method = params.at("method").get<std::string>();
    if (inputs.calibration.empty() || tokens == 0) {
        if (method != "rtn" && method != "auto")
            estimate.problems.push_back("the method " + method + " needs a calibration text");
    } else if (mse || method != "rtn") {
        // Each half of a layer is run up to three times, and the products of inputs with each other
        // cost about as much as one run; searches of input scales quantize every weight ten times.
        estimate.seconds += 4 * tokens * model.activeElements() / speed.multiplyRate;
        if (method == "awq" || smooths(method, wanted))
            estimate.seconds += 10 * quantized / (speed.quantizeRate * 10);
        estimate.peakBytes = std::max(estimate.peakBytes, model.activeBytes());
    }
    return estimate;
}

Model Ptq::apply(Model model, TechniqueContext& context) const {
    refuseNonFinite(model, context.control);
    const QuantScheme wanted = wantedScheme(context.params);
    const auto exclude = context.params.at("exclude").get<std::vector<std::string>>();
    const SchemeAssignments assigned(context.params);
    const std::optional<CalibrationText> text = calibrationFor(model, context);
    const bool mixed = wantsMixedPrecision(context.params);

    Model out = model;
    if (context.params.at("quantize_head").get<bool>() && model.config.tiedEmbeddings) {
        out.weights["lm_head.weight"] = model.weight("embed.weight");
        out.config.tiedEmbeddings = false;
    }
    const auto wantedOf = [&](const std::string& name) {
        return wantedFor(name, context.params, wanted, exclude, assigned);
    };
    const auto eligible = [&](const std::string& name) { return wantedOf(name).has_value(); };
    for (const std::string& name : assigned.unused(linearWeightNames(out.config)))
        context.control.warn("ptq: \"schemes\" names " + name + ", which is no linear weight");
    context.control.beginPhase("Measuring sensitivity", mixed ? 0.5 : 0);
    const std::map<std::string, QuantScheme> schemes =
        mixed ? mixedSchemes(out, *text, scaleTypeFor(model), eligible, context)
              : givenSchemes(out, wantedOf, context.control);
    if (schemes.empty())
        throw EngineError(ErrorKind::Usage,
                          "ptq: nothing is left to quantize: every linear weight is excluded");
    LayerwiseOptions options = layerwiseOptions(context.params, wanted);
    options.scaleType = scaleTypeFor(model);
    if (text) {
        options.schemeOf = [&](const std::string& name) {
            const auto found = schemes.find(name);
            return found == schemes.end() ? std::nullopt : std::optional(found->second);
        };
        context.control.beginPhase("Quantizing", mixed ? 0.5 : 1);
        quantizeLayerwise(out, *text, options, context);
        return out;
    }
    roundToNearest(model, out, schemes, options, context);
    return out;
}

}  // namespace fettle
