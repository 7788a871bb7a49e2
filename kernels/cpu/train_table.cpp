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
namespace bf16 {
extern const GemmKernels kGemm;
}
namespace amx_bf16 {
extern const GemmKernels kGemm;
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

const GemmKernels& gemmKernels(bool bf16) {
#if defined(__x86_64__)
    if (bf16)
        return hasBf16Tiles() ? amx_bf16::kGemm : bf16::kGemm;
#endif
    return trainKernels().gemm;
}

}  // namespace fettle::kernels
