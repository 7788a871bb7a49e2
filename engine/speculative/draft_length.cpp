#include "engine/speculative/draft_length.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace fettle {

namespace {

// Drafting goes on while it promises a little more than what estimates are off by; once it was
// given up it has to promise more.
constexpr double kGivesUp = 1.03, kWorthIt = 1.06;
constexpr double kUpdateUp = 0.15, kUpdateDown = 0.4;  // weights of a new time
constexpr double kMostSurprise = 2;                    // times what was expected
constexpr double kOverallDecay = 0.97;
constexpr double kBinDecay = 0.98;
constexpr double kBinPrior = 4;       // tokens that a bin's guess starts from
constexpr double kFirstSlope = 0.08;  // of one step, per verified token, until it was measured
constexpr double kGainDecay = 0.97;   // of what rounds that drafted gave, from one to the next
constexpr double kMostLost = 0.012;   // of all time
constexpr double kAllowance = 1.0;    // steps that may be lost before any time has passed
constexpr double kMostWon = 4;        // steps of credit that are remembered
constexpr int kFirstDraft = 1;
constexpr int kFirstInterval = 64;  // tokens without drafting before the next try
constexpr int kLastInterval = 1024;
// A small gain is a difference of two times: a plain step is then timed again after some rounds of
// drafting, ever more of them.
constexpr double kSmallGain = 1.2;
constexpr int kLastStep = 128;
// The step behind a prompt finds caches full of other things and may take twice as long as those
// that follow: nothing is judged by it, but by the least of the next few.
constexpr int kFirstSteps = 2, kLeastOfSteps = 4, kLeastOfFirst = 4;
// Machines have slow and fast spells. Drafting is given up only against plain steps of the same
// spell, and what is looked at again gets some rounds, so that its times are of one as well.
constexpr int kFreshRounds = 4, kTryRounds = 3;

/// A running mean that one slow moment of the machine cannot throw off: other work and cold caches
/// make a time longer, never shorter. The least of the first few counts; `expected` bounds it, if
/// that is known.
void update(double& mean, int& seen, double value, double expected = 0) {
    if (seen < kLeastOfFirst) {
        if (expected > 0)
            value = std::min(value, kMostSurprise * expected);
        mean = seen++ == 0 ? value : std::min(mean, value);
        return;
    }
    mean += (value < mean ? kUpdateDown : kUpdateUp) *
            (std::clamp(value, 0.5 * mean, kMostSurprise * mean) - mean);
}

}  // namespace

std::vector<double> DraftLength::reached(const Draft& draft) const {
    const auto size = static_cast<std::size_t>(draft.size());
    std::vector<double> reached(size);
    std::vector<double> left(size + 1, 1);  // of what is not taken by earlier siblings; 0: the text
    for (std::size_t i = 0; i < size; ++i) {
        const DraftNode& node = draft.nodes[i];
        const double parent = node.parent < 0 ? 1 : reached[static_cast<std::size_t>(node.parent)];
        double& rest = left[static_cast<std::size_t>(node.parent) + 1];
        const double chance = chanceOf(node.confidence, draft.guesser);
        reached[i] = parent * rest * chance;
        rest *= 1 - chance;
    }
    return reached;
}

bool DraftLength::more(const Draft& draft) {
    return worth(draft,
                 reached(draft).back() * chanceOf(draft.nodes.back().confidence, draft.guesser),
                 true);
}

bool FixedDraftLength::worth(const Draft& draft, double chance, bool pass) {
    return pass || draft.empty() || chance > std::pow(reached(draft).front(), m_tokens);
}

std::size_t AdaptiveDraftLength::binOf(double confidence) {
    return static_cast<std::size_t>(std::clamp(static_cast<int>(confidence * kBins), 0, kBins - 1));
}

void AdaptiveDraftLength::learnNode(const Draft& draft, int index, bool accepted) {
    const auto at = static_cast<std::size_t>(index);
    const DraftNode& node = draft.nodes[at];
    const bool first =
        std::none_of(draft.nodes.begin(), draft.nodes.begin() + index,
                     [&](const DraftNode& earlier) { return earlier.parent == node.parent; });
    if (first)  // what a chain would have had
        m_all.add(accepted, kOverallDecay);
    m_bins[binOf(node.confidence)].add(accepted, kBinDecay);
}

