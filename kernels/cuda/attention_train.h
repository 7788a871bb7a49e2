// CUDA twins of kernels/ops/attention_train.h: causal attention of whole sequences with its
// gradient, in float32. One warp computes one row; backward recomputes the probabilities from the
// log-sum-exp (Dao et al. 2022, algorithm 4), once along queries and once along keys, so that
// nothing is added in an order that chance decides. Pointers are device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace fettle::kernels::cuda {

struct AttentionTrainArgs {
    const float* q = nullptr;  ///< [tokens, heads, headDim], rope applied
    const float* k = nullptr;  ///< [tokens, kvHeads, headDim]
    const float* v = nullptr;
    std::int64_t qStride = 0, kvStride = 0, outStride = 0;
    std::int64_t tokens = 0, heads = 0, kvHeads = 0, headDim = 0;  ///< headDim up to 256
    /// Of each token, the first token of its sequence and the one behind its last.
    const std::int32_t* firsts = nullptr;
    const std::int32_t* ends = nullptr;
    float scale = 1;
    std::int64_t window = 0;     ///< > 0: a token sees that many tokens, itself included
    float softcap = 0;           ///< > 0: scores become c tanh(s / c)
    float* out = nullptr;        ///< [tokens, heads, headDim]; written forward, read backward
    float* logSumExp = nullptr;  ///< [tokens, heads]; likewise

    template <class Check>
    void forEachPointer(Check check) const {
        check(q), check(k), check(v), check(firsts), check(ends), check(out), check(logSumExp);
    }
};

struct AttentionGrads {
    const float* dOut = nullptr;  ///< as out
    float* dq = nullptr;          ///< as q, overwritten
    float* dk = nullptr;          ///< as k, overwritten
    float* dv = nullptr;
    float* delta = nullptr;  ///< workspace [tokens, heads]

    template <class Check>
    void forEachPointer(Check check) const {
        check(dOut), check(dq), check(dk), check(dv), check(delta);
    }
};

Status attentionTrainForward(const AttentionTrainArgs& args, Stream stream);
Status attentionTrainBackward(const AttentionTrainArgs& args, const AttentionGrads& grads,
                              Stream stream);

}  // namespace fettle::kernels::cuda
