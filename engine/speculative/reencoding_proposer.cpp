#include "engine/speculative/reencoding_proposer.h"

#include <algorithm>
#include <cmath>

namespace fettle {

namespace {

/// Tokens before a seam that are encoded again with what follows: a word may be cut elsewhere once
/// its end is known.
constexpr std::size_t kSeam = 8;

std::vector<std::int32_t> lastOf(std::span<const std::int32_t> tokens, std::size_t count) {
    const auto part = tokens.last(std::min(count, tokens.size()));
    return {part.begin(), part.end()};
}

/// What `added` adds to the text of `before`, which it needs for its first space; nothing where the
/// two do not simply follow each other.
std::optional<std::string> addedText(const Tokenizer& tokenizer,
                                     const std::vector<std::int32_t>& before,
                                     std::span<const std::int32_t> added) {
    std::vector<std::int32_t> both = before;
    both.insert(both.end(), added.begin(), added.end());
    const std::string start = tokenizer.decode(before), whole = tokenizer.decode(both);
    if (whole.compare(0, start.size(), start) != 0)
        return std::nullopt;
    return whole.substr(start.size());
}

bool endsInsideCharacter(const std::string& text) {
    std::size_t follow = 0;
    while (follow < text.size() && follow < 4 &&
           (static_cast<unsigned char>(text[text.size() - 1 - follow]) & 0xC0) == 0x80)
        ++follow;
    if (follow == text.size())
        return follow > 0;
    const auto lead = static_cast<unsigned char>(text[text.size() - 1 - follow]);
    const std::size_t needed = lead < 0x80 ? 0 : lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    return follow < needed;
}

}  // namespace

ReencodingProposer::ReencodingProposer(std::string description, std::unique_ptr<Transformer> draft,
                                       std::shared_ptr<const Tokenizer> draftTokenizer,
                                       std::shared_ptr<const Tokenizer> targetTokenizer)
    : m_description(std::move(description)),
      m_draft(std::move(draft)),
      m_draftTokenizer(std::move(draftTokenizer)),
      m_targetTokenizer(std::move(targetTokenizer)) {}

void ReencodingProposer::restart() {
    m_cached.clear();
    m_ids.clear();
    m_read = 0;
    if (m_cache)
        m_cache->truncate(0);
}

std::uint64_t ReencodingProposer::bytes() const {
    return m_draft->weightBytes() + (m_cache ? m_cache->bytes() : 0);
}

/// Brings m_ids up to `text`. False while the text ends inside a character.
bool ReencodingProposer::read(std::span<const std::int32_t> text) {
    const std::span<const std::int32_t> added = text.subspan(m_read);
    std::optional<std::string> piece;
    if (m_read > 0)
        piece = addedText(*m_targetTokenizer, lastOf(text.first(m_read), kSeam), added);
    if (!piece) {  // the beginning, or a seam that does not hold: all of it
        const std::string whole = m_targetTokenizer->decode({text.begin(), text.end()});
        if (endsInsideCharacter(whole))
            return false;
        m_ids = m_draftTokenizer->encode(whole, true);
    } else {
        if (endsInsideCharacter(*piece))
            return false;
        const std::size_t kept = m_ids.size() - std::min(kSeam, m_ids.size());
        const std::vector<std::int32_t> before =
            lastOf(std::span<const std::int32_t>(m_ids).first(kept), kSeam);
        const auto seam = addedText(*m_draftTokenizer, before,
                                    std::span<const std::int32_t>(m_ids).subspan(kept));
        if (!seam || kept == 0) {
            m_ids = m_draftTokenizer->encode(m_targetTokenizer->decode({text.begin(), text.end()}),
                                             true);
        } else {
            m_ids.resize(kept);
            const auto tail = m_draftTokenizer->encode(*seam + *piece, false);
            m_ids.insert(m_ids.end(), tail.begin(), tail.end());
        }
    }
    m_read = text.size();
    return !m_ids.empty();
}

bool ReencodingProposer::catchUp(const DraftRequest& request, Draft& draft) {
    const double start = steadySeconds();
    const auto needed = static_cast<std::int64_t>(m_ids.size()) + 2 * request.most;
    const ModelConfig& config = m_draft->config();
    if (config.learnedPositions && needed > config.contextLength)
        return false;
    if (!m_cache || m_cache->capacity() < needed) {
        m_cache.emplace(m_draft->makeCache(2 * needed));
        m_cached.clear();
    }
    const auto same =
        std::mismatch(m_cached.begin(), m_cached.end(), m_ids.begin(), m_ids.end()).first;
    const std::size_t kept =
        std::min<std::size_t>(static_cast<std::size_t>(same - m_cached.begin()), m_ids.size() - 1);
    m_cache->truncate(static_cast<std::int64_t>(kept));
    const auto missing = std::span<const std::int32_t>(m_ids).subspan(kept);
    m_draft->forward(missing, *m_cache, request.control);
    if (missing.size() > 2 * kSeam)
        draft.catchUpSeconds = steadySeconds() - start;
    m_cached = m_ids;
    return true;
}

/// The draft tokens `said` after `text`, in target tokens.
std::vector<std::int32_t> ReencodingProposer::inTargetTokens(
    std::span<const std::int32_t> text, const std::vector<std::int32_t>& said) const {
    const auto words = addedText(*m_draftTokenizer, lastOf(m_ids, kSeam), said);
    if (!words || words->empty() || endsInsideCharacter(*words))
        return {};
    // With some text before it, since a word is cut by what it begins with; where the text itself
    // would be cut otherwise now, the words alone.
    const std::vector<std::int32_t> before = lastOf(text, kSeam);
    const auto lead = addedText(*m_targetTokenizer,
                                lastOf(text.first(text.size() - before.size()), kSeam), before);
    if (lead) {
        std::vector<std::int32_t> both = m_targetTokenizer->encode(*lead + *words, false);
        if (both.size() > before.size() && std::equal(before.begin(), before.end(), both.begin()))
            return {both.begin() + static_cast<std::ptrdiff_t>(before.size()), both.end()};
    }
    return m_targetTokenizer->encode(*words, false);
}

void ReencodingProposer::propose(const DraftRequest& request, Draft& draft) {
    if (!read(request.text) || !catchUp(request, draft))
        return;
    std::vector<std::int32_t> said;
    double confidence = 1;
    // The draft's choice is the likeliest token whatever the target's sampling: a guess of which
    // nobody drew anything, so rejection needs no distribution of it.
    while (static_cast<int>(said.size()) < 2 * request.most) {
        const float* logits = m_draft->lastLogits();
        const kernels::RowSummary row =
            kernels::summarizeLogits(logits, m_draft->config().vocabularySize);
        const auto token = static_cast<std::int32_t>(row.argmax);
        confidence =
            std::min(confidence, static_cast<double>(std::exp(logits[token] - row.logSumExp)));
        said.push_back(token);
        const std::vector<std::int32_t> tokens = inTargetTokens(request.text, said);
        std::size_t same = 0;  // as before this token
        while (same < tokens.size() && same < draft.nodes.size() &&
               draft.nodes[same].token == tokens[same])
            ++same;
        if (same < draft.nodes.size() && !tokens.empty())
            draft.nodes.resize(same);
        for (std::size_t i = draft.nodes.size(); i < tokens.size() && draft.size() < request.most;
             ++i) {
            if (tokens[i] < 0 || tokens[i] >= request.vocabulary)
                return;
            draft.add(tokens[i], draft.size() - 1, confidence);
        }
        if (!draft.empty() && !request.goesOn(draft))
            return;
        m_draft->forward({&token, 1}, *m_cache, request.control);
        m_cached.push_back(token);
    }
}

}  // namespace fettle
