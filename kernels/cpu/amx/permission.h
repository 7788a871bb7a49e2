// Asking for AMX's tile registers. Linux grants them to a process once it asks (arch_prctl).
#pragma once

namespace fettle::kernels {

/// Asks the operating system for the tile registers, once per process; false where it refuses.
bool requestTiles();

namespace amx {
/// Multiplies a small known product on the tiles and compares it with plain arithmetic. After
/// requestTiles() only.
bool tilesMultiplyRight();
}  // namespace amx
namespace amx_bf16 {
/// The same of bfloat16; on a processor that also has AVX512_BF16, which packs the factors.
bool tilesMultiplyRight();
}  // namespace amx_bf16

}  // namespace fettle::kernels
