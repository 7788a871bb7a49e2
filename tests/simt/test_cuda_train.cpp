// Kernels of training on the emulator against plain twins in double, in every thread order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_train.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/norm_backward.h"
#include "kernels/cuda/train.h"
#include "kernels/reference/train.h"
#include "tests/kernels/kernel_data.h"
#include "tests/simt/emulator/device_array.h"
#include "tests/simt/mutations.h"
#include "tests/simt/orders.h"

namespace fettle::kernels {
namespace {

using simt::DeviceArray;
using simt::inEveryOrder;
using test::randomFloats;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

Doubles wide(const Floats& values) {
    return {values.begin(), values.end()};
}

void expectClose(const Floats& got, const Doubles& want, double budget, const std::string& what) {
    ASSERT_EQ(got.size(), want.size()) << what;
    double largest = 0;
    for (const double w : want)
        largest = std::max(largest, std::fabs(w));
    for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], want[i], budget * largest) << what << " at " << i;
}

Floats join(std::initializer_list<Floats> parts) {
    Floats all;
    for (const Floats& part : parts)
        all.insert(all.end(), part.begin(), part.end());
    return all;
}

/// dx, dw and db behind each other.
Floats normGradients(bool layer, bool inPlace, const Floats& x, const Floats& dy, const Floats& w,
                     std::int64_t rows, std::int64_t cols) {
    DeviceArray<float> dX(x), dDy(dy), dW(w), out(dy.size()),
        dw(Floats(static_cast<std::size_t>(cols), 1.0F)),
        db(Floats(static_cast<std::size_t>(cols), 2.0F));
    cuda::NormBackwardArgs args;
    args.x = dX.data();
    args.dy = dDy.data();
    args.dx = inPlace ? dDy.data() : out.data();
    args.xStride = args.dyStride = args.dxStride = cols;
    args.rows = rows;
    args.cols = cols;
    args.w = dW.data();
    args.offset = layer ? 0.0F : 1.0F;
    args.eps = 1e-5F;
    DeviceArray<float> workspace(cuda::normBackwardWorkspace(args));
    EXPECT_EQ(layer ? cuda::layerNormBackward(args, dw.data(), db.data(), workspace.data(), nullptr)
                    : cuda::rmsNormBackward(args, dw.data(), workspace.data(), nullptr),
              cuda::kSuccess);
    return join({inPlace ? dDy.values() : out.values(), dw.values(), db.values()});
}

TEST(CudaTrain, NormGradients) {
    for (const bool layer : {false, true})
        for (const auto& [rows, cols] :
             {std::pair<std::int64_t, std::int64_t>{3, 5}, {1, 257}, {67, 300}}) {
            const Floats x = randomFloats(rows * cols, 1), dy = randomFloats(rows * cols, 2),
                         w = randomFloats(cols, 3);
            const auto n = static_cast<std::size_t>(cols);
            Doubles dx(dy.size()), dw(n, 1.0), db(n, 2.0);
            if (layer)
                reference::layerNormBackward(wide(x).data(), wide(dy).data(), wide(w).data(),
                                             double(1e-5F), rows, cols, dx.data(), dw.data(),
                                             db.data());
            else
                reference::rmsNormBackward(wide(x).data(), wide(dy).data(), wide(w).data(), 1.0,
                                           double(1e-5F), rows, cols, dx.data(), dw.data());
            Doubles want = dx;
            want.insert(want.end(), dw.begin(), dw.end());
            want.insert(want.end(), db.begin(), db.end());
            for (const bool inPlace : {false, true})
                expectClose(inEveryOrder([&] {
                                return normGradients(layer, inPlace, x, dy, w, rows, cols);
                            }),
                            want, 2e-6, layer ? "layerNorm" : "rmsNorm");
        }
}

