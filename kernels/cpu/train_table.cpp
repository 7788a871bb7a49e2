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
extern const GemmKernels kGemm, kSplitGemm;
// A block of the tiles' sums and of steps: products that do not fill it are faster without them.
constexpr std::int64_t kLeast = 32;
}  // namespace amx_bf16
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

const GemmKernels& gemmKernels(bool bf16, [[maybe_unused]] std::int64_t columns,
                               [[maybe_unused]] std::int64_t steps) {
#if defined(__x86_64__)
    if (bf16)
        return hasBf16Tiles() ? amx_bf16::kGemm : bf16::kGemm;
    if (columns >= amx_bf16::kLeast && steps >= amx_bf16::kLeast && hasBf16Tiles())
        return amx_bf16::kSplitGemm;
#endif
    return trainKernels().gemm;
}

}  // namespace fettle::kernels
