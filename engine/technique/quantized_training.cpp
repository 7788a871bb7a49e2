#include "engine/technique/quantized_training.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>

#include "engine/data/data_loader.h"
#include "engine/quant/calibration.h"
#include "engine/technique/cached_teacher.h"
#include "engine/technique/ptq.h"
#include "engine/technique/recovery_sink.h"
#include "engine/train/trainer.h"

namespace fettle {

namespace {

constexpr const char* kDefaultScheme = "int4-g128";
// Below this loss of perplexity a share of it says nothing.
constexpr double kSmallestLoss = 1e-3;

ParameterSchema schemeParameter() {
    ParameterSchema p = parameter(
        "scheme", "Scheme", ParameterType::Choice, "",
        "What the weights become. A ptq step before decides it, and chooses scales and codes to "
        "start from; without one, weights are rounded to nearest first.");
    p.sweepable = true;
    p.choices.push_back({"", "As the step before",
                         "Goes on from the ptq step before; int4 in "
                         "groups of 128 where there is none."});
    for (const ParameterSchema& of : Ptq().descriptor().parameters)
        if (of.name == "scheme")
            p.choices.insert(p.choices.end(), of.choices.begin(), of.choices.end());
    return p;
}

ParameterSchema learnScalesParameter() {
    ParameterSchema p = parameter("learn_scales", "Learn scales", ParameterType::Choice, "scale",
                                  "Whether the scale of each channel or group is trained along.");
    p.sweepable = true;
    p.choices = {
        {"scale", "What codes are multiplied with",
         "Codes are chosen with the scales of the start; the scales that multiply them learn. "
         "Smooth, the robust choice."},
        {"step", "Step size (LSQ)",
         "One learned step per channel or group both chooses codes and multiplies them."},
        {"none", "No", "Scales stay as the start has them."}};
    return p;
}

ParameterSchema scheduleParameter() {
    ParameterSchema p = parameter("schedule", "Schedule", ParameterType::Choice, "cosine",
                                  "How the learning rate falls after its warm-up.");
    p.sweepable = true;
    p.choices = {{"cosine", "Cosine", "Falls slowly, then fast, then slowly."},
                 {"linear", "Linear", "Falls evenly."},
                 {"wsd", "Stable, then decay", "Holds, and falls in the last fifth."},
                 {"constant", "Constant", "Stays as it is."}};
    return p;
}

ScheduleKind scheduleOf(const std::string& id) {
    return id == "cosine"   ? ScheduleKind::Cosine
           : id == "linear" ? ScheduleKind::Linear
           : id == "wsd"    ? ScheduleKind::WarmupStableDecay
                            : ScheduleKind::Constant;
}

ScaleLearning scaleLearningOf(const std::string& id) {
    return id == "scale"  ? ScaleLearning::Scale
           : id == "step" ? ScaleLearning::Step
                          : ScaleLearning::None;
}

bool isQuantized(const Model& model) {
    return std::any_of(model.weights.begin(), model.weights.end(),
                       [](const auto& entry) { return entry.second.isQuantized(); });
}

nlohmann::json ptqParams(const std::string& scheme) {
    return validateParams(Ptq().descriptor(),
                          {{"scheme", scheme.empty() ? kDefaultScheme : scheme}})
        .params;
}

/// The model that training starts from.
Model quantizedStart(const std::string& technique, Model model, TechniqueContext& context) {
    const std::string scheme = context.params.at("scheme").get<std::string>();
    if (isQuantized(model)) {
        if (!scheme.empty())
            throw EngineError(ErrorKind::Usage,
                              technique +
                                  ": the model is quantized already; leave out \"scheme\" "
                                  "to train it as it is");
        return model;
    }
    const nlohmann::json params = ptqParams(scheme);
    context.control.info(technique + ": there is no ptq step before; weights become " +
                         params.at("scheme").get<std::string>());
    TechniqueContext first{context.original,     context.backend, context.pool, context.inputs,
                           context.measure,      params,          context.seed, context.control,
                           context.layerMetrics, context.metrics};
    first.unquantized = context.unquantized;
    return Ptq().apply(std::move(model), first);
}

DataOptions dataOptions(const Model& model, TechniqueContext& context) {
    const nlohmann::json& params = context.params;
    DataOptions data;
    data.path = context.inputs.train;
    data.context = params.at("context").get<std::int64_t>();
    if (data.context < 2)
        data.context = context.measure.context;
    data.context = std::min(data.context, model.config.contextLength);
    data.batchTokens = std::max(
        data.context, std::min<std::int64_t>(params.at("batch_tokens").get<std::int64_t>(), 4096));
    data.seed = context.seed;
    data.validationShare = params.at("validation_share").get<double>();
    return data;
}

TrainerOptions trainerOptions(const nlohmann::json& params, const TrainLoss& loss) {
    TrainerOptions options;
    options.tokens = params.at("tokens").get<std::int64_t>();
    options.batchTokens = params.at("batch_tokens").get<std::int64_t>();
    options.rate.schedule = scheduleOf(params.at("schedule").get<std::string>());
    options.rate.warmup = params.at("warmup").get<double>();
    options.optimizer.decay = params.at("weight_decay").get<float>();
    options.loss = loss;
    options.checkpointing = params.at("save_memory").get<bool>();
    options.bf16 = computesInBf16(params);
    options.checkpointMinutes = params.at("checkpoint_minutes").get<double>();
    options.evaluateEvery = params.at("evaluate_every").get<std::int64_t>();
    return options;
}

/// The learning rate asked for, or the one that size and loss ask for, said aloud.
float peakRate(const nlohmann::json& params, double parameters, std::optional<double> lost,
               RunControl& control) {
    double rate = params.at("learning_rate").get<double>();
    const double factor = params.at("rate_factor").get<double>();
    if (rate <= 0) {
        rate = automaticLearningRate(parameters, lost);
        char text[96];
        std::snprintf(text, sizeof text, "learning rate %.2g", rate * factor);
        std::string line = text;
        if (lost) {
            std::snprintf(text, sizeof text, ": rounding cost %.3f nats a token", *lost);
            line += text;
        }
        control.info(line);
    }
    return static_cast<float>(rate * factor);
}

void addMetric(TechniqueContext& context, const char* name, const char* unit, double value) {
    Measurement metric;
    metric.name = name;
    metric.unit = unit;
    metric.value = value;
    context.metrics.push_back(metric);
}

void reportWeights(Network& student, TechniqueContext& context) {
    for (const Network::QuantizedReport& report : student.quantizedReports()) {
        const int layer = layerOf(report.name);
        const auto add = [&](const char* metric, double value) {
            context.layerMetrics.push_back({layer, report.name, metric, value});
        };
        add("codes_changed", 100 * report.drift.codes);
        add("scale_change", 100 * report.drift.scales);
        add("rounding_db", report.error > 0 ? 10 * std::log10(report.signal / report.error) : 200);
    }
}

}  // namespace

double recoveredShare(double quantized, double full, double now) {
    const double lost = quantized - full;
    return std::fabs(lost) < kSmallestLoss * full ? 0 : 100 * (quantized - now) / lost;
}

double automaticLearningRate(double parameters, std::optional<double> lost) {
    // Found on models of four million parameters at two to four bits; with the root of the size it
    // meets what is usual for a billion, 1e-5 to 2e-5.
    constexpr double kRate = 3e-4, kAtParameters = 4e6, kUsualLoss = 0.15, kPower = 0.65;
    const double ofSize =
        std::clamp(kRate * std::sqrt(kAtParameters / std::max(1.0, parameters)), 1e-5, 1e-3);
    const double share = std::max(0.0, lost.value_or(kUsualLoss)) / kUsualLoss;
    return ofSize * std::clamp(std::pow(share, kPower), 0.25, 4.0);
}

std::vector<ParameterSchema> quantizedTrainingParameters() {
    ParameterSchema tokens = numberParameter(
        "tokens", "Tokens", ParameterType::Int, 200000, 1000, 1e13, "tokens",
        "How many tokens of the training text are trained on; the text is read again where "
        "it is shorter. More recovers more, the first ones most.");
    tokens.sweepable = true;
    ParameterSchema rate = numberParameter(
        "learning_rate", "Learning rate", ParameterType::Double, 0, 0, 1, "",
        "At its peak, of weights. 0: by the size of the model, 3e-4 at four million parameters, "
        "falling with their root to 4e-5 at 270 million and 2e-5 at a billion, and by what "
        "rounding cost: a quarter of it for a tenth of what is lost at three bits, up to four "
        "times as much where most is lost.");
    rate.sweepable = true;
    ParameterSchema factor = numberParameter(
        "rate_factor", "Times", ParameterType::Double, 1.0, 0.001, 1000, "",
        "Multiplies the learning rate: a sweep around the rate that goes with size and loss.");
    factor.sweepable = true;
    ParameterSchema batch =
        numberParameter("batch_tokens", "Batch", ParameterType::Int, 1024, 16, 1e8, "tokens",
                        "Tokens between two updates of the weights.");
    batch.sweepable = true;
    ParameterSchema context =
        numberParameter("context", "Sequence length", ParameterType::Int, 0, 0, 1e6, "tokens",
                        "Length of a training sequence. 0: the context that is evaluated with.");
    ParameterSchema warmup =
        numberParameter("warmup", "Warm-up", ParameterType::Double, 0.05, 0, 1, "",
                        "Share of the steps in which the learning rate rises.");
    ParameterSchema scaleRate = numberParameter(
        "scale_rate", "Rate of scales", ParameterType::Double, 1.0, 0, 1000, "",
        "How fast scales learn: the relative change of a scale is the learning rate times "
        "this.");
    scaleRate.sweepable = true;
    scaleRate.visibleWhen = VisibleWhen{"learn_scales", {"scale", "step"}};
    ParameterSchema decay =
        numberParameter("weight_decay", "Weight decay", ParameterType::Double, 0.0, 0, 10, "",
                        "Pull of weights towards zero, times the learning rate.");
    ParameterSchema share = numberParameter(
        "validation_share", "Held back", ParameterType::Double, 0.05, 0, 0.5, "",
        "Share of the training text that is kept for validation: the step with the lowest "
        "validation loss is what is kept.");
    ParameterSchema every = numberParameter("evaluate_every", "Validate every", ParameterType::Int,
                                            0, 0, 1e9, "steps", "0: twenty times in a run.");
    ParameterSchema target = numberParameter(
        "target_recovery", "Enough", ParameterType::Double, 0.0, 0, 200, "%",
        "Stops as soon as this share of the lost perplexity (of the divergence from the "
        "teacher, with one) is won back on the validation text. 0: trains on all tokens.");
    const ParameterSchema memory = parameter(
        "save_memory", "Save memory", ParameterType::Bool, false,
        "Computes activations again instead of keeping them: less memory, a third slower.");
    return {schemeParameter(),
            tokens,
            rate,
            factor,
            batch,
            context,
            scheduleParameter(),
            warmup,
            learnScalesParameter(),
            scaleRate,
            decay,
            share,
            every,
            target,
            memory,
            checkpointMinutesParameter(),
            computeParameter()};
}

Model trainQuantized(const std::string& technique, Model model, const TrainLoss& loss,
                     const Model* teacher, TechniqueContext& context) {
    RunControl& control = context.control;
    if (context.inputs.train.empty())
        throw EngineError(ErrorKind::Usage, technique + " needs a training text");
    refuseNonFinite(model, control);
    warnOfOverlap(context.control, technique + ": the training text", context.inputs.train,
                  context.inputs.evaluate);
    std::map<std::string, Weight> unquantized;
    if (!context.unquantized)
        context.unquantized = &unquantized;
    const Model start = quantizedStart(technique, std::move(model), context);
    if (start.hasLowRank())
        throw EngineError(ErrorKind::Usage,
                          technique +
                              " cannot train ptq's low-rank corrections along: set low_rank "
                              "to 0 in the step before");

    control.beginPhase("Preparing", 0.05);
    DataLoader data(start.tokenizer, dataOptions(start, context), control);
    TrainerOptions options = trainerOptions(context.params, loss);
    options.checkpointFolder = context.checkpointFolder;
    options.identity = technique + " " + modelHash(start, control);
    std::unique_ptr<Network> guide;
    const auto guideNetwork = [&]() -> Network& {
        if (!guide)
            guide = std::make_unique<Network>(*teacher, context.pool);
        return *guide;
    };
    std::vector<const ModelConfig*> models = {&start.config};
    if (teacher)
        models.push_back(&teacher->config);
    const TrainPlace place(technique, context.backend, models, loss, "", control);
    const bool sameAsOriginal = teacher && teacher->hash == context.original.hash;
    Validation full;
    {
        std::unique_ptr<Network> original =
            sameAsOriginal ? nullptr : std::make_unique<Network>(context.original, context.pool);
        full = validate(*place.engine(original ? *original : guideNetwork(), nullptr, {}),
                        data.validation(), {}, control);
    }
    std::unique_ptr<TeacherCache> cache;
    if (teacher)
        cache = cachedTeacher(technique, *teacher, options, data, guideNetwork, place, context);
    std::optional<CachedTeacherSource> cached;
    if (cache)
        guide.reset();  // its memory serves the student
    else if (teacher)
        guideNetwork();
    BatchSource& source = cache ? cached.emplace(data, *cache) : static_cast<BatchSource&>(data);
    Network student(start, context.pool);
    if (loss.hidden > 0) {
        std::vector<Network::LayerPair> pairs;
        for (std::int64_t i = 0; i < start.config.layerCount(); ++i)
            pairs.push_back({i, i});
        student.matchHidden(std::move(pairs), teacher->config.hiddenSize);
    }
    student.quantize(start, *context.unquantized,
                     {scaleLearningOf(context.params.at("learn_scales").get<std::string>()),
                      context.params.at("scale_rate").get<float>()});
    const std::unique_ptr<TrainEngine> engine =
        place.engine(student, guide.get(), engineOptions(options));
    const Validation before = validate(*engine, source.validation(), loss, control);
    std::optional<double> lost;
    if (!data.validation().empty())
        lost = std::log(before.perplexity / full.perplexity);
    options.rate.peak =
        peakRate(context.params, static_cast<double>(start.parameters()), lost, control);
    const double target = context.params.at("target_recovery").get<double>() / 100;
    if (target > 0)
        options.targetLoss =
            teacher ? (1 - target) * before.loss
                    : std::log(before.perplexity - target * (before.perplexity - full.perplexity));

    RecoverySink sink(control.sink(), before.perplexity, full.perplexity, "quantized");
    TrainOutcome outcome;
    {
        RunControl inner = control.nested(sink);
        inner.beginPhase("Training", 1);
        outcome = train(*engine, source, options, nullptr, inner);
    }
    const double now =
        outcome.best.perplexity > 0 ? outcome.best.perplexity : outcome.last.perplexity;
    addMetric(context, "training_tokens", "tokens", static_cast<double>(outcome.tokens));
    context.metrics.back().protocol = trainingProtocol(*engine);
    if (!data.validation().empty()) {
        addMetric(context, "validation_perplexity_original", "", full.perplexity);
        addMetric(context, "validation_perplexity_quantized", "", before.perplexity);
        addMetric(context, "validation_perplexity", "", now);
        addMetric(context, "recovery", "%",
                  recoveredShare(before.perplexity, full.perplexity, now));
    }
    reportWeights(student, context);
    return student.toModel(start);
}

StepEstimate estimateQuantizedTraining(const ModelFacts& model, const nlohmann::json& params,
                                       const RunInputs& inputs, const MachineSpeed& speed,
                                       const ModelFacts* teacher) {
    // Weights, what is computed with, gradients, two moments, the best so far.
    constexpr double kCopies = 6 * sizeof(float);
    // Multiplying alone is this share of a training step.
    constexpr double kProducts = 0.7;
    StepEstimate estimate;
    estimate.output = model;
    const bool plain =
        std::all_of(model.weights.begin(), model.weights.end(), [](const WeightFacts& weight) {
            return weight.bytes >= 2 * static_cast<double>(weight.rows * weight.cols);
        });
    const std::string scheme = params.at("scheme").get<std::string>();
    if (!plain && !scheme.empty())
        estimate.problems.push_back(
            "the model is quantized already: leave the scheme as the step before");
    if (plain)
        estimate = Ptq().estimate(model, ptqParams(scheme), inputs, speed);
    if (inputs.train.empty())
        estimate.problems.push_back("a training text is needed");
    const double tokens = params.at("tokens").get<double>();
    // A pass forward is one multiply-add per weight and token, the gradient two more.
    double products = 3 * model.activeElements();
    if (params.at("save_memory").get<bool>())
        products += model.activeElements();
    estimate.peakBytes = model.elements() * kCopies;
    if (teacher) {
        products += teacher->activeElements();
        estimate.peakBytes += teacher->elements() * sizeof(float);
    }
    estimate.seconds += tokens * products / (speed.multiplyRate * kProducts);
    if (teacher)
        estimateTeacherCache(estimate, params, inputs, model.config.vocabularySize,
                             tokens * teacher->activeElements() / (speed.multiplyRate * kProducts));
    const ModelConfig& c = model.config;
    const double perToken =
        sizeof(float) * (static_cast<double>(c.hiddenSize) * 3 +
                         static_cast<double>((c.heads * 2 + c.kvHeads * 2) * c.headDim) +
                         2 * static_cast<double>(c.feedForwardSize));
    const double layers =
        params.at("save_memory").get<bool>() ? 1 : static_cast<double>(c.layerCount());
    estimate.peakBytes +=
        std::min(4096.0, params.at("batch_tokens").get<double>()) * perToken * layers;
    return estimate;
}

}  // namespace fettle
