// The one product that is left to NVIDIA's library: many tokens at once. cuBLAS is looked up at run
// time; the emulator's twin (tests/simt) checks the same rules.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/stream.h"

namespace fettle::kernels::cuda {

enum class BlasType : std::uint8_t {
    F32,
    F16,
    BF16,
    S8  ///< sums in int32; k and n are multiples of 4, strides of 16
};

/// c [m, n] = a [m, k] b [n, k]^T; strides in elements. c is float32, int32 for S8. Other than for
/// S8, a may lie as [k, m] and b as [k, n], and the product may be added to c.
struct BlasGemm {
    BlasType type = BlasType::F32;
    std::int64_t m = 0, n = 0, k = 0;
    const void* a = nullptr;
    std::int64_t aStride = 0;
    const void* b = nullptr;
    std::int64_t bStride = 0;
    void* c = nullptr;
    std::int64_t cStride = 0;
    bool aTransposed = false, bTransposed = false, accumulate = false;
};

class Blas {
public:
    virtual ~Blas() = default;
    virtual Status gemm(const BlasGemm& product) = 0;
};

/// On the calling thread's device, queueing on `stream`. Null, with the reason in `problem`, where
/// the library is not found or does not start.
std::unique_ptr<Blas> openBlas(Stream stream, std::string* problem);

}  // namespace fettle::kernels::cuda
