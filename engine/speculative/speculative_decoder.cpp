#include "engine/speculative/speculative_decoder.h"

#include <algorithm>

namespace fettle {

namespace {

void addTo(std::vector<std::int64_t>& sums, const std::vector<std::int64_t>& other) {
    sums.resize(std::max(sums.size(), other.size()));
    for (std::size_t i = 0; i < other.size(); ++i)
        sums[i] += other[i];
}

void increment(std::vector<std::int64_t>& counts, int index) {
    const auto at = static_cast<std::size_t>(index);
    counts.resize(std::max(counts.size(), at + 1));
    ++counts[at];
}

}  // namespace

void SpeculationCounts::add(const SpeculationCounts& other) {
    rounds += other.rounds;
    emitted += other.emitted;
    drafted += other.drafted;
    tried += other.tried;
    accepted += other.accepted;
    draftSeconds += other.draftSeconds;
    verifySeconds += other.verifySeconds;
    catchUpSeconds += other.catchUpSeconds;
    addTo(triedAt, other.triedAt);
    addTo(acceptedAt, other.acceptedAt);
    addTo(roundsOf, other.roundsOf);
}

SpeculativeDecoder::SpeculativeDecoder(Transformer& target, Proposer* proposer, DraftLength* length,
                                       const SamplingOptions& sampling, std::int64_t capacity)
    : m_target(target),
      m_proposer(proposer),
      m_length(length),
      m_sampling(sampling),
      m_chance(sampling.seed),
      m_cache(target.makeCache(capacity)) {}

std::int32_t SpeculativeDecoder::begin(std::span<const std::int32_t> prompt, RunControl& control) {
    m_cache.truncate(0);
    m_counts = {};
    m_text.assign(prompt.begin(), prompt.end());
    m_target.forward(prompt, m_cache, &control);
    const TokenDistribution first =
        nextTokens(m_target.lastLogits(), m_target.config().vocabularySize, m_sampling);
    const auto position = static_cast<std::int64_t>(prompt.size());
    m_text.push_back(m_chance.draw(first, {Purpose::Replace, position, 0}));
    if (m_proposer)
        m_proposer->restart();
    return m_text.back();
}

const Round& SpeculativeDecoder::next(int most, RunControl& control) {
    control.check();
    m_round = {};
    const double start = steadySeconds();
    draft(most - 1, control);
    const double drafted = steadySeconds();
    verify(control);
    m_round.draftSeconds = drafted - start;
    m_round.verifySeconds = steadySeconds() - drafted;
    if (m_length)
        m_length->learn({&m_round.draft, m_round.draft.empty() ? nullptr : &m_round.verdict,
                         m_round.draftSeconds, m_round.verifySeconds});
    count();
    return m_round;
}

void SpeculativeDecoder::draft(int most, RunControl& control) {
    if (!m_proposer || !m_length || most < 1)
        return;
    const int wanted = std::min({most, m_length->most(), kMostDrafted});
    if (wanted < 1)
        return;
    const DraftRequest request{m_text,
                               m_cache,
                               wanted,
                               m_target.config().vocabularySize,
                               m_sampling,
                               m_chance,
                               [this](const Draft& draft) { return m_length->more(draft); },
                               &control};
    m_proposer->propose(request, m_round.draft);
    if (!m_round.draft.isChain())
        throw EngineError(ErrorKind::Internal,
                          m_proposer->description() + " drafted a tree, which needs a tree mask");
}

/// The target's distribution after node `index` of the draft.
TokenDistribution SpeculativeDecoder::row(int index) const {
    const std::int64_t vocabulary = m_target.config().vocabularySize;
    return nextTokens(m_logits.data() + (index + 1) * vocabulary, vocabulary, m_sampling);
}

void SpeculativeDecoder::verify(RunControl& control) {
    m_batch.assign(1, m_text.back());
    for (const DraftNode& node : m_round.draft.nodes)
        m_batch.push_back(node.token);
    const auto position = static_cast<std::int64_t>(m_text.size());
    const std::int64_t vocabulary = m_target.config().vocabularySize;
    const auto rows = static_cast<std::int64_t>(m_batch.size());
    m_logits.resize(std::max(m_logits.size(), static_cast<std::size_t>(rows * vocabulary)));
    m_target.forward(m_batch, m_cache, &control);
    m_target.logits(0, rows, m_logits.data());
    m_round.verdict = judge(
        m_round.draft, [this](int index) { return row(index); }, position, m_chance);
    for (const int node : m_round.verdict.accepted)
        m_round.tokens.push_back(m_round.draft.nodes[static_cast<std::size_t>(node)].token);
    m_round.tokens.push_back(m_round.verdict.next);
    m_text.insert(m_text.end(), m_round.tokens.begin(), m_round.tokens.end());
    m_cache.truncate(static_cast<std::int64_t>(m_text.size()) - 1);
}

void SpeculativeDecoder::count() {
    const Verdict& verdict = m_round.verdict;
    ++m_counts.rounds;
    m_counts.emitted += static_cast<std::int64_t>(m_round.tokens.size());
    m_counts.drafted += m_round.draft.size();
    m_counts.accepted += static_cast<std::int64_t>(verdict.accepted.size());
    m_counts.tried += static_cast<std::int64_t>(verdict.accepted.size() + verdict.rejected.size());
    m_counts.draftSeconds += m_round.draftSeconds;
    m_counts.verifySeconds += m_round.verifySeconds;
    m_counts.catchUpSeconds += m_round.draft.catchUpSeconds;
    increment(m_counts.roundsOf, m_round.draft.size());
    const auto depthOf = [this](int node) {
        return m_round.draft.nodes[static_cast<std::size_t>(node)].depth - 1;
    };
    for (const int node : verdict.accepted) {
        increment(m_counts.triedAt, depthOf(node));
        increment(m_counts.acceptedAt, depthOf(node));
    }
    for (const int node : verdict.rejected)
        increment(m_counts.triedAt, depthOf(node));
    m_counts.acceptedAt.resize(m_counts.triedAt.size());
}

}  // namespace fettle
