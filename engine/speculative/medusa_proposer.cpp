#include "engine/speculative/medusa_proposer.h"

#include <algorithm>
#include <cstring>

#include "engine/core/error.h"
#include "engine/speculative/head_weights.h"
#include "engine/speculative/tree_drafter.h"

namespace fettle {

namespace {

std::unique_ptr<DeviceWeight> prepared(const DraftHeads& heads, const std::string& name,
                                       std::int64_t rows, std::int64_t cols, Backend& backend,
                                       RunControl& control) {
    const Weight weight = asWeight(heads.values(name, {rows, cols}), rows, cols);
    return backend.prepareWeight(inInt8(name, weight, backend, control).view());
}

std::vector<std::int32_t> tokensOf(const DraftHeads& heads, const ModelConfig& target) {
    const auto found = heads.tensors.find("token_map");
    if (found == heads.tensors.end() || found->second.dtype() != DType::I64 ||
        found->second.shape().size() != 1)
        throwBadInput(heads.path, "has no token_map of 64-bit numbers");
    const auto count = static_cast<std::size_t>(found->second.elements());
    std::vector<std::int32_t> tokens;
    for (std::size_t i = 0; i < count; ++i) {
        std::int64_t token = 0;
        std::memcpy(&token, found->second.data() + i * sizeof token, sizeof token);
        if (token < 0 || token >= target.vocabularySize ||
            (i > 0 && token <= static_cast<std::int64_t>(tokens.back())))
            throwBadInput(heads.path, "token_map: " + std::to_string(token) +
                                          " is no token of the model, or out of order");
        tokens.push_back(static_cast<std::int32_t>(token));
    }
    if (tokens.empty())
        throwBadInput(heads.path, "token_map is empty");
    return tokens;
}

}  // namespace

std::string headsRefusal(const DraftHeads& heads, const Model& target) {
    const auto differs = [&](const char* key, std::int64_t model) -> std::string {
        const std::int64_t own = heads.number(key, std::int64_t{1} << 40);
        return own == model ? std::string()
                            : std::string(key) + " is " + std::to_string(own) + " in the heads, " +
                                  std::to_string(model) + " in the model";
    };
    const std::string hidden = differs("hidden_size", target.config.hiddenSize);
    return !hidden.empty() ? hidden : differs("vocab_size", target.config.vocabularySize);
}

MedusaProposer::MedusaProposer(const DraftHeads& heads, const Model& target, Backend& backend,
                               RunControl& control)
    : m_backend(backend) {
    if (const std::string refusal = headsRefusal(heads, target); !refusal.empty())
        throwBadInput(heads.path, "cannot draft for " + target.name + ": " + refusal);
    m_heads = heads.number("num_heads", kMostHeads);
    m_width = target.config.hiddenSize;
    m_tokens = tokensOf(heads, target.config);
    for (std::int64_t k = 0; k < m_heads; ++k)
        m_blocks.push_back(prepared(heads, "blocks." + std::to_string(k) + ".layers.0.weight",
                                    m_width, m_width, backend, control));
    m_output = prepared(heads, "lm_head.weight", static_cast<std::int64_t>(m_tokens.size()),
                        m_width, backend, control);
    const auto room = [&](std::int64_t count) {
        return backend.allocate(static_cast<std::size_t>(count) * sizeof(float));
    };
    m_state = room(m_width);
    m_inner = room(m_heads * m_width);
    m_logits = room(m_heads * static_cast<std::int64_t>(m_tokens.size()));
    m_ones = uploaded(backend, std::vector<float>(static_cast<std::size_t>(m_heads * m_width), 1));
    m_hostLogits.resize(static_cast<std::size_t>(m_heads) * m_tokens.size());
}

std::string MedusaProposer::description() const {
    return std::to_string(m_heads) + " Medusa heads";
}

std::uint64_t MedusaProposer::bytes() const {
    std::uint64_t sum = m_output->bytes() + m_inner->bytes() + m_ones->bytes() + m_logits->bytes();
    for (const auto& block : m_blocks)
        sum += block->bytes();
    return sum;
}

const float* MedusaProposer::logitsFrom(std::span<const float> state) {
    auto* x = static_cast<float*>(m_state->data());
    auto* inner = static_cast<float*>(m_inner->data());
    m_backend.upload(x, state.data(), state.size_bytes());
    std::vector<LinearTarget> targets;
    for (std::int64_t k = 0; k < m_heads; ++k)
        targets.push_back({m_blocks[static_cast<std::size_t>(k)].get(), inner + k * m_width,
                           m_width, nullptr, false});
    m_backend.linear(x, 1, m_width, m_width, targets);
    m_backend.siluMul(inner, static_cast<const float*>(m_ones->data()), m_heads * m_width);
    for (std::int64_t k = 0; k < m_heads; ++k)
        m_backend.add(inner + k * m_width, x, m_width);
    const auto tokens = static_cast<std::int64_t>(m_tokens.size());
    auto* logits = static_cast<float*>(m_logits->data());
    const LinearTarget output{m_output.get(), logits, tokens, nullptr, false};
    m_backend.linear(inner, m_heads, m_width, m_width, {&output, 1});
    m_backend.download(m_hostLogits.data(), logits, m_hostLogits.size() * sizeof(float));
    return m_hostLogits.data();
}

void MedusaProposer::propose(const DraftRequest& request, Draft& draft) {
    const auto width = static_cast<std::size_t>(m_width);
    if (request.states.size() < width)
        return;
    const float* logits = logitsFrom(request.states.last(width));
    const auto count = static_cast<std::int64_t>(m_tokens.size());
    const bool chain = request.tree.kind == DraftTree::Kind::Chain,
               fixed = request.tree.kind == DraftTree::Kind::Fixed;
    int levels = std::min(request.most, static_cast<int>(m_heads));
    if (fixed)
        levels = std::min(levels, static_cast<int>(request.tree.widths.size()));
    std::vector<Continuation> places{{}};
    for (int level = 0; level < levels; ++level) {
        TokenDistribution next = guessFrom(logits + level * count, count, request);
        if (next.ids.empty()) {
            next.ids = m_tokens;
        } else {
            for (std::int32_t& id : next.ids)
                id = m_tokens[static_cast<std::size_t>(id)];
        }
        for (Continuation& place : places)
            place.next = next;
        const int children = fixed ? request.tree.widths[static_cast<std::size_t>(level)] : 1;
        const std::vector<int> added = addLevel(request, places, children, level == 0, draft);
        if (added.empty() || draft.size() >= request.nodes || (chain && !request.goesOn(draft)))
            return;
        const std::vector<double> reached = request.length.reached(draft);
        places.clear();
        for (const int node : added)
            places.push_back({node, reached[static_cast<std::size_t>(node)], {}});
    }
}

}  // namespace fettle
