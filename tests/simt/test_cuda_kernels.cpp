// The CUDA kernels on the emulator against their plain twins, on awkward shapes, in every thread
// order; and the proof that each of their barriers is missed when it is gone.
#include <gtest/gtest.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/block_scaled.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/logits.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/prefill.h"
#include "kernels/cuda/round_activations.h"
#include "kernels/reference/attention.h"
#include "kernels/reference/elementwise.h"
#include "kernels/reference/matmul.h"
#include "tests/kernels/kernel_data.h"
#include "tests/kernels/quant_budget.h"
#include "tests/simt/device_weight.h"
#include "tests/simt/emulator/device_array.h"
#include "tests/simt/mutations.h"
#include "tests/simt/orders.h"

namespace fettle::kernels {
namespace {

using simt::DeviceArray;
using simt::inEveryOrder;
using test::OnDevice;
using test::randomFloats;
using Floats = std::vector<float>;

void expectClose(const Floats& got, const Floats& want, double budget, const std::string& what) {
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], want[i],
                    budget * std::max(1.0, std::fabs(static_cast<double>(want[i]))))
            << what << " at " << i;
}

Floats norm(bool layer, const Floats& x, const Floats& w, const Floats& b, std::int64_t rows,
            std::int64_t cols) {
    DeviceArray<float> dx(x), dw(w), db(b),
        y(Floats(static_cast<std::size_t>(rows * (cols + 2)), 9.0F));
    if (layer)
        cuda::layerNorm(dx.data(), cols + 5, dw.data(), db.data(), 1e-5F, rows, cols, y.data(),
                        cols + 2, nullptr);
    else
        cuda::rmsNorm(dx.data(), cols + 5, dw.data(), 1.0F, 1e-6F, rows, cols, y.data(), cols + 2,
                      nullptr);
    return y.values();
}

TEST(CudaElementwise, Norms) {
    for (const std::int64_t cols : {3, 31, 256, 257, 640, 2049}) {
        const Floats x = randomFloats(3 * (cols + 5), 3, 4.0F), w = randomFloats(cols, 4),
                     b = randomFloats(cols, 5);
        Floats want(static_cast<std::size_t>(3 * (cols + 2)), 9.0F);
        reference::rmsNorm(x.data(), cols + 5, w.data(), 1.0F, 1e-6F, 3, cols, want.data(),
                           cols + 2);
        expectClose(inEveryOrder([&] { return norm(false, x, w, b, 3, cols); }), want, 2e-6,
                    "rmsNorm");
        reference::layerNorm(x.data(), cols + 5, w.data(), b.data(), 1e-5F, 3, cols, want.data(),
                             cols + 2);
        expectClose(inEveryOrder([&] { return norm(true, x, w, b, 3, cols); }), want, 4e-6,
                    "layerNorm");
    }
}

TEST(CudaElementwise, Pointwise) {
    for (const std::int64_t count : {1, 31, 256, 1025}) {
        const Floats x = randomFloats(count, 7, 4.0F), up = randomFloats(count, 8);
        const auto compare = [&](auto fast, auto plain, const char* what) {
            Floats want = x;
            plain(want.data());
            const Floats got = inEveryOrder([&] {
                DeviceArray<float> dx(x), dup(up);
                EXPECT_EQ(fast(dx.data(), dup.data()), cuda::kSuccess);
                return dx.values();
            });
            expectClose(got, want, 4 * budget::kElementwise, what);
        };
        const float* u = up.data();
        compare([&](float* y, float* v) { return cuda::siluMul(y, v, count, nullptr); },
                [&](float* y) { reference::siluMul(y, u, count); }, "siluMul");
        compare([&](float* y, float* v) { return cuda::geluTanhMul(y, v, count, nullptr); },
                [&](float* y) { reference::geluTanhMul(y, u, count); }, "geluTanhMul");
        compare([&](float* y, float* v) { return cuda::add(y, v, count, nullptr); },
                [&](float* y) { reference::add(y, u, count); }, "add");
        compare([&](float* y, float*) { return cuda::geluTanh(y, count, nullptr); },
                [&](float* y) { reference::geluTanh(y, count); }, "geluTanh");
        compare([&](float* y, float*) { return cuda::scale(y, 0.37F, count, nullptr); },
                [&](float* y) { reference::scale(y, 0.37F, count); }, "scale");
        compare([&](float* y, float*) { return cuda::softcap(y, 3.0F, count, nullptr); },
                [&](float* y) { reference::softcap(y, 3.0F, count); }, "softcap");
    }
}

TEST(CudaElementwise, Rope) {
    for (const std::int64_t headDim : {2, 6, 80, 128}) {
        const std::int64_t tokens = 3, heads = 5, stride = heads * headDim + 3;
        const Floats x = randomFloats(tokens * stride, 6),
                     angles = randomFloats(tokens * headDim, 7);
        Floats want = x;
        for (std::int64_t t = 0; t < tokens; ++t)
            reference::rope(want.data() + t * stride, heads, headDim, angles.data() + t * headDim);
        const Floats got = inEveryOrder([&] {
            DeviceArray<float> dx(x), da(angles);
            cuda::rope(dx.data(), tokens, stride, heads, headDim, da.data(), nullptr);
            return dx.values();
        });
        expectClose(got, want, 4 * budget::kElementwise, "rope");
    }
    EXPECT_EQ(cuda::rope(nullptr, 1, 3, 1, 3, nullptr, nullptr), cuda::kInvalidValue);
}

