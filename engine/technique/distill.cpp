#include "engine/technique/distill.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <optional>

#include "engine/core/error.h"
#include "engine/data/data_loader.h"
#include "engine/distill/fresh_model.h"
#include "engine/distill/hidden_match.h"
#include "engine/distill/on_policy_source.h"
#include "engine/distill/weight_masks.h"
#include "engine/technique/cached_teacher.h"
#include "engine/technique/recovery_sink.h"
#include "engine/technique/training_memory.h"
#include "engine/tokenizer/vocabulary_match.h"
#include "engine/train/trainer.h"

namespace fettle {

namespace {

constexpr std::int64_t kMostPairs = 4;  // of layers whose hidden states are compared
// A step of training multiplies three times as much as reading does, and the teacher reads as well.
constexpr double kStepPasses = 4;
constexpr double kBytesPerParameter = 16;  // value, gradient and two moments, float32

TechniqueDescriptor distillDescriptor() {
    TechniqueDescriptor d;
    d.id = "distill";
    d.title = "Distillation";
    d.help =
        "Trains the model as it is after the steps before - pruned, say - to predict what a "
        "teacher "
        "predicts, token by token. Brings back most of what pruning cost, with far less text than "
        "training anew. Needs a training text like the one the model is for.";
    d.needsTrainingText = true;
    d.needsTeacher = true;

    ParameterSchema tokens = numberParameter(
        "tokens", "Training tokens", ParameterType::Int, 1000000, 1, 1e13, "tokens",
        "How much is read, all epochs together. Half to twice as many tokens as the model "
        "has parameters bring back most.");
    tokens.sweepable = true;
    ParameterSchema rate = numberParameter(
        "learning_rate", "Learning rate", ParameterType::Double, 0.001, 0, 1, "",
        "Peak of the learning rate. Small models stand more; a billion parameters about "
        "0.0001.");
    rate.sweepable = true;
    ParameterSchema batch = numberParameter("batch_tokens", "Batch", ParameterType::Int, 2048, 16,
                                            16777216, "tokens", "Tokens of one step.");
    batch.sweepable = true;
    const ParameterSchema context =
        numberParameter("context", "Sequence length", ParameterType::Int, 0, 0, 1048576, "tokens",
                        "Length of a training sequence. 0: the context that is evaluated with.");
    ParameterSchema temperature =
        numberParameter("temperature", "Temperature", ParameterType::Double, 1, 0.1, 20, "",
                        "Above 1 the teacher's less likely tokens weigh more.");
    temperature.sweepable = true;
    ParameterSchema hidden = numberParameter(
        "hidden_weight", "Hidden states", ParameterType::Double, 0, 0, 100, "",
        "Weight of the distance between hidden states, through learned projections where "
        "the widths differ. 0: predictions alone. Helps where layers are gone or the "
        "student starts anew.");
    hidden.sweepable = true;
    ParameterSchema crossEntropy = numberParameter(
        "cross_entropy_weight", "Text itself", ParameterType::Double, 0, 0, 100, "",
        "Weight of the ordinary loss on the text beside the teacher's predictions.");
    crossEntropy.sweepable = true;
    ParameterSchema onPolicy = numberParameter(
        "on_policy", "Written by the student", ParameterType::Double, 0, 0, 1, "",
        "Share of the batches whose sequences the student itself continues. Slow, but it "
        "learns to get out of its own mistakes.");
    onPolicy.sweepable = true;
    ParameterSchema schedule =
        parameter("schedule", "Schedule", ParameterType::Choice, "cosine",
                  "How the learning rate goes after its first twentieth, in which it rises.");
    schedule.choices = {{"cosine", "Cosine", "Falls to a tenth of the peak along a cosine."},
                        {"linear", "Linear", "Falls evenly to a tenth of the peak."},
                        {"wsd", "Stable, then down", "Stays, and falls in the last fifth."},
                        {"constant", "Constant", "Stays."}};
    const ParameterSchema target = numberParameter(
        "target_loss", "Stop at", ParameterType::Double, 0, 0, 100, "nats",
        "Ends once the loss on the text held back is at most this. 0: reads all tokens.");
    const ParameterSchema checkpointing = parameter(
        "checkpointing", "Save memory", ParameterType::Bool, false,
        "Computes activations a second time rather than keeping them: a third more work, the same "
        "result.");
    const ParameterSchema teacher = parameter(
        "teacher", "Teacher", ParameterType::Text, "",
        "A model of the same vocabulary. Empty: the model that the recipe started from, or the "
        "teacher that the run names.");
    const ParameterSchema student = parameter(
        "student", "Student", ParameterType::Text, "",
        "Who learns. Empty: the model as the steps before left it. Else a model of the same "
        "vocabulary, or a config.json, whose model starts from random weights.");
    d.parameters = {tokens,   rate,     batch,  context,       temperature, hidden, crossEntropy,
                    onPolicy, schedule, target, checkpointing, teacher,     student};
    const std::vector<ParameterSchema> more = teacherParameters();
    d.parameters.insert(d.parameters.end(), more.begin(), more.end());
    d.parameters.push_back(checkpointMinutesParameter());
    d.parameters.push_back(computeParameter());
    return d;
}

std::string textOf(const nlohmann::json& params, const char* name) {
    return params.at(name).get<std::string>();
}

void requireSameVocabulary(const Model& teacher, const Model& student, const char* who) {
    const VocabularyMatch match = matchVocabularies(*teacher.tokenizer, *student.tokenizer);
    if (!match.same || teacher.config.vocabularySize != student.config.vocabularySize)
        throw EngineError(
            ErrorKind::BadInput,
            (student.path.empty() ? std::string("the student") : student.path) + ": the " + who +
                "'s vocabulary differs from the teacher's (" +
                (match.same ? std::to_string(teacher.config.vocabularySize) + " against " +
                                  std::to_string(student.config.vocabularySize) + " entries"
                            : match.difference) +
                ")");
}

Model studentFor(Model model, TechniqueContext& context) {
    const std::string name = textOf(context.params, "student");
    if (name.empty())
        return model;
    if (!name.ends_with(".json"))
        return loadModel(name, &context.control);
    std::ifstream file(name);
    if (!file)
        throwBadInput(name, "cannot be read");
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    const nlohmann::json config = nlohmann::json::parse(content, nullptr, false);
    if (config.is_discarded())
        throwBadInput(name, "is not JSON");
    return freshModel(modelConfigFromHuggingFace(config, name), model, context.seed,
                      context.control);
}

Model teacherFor(TechniqueContext& context) {
    const std::string name = textOf(context.params, "teacher");
    if (!name.empty())
        return loadModel(name, &context.control);
    return context.inputs.teacher.empty() ? context.original
                                          : loadModel(context.inputs.teacher, &context.control);
}

void refuseQuantized(const Model& model) {
    for (const std::string& name : linearWeightNames(model.config))
        if (model.has(name) && model.weight(name).isQuantized() &&
            model.weight(name).quantized().codes.dtype() != DType::Block)
            throw EngineError(ErrorKind::Usage,
                              "distill: " + name + " is quantized as " +
                                  model.weight(name).typeName() +
                                  "; put distill before ptq, or use qad, which trains through the "
                                  "quantization");
}

ScheduleKind scheduleOf(const std::string& name) {
    return name == "linear"     ? ScheduleKind::Linear
           : name == "wsd"      ? ScheduleKind::WarmupStableDecay
           : name == "constant" ? ScheduleKind::Constant
                                : ScheduleKind::Cosine;
}

class Distiller {
public:
    Distiller(const Model& student, const Model& teacher, TechniqueContext& context)
        : m_model(student),
          m_context(context),
          m_params(context.params),
          m_student(student, context.pool),
          m_teacherModel(teacher),
          m_masks(m_student) {}

