#include "kernels/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/formats/small_float.h"
#include "kernels/formats/weight_format.h"

namespace fettle::kernels::reference {
namespace {

/// A cache of values, [kvHeads][capacity][headDim].
struct Cache {
    const void* data;
    KvType type;
    std::int64_t kvHeads, capacity, headDim;

    double operator[](std::int64_t index) const {
        if (type == KvType::F32)
            return static_cast<const float*>(data)[index];
        if (type == KvType::F16)
            return halfToFloat(static_cast<const std::uint16_t*>(data)[index]);
        const auto* bytes = static_cast<const std::uint8_t*>(data);
        const auto* scales = reinterpret_cast<const float*>(
            bytes + kvScaleOffset(type, kvHeads * capacity * headDim));
        const std::uint8_t code =
            kvBits(type) == 4
                ? static_cast<std::uint8_t>(bytes[index / 2] >> (4 * (index % 2)) & 15)
                : bytes[index];
        const double block =
            type == KvType::NvFp4
                ? e4m3ToFloat(bytes[kvBlockScaleOffset(type, kvHeads, capacity, headDim) +
                                    static_cast<std::size_t>(index / kKvBlock)])
                : 1;
        return static_cast<double>(kvCodeValue(type, code)) * block * scales[index / headDim];
    }
};

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
    const Cache keys = {a.keys, a.kvType, a.kvHeads, a.capacity, a.headDim},
                values = {a.values, a.kvType, a.kvHeads, a.capacity, a.headDim};
    const float* q = a.q + token * a.qStride + head * a.headDim;
    std::vector<double> weights(static_cast<std::size_t>(last - first + 1));
    double maximum = -HUGE_VAL, sum = 0;
    for (std::int64_t p = first; p <= last; ++p) {
        double s = 0;
        for (std::int64_t d = 0; d < a.headDim; ++d)
            s += q[d] * keys[(plane + slot(p)) * a.headDim + d];
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
                    values[(plane + slot(p)) * a.headDim + d];
        out[d] = static_cast<float>(mean / sum);
    }
}

/// One token's head to elements [to, to + headDim).
void store(void* cache, KvType type, std::int64_t kvHeads, std::int64_t capacity, std::int64_t to,
           const float* x, std::int64_t headDim) {
    if (!hasScales(type)) {
        for (std::int64_t d = 0; d < headDim; ++d)
            if (type == KvType::F32)
                static_cast<float*>(cache)[to + d] = x[d];
            else
                static_cast<std::uint16_t*>(cache)[to + d] = floatToHalf(x[d]);
        return;
    }
    auto* bytes = static_cast<std::uint8_t*>(cache);
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(headDim));
    quantizeKv(type, x, headDim, codes.data(),
               reinterpret_cast<float*>(bytes + kvScaleOffset(type, kvHeads * capacity * headDim)) +
                   to / headDim,
               bytes + kvBlockScaleOffset(type, kvHeads, capacity, headDim) + to / kKvBlock);
    for (std::int64_t d = 0; d < headDim; ++d) {
        const std::int64_t at = to + d;
        const unsigned code = codes[static_cast<std::size_t>(d)];
        if (kvBits(type) != 4) {
            bytes[at] = static_cast<std::uint8_t>(code);
            continue;
        }
        const int shift = static_cast<int>(4 * (at % 2));
        bytes[at / 2] =
            static_cast<std::uint8_t>((bytes[at / 2] & ~(15u << shift)) | code << shift);
    }
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
            const std::int64_t to = (h * capacity + past + t) * headDim,
                               from = t * stride + h * headDim;
            store(keys, kvType, kvHeads, capacity, to, k + from, headDim);
            store(values, kvType, kvHeads, capacity, to, v + from, headDim);
        }
    }
}

void keepKv(void* keys, void* values, KvType kvType, std::int64_t capacity, std::int64_t past,
            const std::int32_t* kept, std::int64_t count, std::int64_t kvHeads,
            std::int64_t headDim) {
    // Codes of a token's head, then its scales where the type has some.
    const auto code = static_cast<std::size_t>(headDim * kvBits(kvType) / 8);
    const std::size_t scales = kvScaleOffset(kvType, kvHeads * capacity * headDim),
                      blockScales = kvBlockScaleOffset(kvType, kvHeads, capacity, headDim),
                      blocks = static_cast<std::size_t>(headDim / kKvBlock);
    for (std::int64_t i = 0; i < count; ++i)
        for (std::int64_t h = 0; h < kvHeads; ++h) {
            const auto to = static_cast<std::size_t>(h * capacity + past + i),
                       from = static_cast<std::size_t>(h * capacity + past + kept[i]);
            for (void* cache : {keys, values}) {
                auto* bytes = static_cast<std::uint8_t*>(cache);
                std::memmove(bytes + to * code, bytes + from * code, code);
                if (hasScales(kvType))
                    std::memmove(bytes + scales + to * sizeof(float),
                                 bytes + scales + from * sizeof(float), sizeof(float));
                if (kvType == KvType::NvFp4)
                    std::memmove(bytes + blockScales + to * blocks,
                                 bytes + blockScales + from * blocks, blocks);
            }
        }
}

}  // namespace fettle::kernels::reference
