#include "kernels/cuda/blas.h"

#include <dlfcn.h>

#include <cublas_v2.h>

namespace fettle::kernels::cuda {
namespace {

constexpr const char* kLibrary = "libcublas.so.13";

// Spelt out, since the header overloads the name for C++.
using GemmEx = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int,
                                  int, const void*, const void*, cudaDataType, int, const void*,
                                  cudaDataType, int, const void*, void*, cudaDataType, int,
                                  cublasComputeType_t, cublasGemmAlgo_t);

struct Library {
    decltype(&cublasCreate_v2) create = nullptr;
    decltype(&cublasDestroy_v2) destroy = nullptr;
    decltype(&cublasSetStream_v2) setStream = nullptr;
    GemmEx gemmEx = nullptr;
    std::string problem;
};

template <class F>
void load(void* library, const char* symbol, F& function, std::string& problem) {
    function = reinterpret_cast<F>(dlsym(library, symbol));
    if (!function)
        problem = std::string(kLibrary) + " lacks " + symbol;
}

Library loadLibrary() {
    Library found;
    void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        found.problem = std::string(kLibrary) + " (cuBLAS of CUDA 13) was not found";
        return found;
    }
    load(library, "cublasCreate_v2", found.create, found.problem);
    load(library, "cublasDestroy_v2", found.destroy, found.problem);
    load(library, "cublasSetStream_v2", found.setStream, found.problem);
    load(library, "cublasGemmEx", found.gemmEx, found.problem);
    return found;
}

const Library& library() {
    static const Library loaded = loadLibrary();
    return loaded;
}

cudaDataType_t dataType(BlasType type) {
    switch (type) {
        case BlasType::F32:
            return CUDA_R_32F;
        case BlasType::F16:
            return CUDA_R_16F;
        case BlasType::BF16:
            return CUDA_R_16BF;
        case BlasType::S8:
            return CUDA_R_8I;
    }
    return CUDA_R_32F;
}

Status statusOf(cublasStatus_t status) {
    if (status == CUBLAS_STATUS_SUCCESS)
        return kSuccess;
    if (status == CUBLAS_STATUS_ALLOC_FAILED)
        return kOutOfMemory;
    return status == CUBLAS_STATUS_INVALID_VALUE || status == CUBLAS_STATUS_NOT_SUPPORTED
               ? kInvalidValue
               : static_cast<Status>(cudaErrorUnknown);
}

class CuBlas : public Blas {
public:
    explicit CuBlas(cublasHandle_t handle) : m_handle(handle) {}
    ~CuBlas() override { library().destroy(m_handle); }
    CuBlas(const CuBlas&) = delete;
    CuBlas& operator=(const CuBlas&) = delete;

    Status gemm(const BlasGemm& p) override {
        const bool integers = p.type == BlasType::S8;
        const float one = 1, before = p.accumulate ? 1.0F : 0.0F;
        const std::int32_t oneInt = 1, beforeInt = 0;
        const auto n = [](std::int64_t value) { return static_cast<int>(value); };
        // Column by column, as the library sees memory, c^T = b a^T.
        return statusOf(library().gemmEx(
            m_handle, p.bTransposed ? CUBLAS_OP_N : CUBLAS_OP_T,
            p.aTransposed ? CUBLAS_OP_T : CUBLAS_OP_N, n(p.n), n(p.m), n(p.k),
            integers ? static_cast<const void*>(&oneInt) : &one, p.b, dataType(p.type),
            n(p.bStride), p.a, dataType(p.type), n(p.aStride),
            integers ? static_cast<const void*>(&beforeInt) : &before, p.c,
            integers ? CUDA_R_32I : CUDA_R_32F, n(p.cStride),
            integers ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
    }

private:
    cublasHandle_t m_handle;
};

}  // namespace

std::unique_ptr<Blas> openBlas(Stream stream, std::string* problem) {
    *problem = library().problem;
    if (!problem->empty())
        return nullptr;
    cublasHandle_t handle = nullptr;
    cublasStatus_t status = library().create(&handle);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = library().setStream(handle, static_cast<cudaStream_t>(stream));
    if (status != CUBLAS_STATUS_SUCCESS) {
        *problem = "cuBLAS did not start (status " + std::to_string(status) + ")";
        return nullptr;
    }
    return std::make_unique<CuBlas>(handle);
}

}  // namespace fettle::kernels::cuda
