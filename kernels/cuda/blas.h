// The one product that is left to NVIDIA's libraries: many tokens at once. cuBLASLt and cuBLAS are
// looked up at run time; the emulator's twins (tests/simt) check the same rules.
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
    S8,     ///< sums in int32; k and n are multiples of 4, strides of 16
    E4M3,   ///< devices of compute capability 8.9 and later; k, n and strides are multiples of 16
    NvFp4,  ///< E2M1, two a byte, an E4M3 scale for 16 along k; 10.0 and later
    MxFp8   ///< E4M3, a power of two for 32 along k; 10.0 and later
};
/// Those with scales of neighbouring values: k and strides are multiples of 32, n of 16.
constexpr bool hasBlockScales(BlasType type) {
    return type >= BlasType::NvFp4;
}

/// c [m, n] = a [m, k] b [n, k]^T; strides in elements. c is float32, int32 for S8. Pointers are
/// multiples of 16 bytes. Of F32, F16 and BF16 a may lie as [k, m] and b as [k, n], and the product
/// may be added to c.
struct BlasGemm {
    BlasType type = BlasType::F32;
    std::int64_t m = 0, n = 0, k = 0;
    const void* a = nullptr;
    std::int64_t aStride = 0;
    const void* b = nullptr;
    std::int64_t bStride = 0;
    void* c = nullptr;
    std::int64_t cStride = 0;
    const void* aScales = nullptr;  ///< of types that have block scales: in tiles, block_scaled.h
    const void* bScales = nullptr;
    bool aTransposed = false, bTransposed = false, accumulate = false;
};

class Blas {
public:
    virtual ~Blas() = default;
    /// Whether there is a way to compute products of this type and shape.
    virtual bool takes(const BlasGemm& product) = 0;
    virtual Status gemm(const BlasGemm& product) = 0;
    /// Why products, or the last one that was, are not computed by cuBLASLt; empty if all are.
    virtual const std::string& reason() const = 0;
};

/// On the calling thread's device, queueing on `stream`: cuBLASLt, and cuBLAS for what that does
/// not take. Null, with the reason in `problem`, where neither is found and starts.
std::unique_ptr<Blas> openBlas(Stream stream, std::string* problem);

}  // namespace fettle::kernels::cuda
