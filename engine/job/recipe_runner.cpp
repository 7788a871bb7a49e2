#include "engine/job/recipe_runner.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

#include "engine/decode/generator.h"
#include "engine/eval/memory_probe.h"
#include "engine/eval/score_trace.h"
#include "engine/eval/tasks.h"
#include "engine/eval/text_scores.h"
#include "engine/eval/text_windows.h"
#include "engine/eval/throughput.h"
#include "engine/io/exporter.h"
#include "engine/quant/importance_matrix.h"
#include "engine/speculative/speculation_measure.h"
#include "engine/technique/kquant_codes.h"
#include "engine/technique/technique.h"
#include "engine/tokenizer/chat_template.h"
#include "engine/tokenizer/tokenizer.h"

namespace fettle {

namespace {

namespace fs = std::filesystem;

// Shares of a run's progress bar. Only their order of magnitude matters: time left is measured as
// the run goes.
constexpr double kLoadShare = 0.05;
constexpr double kStepsShare = 0.30;
constexpr double kTextShare = 0.35;
constexpr double kTasksShare = 0.15;
constexpr double kSpeedShare = 0.10;
constexpr double kWriteShare = 0.05;
// Memory that a process of ours takes whatever it loads.
constexpr double kProcessBytes = 40e6;

Measurement plainMetric(const std::string& name, const std::string& unit, double value) {
    Measurement metric;
    metric.name = name;
    metric.unit = unit;
    metric.value = value;
    return metric;
}

// Passes reports of a technique on, squeezed into the share of the job that the step has.
class StepProgress : public ProgressSink {
public:
    StepProgress(RunControl& outer, std::string title)
        : m_outer(outer), m_title(std::move(title)) {}
    void progress(const JobProgress& p) override {
        m_outer.progress(p.fraction,
                         m_title + ": " + p.phase + (p.detail.empty() ? "" : " " + p.detail),
                         p.tokensPerSecond);
    }
    void log(JobLog::Level level, const std::string& text) override {
        m_outer.sink().log(level, text);
    }
    void series(const SeriesPoint& point) override { m_outer.sink().series(point); }
    void metric(const Measurement& metric) override { m_outer.sink().metric(metric); }
    void stepFinished(const StepReport& step) override { m_outer.sink().stepFinished(step); }
    void text(const std::string& piece) override { m_outer.sink().text(piece); }

private:
    RunControl& m_outer;
    std::string m_title;
};

class Runner {
public:
    Runner(const RunRequest& request, Backend& backend, RunControl& control)
        : m_request(request),
          m_backend(backend),
          m_control(control),
          m_inputs(resolvedInputs(request.modelPath, request.inputs)),
          m_recipe(checkedRecipe(request.recipe)) {}

    RunResult run() {
        const double start = steadySeconds();
        resetPeakResident();
        m_control.beginPhase("Loading", kLoadShare);
        const Model original = loadModel(m_request.modelPath, &m_control);
        refuseNonFinite(original, m_control);
        m_result.modelHash = modelHash(original, m_control);
        const DeviceSummary& device = m_backend.device();
        const bool cpu = device.id == "cpu";
        m_result.deviceName =
            cpu ? device.name + ", " + std::to_string(m_backend.threads()) + " threads" +
                      (m_backend.products() == kernels::Products::BFloat16 ? ", bfloat16" : "")
                : device.name;
        m_result.deviceKind = cpu ? "cpu" : "cuda";
        m_result.deviceIsa = device.isa;
        m_result.deviceMemory = device.memoryBytes;
        m_result.estimate = estimateRun(
            {m_request.modelPath, m_recipe, m_inputs, m_request.measure}, m_backend, m_control);

        const double beforeSteps = steadySeconds();
        Model optimized = applySteps(original);
        if (!m_recipe.steps.empty())
            add(plainMetric("recipe_seconds", "s", steadySeconds() - beforeSteps));
        add(plainMetric("optimize_peak_bytes", "bytes", static_cast<double>(peakResidentBytes())));
        add(plainMetric("bits_per_weight", "bits", optimized.bitsPerWeight()));
        add(plainMetric("parameters", "", static_cast<double>(optimized.parameters())));

        writeArtifact(optimized, original);
        // What is measured is what was written: read back, so that the numbers are the artifact's,
        // and mapped from the file, so that the codes are not held twice.
        if (m_result.artifact)
            optimized = loadModel(m_result.artifact->path, &m_control);
        measureAccuracy(original, optimized);
        if (m_request.measure.speed)
            measureSpeed(optimized);
        else
            add(plainMetric("kv_bytes_per_token", "bytes",
                            static_cast<double>(optimized.config.kvBytesPerToken())));
        add(plainMetric("run_peak_bytes", "bytes",
                        static_cast<double>(std::max(m_peak, peakResidentBytes()))));
        add(plainMetric("wall_seconds", "s", steadySeconds() - start));
        std::error_code ignored;
        if (!m_request.artifactFolder.empty())
            fs::remove_all(checkpointsOf(m_request.artifactFolder), ignored);
        return std::move(m_result);
    }

private:
    void add(Measurement metric) {
        m_control.sink().metric(metric);
        m_result.metrics.push_back(std::move(metric));
    }
    void add(std::vector<Measurement> metrics) {
        for (Measurement& metric : metrics)
            add(std::move(metric));
    }

