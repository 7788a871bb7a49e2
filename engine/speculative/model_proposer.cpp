#include "engine/speculative/model_proposer.h"

#include <algorithm>
#include <cmath>

namespace fettle {

namespace {

/// Room is made in steps, so that a growing text does not ask for a new cache each time.
constexpr std::int64_t kCapacityStep = 256;

struct Guess {
    std::int32_t token = 0;
    double confidence = 0;
    TokenDistribution drawnFrom;
};

Guess guess(Transformer& model, const DraftRequest& request, std::int64_t position) {
    const std::int64_t count = std::min(request.vocabulary, model.config().vocabularySize);
    const float* logits = model.lastLogits();
    if (request.sampling.temperature <= 0) {
        const kernels::RowSummary row = kernels::summarizeLogits(logits, count);
        return {static_cast<std::int32_t>(row.argmax),
                std::exp(logits[row.argmax] - row.logSumExp),
                {}};
    }
    Guess drawn;
    drawn.drawnFrom = nextTokens(logits, count, request.sampling);
    drawn.token = request.chance.draw(drawn.drawnFrom, {Purpose::Draft, position, 0});
    drawn.confidence = drawn.drawnFrom.of(drawn.token);
    return drawn;
}

/// Drafts a chain; `cache` already holds the text, whose last logits are the first guess.
void draftChain(Transformer& model, KvCache& cache, const DraftRequest& request,
                const Transformer::SkippedLayers* skipped, Draft& draft) {
    const auto textSize = static_cast<std::int64_t>(request.text.size());
    while (true) {
        Guess next = guess(model, request, textSize + draft.size());
        draft.add(next.token, draft.size() - 1, next.confidence, std::move(next.drawnFrom));
        if (draft.size() >= request.most || !request.more(draft))
            return;
        model.forward({&next.token, 1}, cache, request.control, skipped);
    }
}

}  // namespace

ModelProposer::ModelProposer(std::string description, std::unique_ptr<Transformer> draft)
    : m_description(std::move(description)), m_draft(std::move(draft)) {}

void ModelProposer::restart() {
    m_cached.clear();
    if (m_cache)
        m_cache->truncate(0);
}

std::uint64_t ModelProposer::bytes() const {
    return m_draft->weightBytes() + (m_cache ? m_cache->bytes() : 0);
}

void ModelProposer::propose(const DraftRequest& request, Draft& draft) {
    const auto textSize = static_cast<std::int64_t>(request.text.size());
    const ModelConfig& config = m_draft->config();
    if (config.learnedPositions && textSize + request.most > config.contextLength)
        return;  // past the last position the draft has
    const std::int64_t needed = textSize + request.most;
    if (!m_cache || m_cache->capacity() < needed) {
        const std::int64_t room = std::max(needed, request.targetCache.capacity());
        m_cache.emplace(
            m_draft->makeCache((room + kCapacityStep - 1) / kCapacityStep * kCapacityStep));
        m_cached.clear();
    }
    // Guesses that came true stay in the cache; the newest token is always run, for its logits.
    const auto same =
        std::mismatch(m_cached.begin(), m_cached.end(), request.text.begin(), request.text.end())
            .first;
    const auto kept = std::min<std::size_t>(static_cast<std::size_t>(same - m_cached.begin()),
                                            request.text.size() - 1);
    m_cache->truncate(static_cast<std::int64_t>(kept));
    m_cached.resize(kept);

    const std::span<const std::int32_t> missing = request.text.subspan(kept);
    const double start = steadySeconds();
    m_draft->forward(missing, *m_cache, request.control);
    // A round of all accepted tokens leaves two to run: the last guess and the target's own token.
    if (missing.size() > 2)
        draft.catchUpSeconds = steadySeconds() - start;
    m_cached.assign(request.text.begin(), request.text.end());
    draftChain(*m_draft, *m_cache, request, nullptr, draft);
    for (int i = 0; i + 1 < draft.size(); ++i)  // the last one was not run
        m_cached.push_back(draft.nodes[static_cast<std::size_t>(i)].token);
}

SelfProposer::SelfProposer(std::string description, Transformer& target,
                           std::unique_ptr<Transformer> cheaper, Transformer::SkippedLayers skipped)
    : m_description(std::move(description)),
      m_target(target),
      m_cheaper(std::move(cheaper)),
      m_skipped(std::move(skipped)) {}

void SelfProposer::propose(const DraftRequest& request, Draft& draft) {
    KvCache& cache = request.targetCache;
    const std::int64_t before = cache.length();
    if (before + request.most > cache.capacity())
        return;
    struct Restore {  // what is drafted here must not stay, whatever ends the drafting
        KvCache& cache;
        std::int64_t length;
        ~Restore() { cache.truncate(length); }
    } restore{cache, before};
    Transformer& model = m_cheaper ? *m_cheaper : m_target;
    const Transformer::SkippedLayers* skipped = m_cheaper ? nullptr : &m_skipped;
    model.forward(request.text.last(1), cache, request.control, skipped);
    draftChain(model, cache, request, skipped, draft);
}

}  // namespace fettle