double AdaptiveDraftLength::chanceOf(double confidence, Guesser) const {
    const Rate& rate = m_bins[binOf(confidence)];
    return (rate.accepted + kBinPrior * m_all.rate()) / (rate.tried + kBinPrior);
}

/// Measured, or on the line through the measured neighbours.
double AdaptiveDraftLength::verifySeconds(int tokens) const {
    const auto at = [this](int i) { return m_verify[static_cast<std::size_t>(i)]; };
    if (at(tokens) > 0)
        return at(tokens);
    int low = 0, high = 0, lower = 0;
    for (int i = 1; i < static_cast<int>(m_verify.size()); ++i) {
        if (at(i) <= 0)
            continue;
        if (i < tokens) {
            lower = low;
            low = i;
        } else if (high == 0) {
            high = i;
        }
    }
    if (low > 0 && high > 0)
        return at(low) + (at(high) - at(low)) * (tokens - low) / (high - low);
    const double step = at(1) > 0 ? at(1) : at(low);
    const double slope =
        lower > 0 ? std::max(0.0, (at(low) - at(lower)) / (low - lower)) : kFirstSlope * step;
    return at(low) + slope * (tokens - low);
}

double AdaptiveDraftLength::bestSpeedup() const {
    double best = 0;
    for (int g = 1; g <= kMostDrafted; ++g)
        best = std::max(best, expectedSpeedup(m_all.rate(), g, m_draftLevel / m_verify[1],
                                              verifySeconds(g + 1) / m_verify[1]));
    return std::max(best, m_tokens / m_steps);  // which knows of trees and of confidence as well
}

double AdaptiveDraftLength::speedupOf(const Draft& draft) const {
    double tokens = 1;
    for (const double reach : reached(draft))
        tokens += reach;
    return tokens * m_verify[1] / verifySeconds(draft.size() + 1);
}

void AdaptiveDraftLength::restart() {
    if (m_emitted > 0)
        m_answer = m_answer > 0 ? 0.5 * (m_answer + m_emitted) : m_emitted;
    m_emitted = 0;
    m_read = false;
    m_settled = false;
}

/// Whether what is left of an answer of the usual length, at what drafting gains lately, is worth
/// reading the text for; else it is read once in a while, to look again.
bool AdaptiveDraftLength::worthReading() const {
    return m_read || m_reading <= 0 || m_reading < kMostLost * (m_elapsed - m_readAt) ||
           (m_answer - m_emitted) * m_verify[1] * (1 - 1 / bestSpeedup()) > m_reading;
}

int AdaptiveDraftLength::most() {
    if (m_plainSteps < kFirstSteps)
        return 0;  // what a plain step takes must be known first
    if (m_retiming > 0)
        return 0;
    if (m_pausedTokens > 0) {
        --m_pausedTokens;
        return 0;
    }
    if (!worthReading())
        return 0;
    if (m_sinceStep >= m_stepInterval && bestSpeedup() < kSmallGain) {
        m_stepInterval = std::min(2 * m_stepInterval, kLastStep);
        return 0;
    }
    const double risk = m_draftLevel + verifySeconds(2) - m_verify[1];
    if (m_balance - risk < -m_share * (kMostLost * m_elapsed + kAllowance * m_verify[1]))
        return 0;
    return m_levelsSeen > 0 ? kMostDrafted : kFirstDraft;
}

bool AdaptiveDraftLength::worth(const Draft& draft, double chance, bool pass) {
    const int g = draft.size();
    if (g >= kMostTreeNodes)
        return false;
    double tokens = 1;
    for (const double reach : reached(draft))
        tokens += reach;
    const double seconds = draft.depth() * m_draftLevel + verifySeconds(g + 1);
    const double cost =
        (pass ? m_draftLevel : 0) + std::max(0.0, verifySeconds(g + 2) - verifySeconds(g + 1));
    return chance * seconds > tokens * cost;
}

void AdaptiveDraftLength::learnPass(const RoundOutcome& round) {
    // The pass behind a prompt takes longer than those that follow, see kFirstSteps.
    if (!std::exchange(m_settled, true) && m_plainSteps >= kFirstSteps)
        return;
    const int drafted = round.verdict ? round.draft->size() : 0;
    const auto tokens = std::min(static_cast<std::size_t>(drafted + 1), m_verify.size() - 1);
    if (drafted == 0 && ++m_plainSteps <= kLeastOfSteps) {
        m_verify[1] = m_plainSteps <= kFirstSteps ? round.verifySeconds
                                                  : std::min(m_verify[1], round.verifySeconds);
        return;
    }
    if (drafted == 0 && m_retiming > 0) {
        m_retimed = m_retimed > 0 ? std::min(m_retimed, round.verifySeconds) : round.verifySeconds;
        if (--m_retiming == 0)
            m_verify[1] = m_retimed;
        return;
    }
    update(m_verify[tokens], m_seen[tokens], round.verifySeconds,
           drafted > 0 && m_verify[1] > 0 ? verifySeconds(drafted + 1) : 0);
}

