#include "engine/speculative/tree_drafter.h"

#include <algorithm>
#include <cmath>

namespace fettle {

namespace {

constexpr int kMostChildren = 8;
constexpr std::size_t kMostExpanded = 8;  // tokens of a level that are continued

/// Guesses at one place that anybody may ask for.
std::size_t mostChildren(const DraftTree& tree) {
    if (tree.kind == DraftTree::Kind::Dynamic)
        return kMostChildren;
    const auto widest = std::max_element(tree.widths.begin(), tree.widths.end());
    return widest == tree.widths.end() ? 1 : static_cast<std::size_t>(std::max(1, *widest));
}

struct Likely {
    std::int32_t token = 0;
    double p = 0;
};

/// The likeliest tokens, ties by their ids.
std::vector<Likely> likeliest(const TokenDistribution& from, std::size_t count) {
    std::vector<Likely> best;
    for (std::size_t i = 0; i < from.p.size(); ++i) {
        if (from.p[i] <= 0 || (best.size() == count && from.p[i] <= best.back().p))
            continue;
        const Likely item{from.idAt(i), from.p[i]};
        const auto at =
            std::upper_bound(best.begin(), best.end(), item,
                             [](const Likely& a, const Likely& b) { return a.p > b.p; });
        best.insert(at, item);
        if (best.size() > count)
            best.pop_back();
    }
    return best;
}

TokenDistribution without(TokenDistribution from, std::int32_t token) {
    double rest = 0;
    for (std::size_t i = 0; i < from.p.size(); ++i) {
        if (from.idAt(i) == token)
            from.p[i] = 0;
        rest += from.p[i];
    }
    for (double& p : from.p)
        p = rest > 0 ? p / rest : 0;
    return rest > 0 ? from : TokenDistribution{};
}

/// `count` children of one place.
void addChildren(const DraftRequest& request, const Continuation& place, int count, Draft& draft,
                 std::vector<int>& added) {
    if (count <= 0)
        return;
    if (request.sampling.temperature <= 0) {
        double left = 1;
        for (const Likely& child : likeliest(place.next, static_cast<std::size_t>(count))) {
            added.push_back(
                draft.add(child.token, place.parent, left > 0 ? std::min(1.0, child.p / left) : 0));
            left -= child.p;
        }
        return;
    }
    const int depth =
        place.parent < 0 ? 0 : draft.nodes[static_cast<std::size_t>(place.parent)].depth;
    const auto position = static_cast<std::int64_t>(request.text.size()) + depth;
    TokenDistribution from = place.next;
    for (int i = 0; i < count && !from.empty(); ++i) {
        const std::int32_t token =
            request.chance.draw(from, {Purpose::Draft, position, draft.size()});
        TokenDistribution rest = without(from, token);
        const double confidence = from.of(token);
        added.push_back(draft.add(token, place.parent, confidence, std::move(from)));
        from = std::move(rest);
    }
}

/// How many children each place gets where the tree follows costs.
std::vector<int> worthwhile(const DraftRequest& request, const std::vector<Continuation>& places,
                            bool paid, const Draft& draft) {
    struct Candidate {
        std::size_t place = 0;
        double chance = 0, confidence = 0;
    };
    std::vector<Candidate> candidates;
    for (std::size_t i = 0; i < places.size(); ++i) {
        double left = 1, rest = 1;
        for (const Likely& child : likeliest(places[i].next, kMostChildren)) {
            const double confidence = left > 0 ? std::min(1.0, child.p / left) : 0;
            const double chance = request.length.chanceOf(confidence, draft.guesser);
            candidates.push_back({i, places[i].reach * rest * chance, confidence});
            left -= child.p;
            rest *= 1 - chance;
        }
    }
    // A later child is never likelier than an earlier one of the same place.
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.chance > b.chance; });
    std::vector<int> counts(places.size());
    Draft planned = draft;
    for (const Candidate& c : candidates) {
        const bool free = paid && planned.size() == draft.size();
        if (planned.size() >= request.nodes ||
            (!free && !request.length.worth(planned, c.chance, false)))
            break;
        planned.add(0, places[c.place].parent, c.confidence);
        ++counts[c.place];
    }
    return counts;
}

