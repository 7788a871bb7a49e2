#include "engine/speculative/speculative_decoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

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
    levelsTried += other.levelsTried;
    levelsAccepted += other.levelsAccepted;
    for (const auto& [form, theirs] : other.forms) {
        Form& ours = forms[form];
        ours.rounds += theirs.rounds;
        ours.levelsTried += theirs.levelsTried;
        ours.levelsAccepted += theirs.levelsAccepted;
    }
}

SpeculativeDecoder::SpeculativeDecoder(Transformer& target, Proposer* proposer, DraftLength* length,
                                       const SamplingOptions& sampling, std::int64_t capacity,
                                       const DraftTree& tree)
    : m_target(target),
      m_proposer(proposer),
      m_length(length),
      m_sampling(sampling),
      m_chance(sampling.seed),
      m_cache(target.makeCache(capacity)),
      m_tree(tree) {}

std::int32_t SpeculativeDecoder::begin(std::span<const std::int32_t> prompt, RunControl& control) {
    m_cache.truncate(0);
    m_counts = {};
    m_text.assign(prompt.begin(), prompt.end());
    m_target.forward(prompt, m_cache, &control);
    m_text.push_back(nextOf(static_cast<std::int64_t>(prompt.size())));
    m_states.clear();
    if (m_length)
        m_length->restart();
    if (m_proposer) {
        m_proposer->restart();
        std::vector<std::int32_t> rows(prompt.size());
        std::iota(rows.begin(), rows.end(), 0);
        keepStates(rows);
    }
    return m_text.back();
}

