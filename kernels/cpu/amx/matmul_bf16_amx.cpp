// Products with BF16 weights on a processor whose tiles multiply bfloat16.
#include "kernels/cpu/amx/hardware_tiles.h"
#include "kernels/cpu/amx/panel_tiles.h"

namespace fettle::kernels::amx_bf16 {

static void panels(const MatmulArgs* args, std::int64_t begin, std::int64_t end, void* scratch) {
    panelTiles<HardwareTiles>(*args, begin, end, scratch);
}

extern const TileKernels kMatmul;
const TileKernels kMatmul = {panels, packTileRow};

}  // namespace fettle::kernels::amx_bf16
