// Kernels on tensor cores, on the emulator: against double sums of the same float16 factors, in
// every thread order, without each of their barriers and waits in turn.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_prefill.h"
#include "kernels/cuda/matmul_tensor.h"
#include "kernels/cuda/prefill.h"
#include "kernels/reference/attention.h"
#include "tests/kernels/kernel_data.h"
#include "tests/kernels/quant_budget.h"
#include "tests/simt/device_weight.h"
#include "tests/simt/mutations.h"
#include "tests/simt/orders.h"

namespace fettle::kernels {
namespace {

using simt::DeviceArray;
using simt::inEveryOrder;
using test::OnDevice;
using test::randomFloats;
using Floats = std::vector<float>;

struct Activations16 {
    std::vector<std::uint16_t> halves;
    Floats scales;
};

Activations16 toHalves(const Floats& x, std::int64_t tokens, std::int64_t cols) {
    DeviceArray<float> dx(x), scales(static_cast<std::size_t>(tokens));
    DeviceArray<std::uint16_t> out(static_cast<std::size_t>(tokens * cols));
    EXPECT_EQ(
        cuda::toScaledHalf(dx.data(), cols, tokens, cols, out.data(), cols, scales.data(), nullptr),
        cuda::kSuccess);
    return {out.values(), scales.values()};
}

Floats multiply(OnDevice& weight, const Activations16& x, std::int64_t tokens, const Floats& bias,
                bool accumulate) {
    const std::int64_t rows = weight.layout.rows, cols = weight.layout.cols;
    DeviceArray<std::uint16_t> dx(x.halves);
    DeviceArray<float> scales(x.scales), dbias(bias),
        y(Floats(static_cast<std::size_t>(tokens * (rows + 1)), 0.5F));
    EXPECT_EQ(cuda::matmulTensor(weight.view, dx.data(), cols, scales.data(), tokens,
                                 {y.data(), rows + 1, dbias.data(), accumulate}, nullptr),
              cuda::kSuccess);
    return y.values();
}

class CudaTensorMatmul : public ::testing::TestWithParam<test::FormatCase> {};

TEST_P(CudaTensorMatmul, IsTheProductOfTheSameHalves) {
    const test::FormatCase& format = GetParam();
    const bool super = blockValues(format.format) == 256;
    struct Size {
        std::int64_t rows, cols, tokens;
    };
    const Size sizes[] = {{70, super ? 256 : 128, 66}, {3, super ? 512 : 384, 1}};
    for (const auto& [rows, cols, tokens] : sizes) {
        const test::OwnedWeight w = test::randomWeight(format, rows, cols, 5);
        const Floats x = randomFloats(tokens * cols, 6, 30.0F), bias = randomFloats(rows, 7);
        OnDevice weight(w.view);
        const Activations16 halves = toHalves(x, tokens, cols);
        const Floats got =
            inEveryOrder([&] { return multiply(weight, halves, tokens, bias, tokens == 1); });
        Floats row(static_cast<std::size_t>(cols));
        for (std::int64_t r = 0; r < rows; ++r) {
            dequantizeRow(w.view, r, row.data());
            for (std::int64_t t = 0; t < tokens; ++t) {
                double sum = 0, size = 0;
                for (std::int64_t k = 0; k < cols; ++k) {
                    const double product =
                        static_cast<double>(
                            halfToFloat(floatToHalf(row[static_cast<std::size_t>(k)]))) *
                        halfToFloat(halves.halves[static_cast<std::size_t>(t * cols + k)]) *
                        halves.scales[static_cast<std::size_t>(t)];
                    sum += product;
                    size += std::fabs(product);
                }
                sum += bias[static_cast<std::size_t>(r)] + (tokens == 1 ? 0.5 : 0);
                ASSERT_NEAR(got[static_cast<std::size_t>(t * (rows + 1) + r)], sum,
                            2e-6 * size + 1e-6)
                    << r << " " << t;
            }
        }
        for (std::int64_t t = 0; t < tokens; ++t)
            ASSERT_EQ(got[static_cast<std::size_t>(t * (rows + 1) + rows)], 0.5F);
    }
}

std::vector<test::FormatCase> packedFormats() {
    std::vector<test::FormatCase> all = test::allFormats();
    std::erase_if(all, [](const test::FormatCase& f) { return !test::hasGroupsOf32(f); });
    return all;
}
std::string formatName(const ::testing::TestParamInfo<test::FormatCase>& format) {
    return format.param.label();
}
INSTANTIATE_TEST_SUITE_P(Formats, CudaTensorMatmul, ::testing::ValuesIn(packedFormats()),
                         formatName);

TEST(CudaTensorMatmulShapes, OthersAreRefused) {
    const test::OwnedWeight w =
        test::randomWeight({WeightFormat::Int8Channel, 0, ScaleType::F32, false}, 3, 64, 5);
    OnDevice weight(w.view);
    EXPECT_EQ(cuda::matmulTensor(weight.view, nullptr, 64, nullptr, 1, {}, nullptr),
              cuda::kInvalidValue);
    EXPECT_EQ(cuda::matmulTensor(weight.view, nullptr, 60, nullptr, 1, {}, nullptr),
              cuda::kInvalidValue);
}

struct Scene {
    AttentionArgs args;
    Floats q, k, v;
};

Scene scene(std::int64_t past, std::int64_t tokens, std::int64_t headDim, std::int64_t window,
            float cap) {
    Scene s;
    s.args.past = past;
    s.args.tokens = tokens;
    s.args.capacity = past + tokens + 3;
    s.args.heads = 4;
    s.args.kvHeads = 2;
    s.args.headDim = headDim;
    s.args.scale = 1 / std::sqrt(static_cast<float>(headDim));
    s.args.window = window;
    s.args.softcap = cap;
    s.args.qStride = s.args.outStride = 4 * headDim + 3;
    s.q = randomFloats(tokens * s.args.qStride, 1);
    s.k = randomFloats(2 * s.args.capacity * headDim, 2);
    s.v = randomFloats(2 * s.args.capacity * headDim, 3);
    return s;
}

std::vector<std::uint16_t> halvesOf(const Floats& values) {
    std::vector<std::uint16_t> halves(values.size());
    std::transform(values.begin(), values.end(), halves.begin(), floatToHalf);
    return halves;
}

Floats attend(const Scene& s, bool fast) {
    AttentionArgs a = s.args;
    DeviceArray<float> q(s.q), out(Floats(static_cast<std::size_t>(a.tokens * a.outStride), 7.0F));
    DeviceArray<std::uint16_t> keys(halvesOf(s.k)), values(halvesOf(s.v));
    a.q = q.data();
    a.keys = keys.data();
    a.values = values.data();
    a.out = out.data();
    if (fast)
        EXPECT_EQ(cuda::attentionPrefill(a, nullptr), cuda::kSuccess);
    else
        reference::attention(a);
    return out.values();
}

TEST(CudaAttentionPrefill, AgreesWithTheReference) {
    const Scene scenes[] = {scene(0, 37, 8, 0, 0),   scene(5, 70, 64, 0, 0),
                            scene(40, 33, 72, 0, 5), scene(3, 66, 128, 20, 0),
                            scene(0, 35, 256, 0, 0), scene(60, 34, 40, 7, 2)};
    for (std::size_t i = 0; i < std::size(scenes); ++i) {
        const Floats got = inEveryOrder([&] { return attend(scenes[i], true); });
        const Floats want = attend(scenes[i], false);
        for (std::size_t at = 0; at < want.size(); ++at)
            ASSERT_NEAR(got[at], want[at], 3e-3) << "case " << i << " at " << at;
    }
}

TEST(CudaAttentionPrefill, OtherCachesAndHeadsAreRefused) {
    Scene s = scene(0, 33, 12, 0, 0);
    EXPECT_EQ(cuda::attentionPrefill(s.args, nullptr), cuda::kInvalidValue);
    s.args.headDim = 264;
    EXPECT_FALSE(cuda::takesPrefill(s.args));
    s.args.headDim = 64;
    s.args.kvType = KvType::F32;
    EXPECT_FALSE(cuda::takesPrefill(s.args));
    s.args.kvType = KvType::F16;
    s.args.capacity = 10;
    EXPECT_EQ(cuda::attentionPrefill(s.args, nullptr), cuda::kInvalidValue);
}

#ifndef FETTLE_ON_GPU
TEST(CudaTensorMutation, EveryBarrierAndWaitIsNeededAndMissed) {
    const test::OwnedWeight w =
        test::randomWeight({WeightFormat::Q4_0, 0, ScaleType::F32, false}, 64, 192, 5);
    OnDevice weight(w.view);
    const Activations16 halves = toHalves(randomFloats(64 * 192, 6), 64, 192);
    const Floats bias(64, 0.0F);
    simt::expectEveryBarrierNeeded("matmulTensor",
                                   [&] { return multiply(weight, halves, 64, bias, false); });
    const Scene s = scene(20, 33, 64, 0, 0);
    simt::expectEveryBarrierNeeded("attentionPrefill", [&] { return attend(s, true); });
}

#endif

}  // namespace
}  // namespace fettle::kernels
