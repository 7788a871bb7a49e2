// The CUDA kernels on the emulator against their plain twins, on awkward shapes, in every thread
// order; and the proof that each of their barriers is missed when it is gone.
#include <gtest/gtest.h>

#include <functional>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/matmul.h"
#include "kernels/reference/attention.h"
#include "kernels/reference/elementwise.h"
#include "kernels/reference/matmul.h"
#include "tests/kernels/kernel_data.h"
#include "tests/kernels/quant_budget.h"
#include "tests/simt/emulator/device_array.h"
#include "tests/simt/orders.h"

namespace fettle::kernels {
namespace {

using simt::DeviceArray;
using simt::inEveryOrder;
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

/// y of the CUDA product for a weight as it lies in files.
Floats multiply(const test::OwnedWeight& w, const Floats& x, std::int64_t tokens) {
    const WeightView& v = w.view;
    const bool int8 = v.format == WeightFormat::Int8Channel;
    const std::int64_t stride = int8 ? (v.cols + 15) / 16 * 16 : v.cols / 2;
    const std::int64_t codeStride = (v.cols + 15) / 16 * 16, rowSize = int8 ? v.cols : stride;
    std::vector<std::uint8_t> padded(static_cast<std::size_t>(v.rows * stride), 0);
    for (std::int64_t r = 0; r < v.rows; ++r)
        std::copy_n(w.data.begin() + r * rowSize, rowSize, padded.begin() + r * stride);
    const auto groups = static_cast<std::size_t>(tokens * (int8 ? 1 : v.cols / 32));
    DeviceArray<std::uint8_t> data(padded), scales(w.scales);
    DeviceArray<std::int32_t> zeros(w.zeroPoints), sums(groups);
    DeviceArray<float> dx(x), y(static_cast<std::size_t>(tokens * v.rows)), codeScales(groups);
    DeviceArray<std::int8_t> codes(static_cast<std::size_t>(tokens * codeStride));
    const cuda::QuantizedActivations q = {codes.data(), codeStride, codeScales.data(), sums.data()};
    WeightView device = v;
    device.data = data.data();
    device.scales = scales.data();
    device.zeroPoints = v.zeroPoints ? zeros.data() : nullptr;
    EXPECT_EQ((int8 ? cuda::quantizePerToken : cuda::quantizePerGroup32)(dx.data(), v.cols, tokens,
                                                                         v.cols, q, nullptr),
              cuda::kSuccess);
    EXPECT_EQ(cuda::matmul(device, stride, q, tokens, y.data(), v.rows, nullptr, false, nullptr),
              cuda::kSuccess);
    return y.values();
}

TEST(CudaMatmul, AgreesWithTheReference) {
    using F = WeightFormat;
    const std::vector<test::FormatCase> formats = {{F::Int8Channel, 0, ScaleType::F32, false},
                                                   {F::Int8Channel, 0, ScaleType::BF16, false},
                                                   {F::Int4Group, 32, ScaleType::F16, true},
                                                   {F::Int4Group, 64, ScaleType::F32, false},
                                                   {F::Int4Group, 64, ScaleType::BF16, true}};
    for (const test::FormatCase& format : formats) {
        for (const std::int64_t tokens : {1, 3, 5}) {
            for (const std::int64_t cols : {64, 576, 1100}) {
                if (format.groupSize > 0 && cols % 64 != 0)
                    continue;
                const std::int64_t rows = 11;
                const test::OwnedWeight w = test::randomWeight(format, rows, cols, 5);
                const Floats x = randomFloats(tokens * cols, 6);
                std::vector<double> want(static_cast<std::size_t>(tokens * rows));
                reference::matmul(w.view, x.data(), tokens, cols, want.data());
                const Floats got = inEveryOrder([&] { return multiply(w, x, tokens); });
                Floats row(static_cast<std::size_t>(cols));
                for (std::int64_t i = 0; i < tokens * rows; ++i) {
                    dequantizeRow(w.view, i % rows, row.data());
                    const double bound =
                        test::norm(row.data(), cols) * test::norm(x.data() + i / rows * cols, cols);
                    const auto at = static_cast<std::size_t>(i);
                    ASSERT_NEAR(got[at], want[at], budget::kSum * bound) << format.label() << at;
                }
            }
        }
    }
}

struct Scene {
    AttentionArgs args;
    Floats q, k, v;
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

Floats attend(const Scene& s, bool fast) {
    AttentionArgs a = s.args;
    const std::int64_t stride = a.kvHeads * a.headDim, all = a.past + a.tokens;
    const auto bytes = static_cast<std::size_t>(a.kvHeads * a.capacity * a.headDim) *
                       (a.kvType == KvType::F16 ? 2 : 4);
    DeviceArray<float> q(s.q), k(s.k), v(s.v),
        out(Floats(static_cast<std::size_t>(2 * a.outStride), 7.0F));
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
        scene(KvType::F16, 0, 8, 0, 0), scene(KvType::F32, 70, 33, 0, 0),
        scene(KvType::F16, 300, 130, 0, 5.0F), scene(KvType::F16, 290, 64, 20, 0)};
    for (std::size_t i = 0; i < scenes.size(); ++i)
        expectClose(inEveryOrder([&] { return attend(scenes[i], true); }), attend(scenes[i], false),
                    4 * budget::kAttention, "case " + std::to_string(i));
}

// ---- mutations

/// Runs `body` with each barrier gone, by site and one by one, and demands that the memory check
/// notices.
void expectEveryBarrierNeeded(const std::string& what, const std::function<Floats()>& body) {
    simt::barriersSeen().clear();
    simt::mostPasses() = 0;
    body();
    const std::set<simt::Site> sites = simt::barriersSeen();
    const unsigned passes = simt::mostPasses();
    ASSERT_FALSE(sites.empty()) << what;
    const auto expectNoticed = [&](simt::Options mutation, const std::string& which) {
        for (const simt::Order order : simt::kOrders) {
            mutation.order = order;
            const simt::OptionScope scope(mutation);
            EXPECT_THROW(body(), simt::Finding)
                << what << " without " << which << ", " << simt::name(order) << " order";
        }
    };
    for (const simt::Site& site : sites)
        expectNoticed({.droppedBarrier = site}, "the barrier at " + simt::text(site));
    for (unsigned pass = 0; pass < passes; ++pass)
        expectNoticed({.droppedPass = pass}, "barrier number " + std::to_string(pass));
}

TEST(CudaMutation, EveryBarrierIsNeededAndMissed) {
    const Floats x = randomFloats(2 * 305, 3), w = randomFloats(300, 4);
    expectEveryBarrierNeeded("rmsNorm", [&] { return norm(false, x, w, w, 2, 300); });
    expectEveryBarrierNeeded("layerNorm", [&] { return norm(true, x, w, w, 2, 300); });
    expectEveryBarrierNeeded("summarizeLogits", [&] { return summaries(x, 2, 305); });
    const test::OwnedWeight weight =
        test::randomWeight({WeightFormat::Int8Channel, 0, ScaleType::F32, false}, 3, 300, 5);
    expectEveryBarrierNeeded("quantizePerToken", [&] { return multiply(weight, x, 1); });
    const Scene s = scene(KvType::F16, 150, 16, 0, 0);
    expectEveryBarrierNeeded("attention", [&] { return attend(s, true); });
}

}  // namespace
}  // namespace fettle::kernels
