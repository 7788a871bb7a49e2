#include "engine/advisor/advisor.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "engine/advisor/candidates.h"
#include "engine/advisor/conclusion.h"
#include "engine/advisor/ladder.h"

namespace fettle {

namespace {

/// Share of the remaining budget that one training in full may take.
constexpr double kTrainingShare = 0.5;
/// Trained for less than this share of its default, a model says nothing about the technique.
constexpr double kLeastTraining = 0.125;

class Advisor {
public:
    Advisor(const AdvisorGoal& goal, const std::vector<TechniqueDescriptor>& techniques,
            const AdvisorKnowledge& known)
        : m_goal(goal), m_techniques(techniques), m_ladder(goal, known) {}

    AdvisorReport climb() {
        using Stage = bool (Advisor::*)();
        for (const Stage stage : {&Advisor::baseline, &Advisor::ptq, &Advisor::training,
                                  &Advisor::drafting, &Advisor::pruning}) {
            if (!(this->*stage)())
                return std::move(m_ladder.report());
            if (m_stop || met())
                break;
        }
        conclude(m_ladder);
        return std::move(m_ladder.report());
    }

private:
    bool met() const {
        const std::vector<std::size_t> rungs = m_ladder.inFull();
        return std::any_of(rungs.begin(), rungs.end(),
                           [&](std::size_t i) { return m_ladder.rung(i).meets(); });
    }

    bool baseline() {
        std::size_t index = 0;
        if (!m_ladder.measure(m_ladder.trial("baseline", {{}, {}, m_goal.seed}, 1), index))
            return false;
        const AdvisorRung& rung = m_ladder.rung(index);
        if (rung.state != AdvisorRung::State::Finished) {
            m_ladder.decide("baseline", "The model as it is could not be measured: " + rung.reason +
                                            "; without it nothing can be compared.");
            m_stop = true;
        } else if (rung.meets()) {
            m_ladder.decide("baseline", "The model as it is holds every target: " + checks(rung) +
                                            ". Nothing has to be done.");
        } else {
            m_ladder.decide("baseline", "The model as it is: " + checks(rung) + ".");
        }
        return true;
    }

    bool ptq() {
        const TechniqueDescriptor* technique = findDescriptor(m_techniques, "ptq");
        if (!technique) {
            m_ladder.skip("ptq", "Post-training quantization", absent("ptq"));
            return true;
        }
        if (!m_ladder.choose("ptq", ptqCandidates(*technique, m_goal), m_quantized))
            return false;
        sayBest("ptq", m_quantized);
        return true;
    }

    /// The quantized model that training could save: what it misses is accuracy more than size or
    /// speed.
    const AdvisorRung* trainable() const {
        const AdvisorRung* best = nullptr;
        const auto order = [](const AdvisorRung& r) {
            return std::tuple(
                violationOf(r.checks, TargetKind::Size) + violationOf(r.checks, TargetKind::Speed),
                violationOf(r.checks, TargetKind::Accuracy), lossOf(r));
        };
        for (const std::size_t index : m_quantized)
            if (!best || order(m_ladder.rung(index)) < order(*best))
                best = &m_ladder.rung(index);
        return best;
    }

    bool training() {
        const bool qat = findDescriptor(m_techniques, "qat"),
                   qad = findDescriptor(m_techniques, "qad");
        const std::string stage = qad || !qat ? "qad" : "qat";
        if (!qat && !qad) {
            m_ladder.skip("qat", "Training (qat, qad)", absent("qat") + " and none named qad");
            return true;
        }
        const AdvisorRung* base = trainable();
        if (!base) {
            m_ladder.skip(stage, "Training (qat, qad)", "there is no quantized model to train");
            return true;
        }
        const double tokens = defaultTokens(*findDescriptor(m_techniques, stage));
        const std::vector<Recipe> usual =
            trainingCandidates(m_techniques, base->trial.recipe, tokens, m_goal);
        RecipeEstimate cost;
        if (!m_ladder.estimate(m_ladder.trial(stage, usual.front(), 1), cost))
            return false;
        const double seconds = m_ladder.expectedSeconds(stage, cost);
        const std::string minutes = formatDuration(seconds);
        if (const std::string reason = notWorthTraining(*base, minutes); !reason.empty()) {
            m_ladder.skip(stage, "Training (qat, qad)", reason);
            return true;
        }
        const double share = shareOf(seconds);
        if (share < kLeastTraining) {
            m_ladder.skip(stage, "Training (qat, qad)", tooDear(seconds));
            return true;
        }
        m_ladder.decide(stage, base->title + " misses accuracy (" + lossText(base->metrics) +
                                   ", more than chance): it is trained for " +
                                   formatMetric("training_tokens", std::floor(tokens * share)) +
                                   ", about " + formatDuration(seconds * share) + " in full.");
        std::vector<std::size_t> finals;
        if (!m_ladder.choose(stage,
                             trainingCandidates(m_techniques, base->trial.recipe,
                                                std::floor(tokens * share), m_goal),
                             finals))
            return false;
        sayBest(stage, finals);
        m_quantized.insert(m_quantized.end(), finals.begin(), finals.end());
        return true;
    }

