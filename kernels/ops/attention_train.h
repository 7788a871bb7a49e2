// Causal attention of whole sequences with its gradient, for training: grouped heads, optional
// sliding window and softcap. Forward keeps the log-sum-exp of every row, backward recomputes the
// probabilities from it instead of storing them. Vaswani et al. 2017; recomputation: Dao et al.
// 2022, algorithm 4.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops/worker_pool.h"

namespace fettle::kernels {

/// Neighbouring tokens that see each other, and nobody else.
struct TokenSpan {
    std::int64_t first = 0;
    std::int64_t count = 0;
};

struct AttentionTrainArgs {
    const float* q = nullptr;                ///< [tokens, heads, headDim], rope applied
    const float* k = nullptr;                ///< [tokens, kvHeads, headDim]
    const float* v = nullptr;                ///< likewise
    std::int64_t qStride = 0, kvStride = 0;  ///< elements between tokens
    std::int64_t heads = 0, kvHeads = 0, headDim = 0;
    float scale = 1;
    std::int64_t window = 0;  ///< > 0: a token sees that many tokens, itself included
    float softcap = 0;        ///< > 0: scores become c tanh(s / c)
    float* out = nullptr;     ///< [tokens, heads, headDim]
    std::int64_t outStride = 0;
    float* logSumExp = nullptr;  ///< [tokens, heads]; written forward, read backward
};

struct AttentionGrads {
    const float* dOut = nullptr;  ///< as out, row stride outStride
    float* dq = nullptr;          ///< as q, overwritten; row stride qStride
    float* dk = nullptr;          ///< as k, overwritten; row stride kvStride
    float* dv = nullptr;
};

struct AttentionScratch {
    std::vector<float> memory;  ///< of all threads
};

void attentionForward(const AttentionTrainArgs& args, std::span<const TokenSpan> sequences,
                      AttentionScratch& scratch, WorkerPool& pool);
void attentionBackward(const AttentionTrainArgs& args, const AttentionGrads& grads,
                       std::span<const TokenSpan> sequences, AttentionScratch& scratch,
                       WorkerPool& pool);

/// Of each token t with scored[t] >= 0: KL(teacher's attention distribution || student's) in nats,
/// mean over heads (Wang et al. 2020, MiniLM, eq. 4). Both sides have been through
/// attentionForward; heads and window are the same, head size and key/value heads may differ.
/// The sum over tokens, and its gradient times `weight` is added to dq and dk (strides of the
/// student's q and k) unless these are null. Probabilities are made again from the log-sum-exps, so
/// that a block of rows is all that is held.
double attentionMatch(const AttentionTrainArgs& student, const AttentionTrainArgs& teacher,
                      std::span<const TokenSpan> sequences, const std::int32_t* scored,
                      float weight, float* dq, float* dk, AttentionScratch& scratch,
                      WorkerPool& pool);

}  // namespace fettle::kernels
