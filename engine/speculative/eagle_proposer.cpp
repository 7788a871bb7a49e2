#include "engine/speculative/eagle_proposer.h"

#include <algorithm>

#include "engine/speculative/head_weights.h"

namespace fettle {

namespace {

/// Room is made in steps, so that a growing text does not ask for a new cache each time.
constexpr std::int64_t kEagleRoom = 256;

}  // namespace

EagleProposer::EagleProposer(const DraftHeads& heads, const Model& target, Backend& backend,
                             RunControl& control)
    : m_backend(backend),
      m_width(target.config.hiddenSize),
      m_embedding(target.weight("embed.weight")),
      m_embeddingScale(target.config.embeddingScale) {
    EagleHead head = eagleHeadOf(heads, target);
    m_tokens = std::move(head.tokens);
    for (auto& [name, weight] : head.layer.weights)
        if (weight.shape().size() == 2)
            weight = inInt8(name, weight, backend, control);
    m_layer = std::make_unique<Transformer>(head.layer, backend, &control);
    m_fusion = backend.prepareWeight(
        inInt8("fc.weight", asWeight(head.fusion, m_width, 2 * m_width), backend, control).view());
    const std::vector<float> rows = outputRows(target, m_tokens);
    m_output = backend.prepareWeight(
        inInt8("lm_head.weight",
               asWeight(rows, static_cast<std::int64_t>(m_tokens.size()), m_width), backend,
               control)
            .view());
}

std::string EagleProposer::description() const {
    return "an EAGLE head";
}

std::uint64_t EagleProposer::bytes() const {
    return m_layer->weightBytes() + m_fusion->bytes() + m_output->bytes() +
           (m_cache ? m_cache->bytes() : 0);
}

void EagleProposer::restart() {
    m_followed = 0;
    if (m_cache)
        m_cache->truncate(0);
}

void EagleProposer::join(std::int32_t token, const float* state) {
    const std::size_t at = m_joined.size();
    m_joined.resize(at + static_cast<std::size_t>(2 * m_width));
    joinInputs(m_embedding, m_embeddingScale, token, state, m_joined.data() + at);
}

void EagleProposer::run(std::int64_t rows, std::span<const std::int32_t> parents,
                        std::vector<float>& states) {
    if (rows > m_room) {
        m_input = m_backend.allocate(static_cast<std::size_t>(rows * 2 * m_width) * sizeof(float));
        m_room = rows;
    }
    auto* input = static_cast<float*>(m_input->data());
    m_backend.upload(input, m_joined.data(), m_joined.size() * sizeof(float));
    m_joined.clear();
    const LinearTarget fused{m_fusion.get(), m_layer->statesIn(rows), m_width, nullptr, false};
    m_backend.linear(input, rows, 2 * m_width, 2 * m_width, {&fused, 1});
    const float* out = m_layer->forwardStates(rows, *m_cache, m_request->control, parents);
    const std::size_t at = states.size();
    states.resize(at + static_cast<std::size_t>(rows * m_width));
    m_backend.download(states.data() + at, out,
                       static_cast<std::size_t>(rows * m_width) * sizeof(float));
}

bool EagleProposer::catchUp(const DraftRequest& request, Draft& draft) {
    const double start = steadySeconds();
    const auto text = static_cast<std::int64_t>(request.text.size());
    // The newest token has no state yet.
    const std::int64_t missing = text - 1 - m_followed,
                       known = static_cast<std::int64_t>(request.states.size()) / m_width;
    if (missing < 1 || missing > known)
        return false;
    const std::int64_t needed = text + std::max(request.most, request.nodes);
    if (!m_cache || m_cache->capacity() < needed) {
        if (m_followed > 0 && missing < text - 1)
            return false;  // what was followed cannot be followed again: its states are gone
        const std::int64_t room = std::max(needed, request.targetCache.capacity());
        m_cache.emplace(m_layer->makeCache((room + kEagleRoom - 1) / kEagleRoom * kEagleRoom));
    }
    m_cache->truncate(m_followed);
    const float* states = request.states.data() + (known - missing) * m_width;
    for (std::int64_t done = 0; done < missing;) {
        const std::int64_t rows = std::min(missing - done, Transformer::kMostStates);
        for (std::int64_t i = 0; i < rows; ++i)
            join(request.text[static_cast<std::size_t>(m_followed + i + 1)],
                 states + (done + i) * m_width);
        std::vector<float> made;
        run(rows, {}, made);
        m_last.assign(made.end() - m_width, made.end());
        done += rows;
        m_followed += rows;
    }
    // A round leaves what was accepted and the target's own token to follow.
    if (missing > kMostTreeNodes + 1)
        draft.catchUpSeconds = steadySeconds() - start;
    return true;
}

std::vector<TokenDistribution> EagleProposer::guesses(const float* states, std::int64_t rows) {
    const auto count = static_cast<std::int64_t>(m_tokens.size());
    if (rows > m_guessRoom) {
        const auto size = static_cast<std::size_t>(rows) * sizeof(float);
        m_deviceStates = m_backend.allocate(size * static_cast<std::size_t>(m_width));
        m_deviceLogits = m_backend.allocate(size * static_cast<std::size_t>(count));
        m_guessRoom = rows;
    }
    auto *from = static_cast<float*>(m_deviceStates->data()),
         *logits = static_cast<float*>(m_deviceLogits->data());
    m_backend.upload(from, states, static_cast<std::size_t>(rows * m_width) * sizeof(float));
    const LinearTarget output{m_output.get(), logits, count, nullptr, false};
    m_backend.linear(from, rows, m_width, m_width, {&output, 1});
    m_logits.resize(static_cast<std::size_t>(rows * count));
    m_backend.download(m_logits.data(), logits, m_logits.size() * sizeof(float));
    // Tokens that do not exist for the target come last.
    const std::int64_t existing =
        std::lower_bound(m_tokens.begin(), m_tokens.end(), m_request->vocabulary) -
        m_tokens.begin();
    std::vector<TokenDistribution> out;
    for (std::int64_t r = 0; r < rows; ++r) {
        TokenDistribution next = guessFrom(m_logits.data() + r * count, existing, *m_request);
        if (next.ids.empty())
            next.ids.assign(m_tokens.begin(), m_tokens.begin() + existing);
        else
            for (std::int32_t& id : next.ids)
                id = m_tokens[static_cast<std::size_t>(id)];
        out.push_back(std::move(next));
    }
    return out;
}

TokenDistribution EagleProposer::first() {
    return guesses(m_last.data(), 1).front();
}

std::vector<TokenDistribution> EagleProposer::follow(const Draft& draft,
                                                     const std::vector<int>& nodes) {
    const auto rows = static_cast<std::int64_t>(nodes.size());
    if (m_cache->length() + rows > m_cache->capacity())
        return {};
    m_slots.resize(static_cast<std::size_t>(draft.size()), -1);
    const std::size_t before = m_states.size();
    for (const int node : nodes) {
        const DraftNode& n = draft.nodes[static_cast<std::size_t>(node)];
        const int parent = n.parent < 0 ? -1 : m_slots[static_cast<std::size_t>(n.parent)];
        m_slots[static_cast<std::size_t>(node)] = static_cast<int>(m_parents.size());
        m_parents.push_back(parent);
        join(n.token, parent < 0 ? m_last.data()
                                 : m_states.data() + static_cast<std::int64_t>(parent) * m_width);
    }
    run(rows, m_parents, m_states);
    return guesses(m_states.data() + before, rows);
}

void EagleProposer::propose(const DraftRequest& request, Draft& draft) {
    m_request = &request;
    m_parents.clear();
    m_slots.clear();
    m_states.clear();
    if (catchUp(request, draft))
        draftLevels(*this, request, draft);
    m_request = nullptr;
}

}  // namespace fettle