    std::string notWorthTraining(const AdvisorRung& base, const std::string& minutes) const {
        const bool klMissed =
            std::any_of(base.checks.begin(), base.checks.end(),
                        [](const TargetCheck& c) { return c.name == "max-kl" && !c.met; });
        const std::string worth = ", so training is not worth its " + minutes + " (estimate)";
        if (!lossIsSignificant(base.metrics) && !klMissed)
            return "the loss of " + base.title + " is not significant (" + lossText(base.metrics) +
                   ")" + worth;
        if (violationOf(base.checks, TargetKind::Accuracy) <= 0)
            return base.title + " holds the accuracy targets (" + lossText(base.metrics) +
                   "); training makes a model neither smaller nor faster" + worth;
        return {};
    }

    /// The fastest of those that miss speed alone; else the one that misses least beside it.
    const AdvisorRung* draftable() const {
        const AdvisorRung* best = nullptr;
        const auto order = [](const AdvisorRung& r) {
            return std::tuple(violationOf(r.checks, TargetKind::Size) +
                                  violationOf(r.checks, TargetKind::Accuracy),
                              -valueOf(r.metrics, "decode_tokens_per_s"));
        };
        for (const std::size_t index : m_ladder.inFull())
            if (!best || order(m_ladder.rung(index)) < order(*best))
                best = &m_ladder.rung(index);
        return best;
    }

    bool drafting() {
        const std::string title = "Speculative decoding";
        if (!findDescriptor(m_techniques, "speculative")) {
            m_ladder.skip("speculative", title, absent("speculative"));
            return true;
        }
        if (!m_goal.targets.minSpeedup) {
            m_ladder.skip("speculative", title,
                          "it changes nothing but speed, and no speed is asked for");
            return true;
        }
        const AdvisorRung* base = draftable();
        if (violationOf(base->checks, TargetKind::Speed) <= 0) {
            m_ladder.skip("speculative", title,
                          base->title + " is fast enough (" +
                              resultText(base->metrics, m_ladder.baseline()) +
                              "); what it misses is not speed");
            return true;
        }
        m_ladder.decide("speculative", "Drafts are tried on " + base->title + " (" +
                                           resultText(base->metrics, m_ladder.baseline()) +
                                           "): the text stays the same, only the speed changes.");
        std::vector<Recipe> candidates = draftCandidates(base->trial.recipe, m_goal);
        std::vector<std::size_t> finals;
        if (!addHead(Recipe(base->trial.recipe), candidates) ||
            !m_ladder.choose("speculative", candidates, finals))
            return false;
        sayBest("speculative", finals);
        if (!finals.empty())
            sayWhetherDraftPays(m_ladder.rung(finals.front()));
        return true;
    }

    /// An EAGLE head beside the drafts that cost nothing to make, trained for as long as the budget
    /// allows. False: the report asks.
    bool addHead(const Recipe& base, std::vector<Recipe>& candidates) {
        const std::string title = "EAGLE head";
        const TechniqueDescriptor* eagle = findDescriptor(m_techniques, "eagle");
        const std::string refusal = eagle ? headRefusal(m_goal) : absent("eagle");
        if (!refusal.empty()) {
            m_ladder.skip("speculative", title, refusal);
            return true;
        }
        const double tokens = defaultTokens(*eagle);
        RecipeEstimate cost;
        if (!m_ladder.estimate(
                m_ladder.trial("speculative", headCandidate(*eagle, base, tokens, m_goal), 1),
                cost))
            return false;
        const double seconds = m_ladder.expectedSeconds("speculative", cost),
                     share = shareOf(seconds);
        if (share < kLeastTraining) {
            m_ladder.skip("speculative", title, tooDear(seconds));
            return true;
        }
        m_ladder.decide("speculative",
                        "There is no draft model: an EAGLE head is tried as well, trained for " +
                            formatMetric("training_tokens", std::floor(tokens * share)) +
                            ", about " + formatDuration(seconds * share) + " in full.");
        candidates.push_back(headCandidate(*eagle, base, std::floor(tokens * share), m_goal));
        return true;
    }

    /// Of a training that takes `seconds`, what the budget allows.
    double shareOf(double seconds) const {
        return std::min(1.0, m_ladder.secondsLeft() * kTrainingShare / std::max(1e-9, seconds));
    }
    std::string tooDear(double seconds) const {
        return "it takes about " + formatDuration(seconds) + " and " +
               formatDuration(std::max(0.0, m_ladder.secondsLeft())) + " of the budget are left";
    }

