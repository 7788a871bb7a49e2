// The products of matrices on emulated tiles. Compiled with the flags of AVX512_BF16; call it only
// where the processor has it.
#include "kernels/cpu/amx/bf16_tiles.h"
#include "kernels/cpu/amx/panel_tiles.h"
#include "kernels/cpu/amx/split_tiles.h"
#include "tests/kernels/emulated/amx_tiles.h"
#include "tests/kernels/emulated/emulated_tiles.h"

namespace fettle::kernels {

namespace {

EmulatedGemm emulated(const GemmKernels& kernels) {
    return {kernels, FETTLE_SIMD::state.fault, FETTLE_SIMD::state.products};
}

}  // namespace

EmulatedGemm emulatedBf16Gemm() {
    return emulated({FETTLE_SIMD::kPanelWidth, FETTLE_SIMD::kTileRows, FETTLE_SIMD::panelFloats,
                     FETTLE_SIMD::kTileUnitPanels,
                     FETTLE_SIMD::bf16Block<FETTLE_SIMD::EmulatedTiles>, FETTLE_SIMD::packPanel});
}

EmulatedGemm emulatedSplitGemm() {
    return emulated({FETTLE_SIMD::kTileWidth, FETTLE_SIMD::kTileRows, FETTLE_SIMD::splitPanelFloats,
                     FETTLE_SIMD::kTileUnitPanels,
                     FETTLE_SIMD::splitBlock<FETTLE_SIMD::EmulatedTiles>,
                     FETTLE_SIMD::packSplitPanel});
}

TileKernels emulatedTileKernels() {
    return {[](const MatmulArgs* args, std::int64_t begin, std::int64_t end, void* scratch) {
                FETTLE_SIMD::panelTiles<FETTLE_SIMD::EmulatedTiles>(*args, begin, end, scratch);
            },
            FETTLE_SIMD::packTileRow};
}

const char* emulatedBf16Fault() {
    return FETTLE_SIMD::state.fault;
}

}  // namespace fettle::kernels
