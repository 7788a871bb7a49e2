// The integer products of the AMX level; everything else it takes from AVX-512.
#include "kernels/cpu/amx/hardware_tiles.h"
#include "kernels/cpu/amx/int_tiles.h"
#include "kernels/cpu/amx/permission.h"

namespace fettle::kernels {

namespace avx512 {
extern const KernelTable kTable;
}

namespace amx {

bool tilesMultiplyRight() {
    constexpr int rows = 32, k = 64;
    alignas(64) std::int8_t a[rows][k];
    alignas(64) std::uint8_t b[2][k / 4][64];
    alignas(64) std::int32_t c[rows][kAmxPanels][16];
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < k; ++j)
            a[i][j] = static_cast<std::int8_t>((i * 37 + j * 11) % 255 - 127);
    for (int p = 0; p < 2; ++p)
        for (int j = 0; j < k / 4; ++j)
            for (int n = 0; n < 64; ++n)
                b[p][j][n] = static_cast<std::uint8_t>(p * 101 + j * 29 + n * 7);
    HardwareTiles::configure(tileConfig(rows));
    HardwareTiles::zero<0>();
    HardwareTiles::zero<1>();
    HardwareTiles::zero<2>();
    HardwareTiles::zero<3>();
    multiplyTiles<HardwareTiles, 2>(a[0], k, b[0][0], b[1][0]);
    storeSums<HardwareTiles, 2>(c);
    HardwareTiles::release();
    for (int i = 0; i < rows; ++i)
        for (int p = 0; p < 2; ++p)
            for (int n = 0; n < 16; ++n) {
                std::int32_t sum = 0;
                for (int j = 0; j < k; ++j)
                    sum += a[i][j] * b[p][j / 4][4 * n + j % 4];
                if (sum != c[i][p][n])
                    return false;
            }
    return true;
}

static void intPanels(const MatmulArgs* args, std::int64_t begin, std::int64_t end, void* scratch) {
    if (tilesFit(*args))
        intTiles<HardwareTiles>(*args, begin, end, scratch);
    else
        avx512::kTable.intPanels(args, begin, end, scratch);
}

/// The AVX-512 table with this level's integer products.
void fillTable(KernelTable& table) {
    table = avx512::kTable;
    table.intPanels = intPanels;
}

}  // namespace amx
}  // namespace fettle::kernels
