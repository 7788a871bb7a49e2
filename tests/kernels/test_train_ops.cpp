// The ops of training: references against finite differences in double, fast kernels against the
// references on every instruction set, and bit for bit against themselves on other threads.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <numeric>

#include "kernels/ops/adamw.h"
#include "kernels/ops/attention_train.h"
#include "kernels/ops/elementwise_backward.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/loss.h"
#include "kernels/reference/train.h"
#include "tests/kernels/kernel_data.h"

namespace fettle::kernels {
namespace {

using Doubles = std::vector<double>;

Doubles randomDoubles(std::int64_t count, std::uint32_t seed) {
    const std::vector<float> x = test::randomFloats(count, seed);
    return {x.begin(), x.end()};
}

/// Central differences of f in 24 coordinates against `gradient`.
void expectGradient(const std::function<double(const Doubles&)>& f, const Doubles& x,
                    const Doubles& gradient, const std::string& what) {
    for (std::size_t trial = 0; trial < 24; ++trial) {
        const std::size_t i = trial * 7919 % x.size();
        const double h = 1e-5 * std::max(1.0, std::fabs(x[i]));
        Doubles low = x, high = x;
        low[i] -= h;
        high[i] += h;
        const double numeric = (f(high) - f(low)) / (2 * h);
        EXPECT_NEAR(gradient[i], numeric,
                    1e-7 * std::max(1.0, std::fabs(gradient[i]) + std::fabs(numeric)))
            << what << " coordinate " << i;
    }
}

double dot(const Doubles& a, const Doubles& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

template <class A, class B>
void expectNear(const A& got, const B& want, double tolerance, const std::string& what) {
    ASSERT_EQ(got.size(), want.size());
    double scale = 0;
    for (const auto v : want)
        scale = std::max(scale, std::fabs(static_cast<double>(v)));
    for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], want[i], tolerance * std::max(0.05, scale)) << what << " at " << i;
}

TEST(TrainReference, NormsFollowFiniteDifferences) {
    const std::int64_t rows = 3, cols = 11;
    const Doubles x = randomDoubles(rows * cols, 1), w = randomDoubles(cols, 2),
                  b = randomDoubles(cols, 3), r = randomDoubles(rows * cols, 4);
    Doubles y(x.size());
    {
        Doubles dx(x.size()), dw(w.size());
        reference::rmsNormBackward(x.data(), r.data(), w.data(), 1.0, 1e-5, rows, cols, dx.data(),
                                   dw.data());
        const auto f = [&](const Doubles& at, const Doubles& weight) {
            reference::rmsNormForward(at.data(), weight.data(), 1.0, 1e-5, rows, cols, y.data());
            return dot(y, r);
        };
        expectGradient([&](const Doubles& at) { return f(at, w); }, x, dx, "rms dx");
        expectGradient([&](const Doubles& at) { return f(x, at); }, w, dw, "rms dw");
    }
    Doubles dx(x.size()), dw(w.size()), db(w.size());
    reference::layerNormBackward(x.data(), r.data(), w.data(), 1e-5, rows, cols, dx.data(),
                                 dw.data(), db.data());
    const auto f = [&](const Doubles& at, const Doubles& weight, const Doubles& bias) {
        reference::layerNormForward(at.data(), weight.data(), bias.data(), 1e-5, rows, cols,
                                    y.data());
        return dot(y, r);
    };
    expectGradient([&](const Doubles& at) { return f(at, w, b); }, x, dx, "layer dx");
    expectGradient([&](const Doubles& at) { return f(x, at, b); }, w, dw, "layer dw");
    expectGradient([&](const Doubles& at) { return f(x, w, at); }, b, db, "layer db");
}

TEST(TrainReference, ActivationsAndLossesFollowFiniteDifferences) {
    for (const bool silu : {true, false})
        for (const double x : {-6.0, -1.3, -0.2, 0.0, 0.4, 2.0, 5.0}) {
            const double h = 1e-5;
            EXPECT_NEAR(
                reference::activationSlope(silu, x),
                (reference::activation(silu, x + h) - reference::activation(silu, x - h)) / (2 * h),
                1e-9);
        }
    const std::int64_t count = 13;
    const Doubles z = randomDoubles(count, 5), teacher = randomDoubles(count, 6);
    Doubles dz(z.size()), unused(z.size());
    reference::crossEntropy(z.data(), count, 4, dz.data());
    expectGradient(
        [&](const Doubles& at) {
            return reference::crossEntropy(at.data(), count, 4, unused.data());
        },
        z, dz, "cross-entropy");
    for (const double temperature : {1.0, 2.5}) {
        reference::distill(z.data(), teacher.data(), count, temperature, dz.data());
        expectGradient(
            [&](const Doubles& at) {
                return reference::distill(at.data(), teacher.data(), count, temperature,
                                          unused.data());
            },
            z, dz, "distillation");
    }
    EXPECT_NEAR(reference::distill(z.data(), z.data(), count, 1.0, dz.data()), 0, 1e-12);
    EXPECT_NEAR(dot(dz, dz), 0, 1e-20);
}

const reference::AttentionShape kShapes[] = {
    {9, 4, 2, 6, 0, 0.4, 0}, {13, 2, 1, 8, 5, 0.3, 0}, {7, 3, 3, 5, 0, 1.0, 2.0}};

TEST(TrainReference, AttentionFollowsFiniteDifferences) {
    for (const reference::AttentionShape& s : kShapes) {
        const Doubles q = randomDoubles(s.tokens * s.heads * s.headDim, 1),
                      k = randomDoubles(s.tokens * s.kvHeads * s.headDim, 2),
                      v = randomDoubles(s.tokens * s.kvHeads * s.headDim, 3),
                      r = randomDoubles(s.tokens * s.heads * s.headDim, 4);
        Doubles dq(q.size()), dk(k.size()), dv(v.size()), out(q.size());
        reference::attentionBackward(s, q.data(), k.data(), v.data(), r.data(), dq.data(),
                                     dk.data(), dv.data());
        const auto f = [&](const Doubles& a, const Doubles& b, const Doubles& c) {
            reference::attentionForward(s, a.data(), b.data(), c.data(), out.data());
            return dot(out, r);
        };
        expectGradient([&](const Doubles& at) { return f(at, k, v); }, q, dq, "dq");
        expectGradient([&](const Doubles& at) { return f(q, at, v); }, k, dk, "dk");
        expectGradient([&](const Doubles& at) { return f(q, k, at); }, v, dv, "dv");
    }
}

/// A teacher of as many heads whose head size and key/value heads are others.
reference::AttentionShape teacherOf(reference::AttentionShape shape) {
    shape.kvHeads = shape.heads;
    shape.headDim += 3;
    shape.scale *= 0.8;
    return shape;
}

std::vector<bool> scoredTokens(std::int64_t tokens) {
    std::vector<bool> scored(static_cast<std::size_t>(tokens), true);
    for (std::size_t t = 2; t < scored.size(); t += 5)
        scored[t] = false;
    return scored;
}

TEST(TrainReference, AttentionMatchFollowsFiniteDifferences) {
    for (const reference::AttentionShape& s : kShapes) {
        const reference::AttentionShape b = teacherOf(s);
        const Doubles q = randomDoubles(s.tokens * s.heads * s.headDim, 1),
                      k = randomDoubles(s.tokens * s.kvHeads * s.headDim, 2),
                      tq = randomDoubles(b.tokens * b.heads * b.headDim, 3),
                      tk = randomDoubles(b.tokens * b.kvHeads * b.headDim, 4);
        const std::vector<bool> scored = scoredTokens(s.tokens);
        Doubles dq(q.size()), dk(k.size()), unused(q.size() + k.size());
        const auto loss = [&](const Doubles& qs, const Doubles& ks, double* toQ, double* toK) {
            return reference::attentionMatch(s, qs.data(), ks.data(), b, tq.data(), tk.data(),
                                             scored, toQ, toK);
        };
        EXPECT_GT(loss(q, k, dq.data(), dk.data()), 0);
        const auto value = [&](const Doubles& qs, const Doubles& ks) {
            return loss(qs, ks, unused.data(), unused.data());
        };
        expectGradient([&](const Doubles& at) { return value(at, k); }, q, dq, "dq");
        expectGradient([&](const Doubles& at) { return value(q, at); }, k, dk, "dk");
        EXPECT_NEAR(reference::attentionMatch(s, q.data(), k.data(), s, q.data(), k.data(), scored,
                                              unused.data(), unused.data()),
                    0, 1e-12);
    }
}

TEST(TrainReference, DistillationFromTheTopFollowsFiniteDifferencesAndIsALowerBound) {
    const std::int64_t count = 29;
    const Doubles z = randomDoubles(count, 5), teacher = randomDoubles(count, 6);
    std::vector<std::int32_t> ids(z.size());
    std::iota(ids.begin(), ids.end(), 0);
    std::sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
        return teacher[static_cast<std::size_t>(a)] > teacher[static_cast<std::size_t>(b)];
    });
    Doubles dz(z.size()), unused(z.size());
    for (const double temperature : {1.0, 2.5}) {
        const double whole =
            reference::distill(z.data(), teacher.data(), count, temperature, unused.data());
        double before = 0;
        for (const std::int64_t top : {1, 4, 20, 29}) {
            const auto loss = [&](const Doubles& at, Doubles& to) {
                return reference::distillTop(at.data(), teacher.data(), count, ids.data(), top,
                                             temperature, to.data());
            };
            const double coarse = loss(z, dz);
            EXPECT_GE(coarse, before);  // finer is never less
            EXPECT_LE(coarse, whole + 1e-12);
            before = coarse;
            expectGradient([&](const Doubles& at) { return loss(at, unused); }, z, dz, "top");
        }
        EXPECT_NEAR(before, whole, 1e-12);
    }
}

