#include "engine/eval/score_trace.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fettle {

namespace {

constexpr std::size_t kTokensBefore = 16;  // shown in front of a token that suffered

/// Length of `text` without a last character that is not complete.
std::size_t completeLength(const std::string& text) {
    std::size_t lead = text.size();
    for (std::size_t back = 1; back <= std::min<std::size_t>(4, text.size()); ++back) {
        const auto byte = static_cast<unsigned char>(text[text.size() - back]);
        if ((byte & 0xC0) == 0x80)
            continue;
        const std::size_t needed = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
        if (needed > back)
            lead = text.size() - back;
        break;
    }
    return lead;
}

/// What `id` adds to the text after `previous`: some decoders drop a space at the start of a text.
std::string pieceAfter(const Tokenizer& tokenizer, std::int32_t previous, std::int32_t id) {
    const std::string before = tokenizer.decode({previous}, false);
    const std::string both = tokenizer.decode({previous, id}, false);
    return both.size() >= before.size() && both.compare(0, before.size(), before) == 0
               ? both.substr(before.size())
               : tokenizer.decode({id}, false);
}

std::string piece(const Tokenizer& tokenizer, const TextWindow& window, std::size_t at) {
    return at == 0 ? tokenizer.decode({window.ids[0]}, false)
                   : pieceAfter(tokenizer, window.ids[at - 1], window.ids[at]);
}

/// Valid UTF-8, so that it can be stored: what is not becomes U+FFFD.
std::string shown(const std::string& bytes) {
    return nlohmann::json::parse(
               nlohmann::json(bytes).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
        .get<std::string>();
}

std::vector<TraceBlock> blocksOf(const TextScores& scores) {
    const std::size_t windows = scores.windowEnds.size();
    const std::size_t each =
        (windows + EvaluationTrace::kMaxBlocks - 1) / EvaluationTrace::kMaxBlocks;
    std::vector<TraceBlock> blocks;
    std::size_t at = 0;
    for (std::size_t w = 0; w < windows; ++w) {
        if (w % each == 0)
            blocks.emplace_back();
        TraceBlock& block = blocks.back();
        for (; at < scores.windowEnds[w]; ++at) {
            ++block.tokens;
            block.nll += scores.nll[at];
            if (scores.hasBaseline()) {
                block.kl += scores.kl[at];
                block.sameTop += scores.sameTop[at] ? 1 : 0;
            }
        }
    }
    return blocks;
}

std::vector<TraceToken> firstTokens(const TextScores& scores,
                                    const std::vector<TextWindow>& windows,
                                    const Tokenizer& tokenizer) {
    std::vector<TraceToken> tokens;
    std::size_t at = 0;
    for (const TextWindow& window : windows) {
        std::string open;  // bytes of a character that is not complete
        for (std::size_t i = 0; i < window.ids.size(); ++i) {
            if (tokens.size() == EvaluationTrace::kMaxTokens)
                return tokens;
            TraceToken token;
            const std::string bytes = open + piece(tokenizer, window, i);
            const std::size_t length = completeLength(bytes);
            open = bytes.substr(length);
            token.text = shown(bytes.substr(0, length));
            token.scored = static_cast<std::int64_t>(i) >= window.firstScored;
            if (token.scored) {
                token.nll = scores.nll[at];
                if (scores.hasBaseline()) {
                    token.baselineNll = scores.baselineNll[at];
                    token.kl = scores.kl[at];
                }
                ++at;
            }
            tokens.push_back(std::move(token));
        }
    }
    return tokens;
}

WorstToken worstAt(const TextScores& scores, const TextWindow& window, std::size_t inWindow,
                   std::size_t at, const Tokenizer& tokenizer) {
    WorstToken token;
    token.position = static_cast<std::int64_t>(at);
    const std::size_t first = inWindow > kTokensBefore ? inWindow - kTokensBefore : 0;
    const auto begin = window.ids.begin();
    token.before = shown(
        tokenizer.decode(std::vector<std::int32_t>(begin + static_cast<std::ptrdiff_t>(first),
                                                   begin + static_cast<std::ptrdiff_t>(inWindow)),
                         true));
    token.text = shown(piece(tokenizer, window, inWindow));
    token.kl = scores.kl[at];
    token.probability = std::exp(-scores.nll[at]);
    token.baselineProbability = std::exp(-scores.baselineNll[at]);
    const std::int32_t previous = window.ids[inWindow - 1];
    token.top = shown(pieceAfter(tokenizer, previous, scores.top[at].id));
    token.topProbability = scores.top[at].probability;
    token.baselineTop = shown(pieceAfter(tokenizer, previous, scores.baselineTop[at].id));
    token.baselineTopProbability = scores.baselineTop[at].probability;
    return token;
}

std::vector<WorstToken> worstTokens(const TextScores& scores,
                                    const std::vector<TextWindow>& windows,
                                    const Tokenizer& tokenizer) {
    std::vector<std::size_t> order(scores.kl.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::size_t kept = std::min(order.size(), EvaluationTrace::kMaxWorst);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(),
                      [&](std::size_t a, std::size_t b) {
                          return scores.kl[a] != scores.kl[b] ? scores.kl[a] > scores.kl[b] : a < b;
                      });
    std::vector<WorstToken> worst;
    for (std::size_t rank = 0; rank < kept; ++rank) {
        const std::size_t at = order[rank];
        const auto end = std::upper_bound(scores.windowEnds.begin(), scores.windowEnds.end(), at);
        const std::size_t w = static_cast<std::size_t>(end - scores.windowEnds.begin());
        const std::size_t start = w == 0 ? 0 : scores.windowEnds[w - 1];
        worst.push_back(worstAt(scores, windows[w],
                                at - start + static_cast<std::size_t>(windows[w].firstScored), at,
                                tokenizer));
    }
    return worst;
}

}  // namespace

EvaluationTrace traceOf(const TextScores& scores, const std::vector<TextWindow>& windows,
                        const Tokenizer& tokenizer, const std::string& protocol) {
    EvaluationTrace trace;
    trace.protocol = protocol;
    trace.hasBaseline = scores.hasBaseline();
    trace.blocks = blocksOf(scores);
    trace.tokens = firstTokens(scores, windows, tokenizer);
    if (trace.hasBaseline)
        trace.worst = worstTokens(scores, windows, tokenizer);
    return trace;
}

}  // namespace fettle
