#include "kernels/ops/bfloat16.h"

#include "kernels/cpu/train_table.h"

namespace fettle::kernels {
namespace {
constexpr std::int64_t kGrain = 16384;
}

void roundToBfloat16(const float* x, std::int64_t count, float* out, std::uint16_t* kept,
                     WorkerPool& pool) {
    pool.parallelFor(count, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
        trainKernels().roundToBfloat16(x + begin, end - begin, out + begin,
                                       kept ? kept + begin : nullptr);
    });
}

void widenBfloat16(const std::uint16_t* x, std::int64_t count, float* out, WorkerPool& pool) {
    pool.parallelFor(count, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
        trainKernels().widenBfloat16(x + begin, end - begin, out + begin);
    });
}

}  // namespace fettle::kernels