Floats summaries(const Floats& x, std::int64_t rows, std::int64_t count) {
    DeviceArray<float> dx(x);
    DeviceArray<RowSummary> out(static_cast<std::size_t>(rows));
    cuda::summarizeLogits(dx.data(), count, rows, count, out.data(), nullptr);
    Floats flat;
    for (const RowSummary& s : out.values()) {
        flat.push_back(s.logSumExp);
        flat.push_back(static_cast<float>(s.argmax));
    }
    return flat;
}

TEST(CudaElementwise, LogitSummaryTakesTheLowestOfEqualMaxima) {
    for (const std::int64_t count : {1, 5, 64, 257, 5000}) {
        Floats x = randomFloats(2 * count, 17, 5.0F);
        std::fill(x.begin() + count, x.end(), 3000.0F);
        Floats want;
        for (std::int64_t r = 0; r < 2; ++r) {
            const RowSummary s = reference::summarizeLogits(x.data() + r * count, count);
            want.push_back(s.logSumExp);
            want.push_back(static_cast<float>(s.argmax));
        }
        const Floats got = inEveryOrder([&] { return summaries(x, 2, count); });
        expectClose(got, want, 2e-6, "summary");
        EXPECT_EQ(got[1], want[1]);
        EXPECT_EQ(got[3], 0);
    }
}

Floats multiply(const test::OwnedWeight& w, const Floats& x, std::int64_t tokens) {
    const WeightView& v = w.view;
    const bool perToken = v.format == WeightFormat::Int8Channel;
    OnDevice weight(v);
    DeviceArray<float> dx(x), y(static_cast<std::size_t>(tokens * v.rows));
    const cuda::MatmulOutput out = {y.data(), v.rows, nullptr, false};
    if (weight.layout.widened) {
        DeviceArray<float> rounded(x);
        if (activationsOf(v) != ActivationFormat::None) {
            EXPECT_EQ(cuda::roundActivations(activationsOf(v), v.inputGlobalScale, dx.data(),
                                             v.cols, tokens, v.cols, rounded.data(), nullptr),
                      cuda::kSuccess);
        }
        EXPECT_EQ(cuda::matmulWidened(weight.view, rounded.data(), v.cols, tokens, out, nullptr),
                  cuda::kSuccess);
        return y.values();
    }
    if (v.format <= WeightFormat::BF16) {
        EXPECT_EQ(cuda::matmulPlain(weight.view, dx.data(), v.cols, tokens, out, nullptr),
                  cuda::kSuccess);
        return y.values();
    }
    const std::int64_t codeStride = (v.cols + 15) / 16 * 16;
    const auto groups = static_cast<std::size_t>(tokens * (perToken ? 1 : v.cols / 32));
    DeviceArray<std::int32_t> sums(2 * groups);
    DeviceArray<float> codeScales(groups);
    DeviceArray<std::int8_t> codes(static_cast<std::size_t>(tokens * codeStride));
    const cuda::QuantizedActivations q = {codes.data(), codeStride, codeScales.data(), sums.data()};
    EXPECT_EQ((perToken ? cuda::quantizePerToken : cuda::quantizePerGroup32)(
                  dx.data(), v.cols, tokens, v.cols, q, nullptr),
              cuda::kSuccess);
    EXPECT_EQ(cuda::matmulQuantized(weight.view, q, tokens, out, nullptr), cuda::kSuccess);
    return y.values();
}

double bound(const test::OwnedWeight& w, std::int64_t row, const float* x) {
    Floats values(static_cast<std::size_t>(w.view.cols));
    dequantizeRow(w.view, row, values.data());
    return test::norm(values.data(), w.view.cols) * test::norm(x, w.view.cols);
}

class CudaMatmul : public ::testing::TestWithParam<test::FormatCase> {};

TEST_P(CudaMatmul, AgreesWithTheReference) {
    const test::FormatCase& format = GetParam();
    const bool free = !test::hasGroupsOf32(format);
    for (const std::int64_t tokens : {1, 3, 9}) {
        for (const std::int64_t cols : {free ? 67 : 256, free ? 1100 : 1280}) {
            const std::int64_t rows = 11;
            const test::OwnedWeight w = test::randomWeight(format, rows, cols, 5);
            const Floats x = randomFloats(tokens * cols, 6);
            std::vector<double> want(static_cast<std::size_t>(tokens * rows));
            reference::matmul(w.view, x.data(), tokens, cols, want.data());
            const Floats got = inEveryOrder([&] { return multiply(w, x, tokens); });
            const double budget = format.hasMin() ? budget::kSumWithMin : budget::kSum;
            for (std::int64_t i = 0; i < tokens * rows; ++i)
                ASSERT_NEAR(got[static_cast<std::size_t>(i)], want[static_cast<std::size_t>(i)],
                            budget * bound(w, i % rows, x.data() + i / rows * cols))
                    << format.label() << " " << tokens << " x " << cols << " at " << i;
        }
    }
}

TEST_P(CudaMatmul, ATokenAloneHasTheSameBits) {
    const std::int64_t rows = 5, cols = 512;
    const test::OwnedWeight w = test::randomWeight(GetParam(), rows, cols, 7);
    const Floats x = randomFloats(6 * cols, 8);
    const Floats all = multiply(w, x, 6);
    for (std::int64_t t = 0; t < 6; ++t) {
        const Floats alone =
            multiply(w, Floats(x.begin() + t * cols, x.begin() + (t + 1) * cols), 1);
        EXPECT_TRUE(
            simt::sameBits(alone, Floats(all.begin() + t * rows, all.begin() + (t + 1) * rows)));
    }
}

