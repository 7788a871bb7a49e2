// The products on a processor whose tiles multiply bfloat16: of matrices rounded to it, and of
// float32.
#include "kernels/cpu/amx/bf16_tiles.h"
#include "kernels/cpu/amx/hardware_tiles.h"
#include "kernels/cpu/amx/permission.h"
#include "kernels/cpu/amx/split_tiles.h"

namespace fettle::kernels::amx_bf16 {

bool tilesMultiplyRight() {
    constexpr int n = 32, steps = 64;
    float a[n][steps], b[n][steps], c[n][n];
    alignas(64) float panel[steps / 2 * n];
    for (int i = 0; i < n; ++i)
        for (int k = 0; k < steps; ++k) {
            // Small integers: every sum is exact, in whatever order.
            a[i][k] = static_cast<float>((i * 7 + k * 3) % 17 - 8);
            b[i][k] = static_cast<float>((i * 5 + k * 11) % 13 - 6);
        }
    const GemmPack piece = {b[0], steps, 1, n, steps, panel};
    packPanel(&piece);
    const GemmBlock block = {n, n, steps, a[0], steps, 1, panel, steps / 2 * n, c[0], n, false};
    bf16Block<HardwareTiles>(&block);
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) {
            float sum = 0;
            for (int k = 0; k < steps; ++k)
                sum += a[i][k] * b[j][k];
            if (sum != c[i][j])
                return false;
        }
    return true;
}

extern const GemmKernels kGemm;
const GemmKernels kGemm = {
    kPanelWidth, kTileRows, panelFloats, kTileUnitPanels, bf16Block<HardwareTiles>, packPanel};

extern const GemmKernels kSplitGemm;
const GemmKernels kSplitGemm = {
    kTileWidth,    kTileRows, splitPanelFloats, kTileUnitPanels, splitBlock<HardwareTiles>,
    packSplitPanel};

}  // namespace fettle::kernels::amx_bf16
