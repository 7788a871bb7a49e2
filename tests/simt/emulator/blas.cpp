// kernels/cuda/blas.h by plain loops, under the rules that cuBLAS and cuBLASLt have for each type.
#include "kernels/cuda/blas.h"

#include <tuple>
#include <vector>

#include "kernels/cuda/blas_plans.h"
#include "kernels/formats/small_float.h"
#include "kernels/formats/weight_format.h"
#include "tests/simt/emulator/emulator.h"
#include "tests/simt/emulator/faults.h"

namespace fettle::kernels::cuda {
namespace {

bool aligned(const void* memory, std::size_t bytes) {
    return reinterpret_cast<std::uintptr_t>(memory) % bytes == 0;
}

double element(BlasType type, const void* matrix, std::int64_t at) {
    switch (type) {
        case BlasType::F32:
            return static_cast<const float*>(matrix)[at];
        case BlasType::F16:
            return halfToFloat(static_cast<const std::uint16_t*>(matrix)[at]);
        case BlasType::BF16:
            return bfloat16ToFloat(static_cast<const std::uint16_t*>(matrix)[at]);
        case BlasType::S8:
            return static_cast<const std::int8_t*>(matrix)[at];
        case BlasType::E4M3:
        case BlasType::MxFp8:
            return e4m3ToFloat(static_cast<const std::uint8_t*>(matrix)[at]);
        case BlasType::NvFp4:
            return e2m1ToFloat(static_cast<const std::uint8_t*>(matrix)[at / 2] >> (4 * (at % 2)) &
                               15);
    }
    return 0;
}

/// The scale of element [row, k] of a factor, 1 for types without: as the cuBLAS documentation
/// places it.
double scaleOf(BlasType type, const void* scales, std::int64_t row, std::int64_t k,
               std::int64_t cols) {
    if (!hasBlockScales(type))
        return 1;
    const std::int64_t inBlock = type == BlasType::NvFp4 ? 16 : 32;
    const std::int64_t inner = k / inBlock, width = (cols / inBlock + 3) / 4;
    const std::int64_t tile = row / 128 * width + inner / 4, outer = row % 128;
    const std::uint8_t byte = static_cast<const std::uint8_t*>(
        scales)[tile * 512 + (outer % 32) * 16 + (outer / 32) * 4 + inner % 4];
    return type == BlasType::NvFp4 ? e4m3ToFloat(byte) : e8m0ToFloat(byte);
}

/// What both libraries demand of a product, whose matrices are in device memory.
bool isLegal(const BlasGemm& p) {
    if (p.aStride < (p.aTransposed ? p.m : p.k) || p.bStride < (p.bTransposed ? p.n : p.k) ||
        p.cStride < p.n)
        return false;
    if (p.type >= BlasType::S8 && (p.aTransposed || p.bTransposed || p.accumulate))
        return false;
    if (hasBlockScales(p.type))
        return p.k % 32 == 0 && p.n % 16 == 0 && p.aStride % 32 == 0 && p.bStride % 32 == 0 &&
               p.cStride % 4 == 0;
    if (p.type == BlasType::S8)
        return p.k % 4 == 0 && p.n % 4 == 0 && p.aStride % 16 == 0 && p.bStride % 16 == 0 &&
               p.cStride % 4 == 0;
    if (p.type == BlasType::E4M3)
        return p.k % 16 == 0 && p.n % 16 == 0 && p.aStride % 16 == 0 && p.bStride % 16 == 0 &&
               p.cStride % 4 == 0;
    return true;
}

Status multiply(const BlasGemm& p) {
    simt::drain();
    for (const void* matrix : {p.a, p.b, static_cast<const void*>(p.c)})
        if (!simt::isDeviceArgument(matrix))
            throw simt::Finding(simt::Defect::HostPointer, "a matrix lies in host memory");
    if (!isLegal(p) || !aligned(p.a, 16) || !aligned(p.b, 16) || !aligned(p.c, 16))
        return kInvalidValue;
    if (hasBlockScales(p.type)) {
        if (!p.aScales || !p.bScales || !aligned(p.aScales, 16) || !aligned(p.bScales, 16))
            return kInvalidValue;
        for (const void* scales : {p.aScales, p.bScales})
            if (!simt::isDeviceArgument(scales))
                throw simt::Finding(simt::Defect::HostPointer, "scales lie in host memory");
    }
    simt::counters().libraryOperations += static_cast<std::uint64_t>(2 * p.m * p.n * p.k);
    ++simt::counters().work;
    std::vector<double> row(static_cast<std::size_t>(p.k));
    for (std::int64_t n = 0; n < p.n; ++n) {
        for (std::int64_t k = 0; k < p.k; ++k)
            row[static_cast<std::size_t>(k)] =
                element(p.type, p.b, p.bTransposed ? k * p.bStride + n : n * p.bStride + k) *
                scaleOf(p.type, p.bScales, n, k, p.k);
        for (std::int64_t m = 0; m < p.m; ++m) {
            double sum = 0;
            for (std::int64_t k = 0; k < p.k; ++k)
                sum += element(p.type, p.a, p.aTransposed ? k * p.aStride + m : m * p.aStride + k) *
                       scaleOf(p.type, p.aScales, m, k, p.k) * row[static_cast<std::size_t>(k)];
            if (p.accumulate)
                sum += static_cast<double>(static_cast<float*>(p.c)[m * p.cStride + n]);
            if (p.type == BlasType::S8)
                static_cast<std::int32_t*>(p.c)[m * p.cStride + n] = static_cast<std::int32_t>(sum);
            else
                static_cast<float*>(p.c)[m * p.cStride + n] = static_cast<float>(sum);
        }
    }
    return kSuccess;
}

class PlainBlas : public Blas {
public:
    bool takes(const BlasGemm& p) override { return p.type < BlasType::E4M3; }
    Status gemm(const BlasGemm& p) override { return takes(p) ? multiply(p) : kInvalidValue; }
    const std::string& reason() const override { return m_reason; }

private:
    std::string m_reason;
};

/// Remembers what it is for, and notices use for anything else.
struct EmulatedPlan : BlasPlan {
    explicit EmulatedPlan(const BlasGemm& p) : product(p) {}
    bool isFor(const BlasGemm& p) const {
        const auto shape = [](const BlasGemm& g) {
            return std::tuple(g.type, g.m, g.n, g.k, g.aStride, g.bStride, g.cStride, g.aTransposed,
                              g.bTransposed);
        };
        return shape(p) == shape(product);
    }
    BlasGemm product;
};

class EmulatedPlanner : public BlasPlanner {
public:
    std::unique_ptr<BlasPlan> plan(const BlasGemm& p, std::string* problem) override {
        ++simt::counters().plans;
        if (!simt::faults().noPlans && isLegal(p))
            return std::make_unique<EmulatedPlan>(p);
        *problem = "no way was found";
        return nullptr;
    }
    Status run(const BlasPlan& plan, const BlasGemm& p) override {
        if (simt::faults().brokenPlans || !static_cast<const EmulatedPlan&>(plan).isFor(p))
            return kInvalidValue;
        ++simt::counters().plannedProducts;
        return multiply(p);
    }
};

}  // namespace

std::unique_ptr<Blas> openBlas(Stream, std::string* problem) {
    if (simt::faults().noBlas) {
        *problem = "the library was not found";
        return nullptr;
    }
    const bool plans = !simt::faults().noLt;
    return plannedBlas(plans ? std::make_unique<EmulatedPlanner>() : nullptr,
                       std::make_unique<PlainBlas>(), plans ? "" : "cuBLASLt was not found");
}

}  // namespace fettle::kernels::cuda
