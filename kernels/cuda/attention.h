// CUDA twin of kernels/ops/attention.h for decoding: a few new tokens over a long cache. The cache
// is cut into parts of kAttentionPart positions which are computed apart and joined ("split K");
// where the cuts lie depends on positions alone, so a token's result does not depend on how many
// tokens are computed together. Pointers are device memory; keys and values lie as [kvHeads,
// capacity, headDim], scales behind them where the type has any (formats/kv_format.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/ops/attention.h"

namespace fettle::kernels::cuda {

constexpr std::int64_t kAttentionPart = 256;
constexpr std::int64_t kMaxHeadDim = 256;

/// Floats of the workspace that attention() needs.
std::size_t attentionWorkspace(const AttentionArgs& args);
/// Refuses (kInvalidValue) a headDim over kMaxHeadDim and what does not fit the cache.
Status attention(const AttentionArgs& args, float* workspace, Stream stream);
Status appendKv(const float* k, const float* v, std::int64_t stride, void* keys, void* values,
                KvType kvType, std::int64_t capacity, std::int64_t past, std::int64_t tokens,
                std::int64_t kvHeads, std::int64_t headDim, Stream stream);
/// `kept` is host memory, its values are below kMostTreeTokens.
Status keepKv(void* keys, void* values, KvType kvType, std::int64_t capacity, std::int64_t past,
              const std::int32_t* kept, std::int64_t count, std::int64_t kvHeads,
              std::int64_t headDim, Stream stream);

}  // namespace fettle::kernels::cuda
