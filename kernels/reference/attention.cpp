#include "kernels/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/formats/weight_format.h"

namespace fettle::kernels::reference {
namespace {

double cacheValue(const void* cache, KvType type, std::int64_t index) {
    return type == KvType::F32 ? static_cast<const float*>(cache)[index]
                               : halfToFloat(static_cast<const std::uint16_t*>(cache)[index]);
}

/// Where in the cache the tokens lie that `token` would see without a window, itself at the end.
std::vector<std::int64_t> seenBy(const AttentionArgs& a, std::int64_t token) {
    std::vector<std::int64_t> slots;
    const std::int64_t text = a.parents ? a.text : a.past + token + 1;
    for (std::int64_t p = 0; p < text; ++p)
        slots.push_back(p);
    if (!a.parents)
        return slots;
    for (std::int64_t node = a.past + token - text; node >= 0; node = a.parents[node])
        slots.insert(slots.begin() + text, text + node);
    return slots;
}

void attendOne(const AttentionArgs& a, std::int64_t token, std::int64_t head) {
    const std::vector<std::int64_t> slots = seenBy(a, token);
    const auto slot = [&](std::int64_t p) { return slots[static_cast<std::size_t>(p)]; };
    const std::int64_t last = static_cast<std::int64_t>(slots.size()) - 1;
    const std::int64_t first = a.window > 0 ? std::max<std::int64_t>(0, last - a.window + 1) : 0;
    const std::int64_t plane = head / (a.heads / a.kvHeads) * a.capacity;
    const float* q = a.q + token * a.qStride + head * a.headDim;
    std::vector<double> weights(static_cast<std::size_t>(last - first + 1));
    double maximum = -HUGE_VAL, sum = 0;
    for (std::int64_t p = first; p <= last; ++p) {
        double s = 0;
        for (std::int64_t d = 0; d < a.headDim; ++d)
            s += q[d] * cacheValue(a.keys, a.kvType, (plane + slot(p)) * a.headDim + d);
        s *= a.scale;
        if (a.softcap > 0)
            s = a.softcap * std::tanh(s / a.softcap);
        weights[static_cast<std::size_t>(p - first)] = s;
        maximum = std::max(maximum, s);
    }
    for (double& w : weights)
        sum += w = std::exp(w - maximum);
    float* out = a.out + token * a.outStride + head * a.headDim;
    for (std::int64_t d = 0; d < a.headDim; ++d) {
        double mean = 0;
        for (std::int64_t p = first; p <= last; ++p)
            mean += weights[static_cast<std::size_t>(p - first)] *
                    cacheValue(a.values, a.kvType, (plane + slot(p)) * a.headDim + d);
        out[d] = static_cast<float>(mean / sum);
    }
}

void store(void* cache, KvType type, std::int64_t index, float value) {
    if (type == KvType::F32)
        static_cast<float*>(cache)[index] = value;
    else
        static_cast<std::uint16_t*>(cache)[index] = floatToHalf(value);
}

}  // namespace

void attention(const AttentionArgs& args) {
    for (std::int64_t t = 0; t < args.tokens; ++t)
        for (std::int64_t h = 0; h < args.heads; ++h)
            attendOne(args, t, h);
}

void appendKv(const float* k, const float* v, std::int64_t stride, void* keys, void* values,
              KvType kvType, std::int64_t capacity, std::int64_t past, std::int64_t tokens,
              std::int64_t kvHeads, std::int64_t headDim) {
    for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::int64_t h = 0; h < kvHeads; ++h) {
            for (std::int64_t d = 0; d < headDim; ++d) {
                const std::int64_t to = (h * capacity + past + t) * headDim + d;
                store(keys, kvType, to, k[t * stride + h * headDim + d]);
                store(values, kvType, to, v[t * stride + h * headDim + d]);
            }
        }
    }
}

void keepKv(void* keys, void* values, KvType kvType, std::int64_t capacity, std::int64_t past,
            const std::int32_t* kept, std::int64_t count, std::int64_t kvHeads,
            std::int64_t headDim) {
    for (std::int64_t i = 0; i < count; ++i)
        for (std::int64_t h = 0; h < kvHeads; ++h)
            for (std::int64_t d = 0; d < headDim; ++d)
                for (void* cache : {keys, values})
                    store(cache, kvType, (h * capacity + past + i) * headDim + d,
                          static_cast<float>(cacheValue(
                              cache, kvType, (h * capacity + past + kept[i]) * headDim + d)));
}

}  // namespace fettle::kernels::reference
