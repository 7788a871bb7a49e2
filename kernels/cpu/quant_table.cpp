#include "kernels/cpu/quant_table.h"

#include "kernels/cpu/isa.h"

namespace fettle::kernels {

namespace baseline {
extern const QuantTable kQuantTable;
}
#if defined(__x86_64__)
namespace avx2 {
extern const QuantTable kQuantTable;
}
namespace avx512 {
extern const QuantTable kQuantTable;
}
#endif

const QuantTable& quantKernels() {
#if defined(__x86_64__)
    switch (currentIsa()) {
        case Isa::Amx:
        case Isa::Avx512Vnni:
            return avx512::kQuantTable;
        case Isa::Avx2:
            return avx2::kQuantTable;
        case Isa::Baseline:
            break;
    }
#endif
    return baseline::kQuantTable;
}

}  // namespace fettle::kernels
