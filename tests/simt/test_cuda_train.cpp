// Kernels of training on the emulator against plain twins in double, in every thread order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_train.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/fake_quant.h"
#include "kernels/cuda/norm_backward.h"
#include "kernels/cuda/train.h"
#include "kernels/formats/small_float.h"
#include "kernels/formats/weight_format.h"
#include "kernels/ops/fake_quant.h"
#include "kernels/ops/loss.h"
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
    EXPECT_EQ(cuda::distillRows(s.data(), t.data(), rows, count, nullptr, 2.0F, 0.5F, losses.data(),
                                nullptr),
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

Floats distillTop(const Floats& student, const std::vector<std::int32_t>& ids, const Floats& logits,
                  const Floats& rest, std::int64_t rows, std::int64_t count,
                  const std::vector<std::int32_t>& targets) {
    const auto top = static_cast<std::int64_t>(ids.size()) / rows;
    DeviceArray<float> s(student), l(logits), r(rest),
        scratch(static_cast<std::size_t>(rows * (top + 1)));
    DeviceArray<std::int32_t> dIds(ids), dTargets(targets);
    DeviceArray<double> losses(static_cast<std::size_t>(rows));
    EXPECT_EQ(
        cuda::distillTopRows(s.data(), {top, dIds.data(), l.data(), r.data(), scratch.data()}, rows,
                             count, dTargets.data(), 2.0F, 0.5F, losses.data(), nullptr),
        cuda::kSuccess);
    const std::vector<double> values = losses.values();
    return join({s.values(), Floats(values.begin(), values.end())});
}

/// Rows of a student, and the `top` tokens of each that a teacher is known by.
struct TopCase {
    std::int64_t rows = 3, count = 0, top = 0;
    Floats student, logits, rest;
    std::vector<std::int32_t> ids, targets = {1, -1, 0};
};
TopCase topCase(std::int64_t count, std::int64_t top) {
    TopCase c;
    c.count = count;
    c.top = top;
    c.student = randomFloats(c.rows * count, 1, 4.0F);
    c.logits = randomFloats(c.rows * top, 2, 4.0F);
    c.rest = randomFloats(c.rows, 3, 4.0F);
    for (std::int64_t r = 0; r < c.rows; ++r)
        for (std::int64_t i = 0; i < top; ++i)
            c.ids.push_back(static_cast<std::int32_t>((7 * i + r) % count));
    return c;
}

TEST(CudaTrain, TheLossAgainstTheLikeliestTokensIsTheCpus) {
    for (const auto& [count, top] :
         {std::pair<std::int64_t, std::int64_t>{5, 1}, {600, 64}, {600, 300}, {9, 9}}) {
        const TopCase c = topCase(count, top);
        Floats want = c.student;
        Floats losses;
        for (std::int64_t r = 0; r < c.rows; ++r) {
            float* const row = want.data() + r * count;
            if (c.targets[static_cast<std::size_t>(r)] < 0) {
                std::fill_n(row, count, 0.0F);
                losses.push_back(0);
                continue;
            }
            Floats goal(c.logits.begin() + r * top, c.logits.begin() + (r + 1) * top);
            goal.push_back(c.rest[static_cast<std::size_t>(r)]);
            Floats scratch(goal.size());
            losses.push_back(static_cast<float>(distillTopRow(
                row, count, c.ids.data() + r * top, goal.data(), top, 2.0F, 0.5F, scratch.data())));
        }
        want.insert(want.end(), losses.begin(), losses.end());
        const Floats got = inEveryOrder([&, count = count] {
            return distillTop(c.student, c.ids, c.logits, c.rest, c.rows, count, c.targets);
        });
        expectClose(got, wide(want), 2e-6, "top rows");
    }
    EXPECT_EQ(cuda::distillTopRows(nullptr, {}, 1, 4, nullptr, 1, 1, nullptr, nullptr),
              cuda::kInvalidValue);
}

TEST(CudaTrain, RowsThatAreNotScoredTeachNothing) {
    const Floats z = randomFloats(2 * 40, 1), t = randomFloats(2 * 40, 2);
    const std::vector<std::int32_t> targets = {-1, 3};
    const Floats got = inEveryOrder([&] {
        DeviceArray<float> s(z), other(t);
        DeviceArray<std::int32_t> dTargets(targets);
        DeviceArray<double> losses(2);
        EXPECT_EQ(cuda::distillRows(s.data(), other.data(), 2, 40, dTargets.data(), 1.0F, 1.0F,
                                    losses.data(), nullptr),
                  cuda::kSuccess);
        EXPECT_EQ(losses.values()[0], 0);
        EXPECT_GT(losses.values()[1], 0);
        return s.values();
    });
    for (std::size_t i = 0; i < 80; ++i)
        EXPECT_EQ(got[i] == 0, i < 40) << i;
}

TEST(CudaTrain, RowsGatheredCopiedAndAdded) {
    const std::int64_t cols = 37;
    const std::vector<std::int32_t> ids = {4, 0, 4, 2};
    const Floats table = randomFloats(5 * cols, 1), start = randomFloats(4 * cols, 2),
                 bias = randomFloats(cols, 3);
    const Floats got = inEveryOrder([&] {
        DeviceArray<float> t(table), added(start), plain(start.size()), b(bias);
        DeviceArray<std::int32_t> dIds(ids);
        EXPECT_EQ(
            cuda::gatherRows(t.data(), cols, dIds.data(), 4, 0.5F, true, added.data(), nullptr),
            cuda::kSuccess);
        EXPECT_EQ(
            cuda::gatherRows(t.data(), cols, dIds.data(), 4, 3.0F, false, plain.data(), nullptr),
            cuda::kSuccess);
        EXPECT_EQ(cuda::addBias(plain.data(), b.data(), 4, cols, nullptr), cuda::kSuccess);
        return join({added.values(), plain.values()});
    });
    Doubles added, plain;
    for (std::size_t t = 0; t < ids.size(); ++t)
        for (std::int64_t c = 0; c < cols; ++c) {
            const double value = table[static_cast<std::size_t>(ids[t] * cols + c)];
            added.push_back(start[added.size()] + 0.5 * value);
            plain.push_back(3 * value + bias[static_cast<std::size_t>(c)]);
        }
    added.insert(added.end(), plain.begin(), plain.end());
    expectClose(got, added, 2e-7, "gathered");
}

TEST(CudaTrain, CopiesRoundToWhatFilesHold) {
    Floats x = randomFloats(700, 1, 100.0F);
    x[3] = 1.00390625F;  // half way between two numbers of bfloat16
    x[4] = 1e-7F;        // a subnormal float16
    for (const cuda::StoredType type :
         {cuda::StoredType::F32, cuda::StoredType::F16, cuda::StoredType::BF16}) {
        const Floats got = inEveryOrder([&] {
            DeviceArray<float> from(x), to(x.size());
            EXPECT_EQ(cuda::copyRounded(from.data(), 700, type, to.data(), nullptr),
                      cuda::kSuccess);
            return to.values();
        });
        for (std::size_t i = 0; i < x.size(); ++i)
            EXPECT_EQ(got[i], type == cuda::StoredType::F16 ? halfToFloat(floatToHalf(x[i]))
                              : type == cuda::StoredType::BF16
                                  ? bfloat16ToFloat(floatToBfloat16(x[i]))
                                  : x[i]);
    }
}

TEST(CudaTrain, MaskedValuesBecomeZero) {
    const Floats x = randomFloats(300, 1);
    std::vector<std::uint8_t> zero(x.size());
    for (std::size_t i = 0; i < zero.size(); i += 3)
        zero[i] = 1;
    const Floats got = inEveryOrder([&] {
        DeviceArray<float> y(x);
        DeviceArray<std::uint8_t> mask(zero);
        EXPECT_EQ(cuda::clearMasked(y.data(), mask.data(), 300, nullptr), cuda::kSuccess);
        return y.values();
    });
    for (std::size_t i = 0; i < x.size(); ++i)
        EXPECT_EQ(got[i], zero[i] ? 0 : x[i]);
}

Floats rowSums(const Floats& x, const Floats& start, std::int64_t rows) {
    const auto cols = static_cast<std::int64_t>(start.size());
    DeviceArray<float> dX(x), sums(start), room(cuda::rowSumsWorkspace(rows, cols));
    EXPECT_EQ(cuda::addRowSums(dX.data(), rows, cols, sums.data(), room.data(), nullptr),
              cuda::kSuccess);
    return sums.values();
}

Floats squares(const Floats& x) {
    DeviceArray<float> dX(x);
    DeviceArray<double> room(cuda::kSquareParts), sum(1);
    EXPECT_EQ(cuda::sumSquares(dX.data(), static_cast<std::int64_t>(x.size()), room.data(),
                               sum.data(), nullptr),
              cuda::kSuccess);
    return {static_cast<float>(sum.values()[0])};
}

TEST(CudaTrain, SumsOverRowsAndOfSquares) {
    const std::int64_t rows = 131, cols = 300;
    const Floats x = randomFloats(rows * cols, 1), start = randomFloats(cols, 2);
    Doubles want = wide(start);
    double power = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        want[i % 300] += x[i];
        power += double(x[i]) * x[i];
    }
    expectClose(inEveryOrder([&] { return rowSums(x, start, rows); }), want, 1e-6, "row sums");
    expectClose(squares(x), {power}, 1e-7, "squares");
    const Floats few = randomFloats(5, 1);
    EXPECT_EQ(inEveryOrder([&] { return squares(few); }), squares(few));
}

