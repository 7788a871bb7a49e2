#include "engine/speculative/model_proposer.h"

#include <algorithm>

#include "engine/speculative/tree_drafter.h"

namespace fettle {

namespace {

/// Room is made in steps, so that a growing text does not ask for a new cache each time.
constexpr std::int64_t kCapacityStep = 256;
constexpr std::size_t kMostBetweenRounds = 16;

}  // namespace

ModelProposer::ModelProposer(std::string description, std::unique_ptr<Transformer> draft)
    : m_description(std::move(description)), m_draft(std::move(draft)) {}

void ModelProposer::restart() {
    m_cached.clear();
    m_guesses.clear();
    if (m_cache)
        m_cache->truncate(0);
}

std::uint64_t ModelProposer::bytes() const {
    return m_draft->weightBytes() + (m_cache ? m_cache->bytes() : 0);
}

std::vector<std::int32_t> Guesses::along(std::span<const std::int32_t> text) const {
    std::vector<std::int32_t> path;
    std::int32_t at = -1;
    for (std::size_t i = 0; i < tokens.size() && path.size() < text.size(); ++i) {
        if (parents[i] != at || tokens[i] != text[path.size()])
            continue;
        at = static_cast<std::int32_t>(i);
        path.push_back(at);
    }
    return path;
}

/// Brings the cache to the text and runs what it lacks; the newest token is always run, for its
/// logits. False: the text is past the last position the draft has.
bool ModelProposer::catchUp(const DraftRequest& request, Draft& draft) {
    const double start = steadySeconds();
    const std::span<const std::int32_t> text = request.text;
    const ModelConfig& config = m_draft->config();
    const std::int64_t needed =
        static_cast<std::int64_t>(text.size()) + std::max(request.most, request.nodes);
    if (config.learnedPositions && needed > config.contextLength)
        return false;
    if (!m_cache || m_cache->capacity() < needed) {
        const std::int64_t room = std::max(needed, request.targetCache.capacity());
        m_cache.emplace(
            m_draft->makeCache((room + kCapacityStep - 1) / kCapacityStep * kCapacityStep));
        m_cached.clear();
        m_guesses.clear();
    }
    const auto same =
        std::mismatch(m_cached.begin(), m_cached.end(), text.begin(), text.end()).first;
    std::size_t kept =
        std::min<std::size_t>(static_cast<std::size_t>(same - m_cached.begin()), text.size() - 1);
    if (kept == m_cached.size()) {  // guesses that came true stay
        const std::vector<std::int32_t> path =
            m_guesses.along(text.subspan(kept, text.size() - 1 - kept));
        m_cache->keep(static_cast<std::int64_t>(kept), path);
        kept += path.size();
    }
    m_cache->truncate(static_cast<std::int64_t>(kept));
    const std::span<const std::int32_t> missing = text.subspan(kept);
    m_draft->forward(missing, *m_cache, request.control);
    // A round leaves some tokens to run, more where others guess in between: that is what asking
    // this draft costs. Longer text is read once.
    if (missing.size() > kMostBetweenRounds)
        draft.catchUpSeconds = steadySeconds() - start;
    m_cached.assign(text.begin(), text.end());
    m_guesses.clear();
    return true;
}

void ModelProposer::propose(const DraftRequest& request, Draft& draft) {
    if (catchUp(request, draft))
        draftWithModel(*m_draft, *m_cache, request, nullptr, draft, m_guesses);
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
    if (before + std::max(request.most, request.nodes) > cache.capacity())
        return;
    struct Restore {  // what is drafted here must not stay, whatever ends the drafting
        KvCache& cache;
        std::int64_t length;
        ~Restore() { cache.truncate(length); }
    } restore{cache, before};
    Transformer& model = m_cheaper ? *m_cheaper : m_target;
    const Transformer::SkippedLayers* skipped = m_cheaper ? nullptr : &m_skipped;
    model.forward(request.text.last(1), cache, request.control, skipped);
    Guesses guesses;
    draftWithModel(model, cache, request, skipped, draft, guesses);
}

}  // namespace fettle