TEST(Gemm, EqualsPlainSumsAndDoesNotDependOnThreads) {
    WorkerPool one(1), three(3);
    struct Case {
        std::int64_t m, n, k;
    };
    for (const Case c : {Case{1, 1, 1}, Case{5, 33, 7}, Case{12, 32, 256}, Case{65, 100, 300},
                         Case{97, 47, 2100}, Case{3, 2100, 5}})
        for (const GemmLayout layout : {GemmLayout::NT, GemmLayout::NN, GemmLayout::TN})
            for (const bool accumulate : {false, true}) {
                const bool tn = layout == GemmLayout::TN, nt = layout == GemmLayout::NT;
                const std::int64_t lda = (tn ? c.m : c.k) + 3, ldb = (nt ? c.k : c.n) + 1,
                                   ldc = c.n + 2;
                const auto a = test::randomFloats((tn ? c.k : c.m) * lda, 1);
                const auto b = test::randomFloats((nt ? c.n : c.k) * ldb, 2);
                const auto start = test::randomFloats(c.m * ldc, 3);
                std::vector<float> want = start;
                for (std::int64_t i = 0; i < c.m; ++i)
                    for (std::int64_t j = 0; j < c.n; ++j) {
                        double sum = accumulate ? start[static_cast<std::size_t>(i * ldc + j)] : 0;
                        for (std::int64_t k = 0; k < c.k; ++k)
                            sum +=
                                static_cast<double>(
                                    a[static_cast<std::size_t>(tn ? k * lda + i : i * lda + k)]) *
                                b[static_cast<std::size_t>(nt ? j * ldb + k : k * ldb + j)];
                        want[static_cast<std::size_t>(i * ldc + j)] = static_cast<float>(sum);
                    }
                for (const Isa isa : test::availableIsas()) {
                    const test::IsaScope scope(isa);
                    std::vector<float> got[2] = {start, start};
                    WorkerPool* pools[2] = {&one, &three};
                    for (int p = 0; p < 2; ++p) {
                        GemmScratch scratch;
                        gemm({layout, c.m, c.n, c.k, a.data(), lda, b.data(), ldb, got[p].data(),
                              ldc, accumulate},
                             scratch, *pools[p]);
                    }
                    EXPECT_EQ(got[0], got[1]) << name(isa);
                    expectNear(got[0], want, 1e-5 * std::sqrt(static_cast<double>(c.k)), name(isa));
                }
            }
}