TEST(CudaTrain, GatedGradients) {
    const std::int64_t count = 1031;
    const Floats gate = randomFloats(count, 1, 3.0F), up = randomFloats(count, 2),
                 dOut = randomFloats(count, 3);
    for (const bool silu : {true, false})
        for (const bool gated : {true, false}) {
            const Floats got = inEveryOrder([&] {
                DeviceArray<float> g(gate), u(up), d(dOut),
                    dGate(Floats(static_cast<std::size_t>(count), 0.0F)),
                    dUp(static_cast<std::size_t>(count));
                EXPECT_EQ(
                    cuda::gatedBackward(silu ? cuda::Activation::Silu : cuda::Activation::GeluTanh,
                                        gated ? g.data() : nullptr, u.data(), d.data(), count,
                                        dGate.data(), dUp.data(), nullptr),
                    cuda::kSuccess);
                return join({dGate.values(), dUp.values()});
            });
            Doubles dGate, dUp;
            for (std::size_t i = 0; i < gate.size(); ++i) {
                const double in = gated ? gate[i] : up[i];
                const double slope = reference::activationSlope(silu, in);
                dGate.push_back(gated ? dOut[i] * up[i] * slope : 0.0);
                dUp.push_back(gated ? dOut[i] * reference::activation(silu, in) : dOut[i] * slope);
            }
            dGate.insert(dGate.end(), dUp.begin(), dUp.end());
            expectClose(got, dGate, 1e-6, silu ? "silu" : "gelu");
        }
}

TEST(CudaTrain, SmallGradients) {
    const Floats y = randomFloats(300, 1), dy = randomFloats(300, 2);
    const Floats got = inEveryOrder([&] {
        DeviceArray<float> a(y), b(dy), c(y);
        EXPECT_EQ(cuda::softcapBackward(a.data(), 5.0F, b.data(), 300, nullptr), cuda::kSuccess);
        EXPECT_EQ(cuda::addScaled(c.data(), a.data(), -0.3F, 300, nullptr), cuda::kSuccess);
        return join({b.values(), c.values()});
    });
    Doubles want;
    for (std::size_t i = 0; i < 300; ++i)
        want.push_back(dy[i] * (1 - y[i] / 5.0 * y[i] / 5.0));
    for (std::size_t i = 0; i < 300; ++i)
        want.push_back(y[i] - double(0.3F) * y[i]);
    expectClose(got, want, 2e-7, "softcap, addScaled");
}

TEST(CudaTrain, RopeBackwardUndoesRope) {
    const std::int64_t tokens = 3, heads = 5, headDim = 6, stride = 33;
    const Floats x = randomFloats(tokens * stride, 1);
    Floats cosSin(static_cast<std::size_t>(tokens * headDim));
    for (std::size_t i = 0; i < cosSin.size(); ++i) {
        const double angle = 0.7 * static_cast<double>(i / 6 * 3 + i % 3);
        cosSin[i] = static_cast<float>(i % 6 < 3 ? std::cos(angle) : std::sin(angle));
    }
    const Floats got = inEveryOrder([&] {
        DeviceArray<float> dx(x), angles(cosSin);
        cuda::rope(dx.data(), tokens, stride, heads, headDim, angles.data(), nullptr);
        EXPECT_NE(dx.values()[4], x[4]);
        EXPECT_EQ(
            cuda::ropeBackward(dx.data(), tokens, stride, heads, headDim, angles.data(), nullptr),
            cuda::kSuccess);
        return dx.values();
    });
    expectClose(got, wide(x), 3e-7, "rope");
}

TEST(CudaTrain, EmbeddingGradientsAddRepeatedTokens) {
    const std::int64_t cols = 300;
    const std::vector<std::int32_t> ids = {4, 1, 4, 0, 4, 1};
    const Floats dy = randomFloats(6 * cols, 1), start = randomFloats(5 * cols, 2);
    const Floats got = inEveryOrder([&] {
        DeviceArray<std::int32_t> dIds(ids);
        DeviceArray<float> d(dy), grad(start);
        EXPECT_EQ(
            cuda::embeddingBackward(dIds.data(), 6, d.data(), cols, 0.5F, grad.data(), nullptr),
            cuda::kSuccess);
        return grad.values();
    });
    Doubles want = wide(start);
    for (std::size_t t = 0; t < ids.size(); ++t)
        for (std::int64_t c = 0; c < cols; ++c)
            want[static_cast<std::size_t>(ids[t] * cols + c)] +=
                0.5 * dy[t * static_cast<std::size_t>(cols) + static_cast<std::size_t>(c)];
    expectClose(got, want, 2e-7, "embedding");
}

Floats crossEntropy(const Floats& logits, std::int64_t rows, std::int64_t count,
                    const std::vector<std::int32_t>& targets) {
    DeviceArray<float> z(logits);
    DeviceArray<std::int32_t> dTargets(targets);
    DeviceArray<double> losses(static_cast<std::size_t>(rows));
    EXPECT_EQ(cuda::crossEntropyRows(z.data(), rows, count, dTargets.data(), 0.5F, losses.data(),
                                     nullptr),
              cuda::kSuccess);
    const std::vector<double> values = losses.values();
    return join({z.values(), Floats(values.begin(), values.end())});
}

