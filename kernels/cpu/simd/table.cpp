#include "kernels/cpu/simd/matmul_int.h"
#include "kernels/cpu/simd/tables.h"

namespace fettle::kernels::FETTLE_SIMD {

void intPanels(const MatmulArgs* args, std::int64_t begin, std::int64_t end, void* scratch) {
    // Sums over more than kExactGroups have to be cut into spans, which only the direct kernel
    // does.
    const bool spans =
        args->layout->scales == ScaleLayout::Channel && args->layout->groups > kExactGroups;
    if (args->m <= kDirectRows || spans)
        intDirect(*args, begin, end);
    else
        intBlocked(*args, begin, end, scratch);
}

extern const KernelTable kTable;
const KernelTable kTable = {intPanels, plainPanels,     quantizeRow, attentionRows, appendKv,
                            rmsNorm,   layerNorm,       siluMul,     geluTanhMul,   geluTanh,
                            add,       scale,           softcap,     rope,          maximum,
                            argmax,    summarizeLogits, klDivergence};

}  // namespace fettle::kernels::FETTLE_SIMD