TEST_P(CudaMatmul, DequantizesAsTheFormatSays) {
    if (!test::hasGroupsOf32(GetParam()))
        return;  // these are multiplied as they are
    const std::int64_t rows = 3, cols = 512;
    const test::OwnedWeight w = test::randomWeight(GetParam(), rows, cols, 9);
    OnDevice weight(w.view);
    const auto got = inEveryOrder([&] {
        DeviceArray<std::uint16_t> out(static_cast<std::size_t>(2 * cols));
        EXPECT_EQ(cuda::dequantizeToHalf(weight.view, 1, 2, out.data(), nullptr), cuda::kSuccess);
        return out.values();
    });
    Floats row(static_cast<std::size_t>(cols));
    for (std::int64_t i = 0; i < 2 * cols; ++i) {
        if (i % cols == 0)
            dequantizeRow(w.view, 1 + i / cols, row.data());
        const float want = row[static_cast<std::size_t>(i % cols)];
        ASSERT_NEAR(halfToFloat(got[static_cast<std::size_t>(i)]), want,
                    6e-4 * std::fabs(want) + 1e-4)
            << i;
    }
}

std::string formatName(const ::testing::TestParamInfo<test::FormatCase>& info) {
    return info.param.label();
}
INSTANTIATE_TEST_SUITE_P(Formats, CudaMatmul, ::testing::ValuesIn(test::allFormats()), formatName);

TEST(CudaMatmulShapes, WidenedProductsTakeRowsThatAreNotAligned) {
    const std::int64_t rows = 5, cols = 96, tokens = 3;
    const test::OwnedWeight w =
        test::randomWeight({WeightFormat::Fp8Group, 32, ScaleType::F32, false}, rows, cols, 5);
    OnDevice weight(w.view);
    const Floats x = randomFloats(tokens * (cols + 3) + 1, 6), bias = randomFloats(rows, 7);
    const auto product = [&](std::int64_t skip, std::int64_t stride, bool accumulate) {
        Floats in(static_cast<std::size_t>(skip + tokens * stride));
        for (std::int64_t t = 0; t < tokens; ++t)
            std::copy_n(x.begin() + t * cols, cols, in.begin() + skip + t * stride);
        DeviceArray<float> dx(in), dbias(bias),
            y(Floats(static_cast<std::size_t>(tokens * rows), 2.0F));
        EXPECT_EQ(cuda::matmulWidened(weight.view, dx.data() + skip, stride, tokens,
                                      {y.data(), rows, dbias.data(), accumulate}, nullptr),
                  cuda::kSuccess);
        return y.values();
    };
    const Floats plain = inEveryOrder([&] { return product(0, cols, false); });
    EXPECT_TRUE(simt::sameBits(inEveryOrder([&] { return product(1, cols + 3, false); }), plain));
    const Floats added = product(0, cols, true);
    for (std::size_t i = 0; i < plain.size(); ++i)
        EXPECT_FLOAT_EQ(added[i], 2.0F + plain[i]);
    DeviceArray<float> dx(x), y(std::size_t{1});
    OnDevice native(
        test::randomWeight({WeightFormat::Q4_0, 0, ScaleType::F32, false}, rows, cols, 5).view);
    EXPECT_EQ(cuda::matmulWidened(native.view, dx.data(), cols, 1, {y.data(), 1, nullptr, false},
                                  nullptr),
              cuda::kInvalidValue);
}

// Integers under activations that are not rounded as their kind of product has it.
TEST(CudaMatmulShapes, IntegersOfEveryWidthAreWidenedForPlainActivations) {
    using F = WeightFormat;
    const std::int64_t rows = 11, cols = 1280, tokens = 3;
    const Floats x = randomFloats(tokens * cols, 6);
    for (const test::FormatCase& format : {test::FormatCase{F::Int2Group, 64, ScaleType::F16},
                                           {F::Int3Group, 128, ScaleType::F32},
                                           {F::Int4Group, 32, ScaleType::BF16},
                                           {F::Int4Group, 32, ScaleType::F16, true},
                                           {F::Int8Channel, 0, ScaleType::F32}}) {
        test::OwnedWeight w = test::randomWeight(format, rows, cols, 5);
        w.view.activations = ActivationFormat::None;
        ASSERT_TRUE(OnDevice(w.view).layout.widened) << format.label();
        std::vector<double> want(static_cast<std::size_t>(tokens * rows));
        reference::matmul(w.view, x.data(), tokens, cols, want.data());
        const Floats got = inEveryOrder([&] { return multiply(w, x, tokens); });
        for (std::int64_t i = 0; i < tokens * rows; ++i)
            ASSERT_NEAR(got[static_cast<std::size_t>(i)], want[static_cast<std::size_t>(i)],
                        budget::kSum * bound(w, i % rows, x.data() + i / rows * cols))
                << format.label() << " at " << i;
    }
}

