#include "engine/distill/head_training.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "kernels/ops/adamw.h"

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

std::int64_t trainHeads(
    BatchSource& data, std::int64_t tokens, const char* series, RunControl& control,
    const std::function<double(const TrainBatch&, std::int64_t, std::int64_t)>& learn) {
    const std::int64_t steps = std::max<std::int64_t>(1, tokens / data.batchTokens());
    std::int64_t read = 0;
    control.setFinishable(true);
    for (std::int64_t step = 0; step < steps && !control.finishRequested(); ++step) {
        const TrainBatch batch = data.next();
        const double loss = learn(batch, step, steps);
        read += static_cast<std::int64_t>(batch.ids.size());
        control.sink().series({series, static_cast<double>(step), loss});
        char text[80];
        std::snprintf(text, sizeof text, "step %lld of %lld, loss %.3f",
                      static_cast<long long>(step + 1), static_cast<long long>(steps), loss);
        control.progress(static_cast<double>(step + 1) / static_cast<double>(steps), text);
    }
    control.setFinishable(false);
    return read;
}

void HeadOptimizer::update(std::vector<float>& values, std::vector<float>& grads, float rate,
                           std::int64_t step, kernels::WorkerPool& pool) {
    kernels::AdamWArgs args;
    args.value = values.data();
    args.grad = grads.data();
    args.m = m_first.data();
    args.v = m_second.data();
    args.count = static_cast<std::int64_t>(values.size());
    args.learningRate = rate;
    args.correction1 = 1 - std::pow(args.beta1, static_cast<float>(step + 1));
    args.correction2 = 1 - std::pow(args.beta2, static_cast<float>(step + 1));
    kernels::adamw(args, pool);
}

}  // namespace fettle
