#include "engine/technique/cached_teacher.h"

#include <algorithm>
#include <filesystem>

namespace fettle {

namespace {

// English text has three to five bytes a token.
constexpr double kBytesPerToken = 4;

bool wanted(const nlohmann::json& params) {
    return params.at("teacher_cache").get<std::string>() == "on";
}

bool needsStates(const nlohmann::json& params) {
    return params.at("hidden_weight").get<double>() > 0 ||
           params.at("attention_weight").get<double>() > 0;
}

}  // namespace

std::vector<ParameterSchema> teacherParameters() {
    ParameterSchema attention = numberParameter(
        "attention_weight", "Weight of attention", ParameterType::Double, 0.0, 0, 100, "",
        "Adds the difference between what teacher and model look at in their last layer. Needs a "
        "teacher with as many attention heads.");
    attention.sweepable = true;
    ParameterSchema cache = parameter(
        "teacher_cache", "Keep the teacher's predictions", ParameterType::Choice, "off",
        "Saves the time and memory of the teacher from the second reading on. Of no use where "
        "hidden states or attention are compared.");
    cache.choices = {{"off", "No", "The teacher runs along with every step."},
                     {"on", "On disk",
                      "The teacher runs once over each text; further epochs, recipes and sweeps "
                      "with the same teacher read what it said. Only its likeliest tokens are "
                      "kept one by one, the others together."}};
    ParameterSchema top = numberParameter(
        "teacher_top", "Tokens kept", ParameterType::Int, 64, 1, 1048576, "tokens",
        "How many of the likeliest tokens are kept per position; what is left over counts as one "
        "more. More is nearer to the whole distribution and takes more disk.");
    top.sweepable = true;
    top.visibleWhen = VisibleWhen{"teacher_cache", {"on"}};
    return {attention, cache, top};
}

ParameterSchema checkpointMinutesParameter() {
    return numberParameter("checkpoint_minutes", "Save every", ParameterType::Double, 5.0, 0, 1e6,
                           "min",
                           "How often the state of training is written, so that a run that was "
                           "killed goes on from there. 0: only at the end of the step.");
}

ParameterSchema computeParameter() {
    ParameterSchema compute = parameter("compute", "Compute in", ParameterType::Choice, "f32",
                                        "The type of the matrix products in training.");
    compute.choices = {
        {"f32", "Float32", "The same result on every processor level that has fused products."},
        {"bf16", "BFloat16",
         "Matrix products of numbers rounded to bfloat16, added up in float32; weights and "
         "gradients stay float32. Faster, on processors that have such products only."}};
    return compute;
}

bool computesInBf16(const nlohmann::json& params) {
    return params.at("compute").get<std::string>() == "bf16";
}

std::unique_ptr<TeacherCache> cachedTeacher(const std::string& technique, const Model& teacher,
                                            const TrainerOptions& options, BatchSource& data,
                                            const std::function<Network&()>& network,
                                            const TrainPlace& place, TechniqueContext& context) {
    RunControl& control = context.control;
    if (!wanted(context.params))
        return nullptr;
    if (options.loss.needsTeacherStates()) {
        control.warn(technique +
                     ": teacher_cache keeps predictions only; hidden_weight and "
                     "attention_weight need the teacher itself, so it runs along");
        return nullptr;
    }
    if (context.cacheFolder.empty()) {
        control.warn(technique +
                     ": teacher_cache has no folder, because the run keeps no model; "
                     "the teacher runs along");
        return nullptr;
    }
    TeacherCacheKey key;
    key.teacher = modelHash(teacher, control);
    key.vocabulary = teacher.config.vocabularySize;
    key.top = context.params.at("teacher_top").get<std::int64_t>();
    key.temperature = options.loss.temperature;
    key.onDevice = !place.onCpu();
    control.beginPhase("Running the teacher", 0.2);
    auto cache = std::make_unique<TeacherCache>(context.cacheFolder, std::move(key), control);
    std::unique_ptr<TrainEngine> engine;
    const auto running = [&]() -> TrainEngine& {
        if (!engine)
            engine = place.engine(network(), nullptr, {});
        return *engine;
    };
    fillTeacherCache(*cache, data, batchesToRead(options, data), running, context.pool, control);
    control.info(technique + ": the teacher's predictions for " + std::to_string(cache->tokens()) +
                 " tokens, " + std::to_string(cache->added()) + " of them new, are kept in " +
                 cache->folder().string() + " (" +
                 formatBytes(static_cast<double>(cache->bytes())) + ")");
    return cache;
}

void estimateTeacherCache(StepEstimate& estimate, const nlohmann::json& params,
                          const RunInputs& inputs, std::int64_t vocabulary, double teacherSeconds) {
    if (!wanted(params))
        return;
    if (needsStates(params)) {
        estimate.notes.push_back(
            "teacher_cache is of no use with hidden_weight or attention_weight: the teacher runs "
            "along");
        return;
    }
    const double read = params.at("tokens").get<double>();
    double distinct = read;
    std::error_code unknown;
    const std::uintmax_t bytes = std::filesystem::file_size(inputs.train, unknown);
    if (!unknown)
        distinct = std::min(distinct, static_cast<double>(bytes) / kBytesPerToken);
    estimate.seconds -= teacherSeconds * (1 - distinct / read);
    estimate.notes.push_back(
        "the teacher's predictions take about " +
        formatBytes(distinct * TeacherCache::bytesPerToken(
                                   vocabulary, params.at("teacher_top").get<std::int64_t>())) +
        " of disk");
}

}  // namespace fettle
