#include "kernels/cpu/kernel_table.h"

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

}  // namespace fettle::kernels