/// Nearest bfloat16, ties to even.
float toBf16(float x) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &x, sizeof(bits));
    bits = (bits + 0x7FFFU + (bits >> 16 & 1U)) & 0xFFFF0000U;
    std::memcpy(&x, &bits, sizeof(bits));
    return x;
}

TEST(Gemm, OfBfloat16EqualsPlainSumsOfRoundedFactors) {
    if (!hasBf16Products())
        GTEST_SKIP() << "this processor has no products of bfloat16";
    WorkerPool one(1), three(3);
    struct Case {
        std::int64_t m, n, k;
    };
    for (const Case c : {Case{1, 1, 1}, Case{5, 33, 7}, Case{12, 32, 384}, Case{65, 100, 385},
                         Case{97, 47, 2101}, Case{130, 64, 800}, Case{3, 2100, 5}})
        for (const GemmLayout layout : {GemmLayout::NT, GemmLayout::NN, GemmLayout::TN})
            for (const bool accumulate : {false, true}) {
                const bool tn = layout == GemmLayout::TN, nt = layout == GemmLayout::NT;
                const std::int64_t lda = (tn ? c.m : c.k) + 3, ldb = (nt ? c.k : c.n) + 1,
                                   ldc = c.n + 2;
                const auto a = test::randomFloats((tn ? c.k : c.m) * lda, 1);
                const auto b = test::randomFloats((nt ? c.n : c.k) * ldb, 2);
                const auto start = test::randomFloats(c.m * ldc, 3);
                const auto at = [](const std::vector<float>& x, std::int64_t i) {
                    return static_cast<double>(toBf16(x[static_cast<std::size_t>(i)]));
                };
                std::vector<float> want = start;
                for (std::int64_t i = 0; i < c.m; ++i)
                    for (std::int64_t j = 0; j < c.n; ++j) {
                        double sum = accumulate ? start[static_cast<std::size_t>(i * ldc + j)] : 0;
                        for (std::int64_t k = 0; k < c.k; ++k)
                            sum += at(a, tn ? k * lda + i : i * lda + k) *
                                   at(b, nt ? j * ldb + k : k * ldb + j);
                        want[static_cast<std::size_t>(i * ldc + j)] = static_cast<float>(sum);
                    }
                std::vector<float> got[2] = {start, start};
                WorkerPool* pools[2] = {&one, &three};
                for (int p = 0; p < 2; ++p) {
                    GemmScratch scratch;
                    gemm({layout, c.m, c.n, c.k, a.data(), lda, b.data(), ldb, got[p].data(), ldc,
                          accumulate, true},
                         scratch, *pools[p]);
                }
                EXPECT_EQ(got[0], got[1]);
                expectNear(got[0], want, 1e-5 * std::sqrt(static_cast<double>(c.k)), "bf16");
            }
}

