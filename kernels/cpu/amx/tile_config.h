// The shapes of AMX's tile registers, as the processor reads them.
#pragma once

#include <cstdint>

namespace fettle::kernels::FETTLE_SIMD {

/// What LDTILECFG reads (palette 1).
struct TileConfig {
    std::uint8_t palette = 1;
    std::uint8_t startRow = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t columnBytes[16] = {};
    std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

}  // namespace fettle::kernels::FETTLE_SIMD
