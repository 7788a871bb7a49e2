#include "engine/technique/mixed_precision.h"

#include <algorithm>
#include <iterator>

#include "engine/core/error.h"
#include "engine/experiment/bit_allocation.h"
#include "engine/quant/sensitivity.h"

namespace fettle {

namespace {

SensitivityScore scoreOf(const std::string& name) {
    return name == "fisher"    ? SensitivityScore::Fisher
           : name == "hessian" ? SensitivityScore::Hessian
                               : SensitivityScore::Divergence;
}

std::vector<QuantScheme> schemesOf(const nlohmann::json& params) {
    std::vector<QuantScheme> schemes;
    for (const std::string& id : params.at("mix").get<std::vector<std::string>>()) {
        const std::optional<QuantScheme> scheme = findQuantScheme(id);
        if (!scheme || !scheme->hasQuantizer())
            throw EngineError(ErrorKind::Usage,
                              "ptq: \"mix\" names the unknown scheme \"" + id + "\"");
        schemes.push_back(*scheme);
    }
    if (schemes.empty())
        throw EngineError(ErrorKind::Usage, "ptq: \"mix\" names no scheme to choose from");
    return schemes;
}

// Rows this long spread what a scheme keeps per row so thin that it does not count.
constexpr std::int64_t kLongRow = std::int64_t{1} << 20;

[[noreturn]] void refuseTooFewBits(double wanted, double smallest) {
    throw EngineError(ErrorKind::Usage, "ptq: " + std::to_string(wanted) +
                                            " bits per weight are fewer than the smallest schemes "
                                            "of the mix take (" +
                                            std::to_string(smallest) + ")");
}

}  // namespace

std::vector<ParameterSchema> mixedPrecisionParameters() {
    ParameterSchema bits = parameter(
        "target_bits", "Bits per weight", ParameterType::Double, 0,
        "Mixed precision: every weight gets a scheme out of the mix, so that all quantized weights "
        "together take this many bits each, scales included, and the predictions change least. "
        "Needs calibration text. 0: one scheme for all.");
    bits.minimum = 0;
    bits.maximum = 16;
    bits.unit = "bits";
    bits.sweepable = true;

    ParameterSchema score = parameter(
        "sensitivity", "Sensitivity by", ParameterType::Choice, "kl",
        "How it is found out what each weight can bear; only with bits per weight above 0.");
    score.choices = {
        {"kl", "Divergence",
         "KL divergence of the predictions with one weight alone quantized: measured, the most "
         "reliable and the slowest."},
        {"fisher", "Fisher score",
         "Squared gradients of the loss, times the squared error of the weights: one pass."},
        {"hessian", "Hessian trace",
         "Curvature of the loss, estimated with random directions, times the squared error."}};

    const ParameterSchema mix =
        parameter("mix", "Mix", ParameterType::PatternList,
                  {"int2-g64", "int3-g128", "int4-g128", "int4-g32", "w8a16"},
                  "The schemes to choose from; only with bits per weight above 0.");

    const ParameterSchema schemes = parameter(
        "schemes", "Single weights", ParameterType::PatternList, nlohmann::json::array(),
        "Weights with a scheme of their own, each as NAME=SCHEME: a tensor name or pattern, or "
        "layers.N.attn.qkv and layers.N.ffn.gate_up for weights that share an input. \"none\" "
        "leaves them as they are; the first entry that fits counts. What bits were allocated "
        "stands here.");
    return {bits, score, mix, schemes};
}

SchemeAssignments::SchemeAssignments(const nlohmann::json& params) {
    for (const std::string& text : params.at("schemes").get<std::vector<std::string>>()) {
        const std::size_t sign = text.rfind('=');
        if (sign == std::string::npos || sign == 0)
            throw EngineError(ErrorKind::Usage,
                              "ptq: \"schemes\" takes NAME=SCHEME, not \"" + text + "\"");
        const std::string id = text.substr(sign + 1);
        Entry entry{text.substr(0, sign), findQuantScheme(id)};
        if (id != "none" && (!entry.scheme || !entry.scheme->hasQuantizer()))
            throw EngineError(ErrorKind::Usage, "ptq: \"schemes\" names the unknown scheme \"" +
                                                    id + "\" for " + entry.name);
        m_entries.push_back(std::move(entry));
    }
    if (!m_entries.empty() && wantsMixedPrecision(params))
        throw EngineError(ErrorKind::Usage,
                          "ptq: \"target_bits\" chooses schemes and \"schemes\" gives them: set "
                          "one of the two");
}

bool SchemeAssignments::fits(const Entry& entry, const std::string& weight) {
    return entry.name == allocationUnitOf(weight) || matchesAny(weight, {entry.name});
}

bool SchemeAssignments::find(const std::string& weight, std::optional<QuantScheme>& scheme) const {
    const auto found = std::find_if(m_entries.begin(), m_entries.end(),
                                    [&](const Entry& entry) { return fits(entry, weight); });
    if (found == m_entries.end())
        return false;
    scheme = found->scheme;
    return true;
}

std::vector<std::string> SchemeAssignments::unused(const std::vector<std::string>& weights) const {
    std::vector<std::string> names;
    for (const Entry& entry : m_entries)
        if (std::none_of(weights.begin(), weights.end(),
                         [&](const std::string& weight) { return fits(entry, weight); }))
            names.push_back(entry.name);
    return names;
}

bool wantsMixedPrecision(const nlohmann::json& params) {
    return params.at("target_bits").get<double>() > 0;
}

std::map<std::string, QuantScheme> mixedSchemes(
    const Model& model, const CalibrationText& text, DType scaleType,
    const std::function<bool(const std::string&)>& eligible, TechniqueContext& context) {
    SensitivityOptions options;
    options.schemes = schemesOf(context.params);
    options.score = scoreOf(context.params.at("sensitivity").get<std::string>());
    options.scaleType = scaleType;
    options.eligible = eligible;
    const double wanted = context.params.at("target_bits").get<double>();
    // What no shape of weight can meet is told before anything is measured.
    double smallest = options.schemes.front().bitsPerWeight(kLongRow);
    for (const QuantScheme& scheme : options.schemes)
        smallest = std::min(smallest, scheme.bitsPerWeight(kLongRow));
    if (wanted < smallest)
        refuseTooFewBits(wanted, smallest);
    const std::vector<AllocationUnit> units =
        measureSensitivity(model, firstOf(text, kScoredTokens), options, context.backend,
                           context.pool, context.control);

    double weights = 0;
    for (const AllocationUnit& unit : units)
        for (const std::string& name : unit.weights)
            weights += static_cast<double>(model.weight(name).elements());
    const BitAllocation found = allocateBits(units, wanted / 8 * weights);
    if (!found.withinBudget)
        refuseTooFewBits(wanted, found.bytes * 8 / weights);

    const std::vector<LayerMetric> scores = toLayerMetrics(units);
    context.layerMetrics.insert(context.layerMetrics.end(), scores.begin(), scores.end());
    const auto report = [&](const char* name, const char* unit, double value) {
        Measurement metric;
        metric.name = name;
        metric.unit = unit;
        metric.value = value;
        metric.estimated = true;
        context.metrics.push_back(metric);
    };
    report("mixed_bits", "bits", found.bytes * 8 / weights);
    report("mixed_weights", "", weights);
    if (options.score == SensitivityScore::Divergence)
        report("predicted_kl", "nats", found.loss);

    std::map<std::string, QuantScheme> schemes;
    for (std::size_t u = 0; u < units.size(); ++u) {
        const std::string& id = units[u].choices[found.chosen[u]].scheme;
        const std::optional<QuantScheme> scheme = findQuantScheme(id);
        for (const std::string& name : units[u].weights)
            if (scheme)
                schemes.emplace(name, *scheme);
        context.control.info(units[u].name + ": " + id);
    }
    return schemes;
}

}  // namespace fettle
