#include "kernels/ops/attention_train.h"

#include <algorithm>
#include <stdexcept>

#include "kernels/cpu/train_table.h"

namespace fettle::kernels {
namespace {

void check(const AttentionTrainArgs& a) {
    if (a.headDim <= 0 || a.kvHeads <= 0 || a.heads % a.kvHeads != 0 ||
        a.qStride < a.heads * a.headDim || a.kvStride < a.kvHeads * a.headDim ||
        a.outStride < a.heads * a.headDim)
        throw std::invalid_argument("attention: bad shape");
}

/// body(unit, scratch of the thread) for every sequence and key/value head.
template <class Body>
void eachUnit(const AttentionTrainArgs& args, std::span<const TokenSpan> sequences,
              AttentionScratch& scratch, WorkerPool& pool, const Body& body) {
    std::int64_t longest = 0;
    for (const TokenSpan& s : sequences)
        longest = std::max(longest, s.count);
    if (longest == 0)
        return;
    const std::int64_t floats = trainKernels().attentionScratch(longest, args.headDim);
    scratch.memory.resize(
        std::max(scratch.memory.size(), static_cast<std::size_t>(floats * pool.threads())));
    const auto count = static_cast<std::int64_t>(sequences.size());
    pool.parallelFor(
        count * args.kvHeads, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
            for (std::int64_t u = begin; u < end; ++u) {
                const TokenSpan& s = sequences[static_cast<std::size_t>(u / args.kvHeads)];
                const AttentionUnit unit = {s.first, s.count, u % args.kvHeads};
                if (s.count > 0)
                    body(unit, scratch.memory.data() + thread * floats);
            }
        });
}

}  // namespace

void attentionForward(const AttentionTrainArgs& args, std::span<const TokenSpan> sequences,
                      AttentionScratch& scratch, WorkerPool& pool) {
    check(args);
    eachUnit(args, sequences, scratch, pool, [&](const AttentionUnit& unit, float* memory) {
        trainKernels().attentionForward(&args, &unit, memory);
    });
}

void attentionBackward(const AttentionTrainArgs& args, const AttentionGrads& grads,
                       std::span<const TokenSpan> sequences, AttentionScratch& scratch,
                       WorkerPool& pool) {
    check(args);
    eachUnit(args, sequences, scratch, pool, [&](const AttentionUnit& unit, float* memory) {
        trainKernels().attentionBackward(&args, &grads, &unit, memory);
    });
}

}  // namespace fettle::kernels
