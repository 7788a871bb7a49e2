#include "kernels/ops/attention.h"

#include "kernels/reference/attention.h"

namespace fettle::kernels {

void attention(const AttentionArgs& args, WorkerPool& pool) {
    const auto body = [&](std::int64_t begin, std::int64_t end, int) {
        AttentionArgs part = args;
        part.q += begin * args.qStride;
        part.out += begin * args.outStride;
        part.past += begin;
        part.tokens = end - begin;
        reference::attention(part);
    };
    pool.parallelFor(args.tokens, 1, std::ref(body));
}

void appendKv(const float* k, const float* v, std::int64_t stride, void* keys, void* values,
              KvType kvType, std::int64_t capacity, std::int64_t past, std::int64_t tokens,
              std::int64_t kvHeads, std::int64_t headDim) {
    reference::appendKv(k, v, stride, keys, values, kvType, capacity, past, tokens, kvHeads, headDim);
}

}  // namespace fettle::kernels
