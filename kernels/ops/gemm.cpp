#include "kernels/ops/gemm.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/train_table.h"

namespace fettle::kernels {
namespace {

// What is packed at once: at most this many columns and steps of b (16 MiB).
constexpr std::int64_t kPackedColumns = 2048;
constexpr std::int64_t kPackedSteps = 2048;
// Units of work: this many register tiles of rows times some panels.
constexpr std::int64_t kUnitTiles = 8;

std::int64_t up(std::int64_t value, std::int64_t unit) {
    return (value + unit - 1) / unit;
}

void check(const GemmArgs& g) {
    const bool tn = g.layout == GemmLayout::TN, nt = g.layout == GemmLayout::NT;
    if (g.m < 0 || g.n < 0 || g.k <= 0 || g.aStride < (tn ? g.m : g.k) ||
        g.bStride < (nt ? g.k : g.n) || g.cStride < g.n)
        throw std::invalid_argument("gemm: bad shape m=" + std::to_string(g.m) +
                                    " n=" + std::to_string(g.n) + " k=" + std::to_string(g.k));
    if (g.bf16 && !hasBf16Products())
        throw std::invalid_argument("gemm: this processor multiplies no bfloat16");
}

}  // namespace

float* GemmScratch::room(std::size_t floats) {
    constexpr std::size_t kAlignment = 64;
    if (packed.size() < floats + kAlignment / sizeof(float))
        packed.resize(floats + kAlignment / sizeof(float));
    const auto at = reinterpret_cast<std::uintptr_t>(packed.data());
    return packed.data() + (kAlignment - at % kAlignment) % kAlignment / sizeof(float);
}

void gemm(const GemmArgs& g, GemmScratch& scratch, WorkerPool& pool) {
    check(g);
    if (g.m == 0 || g.n == 0)
        return;
    const GemmKernels& kernels = gemmKernels(g.bf16, g.n, g.k);
    const bool tn = g.layout == GemmLayout::TN, nt = g.layout == GemmLayout::NT;
    const std::int64_t width = kernels.width;
    const std::int64_t aRow = tn ? 1 : g.aStride, aStep = tn ? g.aStride : 1;
    const std::int64_t bColumn = nt ? g.bStride : 1, bStep = nt ? 1 : g.bStride;
    const std::int64_t columnsAtOnce = std::min(up(g.n, width) * width, kPackedColumns);
    const std::int64_t stepsAtOnce = std::min(g.k, kPackedSteps);
    const auto floats =
        static_cast<std::size_t>(columnsAtOnce / width * kernels.panelFloats(stepsAtOnce));
    float* const packed = scratch.room(floats);

    for (std::int64_t column = 0; column < g.n; column += columnsAtOnce) {
        const std::int64_t columns = std::min(columnsAtOnce, g.n - column);
        const std::int64_t panels = up(columns, width);
        for (std::int64_t step = 0; step < g.k; step += stepsAtOnce) {
            const std::int64_t steps = std::min(stepsAtOnce, g.k - step);
            const std::int64_t panelFloats = kernels.panelFloats(steps);
            const auto pack = [&](std::int64_t begin, std::int64_t end, int) {
                for (std::int64_t p = begin; p < end; ++p) {
                    const GemmPack piece = {g.b + (column + p * width) * bColumn + step * bStep,
                                            bColumn,
                                            bStep,
                                            std::min(width, columns - p * width),
                                            steps,
                                            packed + p * panelFloats};
                    kernels.pack(&piece);
                }
            };
            pool.parallelFor(panels, 1, std::ref(pack));

            // Small products are cut finer, so that every thread gets some; where a cut lies does
            // not change any sum.
            std::int64_t unitTiles = kUnitTiles, unitPanels = kernels.unitPanels;
            const std::int64_t tiles = up(g.m, kernels.rows);
            const auto units = [&] { return up(tiles, unitTiles) * up(panels, unitPanels); };
            while (units() < 6 * pool.threads() && (unitTiles > 2 || unitPanels > 2))
                (unitTiles > 2 ? unitTiles : unitPanels) /= 2;
            const std::int64_t rowUnits = up(tiles, unitTiles);
            const auto multiply = [&](std::int64_t begin, std::int64_t end, int) {
                for (std::int64_t u = begin; u < end; ++u) {
                    const std::int64_t row = u % rowUnits * unitTiles * kernels.rows;
                    const std::int64_t panel = u / rowUnits * unitPanels;
                    const GemmBlock block = {std::min(unitTiles * kernels.rows, g.m - row),
                                             std::min(unitPanels * width, columns - panel * width),
                                             steps,
                                             g.a + row * aRow + step * aStep,
                                             aRow,
                                             aStep,
                                             packed + panel * panelFloats,
                                             panelFloats,
                                             g.c + row * g.cStride + column + panel * width,
                                             g.cStride,
                                             g.accumulate || step > 0};
                    kernels.block(&block);
                }
            };
            pool.parallelFor(rowUnits * up(panels, unitPanels), 1, std::ref(multiply));
        }
    }
}

}  // namespace fettle::kernels