/// Of the tokens that were added last, those to go on with; none where another level is not worth
/// its pass.
std::vector<int> toExpand(const DraftRequest& request, const Draft& draft,
                          const std::vector<int>& added) {
    if (request.tree.kind == DraftTree::Kind::Fixed)
        return added;
    const std::vector<double> reached = request.length.reached(draft);
    const auto goesOn = [&](int node) {
        const auto at = static_cast<std::size_t>(node);
        return reached[at] * request.length.chanceOf(draft.nodes[at].confidence, draft.guesser);
    };
    std::vector<int> order = added;
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return goesOn(a) > goesOn(b); });
    std::vector<int> expanded;
    for (const int node : order) {
        if (expanded.size() >= kMostExpanded ||
            !request.length.worth(draft, goesOn(node), expanded.empty()))
            break;
        expanded.push_back(node);
    }
    std::sort(expanded.begin(), expanded.end());
    return expanded;
}

void draftChain(Transformer& model, KvCache& cache, const DraftRequest& request,
                const Transformer::SkippedLayers* skipped, Draft& draft, Guesses& guesses) {
    const std::int64_t count = std::min(request.vocabulary, model.config().vocabularySize);
    std::vector<int> added;
    while (true) {
        Continuation place;
        place.parent = draft.size() - 1;
        const float* logits = model.lastLogits();
        if (request.sampling.temperature <= 0) {  // without a distribution over all tokens
            const kernels::RowSummary row = kernels::summarizeLogits(logits, count);
            draft.add(static_cast<std::int32_t>(row.argmax), place.parent,
                      std::exp(logits[row.argmax] - row.logSumExp));
        } else {
            place.next = guessFrom(logits, count, request);
            addChildren(request, place, 1, draft, added);
        }
        if (!request.goesOn(draft))
            return;
        const std::int32_t token = draft.nodes.back().token;
        model.forward({&token, 1}, cache, request.control, skipped);
        guesses.parents.push_back(static_cast<std::int32_t>(guesses.tokens.size()) - 1);
        guesses.tokens.push_back(token);
    }
}

}  // namespace

