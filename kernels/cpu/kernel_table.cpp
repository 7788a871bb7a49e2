#include "kernels/cpu/kernel_table.h"

#include <stdexcept>

#include "kernels/cpu/isa.h"

namespace fettle::kernels {

namespace baseline {
extern const KernelTable kTable;
}
#if defined(__x86_64__)
namespace avx2 {
extern const KernelTable kTable;
}
namespace avx512 {
extern const KernelTable kTable;
}
namespace bf16 {
extern const Bfloat16Kernels kMatmul;
}
namespace amx_bf16 {
extern const TileKernels kMatmul;
}
namespace amx {
void fillTable(KernelTable& table);
}
#endif

const KernelTable& kernels() {
#if defined(__x86_64__)
    switch (currentIsa()) {
        case Isa::Amx: {
            static const KernelTable table = [] {
                KernelTable t;
                amx::fillTable(t);
                return t;
            }();
            return table;
        }
        case Isa::Avx512Vnni:
            return avx512::kTable;
        case Isa::Avx2:
            return avx2::kTable;
        case Isa::Baseline:
            break;
    }
#endif
    return baseline::kTable;
}

const Bfloat16Kernels& bfloat16Kernels() {
#if defined(__x86_64__)
    if (hasBf16Products())
        return bf16::kMatmul;
#endif
    throw std::logic_error("this processor has no products of bfloat16");
}

const TileKernels& tileKernels() {
#if defined(__x86_64__)
    if (hasBf16Tiles())
        return amx_bf16::kMatmul;
#endif
    throw std::logic_error("this processor has no tiles of bfloat16");
}

}  // namespace fettle::kernels
