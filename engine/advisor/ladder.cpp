#include "engine/advisor/ladder.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "engine/advisor/candidates.h"

namespace fettle {

namespace {

/// Tokens of an evaluation below which an interval says too little to choose by.
constexpr std::int64_t kLeastTokens = 1024;
/// What "the whole text" counts as where a share of it is wanted.
constexpr std::int64_t kWholeText = 32768;
/// As many are measured in full.
constexpr std::size_t kFinalists = 2;
constexpr double kFirstShare = 0.25;
constexpr double kLastShare = 0.5;
/// An estimated size may be off; beyond this nobody needs to run it to know.
constexpr double kSizeTolerance = 1.1;

std::string listed(const std::vector<std::string>& items) {
    std::string text;
    for (const std::string& item : items)
        text += (text.empty() ? "" : "; ") + item;
    return text;
}

}  // namespace

const MetricMap& Ladder::baseline() const {
    static const MetricMap none;
    return m_report.rungs.empty() ? none : m_report.rungs.front().metrics;
}

AdvisorTrial Ladder::trial(const std::string& stage, const Recipe& recipe, double share) const {
    AdvisorTrial trial{stage, recipe, m_goal.inputs, m_goal.measure, share};
    trial.measure.speed = true;
    if (trial.inFull())
        return trial;
    trial.recipe = withTokenShare(recipe, share);
    const std::int64_t whole = m_goal.measure.maxTokens > 0 ? m_goal.measure.maxTokens : kWholeText;
    trial.measure.maxTokens = std::min(
        whole,
        std::max(kLeastTokens, static_cast<std::int64_t>(static_cast<double>(whole) * share)));
    trial.measure.repeats = 1;
    if (!m_goal.targets.minTaskAccuracy)
        trial.inputs.tasks.clear();
    return trial;
}

bool Ladder::estimate(const AdvisorTrial& trial, RecipeEstimate& estimate) {
    const auto found = m_known.estimates.find(trialKey(trial));
    if (found == m_known.estimates.end()) {
        m_report.question = AdvisorQuestion{AdvisorQuestion::Kind::Estimate, trial, secondsLeft()};
        return false;
    }
    estimate = found->second;
    return true;
}

std::size_t Ladder::place(const AdvisorTrial& trial, AdvisorRung::State state) {
    const std::string key = trialKey(trial);
    for (std::size_t i = 0; i < m_report.rungs.size(); ++i)
        if (m_report.rungs[i].state == AdvisorRung::State::Waiting &&
            trialKey(m_report.rungs[i].trial) == key) {
            m_report.rungs[i].state = state;
            return i;
        }
    AdvisorRung& rung = m_report.rungs.emplace_back();
    rung.state = state;
    rung.trial = trial;
    rung.title = candidateTitle(trial.recipe, trial.stage);
    if (const auto found = m_known.estimates.find(key); found != m_known.estimates.end())
        rung.estimate = found->second;
    return m_report.rungs.size() - 1;
}

void Ladder::fill(AdvisorRung& rung, const AdvisorOutcome& outcome) const {
    rung.experiment = outcome.experiment;
    rung.reused = outcome.reused;
    rung.metrics = outcome.metrics;
    rung.seconds = outcome.seconds;
    const auto known = [&](const char* metric) {
        const double value = valueOf(outcome.metrics, metric);
        return std::isfinite(value) ? value : 0;
    };
    rung.tokens = known("calibration_tokens") + known("training_tokens");
    rung.peakBytes = std::max(known("run_peak_bytes"), known("optimize_peak_bytes"));
    if (outcome.status != ExperimentStatus::Finished) {
        rung.reason = outcome.error.empty() ? toString(outcome.status) : outcome.error;
        return;
    }
    const bool isBaseline = rung.trial.recipe.steps.empty();
    rung.checks = checkTargets(m_goal.targets, rung.metrics, isBaseline ? rung.metrics : baseline(),
                               isBaseline);
}

bool Ladder::measure(const AdvisorTrial& trial, std::size_t& rung) {
    const auto found = m_known.outcomes.find(trialKey(trial));
    if (found == m_known.outcomes.end() && secondsLeft() <= 0) {
        rung = place(trial, AdvisorRung::State::Skipped);
        m_report.rungs[rung].reason =
            "the budget of " + formatDuration(m_goal.minutes * 60) + " is used up";
        return true;
    }
    if (found == m_known.outcomes.end()) {
        rung = place(trial, AdvisorRung::State::Running);
        m_report.question = AdvisorQuestion{AdvisorQuestion::Kind::Run, trial, secondsLeft()};
        return false;
    }
    const AdvisorOutcome& outcome = found->second;
    rung = place(trial, outcome.status == ExperimentStatus::Finished ? AdvisorRung::State::Finished
                                                                     : AdvisorRung::State::Failed);
    AdvisorRung& placed = m_report.rungs[rung];
    fill(placed, outcome);
    if (!m_counted.insert(trialKey(trial)).second)
        return true;
    m_report.seconds += placed.seconds;
    if (placed.estimate && placed.state == AdvisorRung::State::Finished &&
        placed.estimate->seconds > 0) {
        Pace& pace = m_pace[trial.stage];
        pace.measured += placed.seconds;
        pace.estimated += placed.estimate->seconds;
    }
    return true;
}

double Ladder::secondsLeft() const {
    return m_goal.minutes > 0 ? m_goal.minutes * 60 - m_report.seconds
                              : std::numeric_limits<double>::infinity();
}

double Ladder::expectedSeconds(const std::string& stage, const RecipeEstimate& estimate) const {
    const auto pace = m_pace.find(stage);
    return estimate.seconds *
           (pace == m_pace.end() ? 1 : pace->second.measured / pace->second.estimated);
}

void Ladder::decide(const std::string& stage, const std::string& text) {
    m_report.decisions.push_back({stage, text});
}

void Ladder::skip(const std::string& stage, const std::string& title, const std::string& reason) {
    AdvisorRung& rung = m_report.rungs.emplace_back();
    rung.state = AdvisorRung::State::Skipped;
    rung.trial.stage = stage;
    rung.title = title;
    rung.reason = reason;
    decide(stage, title + " is left out: " + reason + ".");
}

bool Ladder::better(const AdvisorRung& a, const AdvisorRung& b) const {
    const auto order = [&](const AdvisorRung& r) {
        const double speed = valueOf(r.metrics, "decode_tokens_per_s");
        return std::tuple(r.violation(), lossOf(r), std::isfinite(speed) ? -speed : 0.0);
    };
    return order(a) < order(b);
}

std::vector<std::size_t> Ladder::inFull() const {
    std::vector<std::size_t> indices;
    for (std::size_t i = 0; i < m_report.rungs.size(); ++i)
        if (m_report.rungs[i].state == AdvisorRung::State::Finished &&
            m_report.rungs[i].trial.inFull())
            indices.push_back(i);
    return indices;
}

/// Leaves out what cannot run, what would be too large, and what the budget has no time for; says
/// so with the estimates.
bool Ladder::affordable(const std::string& stage, std::vector<Recipe>& candidates) {
    struct Candidate {
        Recipe recipe;
        double seconds;
    };
    std::vector<Candidate> kept;
    std::vector<std::string> tooLarge;
    double total = 0;
    // What lies in the files and not in memory while the model runs, such as an embedding that is
    // only looked up: no recipe makes it count.
    const double apart = valueOf(baseline(), "file_bytes") - valueOf(baseline(), "weight_bytes");
    const double idleBytes = apart > 0 ? apart : 0;
    for (const Recipe& recipe : candidates) {
        RecipeEstimate cost;
        const AdvisorTrial first =
            trial(stage, recipe, candidates.size() > kFinalists ? kFirstShare : 1);
        if (!estimate(first, cost))
            return false;
        const std::string title = candidateTitle(recipe, stage);
        if (!cost.problems.empty()) {
            skip(stage, title, listed(cost.problems));
            continue;
        }
        const double bytes = static_cast<double>(cost.outputBytes);
        const std::pair<const std::optional<double>&, double> sizes[] = {
            {m_goal.targets.maxMemoryBytes, bytes - idleBytes},
            {m_goal.targets.maxFileBytes, bytes}};
        for (const auto& [limit, size] : sizes)
            if (limit && size > *limit * kSizeTolerance &&
                (tooLarge.empty() || tooLarge.back().rfind(title, 0) != 0))
                tooLarge.push_back(title + " (" + formatBytes(size) + " estimated, at most " +
                                   formatBytes(*limit) + ")");
        if (!tooLarge.empty() && tooLarge.back().rfind(title + " (", 0) == 0)
            continue;
        kept.push_back({recipe, expectedSeconds(stage, cost)});
        total += kept.back().seconds;
    }
    if (!tooLarge.empty())
        decide(stage, "Not run, because they would be too large: " + listed(tooLarge) + ".");
    // The dearest go first, until the first round leaves half of what is left for the ones in full.
    std::vector<std::string> tooDear;
    while (!kept.empty() && total > secondsLeft() / 2) {
        const auto dearest = std::max_element(
            kept.begin(), kept.end(),
            [](const Candidate& a, const Candidate& b) { return a.seconds < b.seconds; });
        total -= dearest->seconds;
        tooDear.push_back(candidateTitle(dearest->recipe, stage) + " (about " +
                          formatDuration(dearest->seconds) + ")");
        kept.erase(dearest);
    }
    if (!tooDear.empty())
        decide(stage, "Not run, because " + formatDuration(std::max(0.0, secondsLeft())) +
                          " of the budget are left: " + listed(tooDear) + ".");
    candidates.clear();
    for (Candidate& candidate : kept)
        candidates.push_back(std::move(candidate.recipe));
    return true;
}

/// Measures all of `alive` at `share`; puts the rungs that finished into `rungs`, best first, and
/// `alive` into the same order.
bool Ladder::round(const std::string& stage, std::vector<Recipe>& alive, double share,
                   std::vector<std::size_t>& rungs) {
    for (const Recipe& recipe : alive)
        place(trial(stage, recipe, share), AdvisorRung::State::Waiting);
    std::vector<std::pair<std::size_t, Recipe>> finished;
    for (const Recipe& recipe : alive) {
        std::size_t index = 0;
        if (!measure(trial(stage, recipe, share), index))
            return false;
        if (rung(index).state == AdvisorRung::State::Finished)
            finished.emplace_back(index, recipe);
        else
            decide(stage,
                   rung(index).title + " did not run to its end: " + rung(index).reason + ".");
    }
    std::stable_sort(finished.begin(), finished.end(), [&](const auto& a, const auto& b) {
        return better(rung(a.first), rung(b.first));
    });
    rungs.clear();
    alive.clear();
    for (auto& [index, recipe] : finished) {
        rungs.push_back(index);
        alive.push_back(std::move(recipe));
    }
    return true;
}

bool Ladder::choose(const std::string& stage, const std::vector<Recipe>& candidates,
                    std::vector<std::size_t>& finals) {
    std::vector<Recipe> alive = candidates;
    if (!affordable(stage, alive))
        return false;
    for (double share = kFirstShare; alive.size() > kFinalists;
         share = std::min(kLastShare, share * 2)) {
        // A second look that would see no more than the first has nothing to say.
        if (share > kFirstShare && trialKey(trial(stage, alive.front(), share)) ==
                                       trialKey(trial(stage, alive.front(), share / 2))) {
            alive.resize(kFinalists);
            break;
        }
        std::vector<std::size_t> rungs;
        const std::size_t before = alive.size();
        if (!round(stage, alive, share, rungs))
            return false;
        const std::size_t keep = std::min(alive.size(), std::max(kFinalists, (before + 1) / 2));
        std::vector<std::string> going, left;
        for (std::size_t i = 0; i < rungs.size(); ++i)
            (i < keep ? going : left)
                .push_back(rung(rungs[i]).title + " (" +
                           resultText(rung(rungs[i]).metrics, baseline()) + ")");
        alive.resize(keep);
        decide(stage, "On " + numberText(share * 100, 0) + "% of the evaluation " +
                          std::to_string(going.size()) + " of " + std::to_string(before) +
                          " go on: " + listed(going) + "." +
                          (left.empty() ? "" : " Left behind: " + listed(left) + "."));
    }
    for (const Recipe& recipe : alive)
        place(trial(stage, recipe, 1), AdvisorRung::State::Waiting);
    for (const Recipe& recipe : alive) {
        std::size_t index = 0;
        if (!measure(trial(stage, recipe, 1), index))
            return false;
        if (rung(index).state != AdvisorRung::State::Finished) {
            decide(stage,
                   rung(index).title + " did not run to its end: " + rung(index).reason + ".");
            continue;
        }
        finals.push_back(index);
        if (rung(index).meets())
            break;
    }
    // What was still to be run when the targets were met is not run any more.
    std::erase_if(m_report.rungs, [](const AdvisorRung& rung) {
        return rung.state == AdvisorRung::State::Waiting;
    });
    std::stable_sort(finals.begin(), finals.end(),
                     [&](std::size_t a, std::size_t b) { return better(rung(a), rung(b)); });
    return true;
}

}  // namespace fettle
