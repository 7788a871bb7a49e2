#include "engine/speculative/draft_length.h"

#include <algorithm>
#include <cmath>

namespace fettle {

namespace {

constexpr double kWorthIt = 1.05;  // a promise below this is not worth the trouble
constexpr double kUpdate = 0.2;    // weight of a new time
constexpr double kOverallDecay = 0.95;
constexpr double kBinDecay = 0.98;
constexpr double kBinPrior = 4;       // tokens that a bin's guess starts from
constexpr double kFirstSlope = 0.08;  // of one step, per verified token, until it was measured
constexpr double kMostLost = 0.015;   // of all time
constexpr double kAllowance = 1.5;    // steps that may be lost before any time has passed
constexpr double kMostWon = 4;        // steps of credit that are remembered
constexpr int kFirstDraft = 1;
constexpr int kFirstInterval = 64;  // tokens without drafting before the next try
constexpr int kLastInterval = 1024;

/// A running mean that one slow moment of the machine cannot throw off.
void update(double& mean, double value) {
    mean = mean <= 0 ? value : mean + kUpdate * (std::clamp(value, 0.5 * mean, 2 * mean) - mean);
}

}  // namespace

double expectedTokens(double acceptance, int drafted) {
    double sum = 1, power = 1;
    for (int i = 0; i < drafted; ++i)
        sum += power *= acceptance;
    return sum;
}

double expectedSpeedup(double acceptance, int drafted, double draftCost, double verifyCost) {
    return expectedTokens(acceptance, drafted) / (drafted * draftCost + verifyCost);
}

std::size_t AdaptiveDraftLength::binOf(double confidence) {
    return static_cast<std::size_t>(std::clamp(static_cast<int>(confidence * kBins), 0, kBins - 1));
}

void AdaptiveDraftLength::learnNode(const DraftNode& node, bool accepted) {
    m_all.add(accepted, kOverallDecay);
    m_bins[binOf(node.confidence)].add(accepted, kBinDecay);
}

double AdaptiveDraftLength::chanceOf(double confidence) const {
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
        best = std::max(best, expectedSpeedup(m_all.rate(), g, m_draftToken / m_verify[1],
                                              verifySeconds(g + 1) / m_verify[1]));
    return best;
}

int AdaptiveDraftLength::most() {
    if (m_verify[1] <= 0)
        return 0;  // what a plain step takes must be known first
    if (m_pausedTokens > 0) {
        --m_pausedTokens;
        return 0;
    }
    const double risk = m_draftToken + verifySeconds(2) - m_verify[1];
    if (m_balance - risk < -(kMostLost * m_elapsed + kAllowance * m_verify[1]))
        return 0;
    return m_draftToken <= 0 && m_verify[2] <= 0 ? kFirstDraft : kMostDrafted;
}

bool AdaptiveDraftLength::more(const Draft& draft) {
    double reached = 1, tokens = 1;
    for (const DraftNode& node : draft.nodes)
        tokens += reached *= chanceOf(node.confidence);
    const int g = draft.size();
    const double seconds = g * m_draftToken + verifySeconds(g + 1);
    const double gain = reached * chanceOf(draft.nodes.back().confidence);
    const double cost = m_draftToken + verifySeconds(g + 2) - verifySeconds(g + 1);
    return gain * seconds > tokens * cost;
}

void AdaptiveDraftLength::learnCosts(const RoundOutcome& round) {
    const int drafted = round.verdict ? round.draft->size() : 0;
    const auto tokens = std::min(static_cast<std::size_t>(drafted + 1), m_verify.size() - 1);
    update(m_verify[tokens], round.verifySeconds);
    if (drafted > 0)
        update(m_draftToken,
               std::max(0.0, round.draftSeconds - round.draft->catchUpSeconds) / drafted);
}

void AdaptiveDraftLength::learn(const RoundOutcome& round) {
    learnCosts(round);
    m_elapsed += round.draftSeconds + round.verifySeconds;
    if (!round.verdict)
        return;
    for (const int node : round.verdict->accepted)
        learnNode(round.draft->nodes[static_cast<std::size_t>(node)], true);
    for (const int node : round.verdict->rejected)
        learnNode(round.draft->nodes[static_cast<std::size_t>(node)], false);
    if (m_verify[1] <= 0)
        return;
    const double emitted = static_cast<double>(round.verdict->accepted.size()) + 1;
    m_balance += emitted * m_verify[1] - round.draftSeconds - round.verifySeconds;
    m_balance = std::min(m_balance, kMostWon * m_verify[1]);
    if (bestSpeedup() >= kWorthIt) {
        m_interval = 0;
        return;
    }
    if (round.verdict->rejected.empty())
        return;  // a try that came true: look again at once
    m_interval = m_interval == 0 ? kFirstInterval : std::min(2 * m_interval, kLastInterval);
    m_pausedTokens = m_interval;
}

}  // namespace fettle
