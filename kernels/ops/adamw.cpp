#include "kernels/ops/adamw.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/train_table.h"

namespace fettle::kernels {

namespace {
constexpr std::int64_t kSumBlock = 16384;
}

void adamw(const AdamWArgs& args, WorkerPool& pool) {
    pool.parallelFor(args.count, kSumBlock, [&](std::int64_t begin, std::int64_t end, int) {
        trainKernels().adamw(&args, begin, end);
    });
}

double sumSquares(const float* x, std::int64_t count, WorkerPool& pool) {
    const std::int64_t blocks = (count + kSumBlock - 1) / kSumBlock;
    std::vector<double> sums(static_cast<std::size_t>(blocks));
    pool.parallelFor(blocks, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t b = begin; b < end; ++b)
            sums[static_cast<std::size_t>(b)] = trainKernels().sumSquares(
                x + b * kSumBlock, std::min(kSumBlock, count - b * kSumBlock));
    });
    double total = 0;
    for (const double s : sums)
        total += s;
    return total;
}

}  // namespace fettle::kernels
