// Products left to NVIDIA's libraries: a plan for each shape, asked for once; what happens without
// plans or without the library; E4M3 where the device multiplies it.
#include <gtest/gtest.h>

#include "engine/core/error.h"
#include "kernels/cuda/blas_plans.h"
#include "kernels/cuda/matmul.h"
#include "kernels/reference/matmul.h"
#include "tests/kernels/quant_budget.h"
#include "tests/simt/device_weight.h"
#include "tests/simt/emulated_backend.h"
#include "tests/simt/emulator/faults.h"
#include "tests/simt/mutations.h"

namespace fettle {
namespace {

using kernels::test::FormatCase;
using kernels::test::OwnedWeight;
using kernels::test::randomFloats;
using kernels::test::randomWeight;
using simt::FaultScope;
using simt::inEveryOrder;
using test::EmulatedBackend;
using Floats = std::vector<float>;

struct Product {
    OwnedWeight weight;
    Floats x;
    std::int64_t tokens;

    Product(const FormatCase& format, std::int64_t rows, std::int64_t cols, std::int64_t count)
        : weight(randomWeight(format, rows, cols, 5)),
          x(randomFloats(count * cols, 6)),
          tokens(count) {}

    Floats on(EmulatedBackend& backend) const {
        const std::int64_t rows = weight.view.rows, cols = weight.view.cols;
        const std::unique_ptr<DeviceWeight> held = backend.prepareWeight(weight.view);
        const auto input = uploaded(backend, x);
        Floats y(static_cast<std::size_t>(tokens * rows));
        const auto output = backend.allocate(y.size() * sizeof(float));
        const LinearTarget target{held.get(), static_cast<float*>(output->data()), rows, nullptr,
                                  false};
        backend.linear(static_cast<const float*>(input->data()), tokens, cols, cols, {&target, 1});
        backend.download(y.data(), output->data(), y.size() * sizeof(float));
        return y;
    }