    Model run() {
        const TrainerOptions options = trainerOptions();
        const bool writes = m_params.at("on_policy").get<double>() > 0;
        const TrainPlace place(
            "distill", m_context.backend, {&m_model.config, &m_teacherModel.config}, options.loss,
            writes ? "the student writes (on_policy) with weights of the host" : "",
            m_context.control);
        DataLoader texts(m_model.tokenizer, dataOptions(), m_context.control);
        if (options.loss.hidden > 0)
            matchHidden(texts);
        std::optional<OnPolicySource> written;
        BatchSource* source = &texts;
        if (writes) {
            written.emplace(texts, m_student, m_model, m_context.backend,
                            OnPolicySource::Options{m_params.at("on_policy").get<double>(), 0.25,
                                                    m_context.seed},
                            m_context.control);
            source = &*written;
        }
        if (!m_masks.empty())
            m_context.control.info("distill: the zeros of the pruned weights stay (" +
                                   std::to_string(std::lround(100 * m_masks.share())) + "%)");
        const Validation goal = validate(*place.engine(teacher(), nullptr, {}), texts.validation(),
                                         {}, m_context.control);
        const Validation before = validate(*place.engine(m_student, nullptr, {}),
                                           texts.validation(), {}, m_context.control);
        const std::unique_ptr<TeacherCache> cache = cachedTeacher(
            "distill", m_teacherModel, options, texts, [this]() -> Network& { return teacher(); },
            place, m_context);
        std::optional<CachedTeacherSource> cached;
        if (cache)
            source = &cached.emplace(*source, *cache);
        if (cache && !written)
            m_teacher.reset();  // nobody asks it any more
        else
            teacher();
        RecoverySink sink(m_context.control.sink(), before.perplexity, goal.perplexity, "before");
        const std::unique_ptr<TrainEngine> engine =
            place.engine(m_student, m_teacher.get(), engineOptions(options));
        TrainOutcome outcome;
        {
            RunControl inner = m_context.control.nested(sink);
            inner.beginPhase("Distilling", 1);
            outcome = train(*engine, *source, options, &m_masks, inner);
        }
        report(outcome, trainingProtocol(*engine), before.perplexity, goal.perplexity, texts);
        return m_student.toModel(m_model);
    }

private:
    Network& teacher() {
        if (!m_teacher)
            m_teacher = std::make_unique<Network>(m_teacherModel, m_context.pool);
        return *m_teacher;
    }