TEST(Gemm, OfBfloat16IsRefusedWhereALowerLevelWasChosen) {
    const test::IsaScope scope(Isa::Baseline);
    WorkerPool one(1);
    GemmScratch scratch;
    const float x = 1;
    float y = 0;
    EXPECT_THROW(gemm({GemmLayout::NT, 1, 1, 1, &x, 1, &x, 1, &y, 1, false, true}, scratch, one),
                 std::invalid_argument);
}

TEST(AttentionTrain, EqualsTheReferenceOnEveryLevel) {
    WorkerPool one(1), three(3);
    const reference::AttentionShape shapes[] = {{70, 4, 2, 32, 0, 0.2, 0},
                                                {101, 2, 1, 20, 33, 0.2, 0},
                                                {50, 3, 3, 64, 0, 0.5, 2.0},
                                                {1, 2, 2, 16, 0, 1, 0}};
    for (const reference::AttentionShape& s : shapes) {
        const std::int64_t extra = 2;  // tokens of a second sequence, before the one compared
        const std::int64_t qStride = (s.heads + 2 * s.kvHeads) * s.headDim;
        const std::int64_t all = s.tokens + extra, width = s.heads * s.headDim;
        const auto qkv = test::randomFloats(all * qStride, 1),
                   dOut = test::randomFloats(all * width, 2);
        Doubles q, k, v, d;
        for (std::int64_t t = extra; t < all; ++t) {
            const float* row = qkv.data() + t * qStride;
            q.insert(q.end(), row, row + width);
            k.insert(k.end(), row + width, row + width + s.kvHeads * s.headDim);
            v.insert(v.end(), row + width + s.kvHeads * s.headDim, row + qStride);
            d.insert(d.end(), dOut.data() + t * width, dOut.data() + (t + 1) * width);
        }
        Doubles out(q.size()), dq(q.size()), dk(k.size()), dv(v.size());
        reference::attentionForward(s, q.data(), k.data(), v.data(), out.data());
        reference::attentionBackward(s, q.data(), k.data(), v.data(), d.data(), dq.data(),
                                     dk.data(), dv.data());
        const TokenSpan sequences[] = {{0, extra}, {extra, s.tokens}};
        for (const Isa isa : test::availableIsas()) {
            const test::IsaScope scope(isa);
            std::vector<float> gradients[2], outputs[2];
            WorkerPool* pools[2] = {&one, &three};
            for (int p = 0; p < 2; ++p) {
                outputs[p].resize(static_cast<std::size_t>(all * width));
                gradients[p].resize(qkv.size());
                std::vector<float> lse(static_cast<std::size_t>(all * s.heads));
                AttentionScratch scratch;
                AttentionTrainArgs args;
                args.q = qkv.data();
                args.k = args.q + width;
                args.v = args.k + s.kvHeads * s.headDim;
                args.qStride = args.kvStride = qStride;
                args.heads = s.heads;
                args.kvHeads = s.kvHeads;
                args.headDim = s.headDim;
                args.scale = static_cast<float>(s.scale);
                args.window = s.window;
                args.softcap = static_cast<float>(s.softcap);
                args.out = outputs[p].data();
                args.outStride = width;
                args.logSumExp = lse.data();
                attentionForward(args, sequences, scratch, *pools[p]);
                float* g = gradients[p].data();
                attentionBackward(args,
                                  {dOut.data(), g, g + width, g + width + s.kvHeads * s.headDim},
                                  sequences, scratch, *pools[p]);
            }
            EXPECT_EQ(outputs[0], outputs[1]);
            EXPECT_EQ(gradients[0], gradients[1]);
            std::vector<float> gq, gk, gv;
            for (std::int64_t t = extra; t < all; ++t) {
                const float* row = gradients[0].data() + t * qStride;
                gq.insert(gq.end(), row, row + width);
                gk.insert(gk.end(), row + width, row + width + s.kvHeads * s.headDim);
                gv.insert(gv.end(), row + width + s.kvHeads * s.headDim, row + qStride);
            }
            const std::vector<float> o(outputs[0].begin() + extra * width, outputs[0].end());
            expectNear(o, out, 2e-5, std::string("out ") + name(isa));
            expectNear(gq, dq, 2e-5, std::string("dq ") + name(isa));
            expectNear(gk, dk, 2e-5, std::string("dk ") + name(isa));
            expectNear(gv, dv, 2e-5, std::string("dv ") + name(isa));
        }
    }
}