    Model applySteps(const Model& original) {
        Model model = original;
        std::map<std::string, Weight> unquantized;
        for (std::size_t i = 0; i < m_recipe.steps.size(); ++i) {
            const RecipeStep& step = m_recipe.steps[i];
            const Technique* technique = findTechnique(step.technique);
            m_control.beginPhase(technique->descriptor().title,
                                 kStepsShare / static_cast<double>(m_recipe.steps.size()));
            const double start = steadySeconds();
            StepProgress sink(m_control, "step " + std::to_string(i + 1));
            RunControl stepControl = m_control.nested(sink);
            TechniqueContext context{original,        m_backend,         m_backend.pool(),
                                     m_inputs,        m_request.measure, step.params,
                                     m_recipe.seed,   stepControl,       m_result.layerMetrics,
                                     m_result.metrics};
            if (!m_request.artifactFolder.empty()) {
                context.checkpointFolder =
                    (fs::path(checkpointsOf(m_request.artifactFolder)) / std::to_string(i + 1))
                        .string();
                context.cacheFolder = teacherCacheOf(m_request.artifactFolder);
            }
            const bool trainedLater = std::any_of(
                m_recipe.steps.begin() + static_cast<std::ptrdiff_t>(i), m_recipe.steps.end(),
                [](const RecipeStep& s) { return findTechnique(s.technique)->trainsQuantized(); });
            context.unquantized = trainedLater ? &unquantized : nullptr;
            model = technique->apply(std::move(model), context);
            m_result.steps.push_back({i, step.technique, step.params, steadySeconds() - start});
            m_control.sink().stepFinished(m_result.steps.back());
        }
        return model;
    }

    void measureAccuracy(const Model& original, const Model& optimized) {
        if (m_inputs.evaluate.empty() && m_inputs.tasks.empty()) {
            m_control.warn("no evaluation text and no tasks are given: accuracy is not measured");
            return;
        }
        Transformer transformer(optimized, m_backend);
        if (!m_inputs.evaluate.empty()) {
            std::optional<Transformer> baseline;
            if (!m_recipe.steps.empty())
                baseline.emplace(original, m_backend);
            const std::string text = readText(m_inputs.evaluate);
            const std::vector<TextWindow> windows =
                makeWindows(*original.tokenizer, text, m_request.measure);
            m_control.beginPhase("Evaluating", kTextShare);
            const TextScores scores =
                scoreText(transformer, baseline ? &*baseline : nullptr, windows, m_control);
            const std::string protocol = accuracyProtocol(m_request.measure, textHash(text));
            add(summarize(scores, protocol, transformer.native()));
            m_result.trace = traceOf(scores, windows, *original.tokenizer, protocol);
        }
        if (!m_inputs.tasks.empty()) {
            const std::vector<ChoiceTask> tasks = readTasks(m_inputs.tasks);
            m_control.beginPhase("Answering tasks", kTasksShare);
            const TaskScores scores =
                scoreTasks(transformer, *optimized.tokenizer, tasks, m_control);
            Measurement accuracy = taskAccuracy(scores, transformer.native());
            accuracy.protocol = "tasks " + fs::path(m_inputs.tasks).filename().string() +
                                " n=" + std::to_string(tasks.size());
            if (!m_result.trace)
                m_result.trace.emplace();
            m_result.trace->tasksProtocol = accuracy.protocol;
            m_result.trace->tasksCorrect = scores.correct;
            add(std::move(accuracy));
        }
        addSample(transformer, optimized);
    }

