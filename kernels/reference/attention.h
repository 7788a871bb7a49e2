// Plain twin of kernels/ops/attention.h: one score row at a time in double.
#pragma once

#include "kernels/ops/attention.h"

namespace fettle::kernels::reference {

void attention(const AttentionArgs& args);
void appendKv(const float* k, const float* v, std::int64_t stride, void* keys, void* values,
              KvType kvType, std::int64_t capacity, std::int64_t past, std::int64_t tokens,
              std::int64_t kvHeads, std::int64_t headDim);
void keepKv(void* keys, void* values, KvType kvType, std::int64_t capacity, std::int64_t past,
            const std::int32_t* kept, std::int64_t count, std::int64_t kvHeads,
            std::int64_t headDim);

}  // namespace fettle::kernels::reference