TEST(AttentionTrain, MatchingATeacherEqualsTheReferenceOnEveryLevel) {
    WorkerPool one(1), three(3);
    for (const reference::AttentionShape& s : {reference::AttentionShape{70, 4, 2, 32, 0, 0.2, 0},
                                               reference::AttentionShape{101, 2, 1, 20, 33, 0.2, 0},
                                               reference::AttentionShape{50, 3, 3, 64, 0, 0.5, 2.0},
                                               reference::AttentionShape{1, 2, 2, 16, 0, 1, 0}}) {
        const reference::AttentionShape b = teacherOf(s);
        const std::int64_t extra = 2;  // tokens of a sequence of their own, before the one compared
        const std::int64_t all = s.tokens + extra;
        std::vector<std::int32_t> targets(static_cast<std::size_t>(all), -1);
        const std::vector<bool> scored = scoredTokens(s.tokens);
        for (std::size_t t = 0; t < scored.size(); ++t)
            targets[t + extra] = scored[t] ? 1 : -1;
        const auto q = test::randomFloats(all * s.heads * s.headDim, 1),
                   k = test::randomFloats(all * s.kvHeads * s.headDim, 2),
                   tq = test::randomFloats(all * b.heads * b.headDim, 3),
                   tk = test::randomFloats(all * b.kvHeads * b.headDim, 4);
        const auto tail = [&](const std::vector<float>& x) {
            const auto skip = static_cast<std::ptrdiff_t>(x.size()) / all * extra;
            return Doubles(x.begin() + skip, x.end());
        };
        Doubles dq(tail(q).size()), dk(tail(k).size());
        const double want =
            reference::attentionMatch(s, tail(q).data(), tail(k).data(), b, tail(tq).data(),
                                      tail(tk).data(), scored, dq.data(), dk.data());
        const TokenSpan sequences[] = {{0, extra}, {extra, s.tokens}};
        for (const Isa isa : test::availableIsas()) {
            const test::IsaScope scope(isa);
            AttentionScratch scratch;
            std::vector<float> out, lse[2];
            const auto argsOf = [&](const reference::AttentionShape& shape, const auto& queries,
                                    const auto& keys, std::vector<float>& sums) {
                AttentionTrainArgs args;
                args.q = queries.data();
                args.k = args.v = keys.data();
                args.heads = shape.heads;
                args.kvHeads = shape.kvHeads;
                args.headDim = shape.headDim;
                args.qStride = args.outStride = shape.heads * shape.headDim;
                args.kvStride = shape.kvHeads * shape.headDim;
                args.scale = static_cast<float>(shape.scale);
                args.window = shape.window;
                args.softcap = static_cast<float>(shape.softcap);
                out.resize(queries.size());
                sums.resize(static_cast<std::size_t>(all * shape.heads));
                args.out = out.data();
                args.logSumExp = sums.data();
                attentionForward(args, sequences, scratch, three);
                return args;
            };
            const AttentionTrainArgs student = argsOf(s, q, k, lse[0]);
            const AttentionTrainArgs teacher = argsOf(b, tq, tk, lse[1]);
            std::vector<float> gq[2], gk[2];
            WorkerPool* pools[2] = {&one, &three};
            for (int p = 0; p < 2; ++p) {
                gq[p].assign(q.size(), 1.0F);  // it is added to what is there
                gk[p].assign(k.size(), 1.0F);
                EXPECT_NEAR(attentionMatch(student, teacher, sequences, targets.data(), 0.5F,
                                           gq[p].data(), gk[p].data(), scratch, *pools[p]),
                            want, 2e-5 * (1 + want));
            }
            EXPECT_EQ(gq[0], gq[1]);
            EXPECT_EQ(gk[0], gk[1]);
            EXPECT_NEAR(attentionMatch(student, teacher, sequences, targets.data(), 0.5F, nullptr,
                                       nullptr, scratch, one),
                        want, 2e-5 * (1 + want));
            Doubles gotQ = tail(gq[0]), gotK = tail(gk[0]);
            for (Doubles* part : {&gotQ, &gotK})
                for (double& g : *part)
                    g = 2 * (g - 1);
            expectNear(gotQ, dq, 2e-5, std::string("dq ") + name(isa));
            expectNear(gotK, dk, 2e-5, std::string("dk ") + name(isa));
        }
    }
}