    void addSample(Transformer& transformer, const Model& model) {
        // A few words of the evaluation text, continued: numbers tell how much was lost, this shows
        // what it sounds like.
        if (m_inputs.evaluate.empty())
            return;
        std::vector<std::int32_t> ids =
            model.tokenizer->encode(readText(m_inputs.evaluate).substr(0, 400), true);
        if (ids.size() < 2)
            return;
        ids.resize(std::min<std::size_t>(ids.size(), 24));
        GenerateOptions options;
        options.maxNewTokens = static_cast<int>(std::min<std::int64_t>(
            48, transformer.config().contextLength - static_cast<std::int64_t>(ids.size())));
        if (options.maxNewTokens > 0)
            m_result.samples.push_back(
                {model.tokenizer->decode(ids),
                 generate(transformer, *model.tokenizer, ids, options, m_control).text});
    }

    void measureSpeed(const Model& optimized) {
        m_control.beginPhase("Timing", kSpeedShare);
        m_peak = peakResidentBytes();  // measuring speed starts a new mark
        Transformer transformer(optimized, m_backend, nullptr);
        std::vector<Measurement> metrics =
            measureThroughput(transformer,
                              {m_request.measure.promptTokens, m_request.measure.newTokens,
                               m_request.measure.repeats},
                              m_control);
        if (optimized.speculative)
            addSpeculation(transformer, optimized, metrics);
        add(std::move(metrics));
    }

    void addSpeculation(Transformer& transformer, const Model& optimized,
                        std::vector<Measurement>& metrics) {
        const std::unique_ptr<Proposer> proposer = makeProposer(
            *optimized.speculative, optimized, transformer, m_backend, m_backend.pool(), m_control);
        SpeculationMeasure measure =
            measureSpeculation(transformer, optimized, *proposer, *optimized.speculative,
                               speculationText(m_inputs.evaluate),
                               {m_request.measure.promptTokens, m_request.measure.newTokens,
                                m_request.measure.repeats, true},
                               m_control);
        m_control.info("speculative decoding with " + proposer->description() + " " +
                       measure.trial.verdict);
        for (const SeriesPoint& point : measure.trial.series)
            m_control.sink().series(point);
        mergeSpeculation(metrics, std::move(measure.metrics));
    }

    void writeArtifact(const Model& optimized, const Model& original) {
        m_control.beginPhase("Writing", kWriteShare);
        if (m_recipe.steps.empty() || m_request.artifactFolder.empty()) {
            if (m_recipe.steps.empty())
                add(plainMetric("file_bytes", "bytes", static_cast<double>(original.fileBytes)));
            return;
        }
        const ExportReport written =
            writeModelFolder(optimized, m_request.artifactFolder, m_control);
        for (const std::string& note : written.lossy)
            m_control.warn(note);
        m_result.artifact = ArtifactReport{written.path, written.format, written.bytes, ""};
        add(plainMetric("file_bytes", "bytes", static_cast<double>(written.bytes)));
    }

