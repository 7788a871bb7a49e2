#include "engine/technique/prune_settings.h"

#include <algorithm>
#include <charconv>

#include "engine/core/error.h"
#include "engine/technique/calibration_parameters.h"

namespace fettle {

namespace {

ParameterSchema methodParameter() {
    ParameterSchema method = parameter(
        "method", "Method", ParameterType::Choice, "width",
        "What goes. The first five give a smaller plain model that every runtime loads; the last "
        "three set weights to zero, which makes nothing faster without kernels for it.");
    method.sweepable = true;
    method.choices = {
        {"width", "Neurons, heads and channels",
         "Shares the removal between neurons, heads and channels; the shapes that fit are tried on "
         "the calibration text and the best one is taken."},
        {"ffn", "Feed-forward neurons", "Narrower feed-forwards: where most parameters are."},
        {"heads", "Attention heads", "Fewer heads; whole groups also shrink the KV cache."},
        {"channels", "Embedding channels",
         "A narrower residual stream: all layers and the embedding shrink."},
        {"layers", "Layers", "Fewer layers: the most speed for what it costs in accuracy."},
        {"sparsegpt", "SparseGPT",
         "Zeros chosen one input at a time; the weights that stay make up for them."},
        {"wanda", "Wanda", "Zeros where magnitude times the input is least; others stay."},
        {"magnitude", "Magnitude", "Zeros where weights are smallest. Needs no text."},
    };
    return method;
}

ParameterSchema importanceParameter() {
    ParameterSchema importance = parameter("importance", "Importance", ParameterType::Choice,
                                           "auto", "How it is decided what matters least.");
    importance.sweepable = true;
    importance.choices = {
        {"auto", "Best for the method",
         "Reconstruction for neurons and heads, activations for channels, loss for layers."},
        {"reconstruction", "Reconstruction",
         "What the layer's outputs lose when the others take over as well as they can."},
        {"activation", "Activations", "Mean magnitude of what they compute (Minitron)."},
        {"taylor", "Gradients", "Squared gradient times weight; holds gradients in memory."},
        {"magnitude", "Magnitude", "Norms of the weights. Needs no text."},
        {"influence", "Block influence", "Layers only: how far a layer turns what passes it."},
        {"loss", "Loss without it", "Layers only: the loss when it is left out."}};
    importance.visibleWhen = VisibleWhen{"method", {"width", "ffn", "heads", "channels", "layers"}};
    return importance;
}

ParameterSchema patternParameter() {
    ParameterSchema pattern = parameter(
        "pattern", "Pattern", ParameterType::Choice, "unstructured",
        "Where zeros may lie. Graphics cards from Ampere on multiply 2:4 faster with the right "
        "runtime; here zeros are multiplied like any other weight.");
    pattern.choices = {{"unstructured", "Anywhere", "The ratio of every row is set to zero."},
                       {"2:4", "2:4", "Two of every four neighbours: half of all weights."}};
    pattern.visibleWhen = VisibleWhen{"method", {"magnitude", "wanda", "sparsegpt"}};
    return pattern;
}

ParameterSchema unitParameter() {
    ParameterSchema unit = parameter("head_unit", "Heads go", ParameterType::Choice, "group",
                                     "Heads that share keys and values form a group.");
    unit.choices = {{"group", "With their keys and values", "Whole groups; the KV cache shrinks."},
                    {"query", "One of each group", "Keys and values stay."}};
    unit.visibleWhen = VisibleWhen{"method", {"heads", "width"}};
    return unit;
}

}  // namespace

TechniqueDescriptor pruneDescriptor() {
    const VisibleWhen structured{"method", {"width", "ffn", "heads", "channels", "layers"}};
    const VisibleWhen sparse{"method", {"magnitude", "wanda", "sparsegpt"}};
    TechniqueDescriptor d;
    d.id = "prune";
    d.title = "Pruning";
    d.help =
        "Removes what matters least: neurons, heads, channels or layers, which leaves a smaller "
        "model that is faster everywhere; or single weights, which become zeros. The loss is "
        "visible at once and mostly comes back with distillation (a step \"distill\" after this "
        "one); more than a third in one go does not.";
    d.usesCalibration = true;

    ParameterSchema ratio = numberParameter(
        "ratio", "Ratio", ParameterType::Double, 0.3, 0, 0.95, "",
        "Share that goes: of all parameters for width, of the neurons, heads, channels or layers "
        "for the single ones, of the weights for zeros.");
    ratio.sweepable = true;
    ParameterSchema target = numberParameter(
        "target_parameters", "Parameters left", ParameterType::Int, 0, 0, 1e12, "",
        "At most so many parameters stay, whatever the ratio says. 0: the ratio decides.");
    target.visibleWhen = structured;
    ParameterSchema speedup = numberParameter(
        "target_speedup", "Speed-up on this device", ParameterType::Double, 0, 0, 20, "",
        "Cuts until decoding, measured here, is so many times as fast. 0: the ratio decides.");
    speedup.visibleWhen = structured;
    ParameterSchema compensate =
        parameter("compensate", "Others take over", ParameterType::Bool, true,
                  "The neurons and heads that stay are refitted so that the layer's outputs on the "
                  "calibration text change least.");
    compensate.sweepable = true;
    compensate.visibleWhen = VisibleWhen{"method", {"width", "ffn", "heads"}};
    ParameterSchema multiple =
        numberParameter("multiple", "Multiple of", ParameterType::Int, 32, 1, 1024, "",
                        "Neurons and channels that stay are a multiple of it, so that groups of "
                        "quantization and kernels still fit.");
    multiple.visibleWhen = structured;
    const ParameterSchema iterations =
        numberParameter("iterations", "Rounds", ParameterType::Int, 1, 1, 16, "",
                        "Goes there in so many rounds; importance is measured again in each.");
    const ParameterSchema tokens = numberParameter(
        "calibration_tokens", "Calibration", ParameterType::Int, 32768, 0, 1048576, "tokens",
        "How many tokens of the calibration text are run through the model, drawn by the "
        "recipe's seed.");
    ParameterSchema exclude = parameter(
        "exclude", "Leave alone", ParameterType::PatternList, nlohmann::json::array(),
        "Tensor names that get no zeros: globs such as layers.0.* or regular expressions after "
        "re:. Embeddings, norms and the head never do.");
    exclude.visibleWhen = sparse;
    ParameterSchema drop = parameter(
        "drop", "Layers to take out", ParameterType::PatternList, nlohmann::json::array(),
        "Numbers of the layers that go, the first is 0, whatever ratio and importance say. Empty: "
        "the least important ones go.");
    drop.visibleWhen = VisibleWhen{"method", {"layers"}};
    d.parameters = {methodParameter(),
                    ratio,
                    drop,
                    target,
                    speedup,
                    patternParameter(),
                    importanceParameter(),
                    unitParameter(),
                    compensate,
                    multiple,
                    iterations,
                    tokens,
                    calibrationLengthParameter(),
                    dampingParameter(),
                    exclude};
    return d;
}

namespace {

std::vector<std::int64_t> layerNumbers(const nlohmann::json& params) {
    std::vector<std::int64_t> layers;
    for (const std::string& text : params.at("drop").get<std::vector<std::string>>()) {
        std::int64_t layer = -1;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
        if (error != std::errc() || end != text.data() + text.size() || layer < 0)
            throw EngineError(ErrorKind::Usage,
                              "prune: \"drop\" takes numbers of layers, not \"" + text + "\"");
        layers.push_back(layer);
    }
    std::sort(layers.begin(), layers.end());
    layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
    return layers;
}

}  // namespace

PruneSettings::PruneSettings(const nlohmann::json& params)
    : method(params.at("method").get<std::string>()),
      ratio(params.at("ratio").get<double>()),
      targetParameters(params.at("target_parameters").get<std::int64_t>()),
      targetSpeedup(params.at("target_speedup").get<double>()),
      compensate(params.at("compensate").get<bool>()),
      iterations(params.at("iterations").get<int>()),
      calibrationTokens(params.at("calibration_tokens").get<std::int64_t>()),
      calibrationLength(params.at("calibration_length").get<std::int64_t>()),
      damping(params.at("damping").get<double>()),
      exclude(params.at("exclude").get<std::vector<std::string>>()) {
    if (method == "layers")
        drop = layerNumbers(params);
    sparse = method == "magnitude" || method == "wanda" || method == "sparsegpt";
    sparsityMethod = method == "magnitude" ? SparsityMethod::Magnitude
                     : method == "wanda"   ? SparsityMethod::Wanda
                                           : SparsityMethod::SparseGpt;
    sparsity.pattern =
        params.at("pattern") == "2:4" ? SparsityPattern::TwoFour : SparsityPattern::Unstructured;
    sparsity.ratio = ratio;
    rules.axis = method == "ffn"        ? PruneAxis::FeedForward
                 : method == "heads"    ? PruneAxis::Heads
                 : method == "channels" ? PruneAxis::Channels
                 : method == "layers"   ? PruneAxis::Layers
                                        : PruneAxis::Width;
    rules.wholeGroups = params.at("head_unit") == "group";
    rules.multiple = params.at("multiple").get<std::int64_t>();
    const std::string by = params.at("importance").get<std::string>();
    const bool ofLayers = by == "influence" || by == "loss";
    if (by != "auto" && !sparse && ofLayers != (rules.axis == PruneAxis::Layers))
        throw EngineError(
            ErrorKind::Usage,
            "prune: the importance \"" + by + "\" does not go with the method \"" + method + "\"");
    layerImportance = by == "influence" ? LayerImportance::Influence : LayerImportance::Loss;
    if (by != "auto" && !ofLayers)
        importance = importanceByName(by);
}

bool PruneSettings::needsText() const {
    if (!drop.empty())
        return false;
    if (sparse)
        return sparsityMethod != SparsityMethod::Magnitude;
    return importance != Importance::Magnitude || compensate || rules.axis == PruneAxis::Layers ||
           rules.axis == PruneAxis::Width;
}

bool PruneSettings::chooses(const std::string& weight) const {
    return weight != "lm_head.weight" && !matchesAny(weight, exclude);
}

}  // namespace fettle