Floats distill(const Floats& student, const Floats& teacher, std::int64_t rows,
               std::int64_t count) {
    DeviceArray<float> s(student), t(teacher);
    DeviceArray<double> losses(static_cast<std::size_t>(rows));
    EXPECT_EQ(
        cuda::distillRows(s.data(), t.data(), rows, count, 2.0F, 0.5F, losses.data(), nullptr),
        cuda::kSuccess);
    const std::vector<double> values = losses.values();
    return join({s.values(), Floats(values.begin(), values.end())});
}

TEST(CudaTrain, Losses) {
    for (const std::int64_t count : {3, 700}) {
        const std::int64_t rows = 3;
        const Floats z = randomFloats(rows * count, 1, 4.0F),
                     t = randomFloats(rows * count, 2, 4.0F);
        const std::vector<std::int32_t> targets = {2, -1, static_cast<std::int32_t>(count - 1)};
        Doubles entropy(z.size()), entropyLosses, soft(z.size()), softLosses;
        for (std::int64_t r = 0; r < rows; ++r) {
            const Doubles row(z.begin() + r * count, z.begin() + (r + 1) * count);
            const Doubles other(t.begin() + r * count, t.begin() + (r + 1) * count);
            const std::int32_t target = targets[static_cast<std::size_t>(r)];
            if (target < 0)
                entropyLosses.push_back(0);
            else
                entropyLosses.push_back(
                    reference::crossEntropy(row.data(), count, target, entropy.data() + r * count));
            softLosses.push_back(
                reference::distill(row.data(), other.data(), count, 2.0, soft.data() + r * count));
        }
        for (double& g : entropy)
            g *= 0.5;
        for (double& g : soft)
            g *= 0.5;
        entropy.insert(entropy.end(), entropyLosses.begin(), entropyLosses.end());
        soft.insert(soft.end(), softLosses.begin(), softLosses.end());
        expectClose(inEveryOrder([&] { return crossEntropy(z, rows, count, targets); }), entropy,
                    1e-6, "cross-entropy");
        expectClose(inEveryOrder([&] { return distill(z, t, rows, count); }), soft, 1e-6,
                    "distillation");
    }
}

TEST(CudaTrain, AdamW) {
    const std::int64_t count = 517;
    const Floats value = randomFloats(count, 1), grad = randomFloats(count, 2),
                 m = randomFloats(count, 3, 0.1F);
    Floats v = randomFloats(count, 4, 0.1F);
    for (float& x : v)
        x *= x;
    cuda::AdamWStep step;
    step.count = count;
    step.learningRate = 0.01F;
    step.decay = 0.1F;
    step.gradScale = 0.5F;
    step.correction1 = static_cast<float>(1 - std::pow(double(step.beta1), 3));
    step.correction2 = static_cast<float>(1 - std::pow(double(step.beta2), 3));
    const Floats got = inEveryOrder([&] {
        DeviceArray<float> dValue(value), dGrad(grad), dM(m), dV(v);
        EXPECT_EQ(cuda::adamw(dValue.data(), dGrad.data(), dM.data(), dV.data(), step, nullptr),
                  cuda::kSuccess);
        return join({dValue.values(), dM.values(), dV.values()});
    });
    Doubles values = wide(value), ms = wide(m), vs = wide(v);
    for (std::size_t i = 0; i < values.size(); ++i)
        reference::adamw(values[i], 0.5 * grad[i], ms[i], vs[i], double(step.learningRate),
                         double(step.beta1), double(step.beta2), double(step.epsilon),
                         double(step.decay), 3);
    values.insert(values.end(), ms.begin(), ms.end());
    values.insert(values.end(), vs.begin(), vs.end());
    expectClose(got, values, 1e-6, "adamw");
}

Floats transformed(const Floats& x, std::int64_t size) {
    DeviceArray<float> dx(x);
    EXPECT_EQ(cuda::hadamard(dx.data(), static_cast<std::int64_t>(x.size()), size, nullptr),
              cuda::kSuccess);
    return dx.values();
}

