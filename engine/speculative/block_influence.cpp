#include "engine/speculative/block_influence.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fettle {

namespace {

double cosine(const float* a, const float* b, std::int64_t count) {
    double dot = 0, aa = 0, bb = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        dot += static_cast<double>(a[i]) * b[i];
        aa += static_cast<double>(a[i]) * a[i];
        bb += static_cast<double>(b[i]) * b[i];
    }
    return aa > 0 && bb > 0 ? dot / std::sqrt(aa * bb) : 1;
}

}  // namespace

std::vector<double> blockInfluence(Transformer& transformer,
                                   std::span<const std::vector<std::int32_t>> texts,
                                   RunControl& control) {
    const std::int64_t width = transformer.config().hiddenSize;
    std::vector<double> sums(static_cast<std::size_t>(transformer.config().layerCount()), 0.0);
    std::vector<float> before;
    std::int64_t tokens = 0;
    transformer.observeBlocks([&](std::int64_t layer, const float* x, std::int64_t rows) {
        for (std::int64_t r = 0; layer > 0 && r < rows; ++r)
            sums[static_cast<std::size_t>(layer - 1)] +=
                1 - cosine(before.data() + r * width, x + r * width, width);
        before.assign(x, x + rows * width);
        tokens += layer == 0 ? rows : 0;
    });
    struct Off {  // the observer refers to this frame: it must go, whatever happens
        Transformer& transformer;
        ~Off() { transformer.observeBlocks({}); }
    } off{transformer};
    for (std::size_t i = 0; i < texts.size(); ++i) {
        control.progress(static_cast<double>(i) / static_cast<double>(texts.size()),
                         "ranking layers");
        KvCache cache = transformer.makeCache(static_cast<std::int64_t>(texts[i].size()));
        transformer.forward(texts[i], cache, &control);
    }
    for (double& sum : sums)
        sum /= static_cast<double>(std::max<std::int64_t>(tokens, 1));
    return sums;
}

std::vector<int> leastInfluential(const std::vector<double>& influence, int count) {
    std::vector<int> order(influence.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
        return influence[static_cast<std::size_t>(a)] < influence[static_cast<std::size_t>(b)];
    });
    order.resize(std::min(order.size(), static_cast<std::size_t>(count)));
    std::sort(order.begin(), order.end());
    return order;
}

}  // namespace fettle
