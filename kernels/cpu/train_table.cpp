#include "kernels/cpu/train_table.h"

#include "kernels/cpu/isa.h"

namespace fettle::kernels {

namespace baseline {
extern const TrainTable kTrainTable;
}
#if defined(__x86_64__)
namespace avx2 {
extern const TrainTable kTrainTable;
}
namespace avx512 {
extern const TrainTable kTrainTable;
}
#endif

const TrainTable& trainKernels() {
#if defined(__x86_64__)
    switch (currentIsa()) {
        case Isa::Amx:
        case Isa::Avx512Vnni:
            return avx512::kTrainTable;
        case Isa::Avx2:
            return avx2::kTrainTable;
        case Isa::Baseline:
            break;
    }
#endif
    return baseline::kTrainTable;
}

}  // namespace fettle::kernels