    void expectRight(const Floats& got, double budget) const {
        const std::int64_t rows = weight.view.rows, cols = weight.view.cols;
        std::vector<double> want(got.size());
        kernels::reference::matmul(weight.view, x.data(), tokens, cols, want.data());
        Floats row(static_cast<std::size_t>(cols));
        for (std::int64_t i = 0; i < tokens * rows; ++i) {
            kernels::dequantizeRow(weight.view, i % rows, row.data());
            ASSERT_NEAR(got[static_cast<std::size_t>(i)], want[static_cast<std::size_t>(i)],
                        budget * kernels::test::norm(row.data(), cols) *
                            kernels::test::norm(x.data() + i / rows * cols, cols))
                << i;
        }
    }
};

Product plainProduct(std::int64_t tokens = 40) {
    return {{kernels::WeightFormat::BF16}, 37, 96, tokens};
}
constexpr double kBfloat = 1e-3;
using kernels::ActivationFormat;
using kernels::ScaleType;
using kernels::WeightFormat;
Product nvfp4Product(std::int64_t rows = 48, std::int64_t cols = 96) {
    return {
        {WeightFormat::NvFp4, 16, ScaleType::E4M3, false, ActivationFormat::NvFp4}, rows, cols, 40};
}
Product mxfp8Product(std::int64_t rows = 48, std::int64_t cols = 96) {
    return {
        {WeightFormat::MxFp8, 32, ScaleType::E8M0, false, ActivationFormat::MxFp8}, rows, cols, 40};
}
Product fp8Product(std::int64_t rows = 48) {
    return {{kernels::WeightFormat::Fp8Channel, 0, kernels::ScaleType::BF16}, rows, 96, 40};
}

TEST(CudaLibrary, APlanIsAskedForOnceForEachShape) {
    const simt::OptionScope scope(test::quick());
    EmulatedBackend cuda;
    const auto plans = [&](const Product& product) {
        const simt::Counters before = simt::counters();
        product.expectRight(product.on(cuda), kBfloat);
        EXPECT_EQ(simt::counters().plannedProducts - before.plannedProducts, 1U);
        return simt::counters().plans - before.plans;
    };
    EXPECT_EQ(plans(plainProduct()), 1U);
    EXPECT_EQ(plans(plainProduct()), 0U);
    EXPECT_EQ(plans(plainProduct(41)), 1U);
    EXPECT_EQ(plans({{kernels::WeightFormat::F16}, 37, 96, 40}), 1U);
    EXPECT_EQ(plans(plainProduct()), 0U);
    EXPECT_EQ(cuda.libraryReason(), "");
}

TEST(CudaLibrary, WithoutPlansTheOtherLibraryGivesTheSameBits) {
    const simt::OptionScope scope(test::quick());
    const Product product = plainProduct();
    EmulatedBackend cuda;
    const Floats want = product.on(cuda);
    struct Fault {
        bool simt::Faults::*fault;
        const char* reason;
        std::uint64_t plans;  // asked for by two products
    };
    for (const Fault& fault :
         {Fault{&simt::Faults::noLt, "not found", 0}, Fault{&simt::Faults::noPlans, "no way", 1},
          Fault{&simt::Faults::brokenPlans, "refused", 1}}) {
        const FaultScope restore;
        simt::faults().*fault.fault = true;
        EmulatedBackend other;
        const simt::Counters before = simt::counters();
        EXPECT_TRUE(simt::sameBits(product.on(other), want)) << fault.reason;
        EXPECT_TRUE(simt::sameBits(product.on(other), want)) << fault.reason;
        EXPECT_EQ(simt::counters().plans - before.plans, fault.plans) << fault.reason;
        EXPECT_EQ(simt::counters().plannedProducts, before.plannedProducts) << fault.reason;
        EXPECT_NE(other.libraryReason().find(fault.reason), std::string::npos)
            << other.libraryReason();
    }
}

TEST(CudaLibrary, PlansAreForgottenWhenTheyBecomeTooMany) {
    struct Counting : kernels::cuda::BlasPlanner {
        explicit Counting(int& count) : asked(count) {}
        std::unique_ptr<kernels::cuda::BlasPlan> plan(const kernels::cuda::BlasGemm&,
                                                      std::string*) override {
            ++asked;
            return std::make_unique<kernels::cuda::BlasPlan>();
        }
        kernels::cuda::Status run(const kernels::cuda::BlasPlan&,
                                  const kernels::cuda::BlasGemm&) override {
            return kernels::cuda::kSuccess;
        }
        int& asked;
    };
    int asked = 0;
    const auto blas = kernels::cuda::plannedBlas(std::make_unique<Counting>(asked), nullptr, "");
    kernels::cuda::BlasGemm gemm;
    const auto most = static_cast<int>(kernels::cuda::kMostBlasPlans);
    for (int round = 0; round < 2; ++round) {
        for (gemm.m = 1; gemm.m <= most; ++gemm.m)
            ASSERT_EQ(blas->gemm(gemm), kernels::cuda::kSuccess);
        EXPECT_EQ(asked, most);
    }
    EXPECT_EQ(blas->gemm(gemm), kernels::cuda::kSuccess);  // one more than are kept
    gemm.m = 1;
    EXPECT_EQ(blas->gemm(gemm), kernels::cuda::kSuccess);
    EXPECT_EQ(asked, most + 2);
}

TEST(CudaLibrary, Fp8IsMultipliedAsSuchWhereTheDeviceDoes) {
    const simt::OptionScope scope(test::quick());
    EmulatedBackend ada("sm_89"), ampere("sm_80");
    const Product product = fp8Product();
    const auto planned = [&](EmulatedBackend& backend, const Product& which) {
        const simt::Counters before = simt::counters();
        // Products of codes are exact; beside the tensor cores of the older device are halves.
        which.expectRight(which.on(backend),
                          &backend == &ada && &which == &product ? kernels::budget::kSum : 2e-4);
        return simt::counters().plannedProducts - before.plannedProducts;
    };
    EXPECT_EQ(planned(ada, product), 1U);
    EXPECT_EQ(planned(ampere, product), 0U);
    // Rows that the library's tiles do not take.
    EXPECT_EQ(planned(ada, fp8Product(44)), 0U);
    const FaultScope restore;
    simt::faults().noPlans = true;
    EmulatedBackend other("sm_89");
    EXPECT_EQ(planned(other, product), 0U);
    EXPECT_NE(other.libraryReason(), "");
    simt::faults().noBlas = true;
    EmulatedBackend none("sm_90");
    EXPECT_EQ(planned(none, product), 0U);
}

TEST(CudaLibrary, BlocksAreMultipliedUnderTheirScalesWhereTheDeviceDoes) {
    const simt::OptionScope scope(test::quick());
    EmulatedBackend b200("sm_100"), rtx5090("sm_120"), hopper("sm_90");
    const auto planned = [&](EmulatedBackend& backend, const Product& product, double budget) {
        const simt::Counters before = simt::counters();
        product.expectRight(product.on(backend), budget);
        return simt::counters().plannedProducts - before.plannedProducts;
    };
    constexpr double kExact = kernels::budget::kSum, kHalf = 2e-4;
    for (const auto& of : {nvfp4Product, mxfp8Product}) {
        for (EmulatedBackend* const device : {&b200, &rtx5090}) {
            EXPECT_EQ(planned(*device, of(48, 96), kExact), 1U);
            EXPECT_EQ(planned(*device, of(272, 160), kExact), 1U);  // more than a tile of scales
        }
        EXPECT_EQ(planned(hopper, of(48, 96), kHalf), 0U);
        EXPECT_EQ(planned(b200, of(44, 96), kHalf), 0U) << "rows that the library does not take";
        const FaultScope restore;
        simt::faults().noPlans = true;
        EmulatedBackend other("sm_100");
        EXPECT_EQ(planned(other, of(48, 96), kHalf), 0U);
        EXPECT_NE(other.libraryReason(), "");
    }
    // Weights only: activations are not rounded, so nothing of theirs is a code.
    EXPECT_EQ(planned(b200, {{WeightFormat::MxFp8, 32, ScaleType::E8M0}, 48, 96, 140}, kHalf), 1U)
        << "in float16";
}

TEST(CudaLibrary, WeightsThatShareAnInputShareItsCodes) {
    const simt::OptionScope scope(test::quick());
    for (const bool alike : {true, false}) {
        EmulatedBackend cuda("sm_100");
        Product first = nvfp4Product(), second = nvfp4Product(32);
        if (!alike)
            second.weight.view.inputGlobalScale *= 2;
        const auto held = cuda.prepareWeight(first.weight.view),
                   other = cuda.prepareWeight(second.weight.view);
        const auto input = uploaded(cuda, first.x);
        const auto output = cuda.allocate(40 * 80 * sizeof(float));
        auto* const y = static_cast<float*>(output->data());
        const LinearTarget targets[] = {{held.get(), y, 48, nullptr, false},
                                        {other.get(), y + 40 * 48, 32, nullptr, false}};
        const simt::Counters before = simt::counters();
        cuda.linear(static_cast<const float*>(input->data()), 40, 96, 96, targets);
        // Codes, and of each weight scales and what finishes its product.
        EXPECT_EQ(simt::counters().launches - before.launches, alike ? 5U : 6U);
        Floats got(40 * 80);
        cuda.download(got.data(), output->data(), got.size() * sizeof(float));
        first.expectRight({got.begin(), got.begin() + 40 * 48}, kernels::budget::kSum);
        second.expectRight({got.begin() + 40 * 48, got.end()}, kernels::budget::kSum);
    }
}

TEST(CudaLibrary, WhatIsMultipliedAsCodesIsCalledNative) {
    const simt::OptionScope scope(test::quick());
    const auto native = [](const char* isa, const Product& product) {
        EmulatedBackend cuda(isa);
        return cuda.prepareWeight(product.weight.view)->native();
    };
    EXPECT_TRUE(native("sm_89", fp8Product()));
    EXPECT_FALSE(native("sm_86", fp8Product()));
    EXPECT_FALSE(native("sm_89", fp8Product(44)));
    EXPECT_TRUE(native("sm_120", nvfp4Product()));
    EXPECT_TRUE(native("sm_103", mxfp8Product()));
    EXPECT_FALSE(native("sm_90", nvfp4Product()));
    EXPECT_FALSE(native("sm_89", mxfp8Product()));
    const FaultScope restore;
    simt::faults().noLt = true;  // the other library has no product of codes
    EXPECT_FALSE(native("sm_100", nvfp4Product()));
}

}  // namespace
}  // namespace fettle