TEST(CudaTrain, Hadamard) {
    for (const std::int64_t size : {32, 64, 1024}) {
        const Floats x = randomFloats(2 * size, 1);
        const Floats got = inEveryOrder([&] { return transformed(x, size); });
        Doubles want(x.size());
        for (std::int64_t i = 0; i < 2 * size; ++i)
            for (std::int64_t j = 0; j < size; ++j) {
                const int sign =
                    __builtin_popcountll(static_cast<unsigned long long>(i % size & j)) % 2;
                want[static_cast<std::size_t>(i)] +=
                    (sign ? -1.0 : 1.0) * x[static_cast<std::size_t>(i / size * size + j)] /
                    std::sqrt(static_cast<double>(size));
            }
        expectClose(got, want, 1e-6, "hadamard");
        expectClose(transformed(got, size), wide(x), 1e-6, "twice");
    }
    EXPECT_EQ(cuda::hadamard(nullptr, 96, 48, nullptr), cuda::kInvalidValue);
    EXPECT_EQ(cuda::hadamard(nullptr, 8192, 8192, nullptr), cuda::kInvalidValue);
}

TEST(CudaTrain, FakeQuantizationAndItsGradients) {
    const std::int64_t group = 64, groups = 9, count = group * groups;
    const Floats x = randomFloats(count, 1), dy = randomFloats(count, 2);
    Floats scales;
    for (std::int64_t g = 0; g < groups; ++g)
        scales.push_back(0.1F + 0.05F * static_cast<float>(g));
    const Floats got = inEveryOrder([&] {
        DeviceArray<float> dX(x), s(scales), d(dy), y(x.size()), dx(x.size()), ds(scales.size());
        EXPECT_EQ(cuda::fakeQuantize(dX.data(), s.data(), count, group, -8, 7, y.data(), nullptr),
                  cuda::kSuccess);
        EXPECT_EQ(cuda::fakeQuantizeBackward(dX.data(), s.data(), d.data(), count, group, -8, 7,
                                             dx.data(), ds.data(), nullptr),
                  cuda::kSuccess);
        return join({y.values(), dx.values(), ds.values()});
    });
    Doubles y, dx, ds(scales.size());
    int outside = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const float scale = scales[i / 64], exact = x[i] / scale;
        const double code = std::clamp(std::nearbyint(double(exact)), -8.0, 7.0);
        const bool inside = exact >= -8 && exact <= 7;
        outside += inside ? 0 : 1;
        y.push_back(code * scale);
        const double d = dy[i];
        dx.push_back(inside ? d : exact < -8 ? std::min(d, 0.0) : std::max(d, 0.0));
        ds[i / 64] += dy[i] * (inside ? code - exact : code);
    }
    EXPECT_GT(outside, 10);
    y.insert(y.end(), dx.begin(), dx.end());
    y.insert(y.end(), ds.begin(), ds.end());
    expectClose(got, y, 1e-6, "fake quantization");
    EXPECT_EQ(cuda::fakeQuantize(nullptr, nullptr, 64, 20, -8, 7, nullptr, nullptr),
              cuda::kInvalidValue);
}

struct Sequences {
    std::vector<std::int64_t> counts;
    reference::AttentionShape shape;  // tokens: of all sequences
};

/// out, dq, dk and dv behind each other, by the reference sequence by sequence.
Doubles attentionWanted(const Sequences& s, const Floats& q, const Floats& k, const Floats& v,
                        const Floats& dOut) {
    Doubles out(q.size()), dq(q.size()), dk(k.size()), dv(k.size());
    const Doubles wq = wide(q), wk = wide(k), wv = wide(v), wd = wide(dOut);
    std::int64_t first = 0;
    for (const std::int64_t count : s.counts) {
        reference::AttentionShape one = s.shape;
        one.tokens = count;
        const std::int64_t atQ = first * one.heads * one.headDim;
        const std::int64_t atK = first * one.kvHeads * one.headDim;
        reference::attentionForward(one, wq.data() + atQ, wk.data() + atK, wv.data() + atK,
                                    out.data() + atQ);
        reference::attentionBackward(one, wq.data() + atQ, wk.data() + atK, wv.data() + atK,
                                     wd.data() + atQ, dq.data() + atQ, dk.data() + atK,
                                     dv.data() + atK);
        first += count;
    }
    for (const Doubles* part : {&dq, &dk, &dv})
        out.insert(out.end(), part->begin(), part->end());
    return out;
}

