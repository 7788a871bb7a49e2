#include "engine/job/draft_trials.h"

#include <unistd.h>
#include <atomic>
#include <filesystem>
#include <optional>

#include "engine/job/recipe_runner.h"
#include "engine/speculative/speculation_measure.h"

namespace fettle {

namespace {

namespace fs = std::filesystem;

constexpr double kReadingShare = 0.05, kMakingShare = 0.5;

/// A folder that goes when this does.
class PassingFolder {
public:
    PassingFolder() {
        static std::atomic<unsigned> counter{0};
        m_path = fs::temp_directory_path() /
                 ("fettle-draft-" + std::to_string(getpid()) + "-" + std::to_string(++counter));
        fs::create_directories(m_path);
    }
    ~PassingFolder() {
        std::error_code ignored;
        fs::remove_all(m_path, ignored);
    }
    PassingFolder(const PassingFolder&) = delete;
    PassingFolder& operator=(const PassingFolder&) = delete;
    const fs::path& path() const { return m_path; }

private:
    fs::path m_path;
};

/// What making a draft reports belongs to this job's progress; its metrics are not this job's.
class ProbeSink : public ProgressSink {
public:
    explicit ProbeSink(ProgressSink& sink) : m_sink(sink) {}
    void progress(const JobProgress& progress) override {
        JobProgress scaled = progress;
        scaled.fraction = progress.fraction < 0 ? -1 : kMakingShare * progress.fraction;
        scaled.secondsLeft = -1;
        m_sink.progress(scaled);
    }
    void log(JobLog::Level level, const std::string& text) override { m_sink.log(level, text); }
    void series(const SeriesPoint& point) override { m_sink.series(point); }
    void metric(const Measurement&) override {}
    void stepFinished(const StepReport&) override {}
    void text(const std::string&) override {}

private:
    ProgressSink& m_sink;
};

std::string makeProbe(const DraftTrialRequest& request, const fs::path& folder, Backend& backend,
                      RunControl& control) {
    RunRequest run;
    run.modelPath = request.modelPath;
    run.recipe = draftRecipe(*request.probe);
    run.inputs = resolvedInputs(request.modelPath, request.inputs);
    run.inputs.tasks.clear();
    run.measure = request.measure;
    run.measure.speed = false;
    run.measure.maxTokens = request.measure.context;
    run.artifactFolder = (folder / "probe").string();
    ProbeSink sink(control.sink());
    control.beginPhase("Making a draft", kMakingShare);
    RunControl probing = control.nested(sink);
    return runRecipe(run, backend, probing).artifact->path;
}

class Trials {
public:
    Trials(const DraftTrialRequest& request, Backend& backend, RunControl& control)
        : m_request(request), m_backend(backend), m_control(control) {}

    DraftTrialReport run() {
        std::vector<std::pair<std::string, std::string>> drafts;  // shown, to load
        for (const std::string& draft : m_request.drafts)
            drafts.emplace_back(draft, draft);
        std::optional<PassingFolder> folder;
        if (m_request.probe) {
            folder.emplace();
            const std::string made = makeProbe(m_request, folder->path(), m_backend, m_control);
            const bool heads = m_request.probe->heads();
            drafts.emplace_back("probe", heads ? made + "/" + kDraftFolder : made);
        }
        const std::size_t each = m_request.draftTokens.size() * m_request.trees.size();
        if (drafts.empty() || each == 0)
            throw EngineError(ErrorKind::Usage, "name at least one draft to try");
        m_control.beginPhase("Loading", kReadingShare);
        const Model model = loadModel(m_request.modelPath, &m_control);
        Transformer target(model, m_backend, &m_control);
        m_text = speculationText(resolvedInputs(m_request.modelPath, m_request.inputs).evaluate);
        m_report.model = model.name;
        const double share = (1 - kReadingShare - (m_request.probe ? kMakingShare : 0)) /
                             static_cast<double>(drafts.size() * each);
        for (const auto& [name, path] : drafts)
            for (const std::string& tokens : m_request.draftTokens)
                for (const std::string& tree : m_request.trees) {
                    m_control.beginPhase("Trying " + name, share);
                    tryOne(model, target, {path, tokens, tree});
                    m_report.trials.back().draft = name;
                }
        return std::move(m_report);
    }

private:
    void tryOne(const Model& model, Transformer& target, const DraftWords& words) {
        DraftTrial trial;
        trial.draftTokens = words.draftTokens;
        trial.tree = words.tree;
        try {
            const SpeculativeSetup setup = setupOf(words, model);
            const std::unique_ptr<Proposer> proposer =
                makeProposer(setup, model, target, m_backend, m_backend.pool(), m_control);
            const MeasureOptions& m = m_request.measure;
            SpeculationMeasure measure = measureSpeculation(
                target, model, *proposer, setup, m_text,
                {m.promptTokens, m.newTokens, m.repeats, false, true}, m_control);
            trial = std::move(measure.trial);
            m_report.stepMs = measure.stepMs;
            if (measure.verifyCost.size() > m_report.verifyCost.size())
                m_report.verifyCost = std::move(measure.verifyCost);
        } catch (const EngineError& error) {
            if (error.kind() != ErrorKind::Usage && error.kind() != ErrorKind::BadInput)
                throw;
            trial.refusal = error.what();
        }
        m_report.trials.push_back(std::move(trial));
    }

    /// A draft is loaded, or its layers ranked, once for all its lengths and trees.
    SpeculativeSetup setupOf(const DraftWords& words, const Model& model) {
        if (!m_made || m_madeOf != words.draft) {
            m_made = makeSetup(words, model, m_backend, {}, m_control);
            m_madeOf = words.draft;
            return *m_made;
        }
        const SpeculativeSetup setup = namedDraft(words);
        m_made->draftTokens = setup.draftTokens;
        m_made->tree = setup.tree;
        return *m_made;
    }

    const DraftTrialRequest& m_request;
    Backend& m_backend;
    RunControl& m_control;
    std::string m_text;
    std::optional<SpeculativeSetup> m_made;
    std::string m_madeOf;  ///< the words that named it
    DraftTrialReport m_report;
};

}  // namespace

DraftTrialReport tryDrafts(const DraftTrialRequest& request, Backend& backend,
                           RunControl& control) {
    return Trials(request, backend, control).run();
}

}  // namespace fettle
