#include "kernels/ops/attention_train.h"

#include <algorithm>
#include <numeric>
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

std::int64_t longestOf(std::span<const TokenSpan> sequences) {
    std::int64_t longest = 0;
    for (const TokenSpan& s : sequences)
        longest = std::max(longest, s.count);
    return longest;
}

/// body(unit, its number, scratch of the thread) for every sequence and key/value head.
template <class Body>
void eachUnit(const AttentionTrainArgs& args, std::span<const TokenSpan> sequences,
              std::int64_t floats, AttentionScratch& scratch, WorkerPool& pool, const Body& body) {
    if (floats == 0)
        return;
    scratch.memory.resize(
        std::max(scratch.memory.size(), static_cast<std::size_t>(floats * pool.threads())));
    const auto count = static_cast<std::int64_t>(sequences.size());
    pool.parallelFor(
        count * args.kvHeads, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
            for (std::int64_t u = begin; u < end; ++u) {
                const TokenSpan& s = sequences[static_cast<std::size_t>(u / args.kvHeads)];
                const AttentionUnit unit = {s.first, s.count, u % args.kvHeads};
                if (s.count > 0)
                    body(unit, u, scratch.memory.data() + thread * floats);
            }
        });
}

std::int64_t scratchFloats(const AttentionTrainArgs& args, std::span<const TokenSpan> sequences) {
    const std::int64_t longest = longestOf(sequences);
    return longest == 0 ? 0 : trainKernels().attentionScratch(longest, args.headDim);
}

}  // namespace

void attentionForward(const AttentionTrainArgs& args, std::span<const TokenSpan> sequences,
                      AttentionScratch& scratch, WorkerPool& pool) {
    check(args);
    eachUnit(args, sequences, scratchFloats(args, sequences), scratch, pool,
             [&](const AttentionUnit& unit, std::int64_t, float* memory) {
                 trainKernels().attentionForward(&args, &unit, memory);
             });
}

void attentionBackward(const AttentionTrainArgs& args, const AttentionGrads& grads,
                       std::span<const TokenSpan> sequences, AttentionScratch& scratch,
                       WorkerPool& pool) {
    check(args);
    eachUnit(args, sequences, scratchFloats(args, sequences), scratch, pool,
             [&](const AttentionUnit& unit, std::int64_t, float* memory) {
                 trainKernels().attentionBackward(&args, &grads, &unit, memory);
             });
}

double attentionMatch(const AttentionTrainArgs& student, const AttentionTrainArgs& teacher,
                      std::span<const TokenSpan> sequences, const std::int32_t* scored,
                      float weight, float* dq, float* dk, AttentionScratch& scratch,
                      WorkerPool& pool) {
    check(student);
    check(teacher);
    if (student.heads != teacher.heads || student.window != teacher.window)
        throw std::invalid_argument("attentionMatch: other heads or window");
    const std::int64_t longest = longestOf(sequences);
    const std::int64_t floats = longest == 0 ? 0
                                             : trainKernels().attentionMatchScratch(
                                                   longest, student.headDim, teacher.headDim);
    std::vector<double> parts(sequences.size() * static_cast<std::size_t>(student.kvHeads), 0);
    eachUnit(student, sequences, floats, scratch, pool,
             [&](const AttentionUnit& unit, std::int64_t number, float* memory) {
                 parts[static_cast<std::size_t>(number)] = trainKernels().attentionMatch(
                     &student, &teacher, &unit, scored, weight, dq, dk, memory);
             });
    return std::accumulate(parts.begin(), parts.end(), 0.0) / static_cast<double>(student.heads);
}

}  // namespace fettle::kernels