Floats attentionGot(const Sequences& s, const Floats& q, const Floats& k, const Floats& v,
                    const Floats& dOut) {
    std::vector<std::int32_t> firsts, ends;
    for (const std::int64_t count : s.counts) {
        const auto first = static_cast<std::int32_t>(firsts.size());
        for (std::int64_t i = 0; i < count; ++i) {
            firsts.push_back(first);
            ends.push_back(first + static_cast<std::int32_t>(count));
        }
    }
    DeviceArray<std::int32_t> dFirsts(firsts), dEnds(ends);
    DeviceArray<float> dQ(q), dK(k), dV(v), dDOut(dOut), out(q.size()), dq(q.size()), dk(k.size()),
        dv(k.size());
    const auto rows = static_cast<std::size_t>(s.shape.tokens * s.shape.heads);
    DeviceArray<float> logSumExp(rows), delta(rows);
    cuda::AttentionTrainArgs a;
    a.q = dQ.data();
    a.k = dK.data();
    a.v = dV.data();
    a.qStride = a.outStride = s.shape.heads * s.shape.headDim;
    a.kvStride = s.shape.kvHeads * s.shape.headDim;
    a.tokens = s.shape.tokens;
    a.heads = s.shape.heads;
    a.kvHeads = s.shape.kvHeads;
    a.headDim = s.shape.headDim;
    a.firsts = dFirsts.data();
    a.ends = dEnds.data();
    a.scale = static_cast<float>(s.shape.scale);
    a.window = s.shape.window;
    a.softcap = static_cast<float>(s.shape.softcap);
    a.out = out.data();
    a.logSumExp = logSumExp.data();
    EXPECT_EQ(cuda::attentionTrainForward(a, nullptr), cuda::kSuccess);
    EXPECT_EQ(cuda::attentionTrainBackward(
                  a, {dDOut.data(), dq.data(), dk.data(), dv.data(), delta.data()}, nullptr),
              cuda::kSuccess);
    return join({out.values(), dq.values(), dk.values(), dv.values()});
}

TEST(CudaTrain, AttentionAndItsGradients) {
    const Sequences cases[] = {{{7}, {7, 4, 2, 8, 0, 0.25, 0}},
                               {{5, 1, 9}, {15, 6, 3, 33, 0, 0.25, 0}},
                               {{11, 4}, {15, 4, 1, 130, 3, 0.125, 4}}};
    for (const Sequences& s : cases) {
        const std::int64_t width = s.shape.heads * s.shape.headDim;
        const std::int64_t kvWidth = s.shape.kvHeads * s.shape.headDim;
        const Floats q = randomFloats(s.shape.tokens * width, 1),
                     k = randomFloats(s.shape.tokens * kvWidth, 2),
                     v = randomFloats(s.shape.tokens * kvWidth, 3),
                     dOut = randomFloats(s.shape.tokens * width, 4);
        expectClose(inEveryOrder([&] { return attentionGot(s, q, k, v, dOut); }),
                    attentionWanted(s, q, k, v, dOut), 3e-6, "attention");
    }
    cuda::AttentionTrainArgs wide;
    wide.heads = wide.kvHeads = 1;
    wide.headDim = 288;
    EXPECT_EQ(cuda::attentionTrainForward(wide, nullptr), cuda::kInvalidValue);
}

#ifndef FETTLE_ON_GPU
TEST(CudaTrainMutation, EveryBarrierIsNeededAndMissed) {
    const Floats x = randomFloats(2 * 300, 1), dy = randomFloats(2 * 300, 2),
                 w = randomFloats(300, 3);
    simt::expectEveryBarrierNeeded("rmsNormBackward",
                                   [&] { return normGradients(false, false, x, dy, w, 2, 300); });
    simt::expectEveryBarrierNeeded("layerNormBackward",
                                   [&] { return normGradients(true, false, x, dy, w, 2, 300); });
    simt::expectEveryBarrierNeeded("crossEntropyRows", [&] {
        return crossEntropy(x, 2, 300, {7, 299});
    });
    simt::expectEveryBarrierNeeded("distillRows", [&] { return distill(x, dy, 2, 300); });
    simt::expectEveryBarrierNeeded("hadamard",
                                   [&] { return transformed(randomFloats(128, 1), 64); });
}
#endif

}  // namespace
}  // namespace fettle::kernels