TEST(CudaMatmulShapes, EveryCodeOfASmallFloatIsWhatItsFormatSays) {
    using F = WeightFormat;
    for (const test::FormatCase& format : {test::FormatCase{F::Fp8Channel, 0, ScaleType::F32},
                                           {F::NvFp4, 16, ScaleType::E4M3},
                                           {F::MxFp6, 32, ScaleType::E8M0},
                                           {F::Nf4Group, 32, ScaleType::F32}}) {
        // A row of one code each, and activations that are zero but for one.
        const int codes = 1 << codeBits(format.format);
        test::OwnedWeight w = test::randomWeight(format, codes, 32, 5);
        for (int c = 0; c < codes; ++c)
            for (std::int64_t i = 0; i < 32; ++i)
                for (int bit = 0; bit < codeBits(format.format); ++bit) {
                    const std::int64_t at = (c * 32 + i) * codeBits(format.format) + bit;
                    auto& byte = w.data[static_cast<std::size_t>(at / 8)];
                    byte = static_cast<std::uint8_t>((byte & ~(1 << (at % 8))) | (c >> bit & 1)
                                                                                     << (at % 8));
                }
        w.view.activations = ActivationFormat::None;
        OnDevice weight(w.view);
        Floats x(32, 0.0F), row(32);
        x[13] = 1;
        DeviceArray<float> dx(x), y(static_cast<std::size_t>(codes));
        ASSERT_EQ(cuda::matmulWidened(weight.view, dx.data(), 32, 1,
                                      {y.data(), codes, nullptr, false}, nullptr),
                  cuda::kSuccess);
        const Floats got = y.values();
        for (int c = 0; c < codes; ++c) {
            dequantizeRow(w.view, c, row.data());
            if (std::isnan(row[13]))
                EXPECT_TRUE(std::isnan(got[static_cast<std::size_t>(c)])) << format.label() << c;
            else
                EXPECT_EQ(got[static_cast<std::size_t>(c)], row[13]) << format.label() << c;
        }
    }
}

TEST(CudaMatmulShapes, OutputsAddUpAndOddShapesAreRefused) {
    const test::OwnedWeight w =
        test::randomWeight({WeightFormat::Q8_0, 0, ScaleType::F32, false}, 3, 64, 5);
    const Floats x = randomFloats(64, 6), bias = {1, 2, 3};
    OnDevice weight(w.view);
    DeviceArray<float> dx(x), dbias(bias), y(Floats{10, 20, 30});
    DeviceArray<std::int8_t> codes(64);
    DeviceArray<float> scales(2);
    DeviceArray<std::int32_t> sums(4);
    cuda::QuantizedActivations q = {codes.data(), 64, scales.data(), sums.data()};
    ASSERT_EQ(cuda::quantizePerGroup32(dx.data(), 64, 1, 64, q, nullptr), cuda::kSuccess);
    ASSERT_EQ(cuda::matmulQuantized(weight.view, q, 1, {y.data(), 3, dbias.data(), true}, nullptr),
              cuda::kSuccess);
    const Floats plain = multiply(w, x, 1);
    for (std::size_t i = 0; i < 3; ++i)
        EXPECT_FLOAT_EQ(y.values()[i], 10.0F * static_cast<float>(i + 1) + (plain[i] + bias[i]));
    EXPECT_EQ(cuda::quantizePerGroup32(dx.data(), 60, 1, 60, q, nullptr), cuda::kInvalidValue);
    q.codeStride = 60;
    EXPECT_EQ(cuda::matmulQuantized(weight.view, q, 1, {y.data(), 3, nullptr, false}, nullptr),
              cuda::kInvalidValue);
    EXPECT_EQ(
        cuda::matmulPlain(weight.view, dx.data(), 64, 1, {y.data(), 3, nullptr, false}, nullptr),
        cuda::kInvalidValue);
}

TEST(CudaPrefill, ActivationsIn16BitsKeepTheirSize) {
    const std::int64_t cols = 301, stride = 304, tokens = 4;
    Floats x = randomFloats(tokens * cols, 3, 2.0F);
    std::fill_n(x.begin() + cols, cols, 0.0F);
    x[static_cast<std::size_t>(2 * cols + 7)] = 3e38F;
    x[static_cast<std::size_t>(3 * cols)] = 1e-42F;
    Floats scales;
    const auto half = inEveryOrder([&] {
        DeviceArray<float> dx(x), ds(static_cast<std::size_t>(tokens));
        DeviceArray<std::uint16_t> out(static_cast<std::size_t>(tokens * stride));
        EXPECT_EQ(cuda::toScaledHalf(dx.data(), cols, tokens, cols, out.data(), stride, ds.data(),
                                     nullptr),
                  cuda::kSuccess);
        scales = ds.values();
        return out.values();
    });
    const auto bfloat = inEveryOrder([&] {
        DeviceArray<float> dx(x);
        DeviceArray<std::uint16_t> out(static_cast<std::size_t>(tokens * stride));
        EXPECT_EQ(cuda::toBfloat16(dx.data(), cols, tokens, cols, out.data(), stride, nullptr),
                  cuda::kSuccess);
        return out.values();
    });
    for (std::int64_t t = 0; t < tokens; ++t) {
        const float scale = scales[static_cast<std::size_t>(t)];
        float amax = 0;
        for (std::int64_t c = 0; c < cols; ++c)
            amax = std::max(amax, std::fabs(x[static_cast<std::size_t>(t * cols + c)]));
        for (std::int64_t c = 0; c < stride; ++c) {
            const auto at = static_cast<std::size_t>(t * stride + c);
            const float want = c < cols ? x[static_cast<std::size_t>(t * cols + c)] : 0.0F;
            ASSERT_NEAR(halfToFloat(half[at]) * scale, want, std::fabs(want) / 2047 + amax * 1e-7)
                << t << " " << c;
            ASSERT_EQ(bfloat[at], floatToBfloat16(want));
        }
    }
}

class CudaRounding : public ::testing::TestWithParam<ActivationFormat> {};

