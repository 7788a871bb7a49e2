#include "engine/speculative/lookup_proposer.h"

#include <algorithm>

namespace fettle {

namespace {

constexpr std::int32_t kSeparator = -1;
constexpr std::size_t kMostRemembered = std::size_t{1} << 20;  // tokens; then it starts afresh
constexpr int kShortestSuffix = 2;
constexpr std::size_t kMostCopies = 4;

std::uint64_t hashOf(std::span<const std::int32_t> tokens) {
    std::uint64_t hash = 0xCBF29CE484222325u;
    for (const std::int32_t token : tokens) {
        hash ^= static_cast<std::uint32_t>(token);
        hash *= 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash;
}

/// The longer the match, the likelier it goes on: starting points, put right by what is measured.
double confidenceOf(int matched) {
    return 1 - 1 / (1 + 0.5 * matched);
}

/// What stood after an earlier place that looked like this one.
struct Copy {
    std::span<const std::int32_t> tokens;
    double confidence = 0;
};

/// The first copy as a chain; where the tree may branch, further ones from the point on where they
/// say something else.
void draftCopies(const std::vector<Copy>& copies, const DraftRequest& request, Draft& draft) {
    for (const Copy& copy : copies) {
        const bool first = draft.empty();
        int at = -1;
        for (const std::int32_t token : copy.tokens) {
            if (token < 0 || token >= request.vocabulary)
                break;
            const auto known = std::find_if(
                draft.nodes.begin(), draft.nodes.end(),
                [&](const DraftNode& node) { return node.parent == at && node.token == token; });
            if (known != draft.nodes.end()) {
                at = static_cast<int>(known - draft.nodes.begin());
                continue;
            }
            const int depth = at < 0 ? 0 : draft.nodes[static_cast<std::size_t>(at)].depth;
            if (draft.size() >= request.nodes || depth >= request.most)
                break;
            at = draft.add(token, at, copy.confidence);
            const double chance = request.length.reached(draft).back();
            DraftNode node = std::move(draft.nodes.back());
            draft.nodes.pop_back();
            if (!draft.empty() && !request.length.worth(draft, chance, first))
                break;
            draft.nodes.push_back(std::move(node));
        }
        if (request.tree.kind == DraftTree::Kind::Chain)
            return;
    }
}

}  // namespace

void NgramProposer::restart() {
    for (auto& places : m_places)
        places.clear();
    m_learned = 0;
}

std::uint64_t NgramProposer::bytes() const {
    std::uint64_t entries = 0;
    for (const auto& places : m_places)
        entries += places.size();
    return entries * (sizeof(Places) + 3 * sizeof(std::uint64_t));
}

/// An n-gram is entered once the token after it is known: it has something to offer from then on.
void NgramProposer::learn(std::span<const std::int32_t> text) {
    for (; m_learned + 1 < text.size(); ++m_learned) {
        const std::size_t end = m_learned + 1;
        for (int n = kShortest; n <= kLongest && static_cast<std::size_t>(n) <= end; ++n) {
            const auto size = static_cast<std::size_t>(n);
            Places& places = m_places[size][hashOf(text.subspan(end - size, size))];
            std::move_backward(places.begin(), places.end() - 1, places.end());
            places[0] = end;
        }
    }
}

void NgramProposer::propose(const DraftRequest& request, Draft& draft) {
    const std::span<const std::int32_t> text = request.text;
    learn(text);
    std::vector<Copy> copies;
    for (auto n = static_cast<std::size_t>(kLongest); n >= kShortest; --n) {
        if (n > text.size())
            continue;
        const auto found = m_places[n].find(hashOf(text.last(n)));
        if (found == m_places[n].end())
            continue;
        for (const std::size_t at : found->second)
            // Equal hashes of different n-grams would offer nonsense; look.
            if (at >= n && std::equal(text.end() - static_cast<std::ptrdiff_t>(n), text.end(),
                                      text.begin() + static_cast<std::ptrdiff_t>(at - n)))
                copies.push_back({text.subspan(at), confidenceOf(static_cast<int>(n))});
    }
    draftCopies(copies, request, draft);
}

void SuffixProposer::clear() {
    m_states.assign(1, State{});
    m_all.clear();
    m_last = 0;
    m_learned = 0;
}

void SuffixProposer::restart() {
    if (m_all.size() > kMostRemembered)
        return clear();
    if (!m_all.empty())
        append(kSeparator);
    m_learned = 0;
}

std::uint64_t SuffixProposer::bytes() const {
    constexpr std::uint64_t perEdge = 48;  // a node of a map
    return m_states.size() * (sizeof(State) + perEdge) + m_all.size() * sizeof(std::int32_t);
}

void SuffixProposer::append(std::int32_t token) {
    m_all.push_back(token);
    const int added = static_cast<int>(m_states.size());
    m_states.emplace_back();
    const auto state = [this](int i) -> State& { return m_states[static_cast<std::size_t>(i)]; };
    state(added).length = state(m_last).length + 1;
    state(added).end = m_all.size();
    int p = m_last;
    for (; p != -1 && !state(p).next.count(token); p = state(p).link)
        state(p).next[token] = added;
    if (p == -1) {
        state(added).link = 0;
    } else {
        const int q = state(p).next[token];
        if (state(q).length == state(p).length + 1) {
            state(added).link = q;
        } else {
            const int clone = static_cast<int>(m_states.size());
            m_states.push_back(state(q));
            state(clone).length = state(p).length + 1;
            for (; p != -1 && state(p).next.count(token) && state(p).next[token] == q;
                 p = state(p).link)
                state(p).next[token] = clone;
            state(q).link = state(added).link = clone;
        }
    }
    m_last = added;
}

void SuffixProposer::propose(const DraftRequest& request, Draft& draft) {
    for (; m_learned < request.text.size(); ++m_learned)
        append(request.text[m_learned]);
    // The suffix link of the whole text is its longest suffix that stood somewhere before.
    State& match =
        m_states[static_cast<std::size_t>(m_states[static_cast<std::size_t>(m_last)].link)];
    if (match.length < kShortestSuffix)
        return;
    std::vector<Copy> copies{
        {std::span<const std::int32_t>(m_all).subspan(match.end), confidenceOf(match.length)}};
    match.end = m_all.size();
    // Shorter suffixes may have stood elsewhere since.
    for (int link = match.link; link > 0 && copies.size() < kMostCopies;) {
        const State& shorter = m_states[static_cast<std::size_t>(link)];
        if (shorter.length < kShortestSuffix)
            break;
        copies.push_back({std::span<const std::int32_t>(m_all).subspan(shorter.end),
                          confidenceOf(shorter.length)});
        link = shorter.link;
    }
    draftCopies(copies, request, draft);
}

}  // namespace fettle