/// A weight in groups with everything that fake quantization knows.
struct CodeCase {
    CodeGrid grid;
    std::int64_t rows = 5, cols = 0, group = 0;
    Floats w, dy, step, scale, shift;
};
CodeCase codeCase(const CodeGrid& grid, std::int64_t group, bool asymmetric) {
    CodeCase c;
    c.grid = grid;
    c.group = group;
    c.cols = 3 * group;
    c.w = randomFloats(c.rows * c.cols, 1);
    c.dy = randomFloats(c.rows * c.cols, 2);
    const std::int64_t groups = c.rows * 3;
    for (std::int64_t g = 0; g < groups; ++g) {
        // Some of each group lies beyond its grid.
        c.step.push_back((0.5F + 0.03F * static_cast<float>(g)) / grid.highest);
        c.scale.push_back(c.step.back() * (0.9F + 0.02F * static_cast<float>(g)));
        if (asymmetric)
            c.shift.push_back(static_cast<float>(g % 5 - 2));
    }
    return c;
}

TEST(CudaTrain, FakeQuantizationGivesTheCpusBits) {
    WorkerPool pool(1);
    const CodeCase cases[] = {codeCase(integerGrid(-8, 7), 32, false),
                              codeCase(integerGrid(-8, 7), 48, true),
                              codeCase(integerGrid(-127, 127), 257, false),
                              codeCase(e4m3Grid(), 40, false),
                              codeCase(e2m1Grid(), 16, false),
                              codeCase(nf4Grid(), 64, false)};
    for (const CodeCase& c : cases)
        for (const cuda::ScaleGradient kind :
             {cuda::ScaleGradient::Scale, cuda::ScaleGradient::Step}) {
            const bool ofStep = kind == cuda::ScaleGradient::Step;
            const Floats& step = ofStep ? c.scale : c.step;
            const FakeQuantArgs args = {
                c.grid,  c.w.data(),  c.rows,         c.cols,
                c.group, step.data(), c.scale.data(), c.shift.empty() ? nullptr : c.shift.data()};
            Floats out(c.w.size()), grad = c.dy, ofScale(c.scale.size());
            fakeQuant(args, out.data(), pool);
            fakeQuantBackward(args, ofStep ? ScaleGradient::Step : ScaleGradient::Scale,
                              grad.data(), ofScale.data(), pool);
            const Floats got = inEveryOrder([&] {
                DeviceArray<float> w(c.w), dStep(step), scale(c.scale), shift(c.shift), d(c.dy),
                    y(c.w.size()), dLog(Floats(c.scale.size(), 1.0F));
                cuda::FakeQuantArgs a;
                a.lowest = c.grid.lowest;
                a.highest = c.grid.highest;
                a.smallest = c.grid.smallest;
                a.magic = c.grid.magic;
                a.spacing = c.grid.spacing;
                a.w = w.data();
                a.groups = static_cast<std::int64_t>(c.scale.size());
                a.group = c.group;
                a.step = dStep.data();
                a.scale = scale.data();
                a.shift = c.shift.empty() ? nullptr : shift.data();
                EXPECT_EQ(cuda::fakeQuantize(a, y.data(), nullptr), cuda::kSuccess);
                EXPECT_EQ(cuda::fakeQuantizeBackward(a, kind, d.data(), dLog.data(), nullptr),
                          cuda::kSuccess);
                return join({y.values(), d.values(), dLog.values()});
            });
            const std::size_t n = c.w.size();
            for (std::size_t i = 0; i < n; ++i) {
                ASSERT_EQ(got[i], out[i]) << "code " << i;
                ASSERT_EQ(got[n + i], grad[i]) << "gradient " << i;
            }
            Doubles wanted;
            for (std::size_t g = 0; g < c.scale.size(); ++g)
                wanted.push_back(1 + double(ofScale[g]) * c.scale[g]);
            expectClose(Floats(got.begin() + static_cast<std::ptrdiff_t>(2 * n), got.end()), wanted,
                        2e-6, "scales");
        }
    cuda::FakeQuantArgs none;
    EXPECT_EQ(cuda::fakeQuantize(none, nullptr, nullptr), cuda::kInvalidValue);
}

