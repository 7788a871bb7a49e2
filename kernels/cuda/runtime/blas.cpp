#include "kernels/cuda/blas.h"

#include <dlfcn.h>

#include <cublasLt.h>
#include <cublas_v2.h>

#include "kernels/cuda/blas_plans.h"
#include "kernels/cuda/runtime.h"

namespace fettle::kernels::cuda {
namespace {

constexpr const char* kLibrary = "libcublas.so.13";
constexpr const char* kLtLibrary = "libcublasLt.so.13";
// What cuBLASLt's ways may work in (cuBLAS documentation: 32 MiB from compute capability 9.0 on).
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
constexpr std::uint32_t kAlignment = 16;  // of the matrices

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

struct LtLibrary {
    decltype(&cublasLtCreate) create = nullptr;
    decltype(&cublasLtDestroy) destroy = nullptr;
    decltype(&cublasLtMatmulDescCreate) descCreate = nullptr;
    decltype(&cublasLtMatmulDescDestroy) descDestroy = nullptr;
    decltype(&cublasLtMatmulDescSetAttribute) descSet = nullptr;
    decltype(&cublasLtMatrixLayoutCreate) layoutCreate = nullptr;
    decltype(&cublasLtMatrixLayoutDestroy) layoutDestroy = nullptr;
    decltype(&cublasLtMatmulPreferenceCreate) preferenceCreate = nullptr;
    decltype(&cublasLtMatmulPreferenceDestroy) preferenceDestroy = nullptr;
    decltype(&cublasLtMatmulPreferenceSetAttribute) preferenceSet = nullptr;
    decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
    decltype(&cublasLtMatmul) matmul = nullptr;
    std::string problem;
};

void* open(const char* name, const char* title, std::string& problem) {
    void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        problem = std::string(name) + " (" + title + " of CUDA 13) was not found";
    return library;
}

template <class F>
void load(void* library, const char* name, const char* symbol, F& function, std::string& problem) {
    function = reinterpret_cast<F>(dlsym(library, symbol));
    if (!function)
        problem = std::string(name) + " lacks " + symbol;
}

Library loadLibrary() {
    Library found;
    void* const library = open(kLibrary, "cuBLAS", found.problem);
    if (!library)
        return found;
    const auto symbol = [&](const char* name, auto& function) {
        load(library, kLibrary, name, function, found.problem);
    };
    symbol("cublasCreate_v2", found.create);
    symbol("cublasDestroy_v2", found.destroy);
    symbol("cublasSetStream_v2", found.setStream);
    symbol("cublasGemmEx", found.gemmEx);
    return found;
}

LtLibrary loadLtLibrary() {
    LtLibrary found;
    void* const library = open(kLtLibrary, "cuBLASLt", found.problem);
    if (!library)
        return found;
    const auto symbol = [&](const char* name, auto& function) {
        load(library, kLtLibrary, name, function, found.problem);
    };
    symbol("cublasLtCreate", found.create);
    symbol("cublasLtDestroy", found.destroy);
    symbol("cublasLtMatmulDescCreate", found.descCreate);
    symbol("cublasLtMatmulDescDestroy", found.descDestroy);
    symbol("cublasLtMatmulDescSetAttribute", found.descSet);
    symbol("cublasLtMatrixLayoutCreate", found.layoutCreate);
    symbol("cublasLtMatrixLayoutDestroy", found.layoutDestroy);
    symbol("cublasLtMatmulPreferenceCreate", found.preferenceCreate);
    symbol("cublasLtMatmulPreferenceDestroy", found.preferenceDestroy);
    symbol("cublasLtMatmulPreferenceSetAttribute", found.preferenceSet);
    symbol("cublasLtMatmulAlgoGetHeuristic", found.heuristic);
    symbol("cublasLtMatmul", found.matmul);
    return found;
}

const Library& library() {
    static const Library loaded = loadLibrary();
    return loaded;
}
const LtLibrary& ltLibrary() {
    static const LtLibrary loaded = loadLtLibrary();
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
        case BlasType::E4M3:
        case BlasType::MxFp8:
            return CUDA_R_8F_E4M3;
        case BlasType::NvFp4:
            return CUDA_R_4F_E2M1;
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

/// What the product and what c holds are multiplied with, as the type's products take it.
struct Factors {
    explicit Factors(bool accumulate) : before(accumulate ? 1.0F : 0.0F) {}
    const void* alpha(BlasType type) const {
        return type == BlasType::S8 ? static_cast<const void*>(&oneInt) : &one;
    }
    const void* beta(BlasType type) const {
        return type == BlasType::S8 ? static_cast<const void*>(&noneInt) : &before;
    }
    float one = 1, before;
    std::int32_t oneInt = 1, noneInt = 0;
};

// Rows as stored are columns to the library.
cublasOperation_t operationOfA(const BlasGemm& p) {
    return p.aTransposed ? CUBLAS_OP_T : CUBLAS_OP_N;
}
cublasOperation_t operationOfB(const BlasGemm& p) {
    return p.bTransposed ? CUBLAS_OP_N : CUBLAS_OP_T;
}

cudaDataType_t sumType(BlasType type) {
    return type == BlasType::S8 ? CUDA_R_32I : CUDA_R_32F;
}
cublasComputeType_t computeType(BlasType type) {
    return type == BlasType::S8 ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F;
}

class CuBlas : public Blas {
public:
    explicit CuBlas(cublasHandle_t handle) : m_handle(handle) {}
    ~CuBlas() override { library().destroy(m_handle); }
    CuBlas(const CuBlas&) = delete;
    CuBlas& operator=(const CuBlas&) = delete;

    bool takes(const BlasGemm& p) override { return p.type < BlasType::E4M3; }
    const std::string& reason() const override { return m_reason; }

    Status gemm(const BlasGemm& p) override {
        const Factors factors(p.accumulate);
        const auto n = [](std::int64_t value) { return static_cast<int>(value); };
        // Column by column, as the library sees memory, c^T = b a^T.
        return statusOf(library().gemmEx(m_handle, operationOfB(p), operationOfA(p), n(p.n), n(p.m),
                                         n(p.k), factors.alpha(p.type), p.b, dataType(p.type),
                                         n(p.bStride), p.a, dataType(p.type), n(p.aStride),
                                         factors.beta(p.type), p.c, sumType(p.type), n(p.cStride),
                                         computeType(p.type), CUBLAS_GEMM_DEFAULT));
    }

private:
    cublasHandle_t m_handle;
    std::string m_reason;
};

class LtPlan : public BlasPlan {
public:
    LtPlan() = default;
    ~LtPlan() override {
        for (cublasLtMatrixLayout_t layout : {a, b, c})
            if (layout)
                ltLibrary().layoutDestroy(layout);
        if (product)
            ltLibrary().descDestroy(product);
    }
    LtPlan(const LtPlan&) = delete;
    LtPlan& operator=(const LtPlan&) = delete;

    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
    cublasLtMatmulAlgo_t algorithm = {};
};

class CuBlasLt : public BlasPlanner {
public:
    CuBlasLt(cublasLtHandle_t handle, Stream stream)
        : m_handle(handle), m_stream(static_cast<cudaStream_t>(stream)) {
        // Without it there are ways that need none.
        if (allocate(&m_workspace, kWorkspaceBytes) == kSuccess)
            m_workspaceBytes = kWorkspaceBytes;
    }
    ~CuBlasLt() override {
        if (m_workspaceBytes > 0)
            release(m_workspace);
        ltLibrary().destroy(m_handle);
    }
    CuBlasLt(const CuBlasLt&) = delete;
    CuBlasLt& operator=(const CuBlasLt&) = delete;

    std::unique_ptr<BlasPlan> plan(const BlasGemm& p, std::string* problem) override {
        auto made = std::make_unique<LtPlan>();
        cublasStatus_t status = describe(p, *made);
        int found = 0;
        // A way is looked for with scales that lie anywhere.
        if (status == CUBLAS_STATUS_SUCCESS && hasBlockScales(p.type))
            status = setScales(*made, m_workspace, m_workspace);
        if (status == CUBLAS_STATUS_SUCCESS)
            status = choose(*made, &found);
        if (status == CUBLAS_STATUS_SUCCESS && found > 0)
            return made;
        *problem = "cuBLASLt has no way to multiply " + std::to_string(p.m) + " x " +
                   std::to_string(p.k) + " by " + std::to_string(p.n) + " (status " +
                   std::to_string(status) + ")";
        return nullptr;
    }

    Status run(const BlasPlan& plan, const BlasGemm& p) override {
        const auto& with = static_cast<const LtPlan&>(plan);
        const Factors factors(p.accumulate);
        if (hasBlockScales(p.type)) {
            const cublasStatus_t status = setScales(with, p.bScales, p.aScales);
            if (status != CUBLAS_STATUS_SUCCESS)
                return statusOf(status);
        }
        return statusOf(ltLibrary().matmul(m_handle, with.product, factors.alpha(p.type), p.b,
                                           with.b, p.a, with.a, factors.beta(p.type), p.c, with.c,
                                           p.c, with.c, &with.algorithm, m_workspace,
                                           m_workspaceBytes, m_stream));
    }

private:
    /// Column by column, as the library sees memory, c^T = b a^T.
    static cublasStatus_t describe(const BlasGemm& p, LtPlan& made) {
        const auto size = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
        const LtLibrary& lt = ltLibrary();
        const auto layout = [&](cublasLtMatrixLayout_t* matrix, std::int64_t rows,
                                std::int64_t cols, std::int64_t stride) {
            return lt.layoutCreate(matrix, dataType(p.type), size(rows), size(cols), stride);
        };
        const cublasOperation_t first = operationOfB(p), second = operationOfA(p);
        cublasStatus_t status = lt.descCreate(&made.product, computeType(p.type), sumType(p.type));
        if (status == CUBLAS_STATUS_SUCCESS)
            status = lt.descSet(made.product, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
        if (status == CUBLAS_STATUS_SUCCESS)
            status = lt.descSet(made.product, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
        if (status == CUBLAS_STATUS_SUCCESS && hasBlockScales(p.type))
            status = setScaleModes(made, p.type == BlasType::NvFp4
                                             ? CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3
                                             : CUBLASLT_MATMUL_MATRIX_SCALE_VEC32_UE8M0);
        if (status == CUBLAS_STATUS_SUCCESS)
            status = p.bTransposed ? layout(&made.b, p.n, p.k, p.bStride)
                                   : layout(&made.b, p.k, p.n, p.bStride);
        if (status == CUBLAS_STATUS_SUCCESS)
            status = p.aTransposed ? layout(&made.a, p.m, p.k, p.aStride)
                                   : layout(&made.a, p.k, p.m, p.aStride);
        if (status == CUBLAS_STATUS_SUCCESS)
            status = lt.layoutCreate(&made.c, sumType(p.type), size(p.n), size(p.m), p.cStride);
        return status;
    }

    static cublasStatus_t setScaleModes(LtPlan& made, cublasLtMatmulMatrixScale_t mode) {
        for (const auto which :
             {CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_DESC_B_SCALE_MODE}) {
            const cublasStatus_t status =
                ltLibrary().descSet(made.product, which, &mode, sizeof mode);
            if (status != CUBLAS_STATUS_SUCCESS)
                return status;
        }
        return CUBLAS_STATUS_SUCCESS;
    }

    /// The library reads them when the product is queued.
    static cublasStatus_t setScales(const LtPlan& plan, const void* first, const void* second) {
        const LtLibrary& lt = ltLibrary();
        const cublasStatus_t status =
            lt.descSet(plan.product, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &first, sizeof first);
        if (status != CUBLAS_STATUS_SUCCESS)
            return status;
        return lt.descSet(plan.product, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &second,
                          sizeof second);
    }

    cublasStatus_t choose(LtPlan& made, int* found) const {
        const LtLibrary& lt = ltLibrary();
        cublasLtMatmulPreference_t preference = nullptr;
        cublasStatus_t status = lt.preferenceCreate(&preference);
        if (status != CUBLAS_STATUS_SUCCESS)
            return status;
        lt.preferenceSet(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &m_workspaceBytes,
                         sizeof m_workspaceBytes);
        for (const auto matrix : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                                  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
            lt.preferenceSet(preference, matrix, &kAlignment, sizeof kAlignment);
        cublasLtMatmulHeuristicResult_t result = {};
        status = lt.heuristic(m_handle, made.product, made.b, made.a, made.c, made.c, preference, 1,
                              &result, found);
        lt.preferenceDestroy(preference);
        made.algorithm = result.algo;
        return status == CUBLAS_STATUS_SUCCESS ? result.state : status;
    }

    cublasLtHandle_t m_handle;
    cudaStream_t m_stream;
    void* m_workspace = nullptr;
    std::size_t m_workspaceBytes = 0;
};

std::unique_ptr<Blas> openPlain(Stream stream, std::string* problem) {
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

std::unique_ptr<BlasPlanner> openPlanner(Stream stream, std::string* problem) {
    *problem = ltLibrary().problem;
    if (!problem->empty())
        return nullptr;
    cublasLtHandle_t handle = nullptr;
    const cublasStatus_t status = ltLibrary().create(&handle);
    if (status != CUBLAS_STATUS_SUCCESS) {
        *problem = "cuBLASLt did not start (status " + std::to_string(status) + ")";
        return nullptr;
    }
    return std::make_unique<CuBlasLt>(handle, stream);
}

}  // namespace

std::unique_ptr<Blas> openBlas(Stream stream, std::string* problem) {
    std::string plainProblem, plannerProblem;
    std::unique_ptr<Blas> plain = openPlain(stream, &plainProblem);
    std::unique_ptr<BlasPlanner> planner = openPlanner(stream, &plannerProblem);
    if (!plain && !planner) {
        *problem = plainProblem + "; " + plannerProblem;
        return nullptr;
    }
    return plannedBlas(std::move(planner), std::move(plain), std::move(plannerProblem));
}

}  // namespace fettle::kernels::cuda