TEST(ElementwiseBackward, NormsEqualTheReferenceOnEveryLevel) {
    WorkerPool one(1), three(3);
    for (const std::int64_t cols : {1, 16, 33, 256}) {
        const std::int64_t rows = 150;
        const auto x = test::randomFloats(rows * cols, 1), dy = test::randomFloats(rows * cols, 2),
                   w = test::randomFloats(cols, 3);
        const Doubles xd(x.begin(), x.end()), dyd(dy.begin(), dy.end()), wd(w.begin(), w.end());
        for (const bool layer : {false, true}) {
            Doubles dx(xd.size()), dw(wd.size()), db(wd.size());
            if (layer)
                reference::layerNormBackward(xd.data(), dyd.data(), wd.data(), 1e-5, rows, cols,
                                             dx.data(), dw.data(), db.data());
            else
                reference::rmsNormBackward(xd.data(), dyd.data(), wd.data(), 1.0, 1e-5, rows, cols,
                                           dx.data(), dw.data());
            for (const Isa isa : test::availableIsas()) {
                const test::IsaScope scope(isa);
                std::vector<float> first;
                for (WorkerPool* pool : {&one, &three}) {
                    std::vector<float> gx(x.size(), 1.0F), gw(w.size()), gb(w.size());
                    NormBackwardArgs args;
                    args.x = x.data();
                    args.dy = dy.data();
                    args.dx = gx.data();
                    args.xPlace = args.dyPlace = args.dxPlace = {1, cols};
                    args.rows = rows;
                    args.cols = cols;
                    args.w = w.data();
                    args.offset = 1;
                    args.eps = 1e-5F;
                    args.accumulate = true;
                    RowSumScratch scratch;
                    if (layer)
                        layerNormBackward(args, gw.data(), gb.data(), scratch, *pool);
                    else
                        rmsNormBackward(args, gw.data(), scratch, *pool);
                    if (first.empty())
                        first = gw;
                    EXPECT_EQ(first, gw);
                    for (float& v : gx)
                        v -= 1;
                    // One column alone has a variance of zero: eps^-1/2 amplifies rounding.
                    const double tolerance = layer && cols == 1 ? 1 : 3e-5;
                    expectNear(gx, dx, tolerance, std::string("dx ") + name(isa));
                    expectNear(gw, dw, tolerance, std::string("dw ") + name(isa));
                    if (layer)
                        expectNear(gb, db, tolerance, std::string("db ") + name(isa));
                }
            }
        }
    }
}