TEST_P(CudaRounding, IsThatOfTheFormatBitByBit) {
    const std::int64_t cols = 352, stride = 357, tokens = 6;
    Floats x = randomFloats(tokens * stride, 3, 2.0F);
    std::fill_n(x.begin(), 64, 0.0F);
    std::fill_n(x.begin() + stride, cols, 0.0F);
    x[static_cast<std::size_t>(2 * stride + 40)] = NAN;
    x[static_cast<std::size_t>(3 * stride + 50)] = -INFINITY;
    for (std::int64_t c = 0; c < cols; ++c)  // ties, in every binade of the small floats
        x[static_cast<std::size_t>(4 * stride + c)] = std::ldexp(
            1.0F + 0.125F * static_cast<float>(c % 17) / 2, static_cast<int>(c % 12) - 8);
    // As a fixed scale of integers it clips about every third value.
    const float scale = GetParam() == ActivationFormat::Int8Tensor ? 0.016F : 90.0F;
    Floats want(static_cast<std::size_t>(tokens * cols));
    for (std::int64_t t = 0; t < tokens; ++t)
        roundActivations(GetParam(), x.data() + t * stride, cols, want.data() + t * cols, scale);
    const Floats got = inEveryOrder([&] {
        DeviceArray<float> dx(x), out(want.size());
        EXPECT_EQ(cuda::roundActivations(GetParam(), scale, dx.data(), stride, tokens, cols,
                                         out.data(), nullptr),
                  cuda::kSuccess);
        return out.values();
    });
    for (std::size_t i = 0; i < want.size(); ++i) {
        if (std::isnan(want[i]))
            ASSERT_TRUE(std::isnan(got[i])) << i;
        else
            ASSERT_EQ(got[i], want[i]) << i << " of " << x[i / cols * stride + i % cols];
    }
}
std::string roundingName(const ::testing::TestParamInfo<ActivationFormat>& format) {
    std::string text = name(format.param);
    std::replace(text.begin(), text.end(), ' ', '_');
    return text;
}
INSTANTIATE_TEST_SUITE_P(Formats, CudaRounding,
                         ::testing::Values(ActivationFormat::Int8Token,
                                           ActivationFormat::Int8Group32,
                                           ActivationFormat::Int4Group32,
                                           ActivationFormat::Fp8Token, ActivationFormat::NvFp4,
                                           ActivationFormat::MxFp4, ActivationFormat::Int8Tensor,
                                           ActivationFormat::MxFp8),
                         roundingName);

TEST(CudaRoundingCodes, Fp8CodesAreThoseOfTheRounding) {
    const std::int64_t cols = 301, stride = 304, tokens = 6;
    Floats x = randomFloats(tokens * cols, 3, 2.0F);
    std::fill_n(x.begin() + cols, cols, 0.0F);
    x[static_cast<std::size_t>(2 * cols + 40)] = NAN;
    x[static_cast<std::size_t>(3 * cols + 50)] = -INFINITY;
    for (std::int64_t c = 0; c < cols; ++c)  // ties, in every binade and below
        x[static_cast<std::size_t>(4 * cols + c)] =
            std::ldexp(448.0F / 512 * (1.0F + 0.125F * static_cast<float>(c % 17) / 2),
                       static_cast<int>(c % 21) - 11);
    x[static_cast<std::size_t>(4 * cols)] = 448.0F;
    Floats scales;
    const auto codes = inEveryOrder([&] {
        DeviceArray<float> dx(x), ds(static_cast<std::size_t>(tokens));
        DeviceArray<std::uint8_t> out(static_cast<std::size_t>(tokens * stride));
        EXPECT_EQ(cuda::quantizePerTokenFp8(dx.data(), cols, tokens, cols,
                                            {out.data(), stride, ds.data()}, nullptr),
                  cuda::kSuccess);
        scales = ds.values();
        return out.values();
    });
    for (std::int64_t t = 0; t < tokens; ++t) {
        Floats want(static_cast<std::size_t>(cols));
        roundActivations(ActivationFormat::Fp8Token, x.data() + t * cols, cols, want.data());
        for (std::int64_t c = 0; c < stride; ++c) {
            const float got = e4m3ToFloat(codes[static_cast<std::size_t>(t * stride + c)]) *
                              scales[static_cast<std::size_t>(t)];
            if (c >= cols)
                ASSERT_EQ(codes[static_cast<std::size_t>(t * stride + c)], 0);
            else if (std::isnan(want[static_cast<std::size_t>(c)]))
                ASSERT_TRUE(std::isnan(got)) << t << " " << c;
            else
                ASSERT_EQ(got, want[static_cast<std::size_t>(c)]) << t << " " << c;
        }
    }
    EXPECT_EQ(cuda::quantizePerTokenFp8(nullptr, cols, 1, cols, {nullptr, 300, nullptr}, nullptr),
              cuda::kInvalidValue);
}

// ---- factors of block-scaled products

/// Where the cuBLAS documentation has the scale of block `block` of row `row`.
std::size_t placeInTiles(std::int64_t row, std::int64_t block, std::int64_t blocks) {
    const std::int64_t tile = row / 128 * ((blocks + 3) / 4) + block / 4;
    return static_cast<std::size_t>(tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + block % 4);
}

TEST(CudaBlockScaled, ScalesOfWeightsGoIntoTiles) {
    for (const std::int64_t rows : {1, 33, 128, 300})
        for (const std::int64_t blocks : {1, 4, 6, 13}) {
            std::vector<std::byte> scales;
            for (std::int64_t i = 0; i < rows * blocks; ++i)
                scales.push_back(static_cast<std::byte>(i * 7 % 251 + 1));
            const auto bytes = static_cast<std::size_t>(cuda::scaleTileBytes(rows, blocks));
            const auto tiles = inEveryOrder([&] {
                DeviceArray<std::byte> in(scales);
                DeviceArray<std::uint8_t> out(bytes);
                EXPECT_EQ(cuda::tileScales(in.data(), rows, blocks, out.data(), nullptr),
                          cuda::kSuccess);
                return out.values();
            });
            std::vector<std::uint8_t> want(bytes);
            for (std::int64_t r = 0; r < rows; ++r)
                for (std::int64_t b = 0; b < blocks; ++b)
                    want[placeInTiles(r, b, blocks)] =
                        static_cast<std::uint8_t>(scales[static_cast<std::size_t>(r * blocks + b)]);
            EXPECT_EQ(tiles, want) << rows << " x " << blocks;
        }
    EXPECT_EQ(cuda::tileScales(nullptr, -1, 4, nullptr, nullptr), cuda::kInvalidValue);
    EXPECT_EQ(cuda::tileScales(nullptr, 0, 4, nullptr, nullptr), cuda::kSuccess);
}