    TrainerOptions trainerOptions() const {
        TrainerOptions options;
        options.tokens = m_params.at("tokens").get<std::int64_t>();
        options.batchTokens = m_params.at("batch_tokens").get<std::int64_t>();
        options.rate.peak = m_params.at("learning_rate").get<float>();
        options.rate.schedule = scheduleOf(textOf(m_params, "schedule"));
        // The teacher keeps the weights from growing; decay would only pull against it.
        options.optimizer.decay = 0;
        options.loss.crossEntropy = m_params.at("cross_entropy_weight").get<float>();
        options.loss.distillation = 1;
        options.loss.temperature = m_params.at("temperature").get<float>();
        options.loss.hidden = m_params.at("hidden_weight").get<float>();
        options.loss.attention = m_params.at("attention_weight").get<float>();
        options.checkpointing = m_params.at("checkpointing").get<bool>();
        options.bf16 = computesInBf16(m_params);
        options.targetLoss = m_params.at("target_loss").get<double>();
        options.checkpointFolder = m_context.checkpointFolder;
        options.checkpointMinutes = m_params.at("checkpoint_minutes").get<double>();
        options.identity = m_params.dump();
        return options;
    }

    DataOptions dataOptions() const {
        DataOptions options;
        options.path = m_context.inputs.train;
        options.context = m_params.at("context").get<std::int64_t>();
        if (options.context < 2)
            options.context = m_context.measure.context;
        options.context = std::min(
            {options.context, m_model.config.contextLength, m_teacherModel.config.contextLength});
        options.batchTokens =
            std::max(options.context,
                     std::min<std::int64_t>(m_params.at("batch_tokens").get<std::int64_t>(), 4096));
        options.seed = m_context.seed;
        return options;
    }