TEST(CudaTrain, LearnedScalesAreStored) {
    const Floats start = {0.01F, 0.02F, 0.03F, 1e-6F, 0.011F, 3.0F};
    const Floats p = {0, 0.1F, -0.2F, 0.3F, 1e-6F, 4.0F};
    const float global = 37.0F;
    const auto stored = [&](cuda::StoredScale how, float s) -> float {
        switch (how) {
            case cuda::StoredScale::F16:
                return halfToFloat(floatToHalf(std::max(s, 0x1p-14F)));
            case cuda::StoredScale::BF16:
                return bfloat16ToFloat(floatToBfloat16(s));
            case cuda::StoredScale::NvFp4:
                return e4m3ToFloat(floatToE4m3(std::clamp(2 * s * global, 0x1p-9F, 448.0F))) /
                       global / 2;
            case cuda::StoredScale::F32:
                break;
        }
        return s;
    };
    for (const cuda::StoredScale how : {cuda::StoredScale::F32, cuda::StoredScale::F16,
                                        cuda::StoredScale::BF16, cuda::StoredScale::NvFp4}) {
        const Floats got = inEveryOrder([&] {
            DeviceArray<float> s(start), dP(p), out(start.size());
            EXPECT_EQ(cuda::learnedScales(s.data(), dP.data(), 6, how, global, out.data(), nullptr),
                      cuda::kSuccess);
            return out.values();
        });
        for (std::size_t i = 0; i < got.size(); ++i)
            EXPECT_NEAR(got[i], p[i] == 0 ? start[i] : stored(how, start[i] * std::exp(p[i])),
                        3e-7F * got[i])
                << static_cast<int>(how) << " " << i;
        EXPECT_EQ(got[0], start[0]);
    }
}

