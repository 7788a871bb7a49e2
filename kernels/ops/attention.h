// Causal attention of new tokens over a key/value cache, with grouped heads and an optional sliding
// window. New tokens may be a tree: several continuations of one text that share what they have in
// common. Vaswani et al. 2017; grouped queries: Ainslie et al. 2023; online softmax: Milakov &
// Gimelshein 2018; trees: Miao et al. 2024 (SpecInfer).
#pragma once

#include <cstdint>

#include "kernels/formats/kv_format.h"
#include "kernels/ops/worker_pool.h"

namespace fettle::kernels {

struct AttentionArgs {
    const float* q =
        nullptr;  ///< [tokens, heads, headDim], rope already applied; row stride qStride
    std::int64_t qStride = 0;
    const void* keys = nullptr;  ///< cache, kvBytes() of kvType
    const void* values =
        nullptr;  ///< likewise; only appendKv and attention know the order inside a head's part
    KvType kvType = KvType::F16;
    std::int64_t capacity = 0;  ///< tokens the cache has room for
    std::int64_t past = 0;  ///< tokens in the cache before these; token i sees positions 0..past+i
    std::int64_t tokens = 0;
    std::int64_t heads = 0, kvHeads = 0, headDim = 0;
    float scale = 1;
    std::int64_t window = 0;  ///< >0: token at p sees positions > p - window only
    float softcap = 0;        ///< >0: scores become c*tanh(s/c)
    float* out = nullptr;     ///< [tokens, heads, headDim], row stride outStride
    std::int64_t outStride = 0;
    /// Null: the tokens continue what is in the cache. Else the cache holds `text` tokens of text,
    /// then nodes of a tree, of which these tokens are the last: parents[j], an earlier node, is
    /// what node j follows, -1 the text. A node sees the text and its ancestors, and stands where
    /// it would if nothing else had been drafted. Host memory, [past + tokens - text].
    const std::int32_t* parents = nullptr;
    std::int64_t text = 0;
};
constexpr std::int64_t kMostTreeTokens = 64;

/// The result for a token does not depend on how many tokens are computed together, nor on what
/// else a tree holds: it is bit for bit that of the token after its ancestors alone.
void attention(const AttentionArgs& args, WorkerPool& pool);

/// Appends keys and values [tokens, kvHeads, headDim] (row stride `stride`) to the cache at
/// position `past`.
void appendKv(const float* k, const float* v, std::int64_t stride, void* keys, void* values,
              KvType kvType, std::int64_t capacity, std::int64_t past, std::int64_t tokens,
              std::int64_t kvHeads, std::int64_t headDim);

/// Keeps `count` of the tokens that lie in the cache from position `past` on: the one at past +
/// kept[i] moves to past + i. `kept` ascends.
void keepKv(void* keys, void* values, KvType kvType, std::int64_t capacity, std::int64_t past,
            const std::int32_t* kept, std::int64_t count, std::int64_t kvHeads,
            std::int64_t headDim);

}  // namespace fettle::kernels
