#include "engine/technique/ptq.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "engine/core/error.h"
#include "engine/model/kv_cache.h"
#include "engine/quant/calibration.h"
#include "engine/quant/low_rank.h"
#include "engine/quant/rotation.h"
#include "engine/quant/rtn.h"
#include "engine/quant/sensitivity.h"
#include "engine/technique/mixed_precision.h"
#include "engine/technique/ptq_layers.h"
#include "engine/technique/ptq_parameters.h"

namespace fettle {

namespace {

/// What rows have to divide into for a scheme, with smaller groups where it has them.
std::int64_t smallestGroup(const QuantScheme& wanted) {
    return wanted.format == kernels::WeightFormat::Fp8Group ? wanted.groupSize : 32;
}

// The scheme for a weight of `cols` inputs: its own, or smaller groups where the rows do not
// divide; nothing if none fits.
std::optional<QuantScheme> schemeFor(const QuantScheme& wanted, std::int64_t cols) {
    if (wanted.granularity != Granularity::Group)
        return wanted;
    if (cols % smallestGroup(wanted) != 0)
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

/// Whether a scheme of the recipe rounds activations to a format whose scale comes from the text:
/// the scheme itself or one that a weight has of its own.
bool roundsTo(ActivationFormat format, const nlohmann::json& params) {
    const std::vector<std::string> own = params.at("schemes").get<std::vector<std::string>>();
    return wantedScheme(params).activations == format ||
           std::any_of(own.begin(), own.end(), [format](const std::string& each) {
               const std::optional<QuantScheme> scheme =
                   findQuantScheme(each.substr(each.rfind('=') + 1));
               return scheme && scheme->activations == format;
           });
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
        else if (method == "rotate")
            context.control.warn(
                "ptq: there is no calibration text, so weights are rotated and rounded to nearest");
        else if (method != "rtn")
            throw EngineError(ErrorKind::Usage,
                              "ptq: the method " + method +
                                  " needs a calibration text and calibration_tokens above 0");
        if (roundsTo(ActivationFormat::Int8Tensor, params))
            throw EngineError(ErrorKind::Usage,
                              "ptq: int8-static needs a calibration text and calibration_tokens "
                              "above 0: the scale of the activations comes from it");
        if (roundsTo(ActivationFormat::NvFp4, params))
            context.control.warn(
                "ptq: there is no calibration text, so activations get the global scale 1: blocks "
                "of them below 0.01 vanish");
        return std::nullopt;
    }
    const bool inputs =
        roundsTo(ActivationFormat::NvFp4, params) || roundsTo(ActivationFormat::Int8Tensor, params);
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

bool rotates(const nlohmann::json& params) {
    return params.value("rotate", false) || params.at("method") == "rotate";
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
                         " do not divide into groups of " + std::to_string(smallestGroup(wanted)));
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
    return method == "smoothquant" || (method == "auto" && wanted.bits == 8 &&
                                       (wanted.activations == ActivationFormat::Int8Token ||
                                        wanted.activations == ActivationFormat::Int8Tensor));
}

RangeSearch rangeSearchNamed(const std::string& name) {
    return name == "percentile" ? RangeSearch::Percentile
           : name == "mse"      ? RangeSearch::Mse
           : name == "entropy"  ? RangeSearch::Entropy
                                : RangeSearch::Largest;
}

LayerwiseOptions layerwiseOptions(const nlohmann::json& params, const QuantScheme& wanted) {
    const std::string method = params.at("method").get<std::string>();
    LayerwiseOptions options;
    if (method == "awq")
        options.scaling = InputScaling::Awq;
    if (smooths(method, wanted))
        options.scaling = InputScaling::SmoothQuant;
    options.scalingExponent = params.value("scaling_exponent", 0.0);
    options.gptq = method == "gptq" || method == "auto" || method == "rotate";
    options.correctBias = params.value("bias_correction", true);
    options.search = params.at("scale_search") == "absmax" ? ScaleSearch::Absmax : ScaleSearch::Mse;
    options.inputRange = rangeSearchNamed(params.value("input_range", "max"));
    options.inputPercentile = params.value("input_percentile", 99.99);
    options.damping = params.at("damping").get<double>();
    options.activationOrder = params.at("activation_order").get<bool>();
    options.follow = params.value("follow_outputs", true);
    options.refinePasses = params.value("refine_passes", 2);
    options.lowRank = params.value("low_rank", std::int64_t{0});
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

/// All that decides what a step makes of `model`, for the layers it leaves on disk.
std::string keyOf(const Model& model, const std::optional<CalibrationText>& text,
                  const TechniqueContext& context) {
    std::string key = context.params.dump() + " " + std::to_string(context.seed) + " " +
                      context.backend.device().id + " " + fingerprint(model);
    for (std::size_t i = 0; text && i < text->sequences.size(); ++i) {
        const std::vector<std::int32_t>& ids = text->sequences[i];
        key.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof ids[0]);
    }
    return fingerprint(key);
}

/// The same with a low-rank correction; figures of the weights' error, as there is no text to
/// weigh it by.
RtnResult correctedRtn(const std::string& name, const Weight& weight, const RtnOptions& options,
                       const LayerwiseOptions& layerwise, TechniqueContext& context) {
    NullProgress quiet;
    RunControl control = context.control.nested(quiet);
    const std::vector<float> wanted = weight.toFloat();
    RtnResult result;
    result.tensor = withLowRank(
        wanted, {}, layerwise.lowRank, layerwise.scaleType,
        [&](const std::vector<float>* values) {
            return quantizeRtn(name, denseWeight(*values, weight.shape()), options, context.pool,
                               control)
                .tensor;
        },
        context.pool, control);
    const std::vector<float> got = Weight(result.tensor).toFloat();
    double error = 0, signal = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        error += std::pow(static_cast<double>(wanted[i]) - got[i], 2);
        signal += std::pow(static_cast<double>(wanted[i]), 2);
    }
    result.mse = error / static_cast<double>(got.size());
    result.sqnrDb = error > 0 ? 10 * std::log10(signal / error) : 200;
    result.relativeOutputError = signal > 0 ? std::sqrt(error / signal) : 0;
    return result;
}

/// Without calibration: every weight by itself, a row at a time.
void roundToNearest(const Model& model, Model& out,
                    const std::map<std::string, QuantScheme>& schemes,
                    const LayerwiseOptions& layerwise, TechniqueContext& context) {
    RtnOptions options;
    options.search = layerwise.search;
    options.scaleType = layerwise.scaleType;
    LayerCheckpoints* checkpoints = layerwise.checkpoints;
    const std::int64_t finished = checkpoints ? checkpoints->done() : 0;
    if (finished > 0) {
        checkpoints->restore(out, context.layerMetrics);
        context.control.info("goes on after layer " + std::to_string(finished) +
                             ", which an earlier run has finished");
    }
    double total = 0;
    for (const auto& [name, scheme] : schemes)
        total += static_cast<double>(out.weight(name).elements());
    Model source = out;  // as the weights were before the first of a layer was rounded
    std::size_t firstMetric = context.layerMetrics.size();
    int current = -1;
    const auto leave = [&](int next) {
        if (checkpoints && current >= 0 && next != current)
            checkpoints->save(current, model, out, context.layerMetrics, firstMetric, {});
        if (next != current)
            firstMetric = context.layerMetrics.size();
        current = next;
    };
    for (const std::string& name : linearWeightNames(out.config)) {
        if (layerOf(name) >= 0 && layerOf(name) < finished)
            continue;
        if (layerOf(name) != current) {
            leave(layerOf(name));
            if (layerwise.rotation && current >= 0)
                layerwise.rotation->rotateLayer(out, current);
            source = out;
        }
        const auto found = schemes.find(name);
        if (found == schemes.end())
            continue;
        const Weight& weight = out.weight(name);
        context.control.beginPhase("Quantizing", static_cast<double>(weight.elements()) / total);
        options.scheme = found->second;
        options.globalScale = globalScaleOf(name, schemes, source, context.pool);
        RtnResult result = layerwise.lowRank > 0
                               ? correctedRtn(name, weight, options, layerwise, context)
                               : quantizeRtn(name, weight, options, context.pool, context.control);
        weight.dropPages();
        const int layer = layerOf(name);
        context.layerMetrics.push_back({layer, name, "sqnr_db", result.sqnrDb});
        context.layerMetrics.push_back({layer, name, "mse", result.mse});
        context.layerMetrics.push_back(
            {layer, name, "relative_output_error", result.relativeOutputError});
        context.layerMetrics.push_back(
            {layer, name, "bits", Weight(result.tensor).bitsPerWeight()});
        if (context.unquantized)
            (*context.unquantized)[name] = weight;
        out.weights[name] = Weight(std::move(result.tensor));
    }
    leave(-1);
}

/// What each weight alone does to the predictions, rounded to nearest and as it was chosen.
void reportDivergences(const Model& quantized, const CalibrationText& text,
                       const std::function<bool(const std::string&)>& eligible,
                       const LayerwiseOptions& layerwise, TechniqueContext& context) {
    context.control.beginPhase("Measuring divergences", 0.5);
    Model plain = quantized;
    for (const auto& [name, weight] : *context.unquantized)
        if (plain.has(name))
            plain.weights[name] = weight;
    SensitivityOptions options;
    options.search = layerwise.search;
    options.scaleType = layerwise.scaleType;
    options.eligible = eligible;
    for (const UnitDivergence& unit :
         unitDivergences(plain, quantized, firstOf(text, kScoredTokens), options, context.backend,
                         context.pool, context.control))
        for (const std::string& name : unit.weights) {
            context.layerMetrics.push_back({layerOf(name), name, "kl_nearest", unit.nearest});
            context.layerMetrics.push_back({layerOf(name), name, "kl", unit.chosen});
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
            const auto rank = static_cast<double>(
                std::min({params.value("low_rank", std::int64_t{0}), weight.rows, weight.cols}));
            constexpr double kFactorBytes = 2;
            weight.bytes = rank * kFactorBytes * static_cast<double>(weight.rows + weight.cols) +
                           static_cast<double>(weight.rows * weight.cols) *
                               (mixed ? params.at("target_bits").get<double>()
                                      : scheme->bitsPerWeight(weight.cols)) /
                               8;
            quantized += static_cast<double>(weight.rows * weight.cols);
        }
    }
    estimate.output.config.kvType = kvTypeNamed(params.value("kv_cache", "f16"));
    if (quantized == 0 && estimate.output.config.kvType == kernels::KvType::F16)
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
    if (params.value("layer_divergence", false) && !inputs.calibration.empty())
        estimate.seconds += 2 * 4 * static_cast<double>(model.config.layerCount()) / 2 *
                            kScoredTokens * model.activeElements() / speed.multiplyRate;
    const bool mse = params.at("scale_search") == "mse";
    estimate.seconds += quantized / (speed.quantizeRate * (mse ? 1 : 10));
    // Finished layers go to disk and the source is mapped: what is held is the layer at hand, its
    // values as float32 and the codes of them.
    const double layer =
        quantized / static_cast<double>(std::max<std::int64_t>(1, model.config.layerCount()));
    estimate.peakBytes = 3 * sizeof(float) * layer;
    const double tokens = params.at("calibration_tokens").get<double>();
    const std::string method = params.at("method").get<std::string>();
    if (inputs.calibration.empty() || tokens == 0) {
        if (method != "rtn" && method != "auto" && method != "rotate")
            estimate.problems.push_back("the method " + method + " needs a calibration text");
        if (roundsTo(ActivationFormat::Int8Tensor, params))
            estimate.problems.push_back(
                "int8-static needs a calibration text: the scale of the activations comes from it");
    } else if (mse || method != "rtn") {
        // Each half of a layer is run up to three times, and the products of inputs with each other
        // cost about as much as one run; searches of input scales quantize every weight ten times.
        estimate.seconds += 4 * tokens * model.activeElements() / speed.multiplyRate;
        if (method == "awq" || smooths(method, wanted))
            estimate.seconds += 10 * quantized / (speed.quantizeRate * 10);
        const double widest =
            static_cast<double>(std::max(model.config.feedForwardSize, model.config.hiddenSize));
        // The stream; and for GPTQ mean products of the widest input, their factor and a copy.
        estimate.peakBytes +=
            sizeof(float) *
            (tokens * static_cast<double>(model.config.hiddenSize) +
             (method == "awq" || method == "smoothquant" || method == "rtn" ? 1 : 3) * widest *
                 widest);
        if (mixed)
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
    std::optional<ModelRotation> rotation;
    if (rotates(context.params)) {
        if (mixed)
            throw EngineError(
                ErrorKind::Usage,
                "ptq: target_bits measures the weights as they are; leave rotate off");
        rotation.emplace(out, context.seed, context.pool).rotateEnds(out);
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
    out.config.kvType = kvTypeNamed(context.params.value("kv_cache", "f16"));
    if (schemes.empty() && !rotation && out.config.kvType != kernels::KvType::F16)
        return out;
    if (schemes.empty())
        throw EngineError(ErrorKind::Usage,
                          "ptq: nothing is left to quantize: every linear weight is excluded");
    LayerwiseOptions options = layerwiseOptions(context.params, wanted);
    options.scaleType = scaleTypeFor(model);
    options.rotation = rotation ? &*rotation : nullptr;
    std::map<std::string, Weight> unquantized;
    if (text && context.params.value("layer_divergence", false) && !context.unquantized)
        context.unquantized = &unquantized;
    // Where weights before rounding are wanted too, no checkpoints: they would not hold these.
    std::optional<LayerCheckpoints> checkpoints;
    if (!context.checkpointFolder.empty() && !context.unquantized)
        options.checkpoints = &checkpoints.emplace(context.checkpointFolder,
                                                   keyOf(model, text, context), context.control);
    if (text) {
        options.schemeOf = [&](const std::string& name) {
            const auto found = schemes.find(name);
            return found == schemes.end() ? std::nullopt : std::optional(found->second);
        };
        const bool divergences = context.params.value("layer_divergence", false);
        context.control.beginPhase("Quantizing", (mixed ? 0.5 : 1) * (divergences ? 0.5 : 1));
        quantizeLayerwise(out, *text, options, context);
        if (divergences)
            reportDivergences(out, *text, eligible, options, context);
        return out;
    }
    roundToNearest(model, out, schemes, options, context);
    return out;
}

}  // namespace fettle
