// Attention of many new tokens at once, on tensor cores: scores and sums over tiles of positions
// that pass through shared memory, softmax on the way (Dao et al. 2022). Queries and probabilities
// are rounded to float16, so a token's numbers differ from those of attention.h in the fourth
// digit. Pointers are device memory.
#pragma once

#include "kernels/cuda/stream.h"
#include "kernels/ops/attention.h"

namespace fettle::kernels::cuda {

/// Whether attentionPrefill() takes these: a float16 cache, headDim a multiple of 8 up to 256.
bool takesPrefill(const AttentionArgs& args);
Status attentionPrefill(const AttentionArgs& args, Stream stream);

}  // namespace fettle::kernels::cuda