/// The token of the target's own at `position`, after the last token run.
std::int32_t SpeculativeDecoder::nextOf(std::int64_t position) {
    if (isGreedy())
        return m_target.likeliestLast();
    const Decision decision{Purpose::Replace, position, 0};
    // Drafts' rules need the whole distribution in double.
    if (!m_target.backend().sharesMemory() && !m_proposer) {
        kernels::cuda::SamplingRule rule;
        rule.temperature = static_cast<float>(m_sampling.temperature);
        rule.topK = m_sampling.topK;
        rule.topP = static_cast<float>(m_sampling.topP);
        rule.minP = static_cast<float>(m_sampling.minP);
        // In float32 the last of the doubles below one would be one.
        const float random =
            std::min(static_cast<float>(m_chance.uniform(decision)), std::nextafter(1.0F, 0.0F));
        if (const std::optional<std::int32_t> id = m_target.drawLast(rule, random))
            return *id;
    }
    return m_chance.draw(
        nextTokens(m_target.lastLogits(), m_target.config().vocabularySize, m_sampling), decision);
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

/// Adds these rows of the last pass to what the proposer has not seen yet.
void SpeculativeDecoder::keepStates(std::span<const std::int32_t> rows) {
    if (!m_proposer || !m_proposer->wantsStates())
        return;
    const auto width = static_cast<std::size_t>(m_target.config().hiddenSize);
    for (std::size_t first = 0, count = 0; first < rows.size(); first += count) {
        count = 1;
        while (first + count < rows.size() &&
               rows[first + count] == rows[first] + static_cast<std::int32_t>(count))
            ++count;
        const std::size_t at = m_states.size();
        m_states.resize(at + count * width);
        m_target.backend().download(
            m_states.data() + at,
            m_target.hiddenStates() + rows[first] * static_cast<std::int64_t>(width),
            count * width * sizeof(float));
    }
}

void SpeculativeDecoder::draft(int most, RunControl& control) {
    if (!m_proposer || !m_length || most < 1)
        return;
    const bool fixed = m_tree.kind == DraftTree::Kind::Fixed;
    int levels = std::min({most, m_length->most(), kMostDrafted});
    if (levels < 1)
        return;
    if (fixed)
        levels = std::min(most, static_cast<int>(m_tree.widths.size()));
    int nodes = levels;
    if (m_tree.kind != DraftTree::Kind::Chain)
        nodes =
            static_cast<int>(std::min<std::int64_t>(fixed ? kMostTreeNodes : m_length->mostNodes(),
                                                    m_cache.capacity() - m_cache.length() - 1));
    const DraftRequest request{
        m_text,     m_cache,  levels,    nodes,  m_target.config().vocabularySize,
        m_sampling, m_chance, *m_length, m_tree, m_states,
        &control};
    m_proposer->propose(request, m_round.draft);
    if (m_round.draft.guesser == Guesser::Model)  // looking up leaves them for the next round
        m_states.clear();
    if (m_round.draft.size() > kMostTreeNodes ||
        m_round.draft.size() > m_cache.capacity() - m_cache.length() - 1)
        throw EngineError(ErrorKind::Internal, m_proposer->description() + " drafted " +
                                                   std::to_string(m_round.draft.size()) +
                                                   " tokens");
}

/// The target's distribution after node `index` of the draft.
TokenDistribution SpeculativeDecoder::row(int index) const {
    const std::int64_t vocabulary = m_target.config().vocabularySize;
    const int row = index < 0 ? 0 : m_rowOf[static_cast<std::size_t>(index)];
    if (isGreedy())
        return TokenDistribution::certain(
            static_cast<std::int32_t>(m_likeliest[static_cast<std::size_t>(row)]));
    return nextTokens(m_logits.data() + row * vocabulary, vocabulary, m_sampling);
}

/// Newest token and draft in the order of the pass: a branch after the other, so that attention
/// goes through each of them at once.
void SpeculativeDecoder::layOut() {
    const std::vector<DraftNode>& nodes = m_round.draft.nodes;
    m_batch.assign(1, m_text.back());
    m_parents.assign(1, -1);
    m_rowOf.assign(nodes.size(), 0);
    std::vector<std::vector<int>> children(nodes.size() + 1);
    for (int i = m_round.draft.size() - 1; i >= 0; --i)
        // -1, the text before the tree, comes first.
        children[static_cast<std::size_t>(nodes[static_cast<std::size_t>(i)].parent) + 1].push_back(
            i);
    std::vector<int> open = children[0];
    while (!open.empty()) {
        const auto node = static_cast<std::size_t>(open.back());
        open.pop_back();
        m_rowOf[node] = static_cast<int>(m_batch.size());
        m_parents.push_back(
            nodes[node].parent < 0 ? 0 : m_rowOf[static_cast<std::size_t>(nodes[node].parent)]);
        m_batch.push_back(nodes[node].token);
        open.insert(open.end(), children[node + 1].begin(), children[node + 1].end());
    }
}

void SpeculativeDecoder::verify(RunControl& control) {
    layOut();
    const bool chain = m_round.draft.isChain();
    const auto position = static_cast<std::int64_t>(m_text.size());
    const std::int64_t vocabulary = m_target.config().vocabularySize;
    const auto rows = static_cast<std::int64_t>(m_batch.size());
    m_target.forward(m_batch, m_cache, &control, nullptr,
                     chain ? std::span<const std::int32_t>() : m_parents);
    if (m_round.draft.empty()) {
        m_round.verdict.next = nextOf(position);
    } else {
        if (isGreedy()) {
            m_likeliest.resize(static_cast<std::size_t>(rows));
            m_target.likeliest(0, rows, m_likeliest.data());
        } else {
            m_logits.resize(std::max(m_logits.size(), static_cast<std::size_t>(rows * vocabulary)));
            m_target.logits(0, rows, m_logits.data());
        }
        m_round.verdict = judge(
            m_round.draft, [this](int index) { return row(index); }, position, m_chance);
    }
    std::vector<std::int32_t> kept{0};
    for (const int node : m_round.verdict.accepted) {
        kept.push_back(m_rowOf[static_cast<std::size_t>(node)]);
        m_round.tokens.push_back(m_round.draft.nodes[static_cast<std::size_t>(node)].token);
    }
    keepStates(kept);
    m_cache.keep(position - 1, kept);
    m_round.tokens.push_back(m_round.verdict.next);
    m_text.insert(m_text.end(), m_round.tokens.begin(), m_round.tokens.end());
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
    const auto depthOf = [this](int node) {
        return m_round.draft.nodes[static_cast<std::size_t>(node)].depth - 1;
    };
    const int depth = m_round.draft.depth();
    const auto accepted = static_cast<std::int64_t>(verdict.accepted.size());
    // A level is tried if there was something to try after what was accepted before.
    const std::int64_t tried =
        accepted +
        (verdict.rejected.empty() || depthOf(verdict.rejected.back()) < accepted ? 0 : 1);
    m_counts.levelsTried += tried;
    m_counts.levelsAccepted += accepted;
    SpeculationCounts::Form& form = m_counts.forms[{depth, m_round.draft.size()}];
    ++form.rounds;
    form.levelsTried += tried;
    form.levelsAccepted += accepted;
    for (const int node : verdict.accepted) {
        increment(m_counts.triedAt, depthOf(node));
        increment(m_counts.acceptedAt, depthOf(node));
    }
    for (const int node : verdict.rejected)
        increment(m_counts.triedAt, depthOf(node));
    m_counts.acceptedAt.resize(m_counts.triedAt.size());
}

}  // namespace fettle