class CudaBlockCodes : public ::testing::TestWithParam<ActivationFormat> {};

TEST_P(CudaBlockCodes, TimesTheirScalesAreWhatTheSchemeRoundsTo) {
    const bool four = GetParam() == ActivationFormat::NvFp4;
    const std::int64_t block = activationBlock(GetParam());
    const float g = four ? 300.0F : 1.0F;
    for (const std::int64_t tokens : {1, 37, 130})
        for (const std::int64_t cols : {32, 96, 320}) {
            const std::int64_t stride = cols + 3, blocks = cols / block;
            Floats x = randomFloats(tokens * stride, 3, 2.0F);
            std::fill_n(x.begin(), block, 0.0F);
            for (std::int64_t c = 0; c < 16; ++c)  // halves of steps
                x[static_cast<std::size_t>(16 + c)] = 0.25F * static_cast<float>(c - 8);
            if (tokens > 2) {
                x[static_cast<std::size_t>(stride + 5)] = NAN;
                x[static_cast<std::size_t>(2 * stride + cols - 1)] = -INFINITY;
                x[static_cast<std::size_t>(2 * stride)] = 1e30F;
            }
            const auto codeBytes = static_cast<std::size_t>(tokens * cols / (four ? 2 : 1));
            const auto bytes = static_cast<std::size_t>(cuda::scaleTileBytes(tokens, blocks));
            const auto all = inEveryOrder([&] {
                DeviceArray<float> dx(x);
                DeviceArray<std::uint8_t> codes(codeBytes), tiles(bytes);
                EXPECT_EQ(cuda::quantizeBlocks(GetParam(), g, dx.data(), stride, tokens, cols,
                                               codes.data(), tiles.data(), nullptr),
                          cuda::kSuccess);
                std::vector<std::uint8_t> both = codes.values(), more = tiles.values();
                both.insert(both.end(), more.begin(), more.end());
                return both;
            });
            const std::uint8_t* const tiles = all.data() + codeBytes;
            const auto scaleAt = [&](std::int64_t t, std::int64_t c) {
                const std::uint8_t byte = tiles[placeInTiles(t, c / block, blocks)];
                return four ? e4m3ToFloat(byte) / g : e8m0ToFloat(byte);
            };
            const auto codeAt = [&](std::int64_t t, std::int64_t c) {
                const std::int64_t at = t * cols + c;
                if (!four)
                    return e4m3ToFloat(all[static_cast<std::size_t>(at)]);
                // Values 8w+e and 8w+4+e share byte e of word w.
                const std::uint8_t pair = all[static_cast<std::size_t>(at / 8 * 4 + at % 4)];
                return e2m1ToFloat(at % 8 < 4 ? pair & 15 : pair >> 4);
            };
            Floats want(static_cast<std::size_t>(cols));
            for (std::int64_t t = 0; t < tokens; ++t) {
                roundActivations(GetParam(), x.data() + t * stride, cols, want.data(), g);
                for (std::int64_t c = 0; c < cols; ++c) {
                    const float got = codeAt(t, c) * scaleAt(t, c);
                    if (std::isnan(want[static_cast<std::size_t>(c)]))
                        ASSERT_TRUE(std::isnan(got)) << t << " " << c;
                    else
                        ASSERT_EQ(got, want[static_cast<std::size_t>(c)]) << t << " " << c;
                }
            }
            for (std::int64_t r = 0; r < (tokens + 127) / 128 * 128; ++r)
                for (std::int64_t b = 0; b < (blocks + 3) / 4 * 4; ++b)
                    if (r >= tokens || b >= blocks) {
                        ASSERT_EQ(tiles[placeInTiles(r, b, blocks)], 0) << r << " " << b;
                    }
        }
    EXPECT_EQ(cuda::quantizeBlocks(GetParam(), 1, nullptr, 48, 1, 48, nullptr, nullptr, nullptr),
              cuda::kInvalidValue);
    EXPECT_EQ(cuda::quantizeBlocks(GetParam(), 1, nullptr, 32, 0, 32, nullptr, nullptr, nullptr),
              cuda::kSuccess);
}
INSTANTIATE_TEST_SUITE_P(Formats, CudaBlockCodes,
                         ::testing::Values(ActivationFormat::NvFp4, ActivationFormat::MxFp8),
                         roundingName);

TEST(CudaBlockScaled, OtherFormatsAreRefused) {
    EXPECT_EQ(cuda::quantizeBlocks(ActivationFormat::MxFp4, 1, nullptr, 32, 1, 32, nullptr, nullptr,
                                   nullptr),
              cuda::kInvalidValue);
}

