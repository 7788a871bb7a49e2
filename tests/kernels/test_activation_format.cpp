// Activations as the kernels round them: what training simulates is what products multiply.
#include "kernels/formats/activation_format.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/ops/matmul.h"
#include "tests/kernels/kernel_data.h"

namespace fettle::kernels {
namespace {

using test::IsaScope;
using A = ActivationFormat;

double sqnr(const std::vector<float>& x, const std::vector<float>& y) {
    double signal = 0, noise = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        signal += static_cast<double>(x[i]) * x[i];
        noise += (static_cast<double>(x[i]) - y[i]) * (static_cast<double>(x[i]) - y[i]);
    }
    return 10 * std::log10(signal / noise);
}

TEST(ActivationFormat, ProductsMultiplyWhatTrainingSimulates) {
    WorkerPool pool(1);
    constexpr std::int64_t cols = 96, m = 3;
    const std::vector<float> x = test::randomFloats(m * cols, 3, 4.0F);
    for (const test::FormatCase& c : test::allFormats()) {
        if (c.format > WeightFormat::BF16 && c.format < WeightFormat::Int8Channel)
            continue;  // GGUF's blocks do as Int4Group does
        if (c.groupSize > 0 && cols % c.groupSize != 0)
            continue;
        // Weights that pick out single inputs: the product is the rounded input times one scale.
        test::OwnedWeight w = test::randomWeight(c, cols, cols, 5);
        std::vector<float> row(cols);
        std::vector<float> rounded(cols);
        for (const Isa isa : test::availableIsas()) {
            const IsaScope scope(isa);
            Activations a;
            a.assign(x.data(), m, cols, cols);
            const PackedWeight packed = PackedWeight::pack(w.view, pool);
            if (packed.layout().groups == 0)
                continue;
            const Activations::Quantized& q = a.startsFor(packed.layout(), pool);
            for (std::int64_t i = 0; i < m; ++i) {
                roundActivations(c.rounding(), x.data() + i * cols, cols, rounded.data(),
                                 w.view.inputGlobalScale);
                for (std::int64_t k = 0; k < cols; ++k)
                    ASSERT_EQ(static_cast<float>(
                                  q.codes[static_cast<std::size_t>(i * q.codeStride + k)]) *
                                  q.scales[static_cast<std::size_t>(k / q.group * m + i)],
                              rounded[static_cast<std::size_t>(k)])
                        << c.label() << " " << name(isa) << " row " << i << " column " << k;
            }
        }
    }
}

TEST(ActivationFormat, Fp8RowsAreE4m3TimesOneScale) {
    const std::vector<float> x = test::randomFloats(64, 8);
    std::vector<float> out(64);
    roundActivations(A::Fp8Token, x.data(), 64, out.data());
    float amax = 0;
    for (const float v : x)
        amax = std::max(amax, std::fabs(v));
    for (std::size_t i = 0; i < 64; ++i)
        EXPECT_EQ(out[i], e4m3ToFloat(floatToE4m3(x[i] / (amax / 448))) * (amax / 448));
}

TEST(ActivationFormat, NvFp4BlocksFollowTheirDefinition) {
    std::vector<float> x = test::randomFloats(64, 9);
    std::fill(x.begin() + 16, x.begin() + 32, 0.0F);
    x[40] = 300;
    const float g = nvFp4GlobalScale(300);
    EXPECT_FLOAT_EQ(g, 448.0F * 6 / 300);
    std::vector<float> out(64);
    roundActivations(A::NvFp4, x.data(), 64, out.data(), g);
    for (std::size_t b = 0; b < 64; b += 16) {
        float amax = 0;
        for (std::size_t i = b; i < b + 16; ++i)
            amax = std::max(amax, std::fabs(x[i]));
        const float s =
            e4m3ToFloat(floatToE4m3(std::clamp(g * (amax / 6), kSmallestE4m3, kLargestE4m3))) / g;
        for (std::size_t i = b; i < b + 16; ++i)
            EXPECT_EQ(out[i], e2m1ToFloat(floatToE2m1(x[i] / s)) * s) << i;
    }
    EXPECT_EQ(out[40], 300.0F);
}

TEST(ActivationFormat, MxFp4TakesThePowerThatSaturatesLeast) {
    // 7 and more would lose over half a step at the power of the floor, so it takes the next.
    for (const auto& [amax, power] :
         {std::pair{4.0F, 1.0F}, {6.9F, 1.0F}, {7.1F, 2.0F}, {0.6F, 0.125F}, {448.0F, 128.0F}}) {
        std::vector<float> x(32, 0.01F), out(32);
        x[5] = amax;
        roundActivations(A::MxFp4, x.data(), 32, out.data());
        EXPECT_EQ(out[5], e2m1ToFloat(floatToE2m1(amax / power)) * power) << amax;
    }
}

TEST(ActivationFormat, MxFp8TakesTheSmallestPowerThatClipsNothing) {
    for (const auto& [amax, power] : {std::pair{448.0F, 1.0F},
                                      {448.1F, 2.0F},
                                      {256.0F, 1.0F},
                                      {224.1F, 1.0F},
                                      {224.0F, 0.5F},
                                      {1e-3F, 0x1p-18F}}) {
        std::vector<float> x(64, std::min(0.01F, amax / 8)), out(64);
        x[5] = -amax;
        x[40] = 96;  // a block of its own
        roundActivations(A::MxFp8, x.data(), 64, out.data());
        EXPECT_EQ(out[5], -e4m3ToFloat(floatToE4m3(std::fabs(x[5]) / power)) * power) << amax;
        for (std::size_t i = 6; i < 32; ++i)
            EXPECT_EQ(out[i], e4m3ToFloat(floatToE4m3(x[i] / power)) * power) << amax;
        EXPECT_EQ(out[40], 96.0F);
    }
    std::vector<float> zeros(32), out(32, 1.0F);
    roundActivations(A::MxFp8, zeros.data(), 32, out.data());
    EXPECT_EQ(out, zeros);
}

TEST(ActivationFormat, SqnrOnAGaussianIsThatOfTheFormat) {
    const std::vector<float> x = test::randomFloats(1 << 16, 10);
    std::vector<float> y(x.size());
    const auto of = [&](A format, std::int64_t row) {
        const float g = nvFp4GlobalScale(5);
        for (std::size_t at = 0; at < x.size(); at += static_cast<std::size_t>(row))
            roundActivations(format, x.data() + at, row, y.data() + at, g);
        return sqnr(x, y);
    };
    EXPECT_NEAR(of(A::NvFp4, 1 << 16), 20.44, 0.2);
    EXPECT_NEAR(of(A::MxFp4, 1 << 16), 18.9, 0.3);
    EXPECT_NEAR(of(A::Int8Token, 1 << 16), 40, 1.5);
    EXPECT_NEAR(of(A::Int8Group32, 1 << 16), 45.6, 0.5);
    EXPECT_NEAR(of(A::Int4Group32, 1 << 16), 20.27, 0.2);
    EXPECT_NEAR(of(A::Fp8Token, 1 << 16), 31.5, 0.7);
    EXPECT_NEAR(of(A::MxFp8, 1 << 16), 31.5, 0.7);
}

TEST(ActivationFormat, AFixedScaleClipsWhatLiesBeyond) {
    const std::vector<float> x = {0, 0.24F, 0.26F, -0.75F, 1.25F, 63.5F, 63.8F, -1e30F};
    std::vector<float> out(x.size());
    roundActivations(A::Int8Tensor, x.data(), 8, out.data(), 0.5F);
    EXPECT_EQ(out, (std::vector<float>{0, 0, 0.5F, -1, 1, 63.5F, 63.5F, -63.5F})) << "ties to even";
}

TEST(ActivationFormat, NonFiniteValuesAreNotHidden) {
    for (const A format : {A::Int8Token, A::Int8Group32, A::Int4Group32, A::Fp8Token, A::NvFp4,
                           A::MxFp4, A::Int8Tensor, A::MxFp8})
        for (const float bad : {std::nanf(""), HUGE_VALF}) {
            std::vector<float> x(32, 1.0F), out(32);
            x[3] = bad;
            roundActivations(format, x.data(), 32, out.data());
            EXPECT_TRUE(std::isnan(out[3])) << name(format);
        }
}

TEST(ActivationFormat, NoneChangesNothing) {
    const std::vector<float> x = test::randomFloats(7, 11);
    std::vector<float> out(7);
    roundActivations(A::None, x.data(), 7, out.data());
    EXPECT_EQ(out, x);
    EXPECT_THROW(quantizeActivations(A::None, x.data(), 7, 1, nullptr, nullptr),
                 std::invalid_argument);
    std::int8_t codes[7];
    float scale;
    EXPECT_THROW(quantizeActivations(A::Int8Group32, x.data(), 7, 1, codes, &scale),
                 std::invalid_argument);
}

}  // namespace
}  // namespace fettle::kernels