void AdaptiveDraftLength::learnCosts(const RoundOutcome& round) {
    const int drafted = round.verdict ? round.draft->size() : 0;
    learnPass(round);
    // Reading text gives the first level by the way: what such a round took says nothing about the
    // next one.
    if (drafted > 0 && round.draft->catchUpSeconds <= 0)
        update(m_draftLevel, m_levelsSeen, round.draftSeconds / round.draft->depth());
}

void AdaptiveDraftLength::learn(const RoundOutcome& round) {
    learnCosts(round);
    m_elapsed += round.draftSeconds + round.verifySeconds;
    m_sinceStep = round.verdict ? m_sinceStep + 1 : 0;
    m_emitted += 1;
    if (!round.verdict)
        return;
    m_emitted += static_cast<double>(round.verdict->accepted.size());
    if (!m_read) {
        update(m_reading, m_readings, round.draft->catchUpSeconds);
        m_readAt = m_elapsed;
    }
    for (const int node : round.verdict->accepted)
        learnNode(*round.draft, node, true);
    for (const int node : round.verdict->rejected)
        learnNode(*round.draft, node, false);
    if (m_verify[1] <= 0)
        return;
    const double emitted = static_cast<double>(round.verdict->accepted.size()) + 1;
    // By the running means, so that a moment in which the machine did something else is not held
    // against drafting. Reading the prompt is paid once, whatever comes; reading what a pause left
    // unread belongs to the try.
    const double spent =
        round.draft->depth() * m_draftLevel + verifySeconds(round.draft->size() + 1);
    m_balance += emitted * m_verify[1] - spent - (m_read ? round.draft->catchUpSeconds : 0);
    m_read = true;
    m_balance = std::min(m_balance, kMostWon * m_verify[1]);
    m_tokens = kGainDecay * m_tokens + emitted;
    m_steps = kGainDecay * m_steps + spent / m_verify[1];
    const double best = bestSpeedup();
    if (best >= kWorthIt)
        m_interval = 0;
    if (best >= (m_interval == 0 ? kGivesUp : kWorthIt))
        return;
    if (round.verdict->rejected.empty())
        return;  // a try that came true: look again at once
    if (m_interval == 0 && m_sinceStep > kFreshRounds) {
        m_retiming = kLeastOfSteps;
        m_retimed = 0;
        return;
    }
    if (m_interval > 0 && --m_tries > 0)
        return;
    m_tries = kTryRounds;
    m_interval = m_interval == 0 ? kFirstInterval : std::min(2 * m_interval, kLastInterval);
    m_pausedTokens = m_interval;
}

int EitherDraftLength::most() {
    m_lookupLevels = m_lookup.most();
    m_modelLevels = m_model.most();
    return std::max(m_lookupLevels, m_modelLevels);
}

double EitherDraftLength::chanceOf(double confidence, Guesser guesser) const {
    return (guesser == Guesser::Lookup ? m_lookup : m_model).chanceOf(confidence, guesser);
}

bool EitherDraftLength::worth(const Draft& draft, double chance, bool pass) {
    return of(draft.guesser).worth(draft, chance, pass);
}

void EitherDraftLength::learn(const RoundOutcome& round) {
    const bool drafted = round.verdict != nullptr;
    for (const Guesser guesser : {Guesser::Lookup, Guesser::Model}) {
        if (!drafted || round.draft->guesser == guesser)
            of(guesser).learn(round);
        else
            of(guesser).learnPass(round);
    }
}

int EitherDraftLength::levels(Guesser guesser, int most) const {
    return std::min(most, guesser == Guesser::Lookup ? m_lookupLevels : m_modelLevels);
}

bool EitherDraftLength::prefersLookup(const Draft& draft) const {
    return m_modelLevels < 1 || m_lookup.speedupOf(draft) >= m_model.bestSpeedup();
}

}  // namespace fettle