    void matchHidden(const DataLoader& texts) {
        const std::vector<Network::LayerPair> pairs = evenPairs(
            m_student.config().layerCount(), m_teacherModel.config.layerCount(), kMostPairs);
        m_student.matchHidden(pairs, m_teacherModel.config.hiddenSize);
        if (m_teacherModel.config.hiddenSize == m_student.config().hiddenSize)
            return;
        m_context.control.beginPhase("Fitting projections", 0.02);
        fitProjections(m_student, teacher(), pairs, texts.validation(), m_context.pool,
                       m_context.control);
    }

    void report(const TrainOutcome& outcome, const std::string& protocol, double before,
                double goal, const DataLoader& texts) {
        const auto add = [&](const char* name, const char* unit, double value) {
            Measurement metric;
            metric.name = name;
            metric.unit = unit;
            metric.value = value;
            m_context.metrics.push_back(metric);
        };
        add("training_tokens", "tokens", static_cast<double>(outcome.tokens));
        m_context.metrics.back().protocol = protocol;
        if (texts.validation().empty())
            return;
        const double reached = outcome.best.perplexity;
        char text[160];
        std::snprintf(text, sizeof text,
                      "distill: perplexity on the text held back %.3f before, %.3f after, %.3f the "
                      "teacher's",
                      before, reached, goal);
        m_context.control.info(text);
        add("validation_perplexity_original", "", goal);
        add("validation_perplexity", "", reached);
        add("recovery", "%", recoveredShare(before, goal, reached));
    }

    const Model& m_model;
    TechniqueContext& m_context;
    const nlohmann::json& m_params;
    Network m_student;
    const Model& m_teacherModel;
    std::unique_ptr<Network> m_teacher;
    WeightMasks m_masks;
};

}  // namespace

const TechniqueDescriptor& Distill::descriptor() const {
    static const TechniqueDescriptor descriptor = distillDescriptor();
    return descriptor;
}

StepEstimate Distill::estimate(const ModelFacts& model, const nlohmann::json& params,
                               const RunInputs& inputs, const MachineSpeed& speed) const {
    StepEstimate estimate;
    estimate.output = model;
    if (inputs.train.empty())
        estimate.problems.push_back("distill: needs a training text");
    try {
        const std::string student = textOf(params, "student");
        if (!student.empty() && !student.ends_with(".json"))
            estimate.output = factsOf(loadModel(student));
        ModelFacts teacher = model;
        const std::string named =
            textOf(params, "teacher").empty() ? inputs.teacher : textOf(params, "teacher");
        if (!named.empty())
            teacher = factsOf(loadModel(named));
        const double tokens = params.at("tokens").get<double>();
        estimate.seconds =
            tokens * (kStepPasses - 1) * estimate.output.activeElements() / speed.multiplyRate +
            tokens * teacher.activeElements() / speed.multiplyRate;
        estimateTeacherCache(estimate, params, inputs, model.config.vocabularySize,
                             tokens * teacher.activeElements() / speed.multiplyRate);
        estimate.peakBytes =
            estimate.output.elements() * kBytesPerParameter + teacher.elements() * sizeof(float);
    } catch (const EngineError& error) {
        estimate.problems.push_back(error.what());
    }
    return estimate;
}

Model Distill::apply(Model model, TechniqueContext& context) const {
    refuseNonFinite(model, context.control);
    if (context.inputs.train.empty())
        throw EngineError(ErrorKind::Usage, "distill: needs a training text");
    const Model teacher = teacherFor(context);
    requireSameVocabulary(teacher, model, "model");
    const Model student = studentFor(std::move(model), context);
    requireSameVocabulary(teacher, student, "student");
    refuseQuantized(student);
    if (context.params.at("attention_weight").get<double>() > 0)
        Network::requireSameAttention(student.config, teacher.config);
    return withinMemory(memoryAdvice("distill", "checkpointing", context.params),
                        [&] { return Distiller(student, teacher, context).run(); });
}

}  // namespace fettle
