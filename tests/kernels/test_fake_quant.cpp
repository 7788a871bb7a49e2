// Fake quantization: the codes of every grid, gradients by hand, by formula and by finite
// differences, activations as the integer kernels quantize them.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/formats/activation_format.h"
#include "kernels/ops/fake_quant.h"
#include "kernels/ops/matmul.h"
#include "kernels/reference/fake_quant.h"
#include "tests/kernels/kernel_data.h"

namespace fettle::kernels {
namespace {

struct GridCase {
    const char* name;
    CodeGrid grid;
    std::vector<double> codes;
    reference::Ties ties = reference::Ties::Even;
};

std::vector<GridCase> allGrids() {
    return {{"int8", integerGrid(-127, 127), reference::integerCodes(-127, 127)},
            {"int4", integerGrid(-8, 7), reference::integerCodes(-8, 7)},
            {"int2", integerGrid(-2, 1), reference::integerCodes(-2, 1)},
            {"e4m3", e4m3Grid(), reference::floatCodes(3, -6, 448)},
            {"e2m1", e2m1Grid(), reference::floatCodes(1, 1, 12)},
            {"nf4", nf4Grid(), {kNf4, kNf4 + 16}, reference::Ties::Lower}};
}

TEST(FakeQuant, GridsHoldTheCodesOfTheirFormats) {
    EXPECT_EQ(reference::floatCodes(1, 1, 12),
              (std::vector<double>{-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12}));
    EXPECT_EQ(reference::floatCodes(3, -6, 448).size(), 253u);  // 2 * 126 and zero
}

TEST(FakeQuant, TakesTheNearestCodeOnEveryLevel) {
    WorkerPool pool(2);
    for (const Isa isa : test::availableIsas()) {
        const test::IsaScope scope(isa);
        for (const GridCase& grid : allGrids())
            for (const std::int64_t group : {std::int64_t{8}, std::int64_t{32}, std::int64_t{51}}) {
                const std::int64_t rows = 5, cols = 3 * group;
                std::vector<float> w =
                    test::randomFloats(rows * cols, 7, static_cast<float>(grid.codes.back()) / 2);
                // Ties, the ends of the grid and what lies beyond them.
                for (std::size_t i = 0; i < std::min(w.size(), grid.codes.size()) - 1; i += 2)
                    w[i] = static_cast<float>((grid.codes[i] + grid.codes[i + 1]) / 2);
                w[w.size() - 1] = static_cast<float>(3 * grid.codes.back());
                w[w.size() - 2] = static_cast<float>(3 * grid.codes.front());
                std::vector<float> step(static_cast<std::size_t>(rows * 3)), scale(step.size());
                for (std::size_t g = 0; g < step.size(); ++g) {
                    step[g] = std::ldexp(1.0F, static_cast<int>(g % 4));
                    scale[g] = 0.37F * static_cast<float>(g + 1);
                }
                std::vector<float> out(w.size());
                FakeQuantArgs args{grid.grid, w.data(),    rows,         cols,
                                   group,     step.data(), scale.data(), nullptr};
                fakeQuant(args, out.data(), pool);
                for (std::size_t i = 0; i < w.size(); ++i) {
                    const std::size_t g = i / static_cast<std::size_t>(group);
                    const double code = reference::nearestCode(
                        grid.codes, static_cast<double>(w[i]) / step[g], grid.ties);
                    ASSERT_EQ(out[i], static_cast<float>(code) * scale[g])
                        << grid.name << " " << w[i] << " / " << step[g] << " at level "
                        << static_cast<int>(isa);
                }
                std::vector<float> again = w;
                WorkerPool one(1);
                args.w = again.data();
                fakeQuant(args, again.data(), one);
                EXPECT_EQ(again, out) << "in place, one thread";
            }
    }
}

TEST(FakeQuant, ShiftMovesTheRangeOfCodes) {
    WorkerPool pool(1);
    // int4 with zero point 3: codes -3 .. 12
    const std::vector<float> w{-9, -3.4F, 0, 11.6F, 40, 5, 6, 7}, one{1.0F}, shift{5.0F};
    std::vector<float> out(w.size());
    fakeQuant({integerGrid(-8, 7), w.data(), 1, 8, 8, one.data(), one.data(), shift.data()},
              out.data(), pool);
    EXPECT_EQ(out, (std::vector<float>{-3, -3, 0, 12, 12, 5, 6, 7}));
}

TEST(FakeQuant, GradientByHand) {
    WorkerPool pool(1);
    // step 0.5, scale 1: v = w / 0.5 on codes -2 .. 1
    const std::vector<float> w{0.3F, -0.2F, 0.7F, 0.7F, -1.2F, -1.2F, 0.5F, -1.0F};
    const std::vector<float> dy{1, 2, 3, -3, 4, -4, 5, 6};
    const std::vector<float> step{0.5F}, scale{1.0F};
    const FakeQuantArgs args{integerGrid(-2, 1), w.data(),     1,      8, 8,
                             step.data(),        scale.data(), nullptr};
    std::vector<float> grad = dy, dScale{10.0F};
    fakeQuantBackward(args, ScaleGradient::Scale, grad.data(), dScale.data(), pool);
    // codes 1, 0, 1, 1, -2, -2, 1, -2; beyond the grid (1.4, -2.4) only what leads back may pass
    EXPECT_EQ(grad, (std::vector<float>{2, 4, 6, 0, 0, -8, 10, 12}));
    EXPECT_FLOAT_EQ(dScale[0], 10 + 1 + 3 - 3 - 8 + 8 + 5 - 12);
    grad = dy;
    dScale = {0.0F};
    fakeQuantBackward(args, ScaleGradient::Step, grad.data(), dScale.data(), pool);
    // (1 - 0.6) 1 + (0 + 0.4) 2 within; 1 or -2 at the ends and beyond
    EXPECT_FLOAT_EQ(dScale[0], 0.4F + 0.8F + 3 - 3 - 8 + 8 + 5 - 12);
}

TEST(FakeQuant, GradientsEqualTheReferenceOnEveryLevel) {
    const std::int64_t rows = 4, group = 40, cols = 2 * group;
    for (const Isa isa : test::availableIsas()) {
        const test::IsaScope scope(isa);
        for (const GridCase& grid : allGrids()) {
            const std::vector<float> w = test::randomFloats(rows * cols, 1),
                                     dy = test::randomFloats(rows * cols, 2);
            std::vector<float> step(static_cast<std::size_t>(rows * 2)), scale(step.size());
            for (std::size_t g = 0; g < step.size(); ++g) {
                step[g] =
                    static_cast<float>((1.5 + 0.1 * static_cast<double>(g)) / grid.codes.back());
                scale[g] = 1.1F * step[g];
            }
            const FakeQuantArgs args{grid.grid, w.data(),    rows,         cols,
                                     group,     step.data(), scale.data(), nullptr};
            for (const ScaleGradient kind : {ScaleGradient::Scale, ScaleGradient::Step}) {
                std::vector<float> grad = dy, dScale(step.size(), 0.0F), again = dy,
                                   againScale(step.size(), 0.0F);
                WorkerPool pool(3), one(1);
                fakeQuantBackward(args, kind, grad.data(), dScale.data(), pool);
                fakeQuantBackward(args, kind, again.data(), againScale.data(), one);
                EXPECT_EQ(grad, again);
                EXPECT_EQ(dScale, againScale);
                std::vector<double> want(step.size(), 0.0);
                for (std::size_t i = 0; i < w.size(); ++i) {
                    const std::size_t g = i / static_cast<std::size_t>(group);
                    const reference::FakeQuantGradient one_ =
                        reference::fakeQuantGradient(grid.codes, w[i], step[g], scale[g], dy[i]);
                    EXPECT_NEAR(grad[i], one_.dw, 1e-5 * (1 + std::fabs(one_.dw))) << grid.name;
                    want[g] += kind == ScaleGradient::Scale ? one_.dScale : one_.dStep;
                }
                for (std::size_t g = 0; g < want.size(); ++g)
                    EXPECT_NEAR(dScale[g], want[g], 2e-5 * grid.codes.back() * group) << grid.name;
            }
        }
    }
}

TEST(FakeQuant, GradientOfTheScaleIsThatOfFiniteDifferences) {
    const std::int64_t cols = 64;
    WorkerPool pool(1);
    for (const GridCase& grid : allGrids()) {
        const std::vector<float> w = test::randomFloats(cols, 3), r = test::randomFloats(cols, 4);
        const float step = static_cast<float>(2.0 / grid.codes.back());
        const auto f = [&](double scale, double codeStep) {
            double sum = 0;
            for (std::int64_t i = 0; i < cols; ++i) {
                const auto at = static_cast<std::size_t>(i);
                sum += r[at] * reference::nearestCode(grid.codes, w[at] / codeStep) * scale;
            }
            return sum;
        };
        std::vector<float> grad = r, dScale{0.0F};
        const FakeQuantArgs args{grid.grid, w.data(), 1, cols, cols, &step, &step, nullptr};
        fakeQuantBackward(args, ScaleGradient::Scale, grad.data(), dScale.data(), pool);
        const double h = 1e-3 * step;
        const double numeric = (f(step + h, step) - f(step - h, step)) / (2 * h);
        EXPECT_NEAR(dScale[0], numeric, 1e-4 * (1 + std::fabs(numeric))) << grid.name;
        // The straight-through part of LSQ has no difference quotient: the formula is its meaning.
        grad = r;
        dScale = {0.0F};
        fakeQuantBackward(args, ScaleGradient::Step, grad.data(), dScale.data(), pool);
        double formula = 0;
        for (std::int64_t i = 0; i < cols; ++i) {
            const auto at = static_cast<std::size_t>(i);
            formula += reference::fakeQuantGradient(grid.codes, w[at], step, step, r[at]).dStep;
        }
        EXPECT_NEAR(dScale[0], formula, 1e-4 * grid.codes.back()) << grid.name;
    }
}

/// What the integer kernels multiply.
std::vector<float> asMultiplied(const std::vector<float>& x, std::int64_t rows, std::int64_t cols,
                                std::int64_t group) {
    const ActivationFormat format =
        group == 32 ? ActivationFormat::Int8Group32 : ActivationFormat::Int8Token;
    std::vector<float> out(x.size());
    for (std::int64_t r = 0; r < rows; ++r)
        roundActivations(format, x.data() + r * cols, cols, out.data() + r * cols);
    return out;
}

TEST(FakeQuant, ActivationsAreWhatTheIntegerKernelsMultiply) {
    const std::int64_t rows = 19, cols = 96;
    std::vector<float> x = test::randomFloats(rows * cols, 11);
    std::fill_n(x.begin(), 64, 0.0F);
    x[70] = 3e-31F;  // flat
    std::fill_n(x.begin() + 64, 32, 3e-31F);
    x[200] = 90;  // an outlier
    for (const Isa isa : test::availableIsas()) {
        const test::IsaScope scope(isa);
        WorkerPool pool(2);
        for (const std::int64_t block : {std::int64_t{0}, std::int64_t{32}}) {
            ActivationRounding rounding;
            rounding.grid = integerGrid(-127, 127);
            rounding.block = block;
            rounding.scale = ActivationRounding::Scale::Plain;
            std::vector<float> out(x.size());
            fakeQuantActivations(rounding, x.data(), cols, rows, cols, out.data(), pool);
            EXPECT_EQ(out, asMultiplied(x, rows, cols, block)) << block;
            fakeQuantActivations(rounding, out.data(), cols, rows, cols, out.data(), pool);
            const std::vector<float> once = asMultiplied(x, rows, cols, block);
            for (std::size_t i = 0; i < out.size(); ++i)
                ASSERT_NEAR(out[i], once[i], 1e-6F * std::fabs(once[i])) << "twice is once";
        }
    }
}

TEST(FakeQuant, ActivationsInFourBitFloats) {
    WorkerPool pool(1);
    // largest 12 under g = 448 * 6 / 12: block scale 448 -> 2 per unit
    std::vector<float> x{12, -6.2F, 1.1F, 0.4F, 0, 3, 5, 7, 9, 9.9F, 10.1F, -0.6F, 1, 1, 1, 1};
    ActivationRounding nv;
    nv.grid = e2m1Grid();
    nv.block = 16;
    nv.scale = ActivationRounding::Scale::E4m3;
    nv.globalScale = 448.0F * 6 / 12;
    std::vector<float> out(x.size());
    fakeQuantActivations(nv, x.data(), 16, 1, 16, out.data(), pool);
    EXPECT_EQ(out, (std::vector<float>{12, -6, 1, 0, 0, 3, 4, 8, 8, 8, 12, -1, 1, 1, 1, 1}));

    std::vector<float> y(32, 0.25F), rounded(32);
    y[0] = 6.9F;  // 2^0: saturates at 6
    ActivationRounding mx = nv;
    mx.block = 32;
    mx.scale = ActivationRounding::Scale::E8m0;
    fakeQuantActivations(mx, y.data(), 32, 1, 32, rounded.data(), pool);
    EXPECT_EQ(rounded[0], 6.0F);
    EXPECT_EQ(rounded[1], 0.0F) << "a tie, to the even code";
    y[0] = 7.1F;  // 2^1
    fakeQuantActivations(mx, y.data(), 32, 1, 32, rounded.data(), pool);
    EXPECT_EQ(rounded[0], 8.0F);
}

TEST(FakeQuant, ActivationsInEightBitFloatsUnderPowersOfTwo) {
    const std::int64_t rows = 3, cols = 96;
    std::vector<float> x = test::randomFloats(rows * cols, 13, 3.0F);
    std::fill_n(x.begin(), 32, 0.0F);
    x[40] = 448.0F;
    x[70] = 448.1F;
    for (const Isa isa : test::availableIsas()) {
        const test::IsaScope scope(isa);
        WorkerPool pool(2);
        ActivationRounding rounding;
        rounding.grid = e4m3Grid();
        rounding.block = 32;
        rounding.scale = ActivationRounding::Scale::E8m0;
        std::vector<float> out(x.size()), want(x.size());
        fakeQuantActivations(rounding, x.data(), cols, rows, cols, out.data(), pool);
        roundActivations(ActivationFormat::MxFp8, x.data(), rows * cols, want.data());
        EXPECT_EQ(out, want);
    }
}

TEST(FakeQuant, AFixedScaleIsThatOfTheIntegerKernels) {
    const std::int64_t rows = 5, cols = 72;
    const std::vector<float> x = test::randomFloats(rows * cols, 12, 3.0F);
    for (const Isa isa : test::availableIsas()) {
        const test::IsaScope scope(isa);
        WorkerPool pool(2);
        ActivationRounding rounding;
        rounding.grid = integerGrid(-127, 127);
        rounding.scale = ActivationRounding::Scale::Fixed;
        rounding.globalScale = 0.03F;  // clips about every fifth value
        std::vector<float> out(x.size()), want(x.size());
        fakeQuantActivations(rounding, x.data(), cols, rows, cols, out.data(), pool);
        roundActivations(ActivationFormat::Int8Tensor, x.data(), rows * cols, want.data(), 0.03F);
        EXPECT_EQ(out, want);
    }
}

TEST(FakeQuant, WhatIsNotANumberStaysSo) {
    WorkerPool pool(1);
    std::vector<float> x(64, 1.0F), out(64);
    x[3] = std::numeric_limits<float>::quiet_NaN();
    ActivationRounding rounding;
    rounding.grid = integerGrid(-127, 127);
    rounding.block = 32;
    rounding.scale = ActivationRounding::Scale::Plain;
    fakeQuantActivations(rounding, x.data(), 64, 1, 64, out.data(), pool);
    EXPECT_TRUE(std::isnan(out[0]));
    EXPECT_EQ(out[40], 1.0F);
}

TEST(FakeQuant, RefusesGroupsThatDoNotDivide) {
    WorkerPool pool(1);
    std::vector<float> w(40), step(2);
    EXPECT_THROW(fakeQuant({integerGrid(-8, 7), w.data(), 1, 40, 32, step.data(), step.data()},
                           w.data(), pool),
                 std::invalid_argument);
}

}  // namespace
}  // namespace fettle::kernels