TEST(CudaTrain, ProductsTakeMatricesAsTheyLie) {
    std::string problem;
    const std::unique_ptr<cuda::Blas> blas = cuda::openBlas(nullptr, &problem);
    ASSERT_TRUE(blas) << problem;
    const std::int64_t m = 5, n = 12, k = 8;
    const Floats a = randomFloats(m * k, 1), b = randomFloats(n * k, 2), c = randomFloats(m * n, 3);
    const auto turned = [](const Floats& x, std::int64_t rows, std::int64_t cols) {
        Floats t(x.size());
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t i = 0; i < cols; ++i)
                t[static_cast<std::size_t>(i * rows + r)] =
                    x[static_cast<std::size_t>(r * cols + i)];
        return t;
    };
    for (int bits = 0; bits < 8; ++bits) {
        cuda::BlasGemm gemm;
        gemm.m = m;
        gemm.n = gemm.cStride = n;
        gemm.k = k;
        gemm.aTransposed = bits & 1;
        gemm.bTransposed = bits & 2;
        gemm.accumulate = bits & 4;
        DeviceArray<float> dA(gemm.aTransposed ? turned(a, m, k) : a),
            dB(gemm.bTransposed ? turned(b, n, k) : b), dC(c);
        gemm.a = dA.data();
        gemm.aStride = gemm.aTransposed ? m : k;
        gemm.b = dB.data();
        gemm.bStride = gemm.bTransposed ? n : k;
        gemm.c = dC.data();
        ASSERT_EQ(blas->gemm(gemm), cuda::kSuccess);
        Doubles want;
        for (std::int64_t r = 0; r < m; ++r)
            for (std::int64_t i = 0; i < n; ++i) {
                double sum = gemm.accumulate ? c[want.size()] : 0.0F;
                for (std::int64_t j = 0; j < k; ++j)
                    sum += double(a[static_cast<std::size_t>(r * k + j)]) *
                           b[static_cast<std::size_t>(i * k + j)];
                want.push_back(sum);
            }
        expectClose(dC.values(), want, 1e-6, "product " + std::to_string(bits));
    }
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
    // Tokens kept one by one far above the others, and far below: those in the shade vanish.
    const auto apart = [](float by) {
        TopCase top = topCase(300, 70);
        for (std::size_t i = 0; i < top.ids.size(); ++i) {
            const auto row = static_cast<std::int64_t>(i) / top.top;
            top.student[static_cast<std::size_t>(row * top.count + top.ids[i])] += by;
        }
        return distillTop(top.student, top.ids, top.logits, top.rest, top.rows, top.count,
                          {5, 7, 299});
    };
    simt::expectEveryBarrierFelt("distillTopRows", [&] {
        return join({apart(500.0F), apart(-500.0F)});
    });
    simt::expectEveryBarrierNeeded("sumSquares", [&] { return squares(x); });
    simt::expectEveryBarrierNeeded("hadamard",
                                   [&] { return transformed(randomFloats(128, 1), 64); });
}
#endif

}  // namespace
}  // namespace fettle::kernels