TEST(ElementwiseBackward, GatedUnitsEqualTheReference) {
    WorkerPool pool(2);
    const std::int64_t rows = 40, cols = 37, n = rows * cols;
    const auto gate = test::randomFloats(n, 1, 3), up = test::randomFloats(n, 2),
               d = test::randomFloats(n, 3);
    for (const GatedKind kind : {GatedKind::Silu, GatedKind::GeluTanh, GatedKind::GeluTanhPlain})
        for (const Isa isa : test::availableIsas()) {
            const test::IsaScope scope(isa);
            std::vector<float> out(gate.size()), dg(gate.size()), du(gate.size());
            gatedForward({kind, gate.data(), up.data(), cols, out.data(), cols, rows, cols}, pool);
            gatedBackward(kind,
                          {gate.data(), up.data(), cols, d.data(), cols, dg.data(), du.data(), cols,
                           rows, cols},
                          pool);
            for (std::size_t i = 0; i < gate.size(); ++i) {
                const bool silu = kind == GatedKind::Silu, plain = kind == GatedKind::GeluTanhPlain;
                const double g = plain ? up[i] : gate[i];
                const double value = reference::activation(silu, g),
                             slope = reference::activationSlope(silu, g);
                ASSERT_NEAR(out[i], plain ? value : value * up[i], 2e-5);
                ASSERT_NEAR(du[i], plain ? d[i] * slope : d[i] * value, 2e-5);
                if (!plain) {
                    ASSERT_NEAR(dg[i], d[i] * up[i] * slope, 5e-5);
                }
            }
        }
}

TEST(ElementwiseBackward, EmbeddingRowsAndColumnSumsAreScattered) {
    WorkerPool pool(3);
    const std::vector<std::int32_t> ids = {3, 1, 3, 0, 3};
    const auto dy = test::randomFloats(5 * 7, 1);
    std::vector<float> grad(4 * 7), sums(7, 1.0F);
    embeddingBackward(ids, dy.data(), 7, 2.0F, grad.data(), pool);
    RowSumScratch scratch;
    addRowSums(dy.data(), 7, 5, 7, sums.data(), scratch, pool);
    for (std::size_t c = 0; c < 7; ++c) {
        EXPECT_FLOAT_EQ(grad[3 * 7 + c], 2 * dy[c] + 2 * dy[14 + c] + 2 * dy[28 + c]);
        EXPECT_FLOAT_EQ(grad[7 + c], 2 * dy[7 + c]);
        EXPECT_FLOAT_EQ(grad[14 + c], 0);
        EXPECT_NEAR(sums[c], 1 + dy[c] + dy[7 + c] + dy[14 + c] + dy[21 + c] + dy[28 + c], 1e-5);
    }
}