TEST(CudaLogits, DivergenceAndPickedColumns) {
    const std::int64_t rows = 3, count = 700;
    const Floats p = randomFloats(rows * count, 1, 4.0F), q = randomFloats(rows * count, 2, 4.0F);
    std::vector<RowSummary> ps, qs;
    std::vector<double> want;
    for (std::int64_t r = 0; r < rows; ++r) {
        ps.push_back(reference::summarizeLogits(p.data() + r * count, count));
        qs.push_back(reference::summarizeLogits(q.data() + r * count, count));
        want.push_back(reference::klDivergence(p.data() + r * count, ps.back().logSumExp,
                                               q.data() + r * count, qs.back().logSumExp, count));
    }
    const auto got = inEveryOrder([&] {
        DeviceArray<float> dp(p), dq(q);
        DeviceArray<RowSummary> dps(ps), dqs(qs);
        DeviceArray<double> out(static_cast<std::size_t>(rows));
        EXPECT_EQ(cuda::klDivergence(dp.data(), dps.data(), dq.data(), dqs.data(), rows, count,
                                     out.data(), nullptr),
                  cuda::kSuccess);
        return out.values();
    });
    for (std::size_t r = 0; r < want.size(); ++r)
        EXPECT_NEAR(got[r], want[r], 1e-6 * want[r]);
    const std::vector<std::int32_t> columns = {699, 0, 17};
    const auto picked = inEveryOrder([&] {
        DeviceArray<float> dp(p), out(static_cast<std::size_t>(rows));
        DeviceArray<std::int32_t> dc(columns);
        EXPECT_EQ(cuda::gatherColumns(dp.data(), rows, count, dc.data(), out.data(), nullptr),
                  cuda::kSuccess);
        return out.values();
    });
    for (std::size_t r = 0; r < picked.size(); ++r)
        EXPECT_EQ(picked[r],
                  p[r * static_cast<std::size_t>(count) + static_cast<std::size_t>(columns[r])]);
}

struct Scene {
    AttentionArgs args;
    Floats q, k, v;
    std::vector<std::int32_t> parents;
};

Scene scene(KvType type, std::int64_t past, std::int64_t headDim, std::int64_t window, float cap) {
    Scene s;
    s.args.kvType = type;
    s.args.past = past;
    s.args.tokens = 2;
    s.args.capacity = past + 5;
    s.args.heads = 4;
    s.args.kvHeads = 2;
    s.args.headDim = headDim;
    s.args.scale = 0.2F;
    s.args.window = window;
    s.args.softcap = cap;
    s.args.qStride = s.args.outStride = 4 * headDim + 3;
    s.q = randomFloats(2 * s.args.qStride, 1);
    s.k = randomFloats((past + 2) * 2 * headDim, 2);
    s.v = randomFloats((past + 2) * 2 * headDim, 3);
    return s;
}

/// Some text and then a tree whose branches cross a part of the cache, if it is long enough.
Scene treeScene(KvType type, std::int64_t text, std::int64_t window) {
    Scene s = scene(type, text, 16, window, 0);
    s.parents = {-1, 0, 1, 0, -1, 3, 5};
    s.args.text = text;
    s.args.past = text + 2;  // two nodes were run before
    s.args.tokens = 5;
    s.args.capacity = text + 9;
    s.q = randomFloats(5 * s.args.qStride, 1);
    s.k = randomFloats((text + 7) * 2 * 16, 2);
    s.v = randomFloats((text + 7) * 2 * 16, 3);
    return s;
}

Floats attend(const Scene& s, bool fast) {
    AttentionArgs a = s.args;
    a.parents = s.parents.empty() ? nullptr : s.parents.data();
    const std::int64_t stride = a.kvHeads * a.headDim, all = a.past + a.tokens;
    const std::size_t bytes = kvBytes(a.kvType, a.kvHeads, a.capacity, a.headDim);
    DeviceArray<float> q(s.q), k(s.k), v(s.v),
        out(Floats(static_cast<std::size_t>(a.tokens * a.outStride), 7.0F));
    DeviceArray<std::uint8_t> keys(bytes), values(bytes);
    DeviceArray<float> workspace(cuda::attentionWorkspace(a));
    a.q = q.data();
    a.keys = keys.data();
    a.values = values.data();
    a.out = out.data();
    if (fast) {
        EXPECT_EQ(cuda::appendKv(k.data(), v.data(), stride, keys.data(), values.data(), a.kvType,
                                 a.capacity, 0, all, a.kvHeads, a.headDim, nullptr),
                  cuda::kSuccess);
        EXPECT_EQ(cuda::attention(a, workspace.data(), nullptr), cuda::kSuccess);
    } else {
        reference::appendKv(k.data(), v.data(), stride, keys.data(), values.data(), a.kvType,
                            a.capacity, 0, all, a.kvHeads, a.headDim);
        reference::attention(a);
    }
    return out.values();
}

TEST(CudaAttention, AgreesWithTheReference) {
    const std::vector<Scene> scenes = {
        scene(KvType::F16, 0, 8, 0, 0),        scene(KvType::F32, 70, 33, 0, 0),
        scene(KvType::F16, 300, 130, 0, 5.0F), scene(KvType::F16, 290, 64, 20, 0),
        scene(KvType::Int8, 70, 33, 0, 0),     scene(KvType::Int8, 290, 64, 20, 0),
        scene(KvType::Fp8, 70, 130, 0, 5.0F),  scene(KvType::Int4, 70, 34, 0, 0),
        scene(KvType::Int4, 300, 64, 0, 0),    scene(KvType::NvFp4, 70, 48, 0, 0),
        scene(KvType::NvFp4, 290, 144, 20, 0)};
    for (std::size_t i = 0; i < scenes.size(); ++i)
        expectClose(inEveryOrder([&] { return attend(scenes[i], true); }), attend(scenes[i], false),
                    4 * budget::kAttention, "case " + std::to_string(i));
}

