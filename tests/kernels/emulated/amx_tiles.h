// The AMX kernels without an AMX processor, see amx_tiles.cpp.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace fettle::kernels {

/// False where the AMX level leaves the product to AVX-512.
bool emulatedAmxPanels(const MatmulArgs& args, std::int64_t begin, std::int64_t end, void* scratch);
/// What the processor would have refused so far, or null.
const char* emulatedAmxFault();
long emulatedAmxProducts();

}  // namespace fettle::kernels
