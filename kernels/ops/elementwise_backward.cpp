#include "kernels/ops/elementwise_backward.h"

#include <algorithm>
#include <numeric>

#include "kernels/cpu/train_table.h"

namespace fettle::kernels {
namespace {

constexpr std::int64_t kBlockRows = 64;  // of one partial sum

/// body(begin, end, partial sums) for fixed blocks of rows, then the partials in order onto `sums`.
template <class Body>
void summedRows(std::int64_t rows, std::int64_t width, std::span<float* const> sums,
                RowSumScratch& scratch, WorkerPool& pool, const Body& body) {
    const std::int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
    const auto count = static_cast<std::int64_t>(sums.size());
    scratch.partial.assign(static_cast<std::size_t>(blocks * count * width), 0.0F);
    pool.parallelFor(blocks, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t b = begin; b < end; ++b)
            body(b * kBlockRows, std::min(rows, (b + 1) * kBlockRows),
                 scratch.partial.data() + b * count * width);
    });
    for (std::int64_t s = 0; s < count; ++s) {
        float* sum = sums[static_cast<std::size_t>(s)];
        if (!sum)
            continue;
        for (std::int64_t b = 0; b < blocks; ++b)
            trainKernels().addScaled(sum, scratch.partial.data() + (b * count + s) * width, 1.0F,
                                     width);
    }
}

std::int64_t rowGrain(std::int64_t cols) {
    return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, cols));
}

}  // namespace

void rmsNormBackward(const NormBackwardArgs& args, float* dw, RowSumScratch& scratch,
                     WorkerPool& pool) {
    float* const sums[] = {dw};
    summedRows(args.rows, args.cols, sums, scratch, pool,
               [&](std::int64_t begin, std::int64_t end, float* partial) {
                   trainKernels().rmsNormBackward(&args, begin, end, partial);
               });
}

void layerNormBackward(const NormBackwardArgs& args, float* dw, float* db, RowSumScratch& scratch,
                       WorkerPool& pool) {
    float* const sums[] = {dw, db};
    summedRows(args.rows, args.cols, sums, scratch, pool,
               [&](std::int64_t begin, std::int64_t end, float* partial) {
                   trainKernels().layerNormBackward(&args, begin, end, partial,
                                                    partial + args.cols);
               });
}

void addRowSums(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t cols,
                float* sums, RowSumScratch& scratch, WorkerPool& pool) {
    float* const all[] = {sums};
    summedRows(rows, cols, all, scratch, pool,
               [&](std::int64_t begin, std::int64_t end, float* partial) {
                   for (std::int64_t r = begin; r < end; ++r)
                       trainKernels().addScaled(partial, x + r * stride, 1.0F, cols);
               });
}

void gatedForward(const GatedForwardArgs& args, WorkerPool& pool) {
    pool.parallelFor(args.rows, rowGrain(args.cols),
                     [&](std::int64_t begin, std::int64_t end, int) {
                         trainKernels().gatedForward(&args, begin, end);
                     });
}

void gatedBackward(GatedKind kind, const GatedBackwardArgs& args, WorkerPool& pool) {
    const TrainTable& table = trainKernels();
    const auto f = kind == GatedKind::Silu       ? table.siluMulBackward
                   : kind == GatedKind::GeluTanh ? table.geluTanhMulBackward
                                                 : table.geluTanhBackward;
    pool.parallelFor(args.rows, rowGrain(args.cols),
                     [&](std::int64_t begin, std::int64_t end, int) { f(&args, begin, end); });
}

void softcapBackward(const float* y, float cap, float* dy, std::int64_t count) {
    trainKernels().softcapBackward(y, cap, dy, count);
}

void addScaled(float* y, const float* x, float factor, std::int64_t count) {
    trainKernels().addScaled(y, x, factor, count);
}

void embeddingBackward(std::span<const std::int32_t> ids, const float* dy, std::int64_t cols,
                       float factor, float* grad, WorkerPool& pool) {
    // Tokens by id; those of one id go to one thread, in their order.
    std::vector<std::int64_t> order(ids.size());
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return ids[static_cast<std::size_t>(a)] < ids[static_cast<std::size_t>(b)];
    });
    std::vector<std::size_t> starts;
    for (std::size_t i = 0; i < order.size(); ++i)
        if (i == 0 ||
            ids[static_cast<std::size_t>(order[i])] != ids[static_cast<std::size_t>(order[i - 1])])
            starts.push_back(i);
    starts.push_back(order.size());
    const auto count = static_cast<std::int64_t>(starts.size()) - 1;
    pool.parallelFor(count, 32, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t s = begin; s < end; ++s)
            for (std::size_t i = starts[static_cast<std::size_t>(s)];
                 i < starts[static_cast<std::size_t>(s) + 1]; ++i)
                trainKernels().addScaled(
                    grad + std::int64_t{ids[static_cast<std::size_t>(order[i])]} * cols,
                    dy + order[i] * cols, factor, cols);
    });
}

}  // namespace fettle::kernels
