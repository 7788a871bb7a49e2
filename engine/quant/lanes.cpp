#include "engine/quant/lanes.h"

// One copy for each level of vector instructions, chosen when the program is loaded. No multiply
// is fused with its addition, so that all give the same bits. Sanitizers run before the choice can.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FETTLE_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define FETTLE_CLONES
#endif

namespace fettle {

FETTLE_CLONES void addMultiples(Lanes* to, const Lanes& by, const float* factors,
                                std::int64_t count) {
    const Lanes b = by;
    for (std::int64_t i = 0; i < count; ++i) {
        float* out = to[i].data();
        const float factor = factors[i];
        for (std::size_t r = 0; r < kLanes; ++r)
            out[r] += b[r] * factor;
    }
}

FETTLE_CLONES void addWeighted(Lanes& to, const Lanes* from, const float* factors,
                               std::int64_t count) {
    Lanes sum = to;
    for (std::int64_t i = 0; i < count; ++i) {
        const float* in = from[i].data();
        const float factor = factors[i];
        for (std::size_t r = 0; r < kLanes; ++r)
            sum[r] += in[r] * factor;
    }
    to = sum;
}

}  // namespace fettle