    const RunRequest& m_request;
    Backend& m_backend;
    RunControl& m_control;
    RunInputs m_inputs;
    Recipe m_recipe;
    RunResult m_result;
    std::uint64_t m_peak = 0;
};

}  // namespace

std::string teacherCacheOf(const std::string& artifactFolder) {
    return (fs::path(artifactFolder).parent_path() / "teacher-cache").string();
}

std::string checkpointsOf(const std::string& artifactFolder) {
    return artifactFolder + ".checkpoints";
}

Recipe checkedRecipe(const Recipe& recipe) {
    Recipe checked = recipe;
    std::string problems;
    for (std::size_t i = 0; i < checked.steps.size(); ++i) {
        RecipeStep& step = checked.steps[i];
        const Technique* technique = findTechnique(step.technique);
        if (!technique) {
            problems += (problems.empty() ? "" : "; ") + std::string("step ") +
                        std::to_string(i + 1) + ": unknown technique \"" + step.technique + "\"";
            continue;
        }
        const ValidatedParams validated = validateParams(technique->descriptor(), step.params);
        for (const std::string& problem : validated.problems)
            problems += (problems.empty() ? "" : "; ") + std::string("step ") +
                        std::to_string(i + 1) + ": " + problem;
        step.params = validated.params;
    }
    if (!problems.empty())
        throw EngineError(ErrorKind::Usage, problems);
    return checked;
}

std::string speculationText(const std::string& path) {
    const fs::path bundled = resourcesFolder() / "demo" / "texts" / "evaluate.txt";
    return readText(path.empty() ? bundled.string() : path);
}

void mergeSpeculation(std::vector<Measurement>& metrics, std::vector<Measurement> speculative) {
    const double draftBytes =
        std::find_if(speculative.begin(), speculative.end(), [](const Measurement& m) {
            return m.name == "draft_bytes";
        })->value;
    for (Measurement& metric : metrics)
        if (metric.name == "weight_bytes")
            metric.value += draftBytes;
    for (Measurement& metric : speculative) {
        const auto plain = std::find_if(metrics.begin(), metrics.end(), [&](const Measurement& m) {
            return m.name == metric.name;
        });
        if (plain == metrics.end()) {
            metrics.push_back(std::move(metric));
            continue;
        }
        metric.protocol = plain->protocol;
        *plain = std::move(metric);
    }
}

RunInputs resolvedInputs(const std::string& modelPath, RunInputs inputs) {
    std::error_code ignored;
    const fs::path demo = resourcesFolder() / "demo";
    const bool bundled = modelPath == "demo" || modelPath == "demo-draft" ||
                         fs::equivalent(modelPath, demo / "teacher", ignored);
    if (!bundled)
        return inputs;
    const auto fill = [&](std::string& path, const fs::path& file) {
        if (path.empty() && fs::exists(demo / file, ignored))
            path = (demo / file).string();
    };
    fill(inputs.evaluate, "texts/evaluate.txt");
    fill(inputs.calibration, "texts/calibration.txt");
    fill(inputs.train, "texts/train.txt");
    fill(inputs.tasks, "tasks.jsonl");
    return inputs;
}

RecipeEstimate estimateRun(const EstimateRequest& request, Backend& backend, RunControl& control) {
    RecipeEstimate estimate;
    Recipe recipe;
    try {
        recipe = checkedRecipe(request.recipe);
    } catch (const EngineError& error) {
        estimate.problems.push_back(error.what());
        return estimate;
    }
    const RunInputs inputs = resolvedInputs(request.modelPath, request.inputs);
    const Model model = loadModel(request.modelPath, &control);
    const MachineSpeed& speed = machineSpeed(backend, backend.pool());
    const ModelFacts original = factsOf(model);
    ModelFacts facts = original;
    const bool runsModel =
        !inputs.evaluate.empty() || !inputs.tasks.empty() || request.measure.speed;
    double peak = runsModel ? facts.activeBytes() : 0;
    for (const RecipeStep& step : recipe.steps) {
        const StepEstimate change =
            findTechnique(step.technique)->estimate(facts, step.params, inputs, speed);
        estimate.seconds += change.seconds;
        estimate.notes.insert(estimate.notes.end(), change.notes.begin(), change.notes.end());
        estimate.problems.insert(estimate.problems.end(), change.problems.begin(),
                                 change.problems.end());
        peak = std::max(peak, change.peakBytes);
        facts = change.output;
    }
    const double perToken = facts.activeElements() / speed.multiplyRate;
    const double contextBytes =
        static_cast<double>(model.config.kvBytesPerToken()) * request.measure.context;
    if (!inputs.evaluate.empty()) {
        std::error_code ignored;
        const double textBytes = static_cast<double>(fs::file_size(inputs.evaluate, ignored));
        // English text has three to five bytes a token; the limit, where set, is exact.
        double tokens = ignored ? 0 : textBytes / 4;
        if (request.measure.maxTokens > 0)
            tokens = std::min(tokens, static_cast<double>(request.measure.maxTokens));
        estimate.seconds += tokens * perToken * (recipe.steps.empty() ? 1 : 2);
        const double logits =
            2 * 32.0 * static_cast<double>(model.config.vocabularySize) * sizeof(float);
        peak = std::max(
            peak, facts.bytes() +
                      (recipe.steps.empty() ? 0 : original.activeBytes() + facts.activeBytes()) +
                      logits + 2 * contextBytes);
    }
    if (request.measure.speed)
        estimate.seconds += (request.measure.repeats + 1) *
                            (request.measure.promptTokens * perToken +
                             request.measure.newTokens * facts.activeBytes() / speed.readRate);
    estimate.peakBytes = static_cast<std::uint64_t>(peak + kProcessBytes);
    estimate.outputBytes = static_cast<std::uint64_t>(facts.bytes());
    estimate.bitsPerWeight = facts.elements() > 0 ? 8 * facts.bytes() / facts.elements() : 0;
    if (estimate.peakBytes > availableMemoryBytes())
        estimate.problems.push_back(
            "needs about " + formatBytes(static_cast<double>(estimate.peakBytes)) + " of memory, " +
            formatBytes(static_cast<double>(availableMemoryBytes())) + " are free");
    return estimate;
}

RunResult runRecipe(const RunRequest& request, Backend& backend, RunControl& control) {
    return Runner(request, backend, control).run();
}

EvaluateResult evaluateModel(const EvaluateRequest& request, Backend& backend,
                             RunControl& control) {
    RunInputs given;
    given.evaluate = request.textPath;
    given.tasks = request.tasksPath;
    const bool nothingGiven = request.textPath.empty() && request.tasksPath.empty();
    const RunInputs inputs = nothingGiven ? resolvedInputs(request.modelPath, given) : given;
    if (inputs.evaluate.empty() && inputs.tasks.empty())
        throw EngineError(ErrorKind::Usage, "nothing to evaluate on: give a text or a task file");
    control.beginPhase("Loading", 0.1);
    Model model = loadModel(request.modelPath, &control);
    if (!request.kvCache.empty())
        model.config.kvType = kvTypeNamed(request.kvCache);
    refuseNonFinite(model, control);
    Transformer transformer(model, backend);
    EvaluateResult result;
    const auto add = [&](Measurement metric) {
        control.sink().metric(metric);
        result.metrics.push_back(std::move(metric));
    };
    if (!inputs.evaluate.empty()) {
        std::optional<Transformer> baseline;
        if (!request.baselinePath.empty()) {
            const Model other = loadModel(request.baselinePath, &control);
            if (other.tokenizer->toGguf().tokens != model.tokenizer->toGguf().tokens)
                throwBadInput(request.baselinePath, "its tokenizer differs from that of " +
                                                        request.modelPath +
                                                        ": their predictions cannot be compared");
            baseline.emplace(other, backend);
        }
        const std::string text = readText(inputs.evaluate);
        control.beginPhase("Evaluating", inputs.tasks.empty() ? 0.9 : 0.6);
        const std::vector<TextWindow> windows =
            makeWindows(*model.tokenizer, text, request.measure);
        const TextScores scores =
            scoreText(transformer, baseline ? &*baseline : nullptr, windows, control);
        const std::string protocol = accuracyProtocol(request.measure, textHash(text));
        for (Measurement& metric : summarize(scores, protocol, transformer.native()))
            add(std::move(metric));
        result.trace = traceOf(scores, windows, *model.tokenizer, protocol);
    }
    if (!inputs.tasks.empty()) {
        control.beginPhase("Answering tasks", 0.3);
        add(taskAccuracy(
            scoreTasks(transformer, *model.tokenizer, readTasks(inputs.tasks), control),
            transformer.native()));
    }
    return result;
}

namespace {

// Logits of a short text by both models; what the format may differ by depends on whether it kept
// the codes.
ExportCheck compareLogits(const Model& before, const Model& after, bool lossy, Backend& backend,
                          RunControl& control) {
    std::vector<std::int32_t> ids = before.tokenizer->encode(
        "The quick brown fox jumps over the lazy dog. 12 + 30 = 42.", true);
    if (ids.empty())
        ids.push_back(0);
    const auto run = [&](const Model& model) {
        Transformer transformer(model, backend);
        KvCache cache = transformer.makeCache(static_cast<std::int64_t>(ids.size()));
        transformer.forward(ids, cache, &control);
        const float* logits = transformer.lastLogits();
        return std::vector<float>(logits, logits + model.config.vocabularySize);
    };
    const std::vector<float> a = run(before), b = run(after);
    const auto [lowest, highest] = std::minmax_element(a.begin(), a.end());
    double largest = 0;
    bool finite = true;
    for (std::size_t i = 0; i < a.size(); ++i) {
        largest = std::max(largest, std::fabs(static_cast<double>(a[i]) - b[i]));
        finite = finite && std::isfinite(b[i]);
    }
    const double range = std::max(1e-6, static_cast<double>(*highest) - *lowest);
    const double tolerance = lossy ? 0.25 : 5e-3;
    char text[160];
    std::snprintf(
        text, sizeof text, "largest difference %.2g of the logits' range (%s: at most %.2g)",
        largest / range, lossy ? "the format rounds the weights again" : "same weights", tolerance);
    return {"logits", finite && largest / range <= tolerance, text};
}

}  // namespace

ExportReport exportAndVerify(const ExportRequest& request, Backend& backend, RunControl& control) {
    control.beginPhase("Loading", 0.1);
    const Model model = loadModel(request.modelPath, &control);
    refuseNonFinite(model, control);
    std::optional<ImportanceMatrix> importance;
    std::optional<Model> calibrated;
    if (!request.calibration.empty()) {
        const std::optional<kernels::WeightFormat> base = kQuantBase(request.format);
        if (!base)
            throw EngineError(ErrorKind::Usage,
                              "a calibration text is of use for K-quants only, "
                              "not for " +
                                  request.format);
        const CalibrationText text =
            sampleCalibration(*model.tokenizer, request.calibration, request.calibrationTokens,
                              std::min<std::int64_t>(512, model.config.contextLength), 1);
        control.beginPhase("Measuring importance", 0.1);
        importance = measureImportance(model, text, backend, control);
        control.beginPhase("Choosing codes", 0.4);
        calibrated = withKQuantCodes(model, *base, text, backend, control);
    }
    const Model& chosen = calibrated ? *calibrated : model;
    control.beginPhase("Writing", (request.verify ? 0.6 : 0.9) - (importance ? 0.5 : 0));
    ExportReport report = exportModel(chosen, request.format, request.outPath, control,
                                      importance ? &*importance : nullptr);
    if (calibrated)
        report.lossy.push_back("the layers' weights in full: they are quantized under " +
                               std::to_string(request.calibrationTokens) +
                               " tokens of the calibration text");
    if (!request.verify)
        return report;
    control.beginPhase("Verifying", 0.3);
    verifyExport(chosen, report, control);
    report.checks.push_back(compareLogits(model, loadModel(report.path, &control),
                                          !report.lossy.empty(), backend, control));
    return report;
}

std::optional<SpeculativeSetup> requestedSetup(const std::string& draft,
                                               const std::string& draftTokens,
                                               const std::string& tree, const Model& model,
                                               Backend& backend, RunControl& control) {
    if (draft == "none" || (draft.empty() && !model.speculative)) {
        if (!draftTokens.empty() || !tree.empty())
            throw EngineError(ErrorKind::Usage,
                              "a number of draft tokens or a tree of them needs a draft");
        return std::nullopt;
    }
    if (!draft.empty())
        return makeSetup({draft, draftTokens, tree}, model, backend, {}, control);
    SpeculativeSetup setup = *model.speculative;
    if (!draftTokens.empty()) {
        fixedDraftTokens(draftTokens);
        setup.draftTokens = draftTokens;
    }
    if (!tree.empty()) {
        draftTree(tree);
        setup.tree = tree;
    }
    return setup;
}

GenerateReport generateText(const GenerateRequest& request, Backend& backend, RunControl& control) {
    control.beginPhase("Loading", 0.1);
    Model model = loadModel(request.modelPath, &control);
    if (!request.kvCache.empty())
        model.config.kvType = kvTypeNamed(request.kvCache);
    Transformer transformer(model, backend);
    GenerateOptions options;
    options.maxNewTokens = request.maxNewTokens;
    options.sampling.temperature = request.temperature;
    options.sampling.topK = request.topK;
    options.sampling.topP = request.topP;
    options.sampling.minP = request.minP;
    options.sampling.seed = request.seed;
    std::unique_ptr<Proposer> proposer;
    std::unique_ptr<DraftLength> length;
    if (const auto setup = requestedSetup(request.draft, request.draftTokens, request.draftTree,
                                          model, backend, control)) {
        proposer = makeProposer(*setup, model, transformer, backend, backend.pool(), control);
        length = makeDraftLength(*setup);
        options.proposer = proposer.get();
        options.draftLength = length.get();
        options.tree = draftTree(setup->tree);
    }
    std::optional<ChatFormat> format;
    if (request.chat) {
        format = chatFormatOf(model.tokenizer->chatTemplate());
        if (!format)
            control.info(model.tokenizer->chatTemplate().empty()
                             ? "the model has no chat template: the prompt goes in as it is"
                             : "the model's chat template is of no known family: the prompt goes "
                               "in as it is");
    }
    const std::string prompt = format ? applyChatFormat(*format, request.prompt) : request.prompt;
    control.beginPhase("Generating", 0.9);
    GenerateReport report =
        generate(transformer, *model.tokenizer, model.tokenizer->encode(prompt, true), options,
                 control, [&](const std::string& piece, const std::vector<TokenPiece>& tokens) {
                     control.sink().tokens(piece, tokens);
                 });
    if (format)
        report.chatFormat = chatFormatName(*format);
    return report;
}

}  // namespace fettle
