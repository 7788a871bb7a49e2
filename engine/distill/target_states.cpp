#include "engine/distill/target_states.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

namespace fettle {

namespace {
constexpr std::int64_t kCountedBatches = 64;
}  // namespace

std::vector<std::int32_t> commonTokens(BatchSource& data, std::int64_t vocabulary,
                                       std::int64_t count) {
    std::vector<std::int64_t> seen(static_cast<std::size_t>(vocabulary), 0);
    const DataPosition start = data.position();
    for (std::int64_t i = 0; i < kCountedBatches && count < vocabulary; ++i)
        for (const std::int32_t id : data.next().ids)
            ++seen[static_cast<std::size_t>(id)];
    data.seek(start);
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(vocabulary));
    std::iota(tokens.begin(), tokens.end(), 0);
    std::stable_sort(tokens.begin(), tokens.end(), [&](std::int32_t a, std::int32_t b) {
        return seen[static_cast<std::size_t>(a)] > seen[static_cast<std::size_t>(b)];
    });
    tokens.resize(static_cast<std::size_t>(std::min(count, vocabulary)));
    std::sort(tokens.begin(), tokens.end());
    return tokens;
}

void readStates(Transformer& target, const TrainBatch& batch, std::vector<float>& states,
                RunControl& control) {
    const std::int64_t width = target.config().hiddenSize;
    states.resize(batch.ids.size() * static_cast<std::size_t>(width));
    for (const kernels::TokenSpan& sequence : batch.sequences) {
        KvCache cache = target.makeCache(sequence.count);
        target.forward(
            {batch.ids.data() + sequence.first, static_cast<std::size_t>(sequence.count)}, cache,
            &control);
        target.backend().download(states.data() + sequence.first * width, target.hiddenStates(),
                                  static_cast<std::size_t>(sequence.count * width) * sizeof(float));
    }
}

std::string stepText(std::int64_t step, std::int64_t steps, double loss) {
    char text[80];
    std::snprintf(text, sizeof text, "step %lld of %lld, loss %.3f", static_cast<long long>(step),
                  static_cast<long long>(steps), loss);
    return text;
}

}  // namespace fettle