TokenDistribution guessFrom(const float* logits, std::int64_t count, const DraftRequest& request) {
    if (request.sampling.temperature > 0)
        return nextTokens(logits, count, request.sampling);
    const std::size_t most = mostChildren(request.tree);
    struct Candidate {
        float logit = 0;
        std::int32_t id = 0;
    };
    std::vector<Candidate> best;
    const auto likelier = [](const Candidate& a, const Candidate& b) { return a.logit > b.logit; };
    for (std::int64_t i = 0; i < count; ++i) {
        if (best.size() == most && logits[i] <= best.back().logit)
            continue;
        const Candidate item{logits[i], static_cast<std::int32_t>(i)};
        best.insert(std::upper_bound(best.begin(), best.end(), item, likelier), item);
        if (best.size() > most)
            best.pop_back();
    }
    std::sort(best.begin(), best.end(),
              [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
    const kernels::RowSummary row = kernels::summarizeLogits(logits, count);
    TokenDistribution out;
    for (const Candidate& candidate : best) {
        out.ids.push_back(candidate.id);
        out.p.push_back(std::exp(static_cast<double>(candidate.logit) - row.logSumExp));
    }
    return out;
}

std::vector<int> addLevel(const DraftRequest& request, const std::vector<Continuation>& places,
                          int width, bool paid, Draft& draft) {
    std::vector<int> counts(places.size(), width);
    if (request.tree.kind == DraftTree::Kind::Dynamic)
        counts = worthwhile(request, places, paid, draft);
    std::vector<int> added;
    for (std::size_t i = 0; i < places.size(); ++i)
        addChildren(request, places[i], std::min(counts[i], request.nodes - draft.size()), draft,
                    added);
    return added;
}

void draftLevels(DraftRunner& runner, const DraftRequest& request, Draft& draft) {
    const bool fixed = request.tree.kind == DraftTree::Kind::Fixed,
               chain = request.tree.kind == DraftTree::Kind::Chain;
    std::vector<Continuation> places{{-1, 1, runner.first()}};
    const int levels =
        fixed ? std::min(request.most, static_cast<int>(request.tree.widths.size())) : request.most;
    for (int level = 0;; ++level) {
        const int width = fixed ? request.tree.widths[static_cast<std::size_t>(level)] : 1;
        const std::vector<int> added = addLevel(request, places, width, true, draft);
        if (added.empty() || level + 1 >= levels || draft.size() >= request.nodes ||
            (chain && !request.goesOn(draft)))
            return;
        const std::vector<int> expanded = chain ? added : toExpand(request, draft, added);
        if (expanded.empty())
            return;
        std::vector<TokenDistribution> next = runner.follow(draft, expanded);
        const std::vector<double> reached = request.length.reached(draft);
        places.clear();
        for (std::size_t i = 0; i < next.size(); ++i) {
            const int node = expanded[i];
            places.push_back({node, reached[static_cast<std::size_t>(node)], std::move(next[i])});
        }
        if (places.empty())
            return;
    }
}

namespace {

class ModelRunner : public DraftRunner {
public:
    ModelRunner(Transformer& model, KvCache& cache, const DraftRequest& request,
                const Transformer::SkippedLayers* skipped, Guesses& guesses)
        : m_model(model),
          m_cache(cache),
          m_request(request),
          m_skipped(skipped),
          m_guesses(guesses),
          m_count(std::min(request.vocabulary, model.config().vocabularySize)) {}

    TokenDistribution first() override {
        return guessFrom(m_model.lastLogits(), m_count, m_request);
    }
    std::vector<TokenDistribution> follow(const Draft& draft,
                                          const std::vector<int>& nodes) override {
        const auto rows = static_cast<std::int64_t>(nodes.size());
        if (m_cache.length() + rows > m_cache.capacity())
            return {};
        m_slots.resize(static_cast<std::size_t>(draft.size()), -1);
        std::vector<std::int32_t> tokens;
        for (const int node : nodes) {
            const DraftNode& n = draft.nodes[static_cast<std::size_t>(node)];
            m_slots[static_cast<std::size_t>(node)] = static_cast<int>(m_guesses.tokens.size());
            tokens.push_back(n.token);
            m_guesses.tokens.push_back(n.token);
            m_guesses.parents.push_back(n.parent < 0 ? -1
                                                     : m_slots[static_cast<std::size_t>(n.parent)]);
        }
        m_model.forward(tokens, m_cache, m_request.control, m_skipped, m_guesses.parents);
        const std::int64_t width = m_model.config().vocabularySize;
        m_logits.resize(static_cast<std::size_t>(rows * width));
        m_model.logits(0, rows, m_logits.data());
        std::vector<TokenDistribution> next;
        for (std::int64_t i = 0; i < rows; ++i)
            next.push_back(guessFrom(m_logits.data() + i * width, m_count, m_request));
        return next;
    }

private:
    Transformer& m_model;
    KvCache& m_cache;
    const DraftRequest& m_request;
    const Transformer::SkippedLayers* m_skipped;
    Guesses& m_guesses;
    std::int64_t m_count;
    std::vector<int> m_slots;  ///< of nodes, in the guesses; -1: not run
    std::vector<float> m_logits;
};

}  // namespace

void draftWithModel(Transformer& model, KvCache& cache, const DraftRequest& request,
                    const Transformer::SkippedLayers* skipped, Draft& draft, Guesses& guesses) {
    if (request.tree.kind == DraftTree::Kind::Chain)
        return draftChain(model, cache, request, skipped, draft, guesses);
    ModelRunner runner(model, cache, request, skipped, guesses);
    draftLevels(runner, request, draft);
}

}  // namespace fettle
