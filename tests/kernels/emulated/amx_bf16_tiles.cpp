// The products of bfloat16 on emulated tiles. Compiled with the flags of AVX512_BF16; call it only
// where the processor has it.
#include "kernels/cpu/amx/bf16_tiles.h"
#include "tests/kernels/emulated/amx_tiles.h"
#include "tests/kernels/emulated/emulated_tiles.h"

namespace fettle::kernels {

EmulatedGemm emulatedBf16Gemm() {
    return {{FETTLE_SIMD::kPanelWidth, FETTLE_SIMD::kTileRows, 2, FETTLE_SIMD::kTileUnitPanels,
             FETTLE_SIMD::bf16Block<FETTLE_SIMD::EmulatedTiles>, FETTLE_SIMD::packPanel},
            FETTLE_SIMD::state.fault,
            FETTLE_SIMD::state.products};
}

}  // namespace fettle::kernels