    void sayWhetherDraftPays(const AdvisorRung& rung) {
        const double speedup = valueOf(rung.metrics, "speedup");
        if (std::isfinite(speedup))
            m_ladder.decide(
                "speculative",
                "Drafting " +
                    std::string(speedup > 1 ? "pays: " : "does not pay on this machine: ") +
                    formatMetric("speedup", speedup) + " plain decoding of the same model, " +
                    formatMetric("acceptance_rate", valueOf(rung.metrics, "acceptance_rate")) +
                    " of the drafted tokens accepted.");
    }

    /// What is done after pruning: the quantization that loses least among those measured, and
    /// where none of them is small enough the strongest there is, since both together may be.
    std::vector<Recipe> quantizationsAfterPruning() const {
        const AdvisorRung* best = nullptr;
        bool smallEnough = !m_goal.targets.size();
        for (const std::size_t index : m_quantized) {
            const AdvisorRung& rung = m_ladder.rung(index);
            if (!best || lossOf(rung) < lossOf(*best))
                best = &rung;
            smallEnough = smallEnough || violationOf(rung.checks, TargetKind::Size) <= 0;
        }
        Recipe recipe{{}, {}, m_goal.seed};
        if (best)
            for (const RecipeStep& step : best->trial.recipe.steps)
                if (step.technique == "ptq")
                    recipe.steps.push_back(step);
        std::vector<Recipe> all{recipe};
        const TechniqueDescriptor* ptq = findDescriptor(m_techniques, "ptq");
        if (!smallEnough && ptq)
            if (std::vector<Recipe> offered = ptqCandidates(*ptq, m_goal); !offered.empty())
                if (recipeHash(offered.back()) != recipeHash(recipe))
                    all.push_back(offered.back());
        return all;
    }

    std::vector<Recipe> pruningCandidates(double tokens) const {
        std::vector<Recipe> recipes;
        for (const Recipe& after : quantizationsAfterPruning())
            for (Recipe& recipe : pruneCandidates(m_techniques, after, tokens, m_goal))
                recipes.push_back(std::move(recipe));
        return recipes;
    }

    bool pruning() {
        const std::string title = "Pruning with distillation";
        if (!findDescriptor(m_techniques, "prune")) {
            m_ladder.skip("prune", title, absent("prune"));
            return true;
        }
        if (!m_goal.targets.minSpeedup && !m_goal.targets.size()) {
            m_ladder.skip("prune", title,
                          "what misses is accuracy, which leaving weights out cannot bring back");
            return true;
        }
        const TechniqueDescriptor* distill = findDescriptor(m_techniques, "distill");
        if (!distill)
            m_ladder.decide("prune", "Pruned models are not healed: " + absent("distill") + ".");
        const double tokens = distill ? defaultTokens(*distill) : 0;
        const std::vector<Recipe> usual = pruningCandidates(tokens);
        if (usual.empty()) {
            m_ladder.skip("prune", title, "it offers no method that makes a smaller model");
            return true;
        }
        RecipeEstimate cost;
        if (!m_ladder.estimate(m_ladder.trial("prune", usual.front(), 1), cost))
            return false;
        const double seconds = m_ladder.expectedSeconds("prune", cost), share = shareOf(seconds);
        if (share < kLeastTraining) {
            m_ladder.skip("prune", title, tooDear(seconds));
            return true;
        }
        std::vector<std::size_t> finals;
        if (!m_ladder.choose("prune", pruningCandidates(std::floor(tokens * share)), finals))
            return false;
        sayBest("prune", finals);
        return true;
    }

    void sayBest(const std::string& stage, const std::vector<std::size_t>& finals) {
        if (finals.empty()) {
            m_ladder.decide(stage, "Nothing of this rung was measured in full.");
            return;
        }
        const AdvisorRung& best = m_ladder.rung(finals.front());
        m_ladder.decide(stage, best.title +
                                   (best.meets() ? " holds every target: " : " comes closest: ") +
                                   checks(best) + "; " + costText(best) + ".");
    }

    static std::string checks(const AdvisorRung& rung) {
        std::string text;
        for (const TargetCheck& check : rung.checks)
            text += (text.empty() ? "" : "; ") + check.text + (check.met ? "" : " (missed)");
        return text;
    }
    static std::string costText(const AdvisorRung& rung) {
        return "it cost " + formatDuration(rung.seconds) + ", " +
               formatMetric("training_tokens", rung.tokens) + " of data and " +
               formatBytes(rung.peakBytes) + " of memory";
    }
    static std::string absent(const std::string& technique) {
        return "this build has no technique named " + technique;
    }

    const AdvisorGoal& m_goal;
    const std::vector<TechniqueDescriptor>& m_techniques;
    Ladder m_ladder;
    std::vector<std::size_t> m_quantized;  ///< measured in full, trained ones included
    bool m_stop = false;
};

}  // namespace

AdvisorReport advise(const AdvisorGoal& goal, const std::vector<TechniqueDescriptor>& techniques,
                     const AdvisorKnowledge& known) {
    return Advisor(goal, techniques, known).climb();
}

}  // namespace fettle