TEST(CudaAttention, OfATreeAgreesWithTheReference) {
    const std::vector<Scene> scenes = {
        treeScene(KvType::F16, 30, 0),   treeScene(KvType::F16, 254, 0),
        treeScene(KvType::F32, 0, 0),    treeScene(KvType::F32, 260, 3),
        treeScene(KvType::Int8, 30, 0),  treeScene(KvType::Int4, 260, 3),
        treeScene(KvType::NvFp4, 260, 3)};
    for (std::size_t i = 0; i < scenes.size(); ++i)
        expectClose(inEveryOrder([&] { return attend(scenes[i], true); }), attend(scenes[i], false),
                    4 * budget::kAttention, "tree " + std::to_string(i));
    Scene self = treeScene(KvType::F16, 30, 0);
    self.parents[3] = 3;
    self.args.parents = self.parents.data();
    EXPECT_EQ(cuda::attention(self.args, nullptr, nullptr), cuda::kInvalidValue);
}

/// A node's numbers are those of the text that ends with it.
TEST(CudaAttention, ATreeTokenIsBitForBitWhatItIsAfterItsAncestorsAlone) {
    const Scene tree = treeScene(KvType::F16, 253, 0);
    const Floats whole = attend(tree, true);
    const std::vector<std::int64_t> path{0, 3, 5, 6};
    Scene alone = tree;
    alone.parents.clear();
    alone.args.past = 253 + 3;
    alone.args.tokens = 1;
    const std::int64_t kv = 2 * 16;
    for (std::size_t i = 0; i < path.size(); ++i) {
        const auto to = static_cast<std::ptrdiff_t>(253 + i);
        std::copy_n(tree.k.begin() + (253 + path[i]) * kv, kv, alone.k.begin() + to * kv);
        std::copy_n(tree.v.begin() + (253 + path[i]) * kv, kv, alone.v.begin() + to * kv);
    }
    alone.q.assign(tree.q.begin() + 4 * tree.args.qStride, tree.q.end());
    const Floats last = attend(alone, true);
    for (std::int64_t d = 0; d < 4 * 16; ++d)
        EXPECT_EQ(whole[static_cast<std::size_t>(4 * tree.args.outStride + d)],
                  last[static_cast<std::size_t>(d)]);
}

TEST(CudaAttention, KeepsWhatTheReferenceKeeps) {
    for (const KvType type :
         {KvType::F16, KvType::F32, KvType::Int8, KvType::Fp8, KvType::Int4, KvType::NvFp4}) {
        const std::vector<std::int32_t> kept{0, 2, 3, 6};
        const std::int64_t dim = type == KvType::NvFp4 ? 32 : type == KvType::Int4 ? 10 : 9;
        const std::size_t bytes = kvBytes(type, 2, 20, dim);
        DeviceArray<std::uint8_t> keys(bytes), values(bytes);
        const Floats k = randomFloats(20 * 2 * dim, 4), v = randomFloats(20 * 2 * dim, 5);
        std::vector<std::vector<std::uint8_t>> got, want;
        for (const bool fast : {true, false}) {
            reference::appendKv(k.data(), v.data(), 2 * dim, keys.data(), values.data(), type, 20,
                                0, 20, 2, dim);
            if (fast) {
                EXPECT_EQ(cuda::keepKv(keys.data(), values.data(), type, 20, 11, kept.data(), 4, 2,
                                       dim, nullptr),
                          cuda::kSuccess);
            } else {
                reference::keepKv(keys.data(), values.data(), type, 20, 11, kept.data(), 4, 2, dim);
            }
            (fast ? got : want) = {keys.values(), values.values()};
        }
        EXPECT_EQ(got, want);
        const std::int32_t outside[] = {0, 10};
        EXPECT_EQ(
            cuda::keepKv(keys.data(), values.data(), type, 20, 11, outside, 2, 2, dim, nullptr),
            cuda::kInvalidValue);
    }
}

#ifndef FETTLE_ON_GPU
// ---- mutations

using simt::expectEveryBarrierNeeded;

TEST(CudaMutation, EveryBarrierIsNeededAndMissed) {
    const Floats x = randomFloats(2 * 305, 3), w = randomFloats(300, 4);
    expectEveryBarrierNeeded("rmsNorm", [&] { return norm(false, x, w, w, 2, 300); });
    expectEveryBarrierNeeded("layerNorm", [&] { return norm(true, x, w, w, 2, 300); });
    expectEveryBarrierNeeded("summarizeLogits", [&] { return summaries(x, 2, 305); });
    const test::OwnedWeight weight =
        test::randomWeight({WeightFormat::Int8Channel, 0, ScaleType::F32, false}, 3, 300, 5);
    expectEveryBarrierNeeded("quantizePerToken", [&] { return multiply(weight, x, 1); });
    expectEveryBarrierNeeded("quantizePerTokenFp8", [&] {
        DeviceArray<float> dx(x), scales(std::size_t{1});
        DeviceArray<std::uint8_t> codes(std::size_t{304});
        cuda::quantizePerTokenFp8(dx.data(), 300, 1, 300, {codes.data(), 304, scales.data()},
                                  nullptr);
        return codes.values();
    });
    const Scene s = scene(KvType::F16, 150, 16, 0, 0);
    expectEveryBarrierNeeded("attention", [&] { return attend(s, true); });
    const Scene tree = treeScene(KvType::F16, 20, 0);  // read in the first tile
    expectEveryBarrierNeeded("attention", [&] { return attend(tree, true); });
}

#endif

}  // namespace
}  // namespace fettle::kernels