TEST(Loss, RowsEqualTheReference) {
    for (const std::int64_t count : {1, 5, 17, 2048, 2051})
        for (const Isa isa : test::availableIsas()) {
            const test::IsaScope scope(isa);
            const auto z = test::randomFloats(count, 1, 4), t = test::randomFloats(count, 2, 4);
            const Doubles zd(z.begin(), z.end()), td(t.begin(), t.end());
            Doubles want(zd.size());
            std::vector<float> got = z;
            const double loss = reference::crossEntropy(zd.data(), count, count / 2, want.data());
            EXPECT_NEAR(crossEntropyRow(got.data(), count, count / 2, 0.5F), loss,
                        1e-5 * (1 + loss));
            for (double& v : want)
                v *= 0.5;
            expectNear(got, want, 1e-5, "cross-entropy");
            for (const double temperature : {1.0, 3.0}) {
                got = z;
                const double kl =
                    reference::distill(zd.data(), td.data(), count, temperature, want.data());
                EXPECT_NEAR(
                    distillRow(got.data(), t.data(), count, static_cast<float>(temperature), 1.0F),
                    kl, 2e-5 * (1 + kl));
                expectNear(got, want, 1e-5, "distillation");
            }
            std::vector<std::int32_t> ids(z.size());
            std::iota(ids.begin(), ids.end(), 0);
            std::sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
                return t[static_cast<std::size_t>(a)] > t[static_cast<std::size_t>(b)];
            });
            for (const double temperature : {1.0, 3.0})
                for (const std::int64_t wanted : {1, 16, 64, 3000}) {
                    const std::int64_t top = std::min(wanted, count);
                    const auto warm = static_cast<float>(temperature);
                    std::vector<float> kept, rest = t, scratch(static_cast<std::size_t>(top + 1));
                    for (std::int64_t i = 0; i < top; ++i) {
                        const auto id = static_cast<std::size_t>(ids[static_cast<std::size_t>(i)]);
                        kept.push_back(t[id]);
                        rest[id] = -INFINITY;
                    }
                    if (top < count)
                        kept.push_back(static_cast<float>(temperature *
                                                          logSumExpRow(rest.data(), count, warm)));
                    got = z;
                    const double kl = reference::distillTop(zd.data(), td.data(), count, ids.data(),
                                                            top, temperature, want.data());
                    EXPECT_NEAR(distillTopRow(got.data(), count, ids.data(), kept.data(), top, warm,
                                              0.5F, scratch.data()),
                                kl, 3e-5 * (1 + kl));
                    for (double& v : want)
                        v *= 0.5;
                    expectNear(got, want, 2e-5, "distillation from the top");
                }
            got = z;
            EXPECT_EQ(crossEntropyRow(got.data(), count, -1, 1), 0);
            EXPECT_EQ(got, std::vector<float>(z.size()));
        }
}

TEST(AdamW, FollowsTheReferenceForSomeSteps) {
    WorkerPool pool(2);
    const std::int64_t count = 100;
    for (const Isa isa : test::availableIsas()) {
        const test::IsaScope scope(isa);
        std::vector<float> value = test::randomFloats(count, 1), m(100), v(100);
        Doubles wanted(value.begin(), value.end()), md(100), vd(100);
        for (int step = 1; step <= 5; ++step) {
            const auto grad = test::randomFloats(count, 10 + static_cast<std::uint32_t>(step));
            AdamWArgs args;
            args.value = value.data();
            args.grad = grad.data();
            args.m = m.data();
            args.v = v.data();
            args.count = count;
            args.learningRate = 0.01F;
            args.decay = 0.1F;
            args.gradScale = 0.5F;
            args.correction1 = 1 - std::pow(0.9F, static_cast<float>(step));
            args.correction2 = 1 - std::pow(0.95F, static_cast<float>(step));
            adamw(args, pool);
            for (std::size_t i = 0; i < value.size(); ++i)
                reference::adamw(wanted[i], 0.5 * grad[i], md[i], vd[i], 0.01, 0.9, 0.95, 1e-8, 0.1,
                                 step);
        }
        expectNear(value, wanted, 1e-5, name(isa));
        double squares = 0;
        for (const float x : value)
            squares += static_cast<double>(x) * x;
        EXPECT_NEAR(sumSquares(value.data(), count, pool), squares, 1e-4);
    }
}

}  // namespace
}  // namespace fettle::kernels
