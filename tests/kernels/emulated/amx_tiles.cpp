// The AMX products on emulated tiles. Compiled with the AVX-512 flags; call it only where the
// processor has them.
#include "tests/kernels/emulated/amx_tiles.h"
#include "kernels/cpu/amx/int_tiles.h"
#include "tests/kernels/emulated/emulated_tiles.h"

namespace fettle::kernels {

bool emulatedAmxPanels(const MatmulArgs& args, std::int64_t begin, std::int64_t end,
                       void* scratch) {
    if (!FETTLE_SIMD::tilesFit(args))
        return false;
    FETTLE_SIMD::intTiles<FETTLE_SIMD::EmulatedTiles>(args, begin, end, scratch);
    return true;
}

const char* emulatedAmxFault() {
    return FETTLE_SIMD::state.fault;
}

long emulatedAmxProducts() {
    return FETTLE_SIMD::state.products;
}

}  // namespace fettle::kernels
