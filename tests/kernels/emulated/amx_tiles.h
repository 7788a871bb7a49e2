// The AMX kernels without an AMX processor, see emulated_tiles.h.
#pragma once

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/train_table.h"

namespace fettle::kernels {

/// False where the AMX level leaves the product to AVX-512.
bool emulatedAmxPanels(const MatmulArgs& args, std::int64_t begin, std::int64_t end, void* scratch);
/// What the processor would have refused so far, or null.
const char* emulatedAmxFault();
long emulatedAmxProducts();

/// Products of matrices, and the same of them so far.
struct EmulatedGemm {
    GemmKernels kernels;
    const char* fault;
    long products;
};
EmulatedGemm emulatedBf16Gemm();
/// Of float32.
EmulatedGemm emulatedSplitGemm();
/// Products with BF16 weights.
TileKernels emulatedTileKernels();
const char* emulatedBf16Fault();

}  // namespace fettle::kernels
