// Models to run on a CUDA backend, on the emulator and on a device, and what the CPU says of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/model/model.h"
#include "engine/model/transformer.h"
#include "engine/quant/rtn.h"
#include "engine/speculative/draft_source.h"
#include "engine/speculative/speculative_decoder.h"
#include "tests/support/model_files.h"

namespace fettle::test {

inline Model tinyModel(const std::string& family) {
    const TempFolder folder;
    writeFolder(folder.path(), tinyParts(family));
    return loadModel(folder.path().string());
}

inline void quantize(Model& model, const std::string& scheme) {
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    kernels::WorkerPool pool(2);
    RtnOptions options;
    options.scheme = *findQuantScheme(scheme);
    for (const std::string& name : linearWeightNames(model.config))
        if (model.has(name))
            model.weights.at(name) =
                Weight(quantizeRtn(name, model.weight(name), options, pool, control).tensor);
}

inline std::vector<std::int32_t> someIds(std::int64_t count, std::int64_t vocabulary) {
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i < count; ++i)
        ids.push_back(static_cast<std::int32_t>((i * 37 + 11) % vocabulary));
    return ids;
}

/// Logits after `first` tokens at once and two more one by one.
inline std::vector<float> logitsOf(Backend& backend, const Model& model, std::int64_t first) {
    Transformer transformer(model, backend);
    const std::vector<std::int32_t> ids = someIds(first + 2, model.config.vocabularySize);
    KvCache cache = transformer.makeCache(first + 2);
    const std::span<const std::int32_t> all(ids);
    const auto size = static_cast<std::size_t>(first);
    std::vector<float> result(static_cast<std::size_t>(model.config.vocabularySize));
    std::vector<float> together;
    transformer.forward(all.first(size), cache);
    transformer.logits(first - 1, 1, result.data());
    together = result;
    for (std::size_t i = size; i < ids.size(); ++i) {
        transformer.forward(all.subspan(i, 1), cache);
        const float* last = transformer.lastLogits();
        together.insert(together.end(), last, last + result.size());
    }
    return together;
}

inline double largestDifference(const std::vector<float>& a, const std::vector<float>& b) {
    const auto [low, high] = std::minmax_element(b.begin(), b.end());
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        largest = std::max(largest, std::fabs(static_cast<double>(a[i]) - b[i]));
    return largest / (*high - *low);
}

struct ModelCase {
    std::string family, scheme;
    std::int64_t tokens;
    double tolerance;  // of the range of the logits
};

inline std::vector<ModelCase> modelCases() {
    std::vector<ModelCase> all;
    for (const char* family : {"llama", "qwen3", "gpt2", "gemma3"}) {
        // Few tokens: the same products as on the CPU, but for the order of sums. Where these
        // are rounded to int8 again, a value on the edge may take the next step.
        all.push_back({family, "", 5, 1e-4});
        all.push_back({family, "int8", 5, 1e-2});
        all.push_back({family, "int4-g32", 5, 1e-2});
    }
    // Widened as they are multiplied, activations rounded as the format does; int3 by dp4a.
    for (const char* scheme : {"w8a16", "fp8", "mxfp8", "nvfp4-w4a16", "int3-g32", "int4-g32-a8"})
        all.push_back({"llama", scheme, 5, 1e-2});
    // A step of a four-bit activation is a third of its value.
    for (const char* scheme : {"nvfp4", "mxfp4"})
        all.push_back({"llama", scheme, 5, 5e-2});
    for (const char* scheme : {"fp8", "mxfp8", "int3-g32", "nvfp4-w4a16"})
        all.push_back({"llama", scheme, 40, 2e-2});
    // The more tokens, the farther the worst of them.
    all.push_back({"llama", "nvfp4", 140, 1e-1});
    // Many tokens: bfloat16 or float16 activations in the products.
    all.push_back({"llama", "", 40, 2e-2});
    all.push_back({"llama", "int8", 40, 1e-2});
    all.push_back({"qwen3", "int4-g32", 40, 2e-2});
    all.push_back({"gemma3", "int4-g32", 140, 2e-2});
    all.push_back({"llama", "int8", 140, 1e-2});
    return all;
}
inline std::string modelCaseName(const ::testing::TestParamInfo<ModelCase>& test) {
    std::string name = test.param.family + "_" +
                       (test.param.scheme.empty() ? "plain" : test.param.scheme) + "_" +
                       std::to_string(test.param.tokens);
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}
inline std::vector<std::int32_t> decode(Backend& backend, const Model& model, bool speculative) {
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    Transformer transformer(model, backend);
    std::unique_ptr<Proposer> proposer;
    std::unique_ptr<DraftLength> length;
    if (speculative) {
        const SpeculativeSetup setup = makeSetup({"ngram", "4", ""}, model, backend, {}, control);
        proposer = makeProposer(setup, model, transformer, backend, backend.pool(), control);
        length = makeDraftLength(setup);
    }
    std::vector<std::int32_t> prompt = someIds(6, model.config.vocabularySize);
    prompt.insert(prompt.end(), prompt.begin(), prompt.end());
    const std::size_t wanted = prompt.size() + 24;
    SpeculativeDecoder decoder(transformer, proposer.get(), length.get(), {},
                               static_cast<std::int64_t>(wanted));
    decoder.begin(prompt, control);
    while (decoder.text().size() < wanted)
        decoder.next(static_cast<int>(wanted - decoder.text().size()), control);
    if (speculative) {
        EXPECT_GT(decoder.counts().drafted, 0);
    }
    return decoder.text();
}

}  // namespace fettle::test
