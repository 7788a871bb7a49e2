#include <gtest/gtest.h>

#include <cstring>

#include "kernels/ops/attention.h"
#include "kernels/reference/attention.h"
#include "tests/kernels/kernel_data.h"
#include "tests/kernels/quant_budget.h"

namespace fettle::kernels {
namespace {

using test::IsaScope;

struct Case {
    std::int64_t heads, kvHeads, headDim, capacity, past, tokens;
    std::int64_t window = 0;
    float softcap = 0;
    KvType type = KvType::F16;
};

const std::vector<Case> kCases = {{1, 1, 16, 16, 0, 1},
                                  {4, 1, 256, 300, 0, 70},
                                  {4, 1, 256, 300, 130, 1},
                                  {8, 2, 64, 200, 63, 5},
                                  {6, 6, 80, 130, 17, 113},
                                  {3, 1, 40, 77, 60, 17},
                                  {32, 8, 64, 256, 200, 3},
                                  {4, 4, 128, 193, 0, 193},
                                  {8, 4, 32, 150, 100, 50, 33},
                                  {4, 1, 64, 600, 500, 9, 128},
                                  {4, 2, 64, 100, 40, 60, 0, 50},
                                  {2, 1, 96, 90, 80, 10, 16, 30},
                                  {64, 1, 32, 64, 10, 4},
                                  {4, 2, 64, 99, 0, 99, 0, 0, KvType::F32},
                                  {2, 2, 7, 35, 20, 15, 5, 0, KvType::F32},
                                  {4, 1, 256, 300, 130, 1, 0, 0, KvType::Int8},
                                  {8, 2, 64, 199, 63, 5, 0, 0, KvType::Int8},
                                  {4, 2, 7, 35, 20, 15, 5, 0, KvType::Int8},
                                  {8, 2, 64, 199, 63, 5, 0, 20, KvType::Fp8},
                                  {6, 6, 80, 130, 17, 113, 0, 0, KvType::Fp8},
                                  {8, 4, 32, 150, 100, 50, 33, 0, KvType::Int4},
                                  {3, 1, 40, 77, 60, 17, 0, 0, KvType::Int4},
                                  {4, 2, 6, 35, 20, 15, 5, 0, KvType::Int4},
                                  {8, 4, 32, 150, 100, 50, 33, 0, KvType::NvFp4},
                                  {3, 1, 48, 77, 60, 17, 0, 0, KvType::NvFp4},
                                  {4, 2, 16, 35, 20, 15, 5, 20, KvType::NvFp4}};

struct Scene {
    Case c;
    std::vector<float> q, k, v;
    std::int64_t kvStride, qStride;

    explicit Scene(const Case& which) : c(which) {
        kvStride = c.kvHeads * c.headDim + 3;
        qStride = c.heads * c.headDim + 5;
        q = test::randomFloats(c.tokens * qStride, 1);
        k = test::randomFloats((c.past + c.tokens) * kvStride, 2);
        v = test::randomFloats((c.past + c.tokens) * kvStride, 3);
    }
    std::size_t cacheBytes() const { return kvBytes(c.type, c.kvHeads, c.capacity, c.headDim); }
    AttentionArgs args() const {
        AttentionArgs a;
        a.q = q.data();
        a.qStride = qStride;
        a.kvType = c.type;
        a.capacity = c.capacity;
        a.past = c.past;
        a.tokens = c.tokens;
        a.heads = c.heads;
        a.kvHeads = c.kvHeads;
        a.headDim = c.headDim;
        a.scale = 1.0F / std::sqrt(static_cast<float>(c.headDim));
        a.window = c.window;
        a.softcap = c.softcap;
        a.outStride = c.heads * c.headDim + 1;
        return a;
    }
    /// The cache is filled in two calls, as a prompt and a continuation would; unused room holds
    /// NaN.
    std::vector<float> fast(WorkerPool& pool) const {
        std::vector<std::uint8_t> keys(cacheBytes(), 0xFF), values(cacheBytes(), 0xFF);
        const auto append = [&](std::int64_t first, std::int64_t count) {
            appendKv(k.data() + first * kvStride, v.data() + first * kvStride, kvStride,
                     keys.data(), values.data(), c.type, c.capacity, first, count, c.kvHeads,
                     c.headDim);
        };
        append(0, c.past);
        append(c.past, c.tokens);
        AttentionArgs a = args();
        a.keys = keys.data();
        a.values = values.data();
        std::vector<float> out(static_cast<std::size_t>(c.tokens * a.outStride), 7.0F);
        a.out = out.data();
        attention(a, pool);
        return out;
    }
    /// The same, `step` tokens at a time.
    std::vector<float> stepwise(WorkerPool& pool, std::int64_t step) const {
        std::vector<float> out(static_cast<std::size_t>(c.tokens * args().outStride), 7.0F);
        for (std::int64_t t = 0; t < c.tokens; t += step) {
            Scene part = *this;
            part.c.past = c.past + t;
            part.c.tokens = std::min(step, c.tokens - t);
            part.q.assign(q.begin() + t * qStride, q.begin() + (t + part.c.tokens) * qStride);
            const std::vector<float> some = part.fast(pool);
            std::copy(some.begin(), some.end(), out.begin() + t * args().outStride);
        }
        return out;
    }
    std::vector<float> plain() const {
        std::vector<std::uint8_t> keys(cacheBytes()), values(cacheBytes());
        reference::appendKv(k.data(), v.data(), kvStride, keys.data(), values.data(), c.type,
                            c.capacity, 0, c.past + c.tokens, c.kvHeads, c.headDim);
        AttentionArgs a = args();
        a.keys = keys.data();
        a.values = values.data();
        std::vector<float> out(static_cast<std::size_t>(c.tokens * a.outStride), 7.0F);
        a.out = out.data();
        reference::attention(a);
        return out;
    }
};

TEST(Attention, AgreesWithReferenceAtEveryLevel) {
    WorkerPool pool(2);
    for (std::size_t i = 0; i < kCases.size(); ++i) {
        const Scene s(kCases[i]);
        const std::vector<float> want = s.plain();
        for (const Isa isa : test::availableIsas()) {
            const IsaScope scope(isa);
            const std::vector<float> got = s.fast(pool);
            double worst = 0;
            for (std::size_t j = 0; j < got.size(); ++j) {
                ASSERT_FALSE(std::isnan(got[j])) << "case " << i << " " << name(isa);
                worst = std::max(worst, static_cast<double>(std::fabs(got[j] - want[j])));
            }
            EXPECT_LT(worst, 4 * budget::kAttention) << "case " << i << " " << name(isa);
        }
    }
}

TEST(Attention, ResultDependsNeitherOnBatchNorOnThreads) {
    WorkerPool one(1), five(5);
    for (std::size_t i = 0; i < kCases.size(); ++i) {
        const Scene s(kCases[i]);
        for (const Isa isa : test::availableIsas()) {
            const IsaScope scope(isa);
            const std::vector<float> whole = s.fast(one);
            EXPECT_EQ(s.fast(five), whole) << "case " << i << " " << name(isa);
            for (const std::int64_t step : {1, 2, 3, 5, 6, 29})
                EXPECT_EQ(s.stepwise(five, step), whole)
                    << "case " << i << " " << name(isa) << " step " << step;
        }
    }
}

TEST(Attention, OneKeyGivesItsValue) {
    WorkerPool pool(1);
    const Scene s({2, 1, 32, 16, 0, 1, 0, 0, KvType::F32});
    for (const Isa isa : test::availableIsas()) {
        const IsaScope scope(isa);
        const std::vector<float> out = s.fast(pool);
        for (std::size_t d = 0; d < 64; ++d)
            EXPECT_FLOAT_EQ(out[d], s.v[d % 32]) << name(isa);
    }
}

TEST(KvFormat, RoundingStaysWithinHalfAStepOfTheScale) {
    const std::vector<float> x = test::randomFloats(64, 5);
    float amax = 0;
    for (const float value : x)
        amax = std::max(amax, std::fabs(value));
    for (const auto& [type, most] :
         {std::pair{KvType::Int8, 127.0F}, {KvType::Int4, 7.0F}, {KvType::Fp8, 448.0F}}) {
        std::uint8_t codes[64];
        float scale = 0;
        quantizeKv(type, x.data(), 64, codes, &scale);
        EXPECT_FLOAT_EQ(scale, amax / most) << name(type);
        for (std::size_t i = 0; i < 64; ++i) {
            const float back = kvCodeValue(type, codes[i]) * scale;
            const float step =
                type == KvType::Fp8 ? std::max(std::fabs(x[i]) / 16, scale * 0x1p-10F) : scale / 2;
            EXPECT_LE(std::fabs(back - x[i]), step * 1.0001F) << name(type) << " " << x[i];
        }
    }
}

TEST(KvFormat, BlocksOfSixteenTakeTheNearestCodesOfTheirOwnScales) {
    std::vector<float> x = test::randomFloats(64, 5);
    for (std::size_t i = 0; i < 16; ++i)
        x[i] *= 100;  // outliers, which must not cost the other blocks anything
    for (std::size_t i = 48; i < 64; ++i)
        x[i] = -1e-6F;  // below the smallest block scale: zero
    float amax = 0;
    for (const float value : x)
        amax = std::max(amax, std::fabs(value));
    std::uint8_t codes[64], blocks[4];
    float scale = 0;
    quantizeKv(KvType::NvFp4, x.data(), 64, codes, &scale, blocks);
    EXPECT_FLOAT_EQ(scale, amax / (6 * 448));
    for (std::size_t i = 0; i < 64; ++i) {
        const float step = e4m3ToFloat(blocks[i / 16]) * scale;
        float most = 0;
        for (std::size_t j = i / 16 * 16; j < i / 16 * 16 + 16; ++j)
            most = std::max(most, std::fabs(x[j]));
        if (i >= 48) {
            EXPECT_EQ(kvCodeValue(KvType::NvFp4, codes[i]) * step, 0) << i;
            continue;
        }
        EXPECT_NEAR(step, most / 6, most / 6 / 15) << i;
        const float distance = std::fabs(kvCodeValue(KvType::NvFp4, codes[i]) * step - x[i]);
        for (std::uint8_t other = 0; other < 16; ++other)
            EXPECT_LE(distance,
                      std::fabs(kvCodeValue(KvType::NvFp4, other) * step - x[i]) * 1.0001F)
                << x[i];
    }
}

TEST(KvFormat, ZerosStayZeroAndDamageShows) {
    for (const KvType type : {KvType::Int8, KvType::Int4, KvType::Fp8, KvType::NvFp4}) {
        std::uint8_t codes[16], blocks[1];
        float scale = 1;
        const float zeros[16] = {}, bad[16] = {1, std::nanf(""), 2, 3};
        quantizeKv(type, zeros, 16, codes, &scale, blocks);
        for (const std::uint8_t code : codes)
            EXPECT_EQ(kvCodeValue(type, code) * scale, 0) << name(type);
        quantizeKv(type, bad, 16, codes, &scale, blocks);
        EXPECT_TRUE(std::isnan(scale)) << name(type);
    }
}

TEST(KvFormat, NamesAndSizes) {
    for (const KvType type :
         {KvType::F32, KvType::F16, KvType::Int8, KvType::Fp8, KvType::Int4, KvType::NvFp4})
        EXPECT_EQ(findKvType(name(type)), type);
    EXPECT_FALSE(findKvType("int5"));
    EXPECT_EQ(kvBytes(KvType::F16, 2, 10, 64), 2560U);
    EXPECT_EQ(kvBytes(KvType::Int8, 2, 10, 64), 1280U + 80U);
    EXPECT_EQ(kvBytes(KvType::Int4, 2, 10, 64), 640U + 80U);
    EXPECT_EQ(kvBytes(KvType::NvFp4, 2, 10, 64), 640U + 80U + 80U);
    EXPECT_EQ(kvBytes(KvType::Int8, 1, 1, 7), 64U + 4U);
    EXPECT_EQ(kvTokenBytes(KvType::NvFp4, 64), 32 + 4 + 4);
    EXPECT_EQ(kvTokenBytes(KvType::F16, 64), 128);
}

TEST(Attention, LargeScoresDoNotOverflow) {
    WorkerPool pool(1);
    Scene s({4, 2, 64, 128, 100, 20});
    for (float& x : s.q)
        x *= 300;
    const std::vector<float> want = s.plain();
    for (const Isa isa : test::availableIsas()) {
        const IsaScope scope(isa);
        const std::vector<float> got = s.fast(pool);
        for (std::size_t j = 0; j < got.size(); ++j)
            ASSERT_NEAR(got[j], want[j], 2e-3)
                << name(isa);  // float32 scores of some 1000 have steps of 6e-5
    }
}

// Their weights would be denormal numbers, which some processors multiply a hundred times slower.
TEST(Attention, ScoresFarBelowTheLargestCountForNothing) {
    WorkerPool pool(1);
    constexpr std::int64_t dim = 32, here = 10;
    Scene s({1, 1, dim, 64, 40, 1});
    std::fill(s.q.begin(), s.q.end(), 0.0F);
    std::fill(s.k.begin(), s.k.end(), 0.0F);
    s.q[0] = 90 * std::sqrt(static_cast<float>(dim));
    s.k[static_cast<std::size_t>(here * s.kvStride)] = 1;
    for (const Isa isa : test::availableIsas()) {
        const IsaScope scope(isa);
        const std::vector<float> got = s.fast(pool);
        for (std::int64_t d = 0; d < dim; ++d)
            EXPECT_EQ(
                got[static_cast<std::size_t>(d)],
                halfToFloat(floatToHalf(s.v[static_cast<std::size_t>(here * s.kvStride + d)])))
                << name(isa);
    }
}

/// A text and a tree of new tokens after it; token t of the scene is tree node t.
struct TreeCase {
    Case c;
    std::vector<std::int32_t> parents;
};

const std::vector<std::int32_t> kChain{-1, 0, 1, 2}, kBush{-1, -1, -1, 0, 0, 1, 3, 3, 5, 8},
    kBranches{-1, 0, 1, 2, 1, 4, 0, 6, -1, 8, 9, 10};
const std::vector<TreeCase> kTrees = {
    {{4, 2, 64, 100, 30, 4}, kChain},
    {{4, 2, 64, 100, 30, 10}, kBush},
    {{8, 2, 32, 90, 60, 12}, kBranches},                // branches cross a piece of 64
    {{4, 4, 128, 80, 63, 10}, kBush},                   // the tree begins on its last position
    {{4, 1, 256, 100, 64, 12}, kBranches},              // and on its first
    {{3, 1, 40, 77, 59, 12}, kBranches},                // a narrow last block of keys
    {{8, 4, 32, 150, 100, 12, 33}, kBranches},          // window
    {{2, 2, 7, 35, 20, 10, 3, 0, KvType::F32}, kBush},  // shorter than the branches are deep
    {{4, 2, 64, 100, 0, 12, 0, 30}, kBranches},         // no text at all
    // Whole blocks of keys in half precision, of which branches are gathered without unpacking.
    {{8, 2, 32, 96, 60, 12}, kBranches},
    {{4, 1, 256, 112, 64, 12}, kBranches},
    {{8, 4, 32, 160, 100, 12, 33}, kBranches},
    {{4, 2, 64, 48, 0, 12, 0, 30}, kBranches},
    {{24, 1, 32, 64, 47, 10}, kBush},
    {{4, 2, 64, 100, 30, 12, 0, 0, KvType::Int8}, kBranches},
    {{3, 1, 40, 77, 59, 12, 0, 0, KvType::Fp8}, kBranches},
    {{4, 1, 32, 90, 60, 12, 0, 0, KvType::Int4}, kBranches},
    {{3, 1, 48, 77, 59, 12, 0, 0, KvType::NvFp4}, kBranches},
    {{64, 2, 16, 64, 40, 12}, kBranches}};  // parts of few tokens

struct TreeRun {
    std::vector<std::uint8_t> keys, values;
    std::vector<float> out;
};

/// The tree in steps: nodes [0, firsts[0]), then up to firsts[1], ..., the rest.
TreeRun runTree(const TreeCase& tree, WorkerPool& pool, std::vector<std::int64_t> firsts = {}) {
    const Scene s(tree.c);
    const Case& c = tree.c;
    TreeRun run;
    run.keys.assign(s.cacheBytes(), 0xFF);
    run.values.assign(s.cacheBytes(), 0xFF);
    run.out.assign(static_cast<std::size_t>(c.tokens * s.args().outStride), 7.0F);
    const auto append = [&](std::int64_t first, std::int64_t count) {
        appendKv(s.k.data() + first * s.kvStride, s.v.data() + first * s.kvStride, s.kvStride,
                 run.keys.data(), run.values.data(), c.type, c.capacity, first, count, c.kvHeads,
                 c.headDim);
    };
    append(0, c.past);
    firsts.push_back(c.tokens);
    std::int64_t done = 0;
    for (const std::int64_t end : firsts) {
        append(c.past + done, end - done);
        AttentionArgs a = s.args();
        a.keys = run.keys.data();
        a.values = run.values.data();
        a.past = c.past + done;
        a.tokens = end - done;
        a.q += done * a.qStride;
        a.out = run.out.data() + done * a.outStride;
        a.parents = tree.parents.data();
        a.text = c.past;
        attention(a, pool);
        done = end;
    }
    return run;
}

std::vector<std::int64_t> pathTo(const TreeCase& tree, std::int64_t node) {
    std::vector<std::int64_t> path;
    for (; node >= 0; node = tree.parents[static_cast<std::size_t>(node)])
        path.insert(path.begin(), node);
    return path;
}

/// A scene in which only the tokens of `path` follow the text.
Scene along(const TreeCase& tree, const std::vector<std::int64_t>& path) {
    Scene s(tree.c);
    Scene alone = s;
    alone.c.tokens = static_cast<std::int64_t>(path.size());
    for (std::size_t i = 0; i < path.size(); ++i) {
        const auto to = static_cast<std::ptrdiff_t>(i);
        const auto copy = [&](const std::vector<float>& from, std::vector<float>& into,
                              std::int64_t stride, std::int64_t past) {
            into.resize(std::max(into.size(), static_cast<std::size_t>((past + to + 1) * stride)));
            std::copy_n(from.begin() + (past + path[i]) * stride, stride,
                        into.begin() + (past + to) * stride);
        };
        copy(s.q, alone.q, s.qStride, 0);
        copy(s.k, alone.k, s.kvStride, s.c.past);
        copy(s.v, alone.v, s.kvStride, s.c.past);
    }
    return alone;
}

TEST(AttentionTree, ATokenIsBitForBitWhatItIsAfterItsAncestorsAlone) {
    WorkerPool one(1), five(5);
    for (std::size_t i = 0; i < kTrees.size(); ++i) {
        const TreeCase& tree = kTrees[i];
        const std::int64_t stride = Scene(tree.c).args().outStride,
                           width = tree.c.heads * tree.c.headDim;
        for (const Isa isa : test::availableIsas()) {
            const IsaScope scope(isa);
            const std::vector<float> whole = runTree(tree, one).out;
            EXPECT_EQ(runTree(tree, five).out, whole) << "tree " << i << " " << name(isa);
            EXPECT_EQ(runTree(tree, five, {1, 3}).out, whole) << "tree " << i << " " << name(isa);
            for (std::int64_t node = 0; node < tree.c.tokens; ++node) {
                const auto path = pathTo(tree, node);
                const std::vector<float> alone = along(tree, path).fast(one);
                const auto last = static_cast<std::ptrdiff_t>(path.size() - 1);
                EXPECT_TRUE(std::equal(whole.begin() + node * stride,
                                       whole.begin() + node * stride + width,
                                       alone.begin() + last * stride))
                    << "tree " << i << " node " << node << " " << name(isa);
            }
        }
    }
}

TEST(AttentionTree, AgreesWithReference) {
    WorkerPool pool(2);
    for (std::size_t i = 0; i < kTrees.size(); ++i) {
        const TreeCase& tree = kTrees[i];
        const Scene s(tree.c);
        std::vector<std::uint8_t> keys(s.cacheBytes()), values(s.cacheBytes());
        const Case& c = tree.c;
        reference::appendKv(s.k.data(), s.v.data(), s.kvStride, keys.data(), values.data(), c.type,
                            c.capacity, 0, c.past + c.tokens, c.kvHeads, c.headDim);
        AttentionArgs a = s.args();
        a.keys = keys.data();
        a.values = values.data();
        a.parents = tree.parents.data();
        a.text = c.past;
        std::vector<float> want(static_cast<std::size_t>(c.tokens * a.outStride), 7.0F);
        a.out = want.data();
        reference::attention(a);
        const std::vector<float> got = runTree(tree, pool).out;
        for (std::size_t j = 0; j < got.size(); ++j)
            ASSERT_NEAR(got[j], want[j], 4 * budget::kAttention) << "tree " << i;
    }
}

TEST(AttentionTree, WhatIsKeptLiesAsIfNothingElseHadBeenThere) {
    WorkerPool pool(1);
    for (std::size_t i = 0; i < kTrees.size(); ++i) {
        const TreeCase& tree = kTrees[i];
        const Case& c = tree.c;
        TreeRun run = runTree(tree, pool);
        const std::vector<std::int64_t> path = pathTo(tree, c.tokens - 1);
        const std::vector<std::int32_t> kept(path.begin(), path.end());
        const auto count = static_cast<std::int64_t>(kept.size());
        keepKv(run.keys.data(), run.values.data(), c.type, c.capacity, c.past, kept.data(), count,
               c.kvHeads, c.headDim);
        // One more token behind them sees the same as behind the path alone.
        std::vector<std::int64_t> longer = path;
        longer.push_back(0);
        const Scene alone = along(tree, longer);
        const std::int64_t next = c.past + count;
        appendKv(alone.k.data() + next * alone.kvStride, alone.v.data() + next * alone.kvStride,
                 alone.kvStride, run.keys.data(), run.values.data(), c.type, c.capacity, next, 1,
                 c.kvHeads, c.headDim);
        AttentionArgs a = alone.args();
        a.q += count * a.qStride;
        a.past = next;
        a.tokens = 1;
        a.keys = run.keys.data();
        a.values = run.values.data();
        std::vector<float> out(static_cast<std::size_t>(a.outStride), 7.0F);
        a.out = out.data();
        attention(a, pool);
        const std::vector<float> want = alone.fast(pool);
        EXPECT_TRUE(std::equal(out.begin(), out.end(), want.begin() + count * a.outStride))
            << "tree " << i;
    }
}

TEST(AttentionTree, RefusesWhatIsNoTree) {
    WorkerPool pool(1);
    const TreeCase tree{{4, 2, 16, 32, 8, 3}, {-1, 0, 2}};  // a node that follows itself
    EXPECT_THROW(runTree(tree, pool), std::invalid_argument);
    std::vector<std::uint8_t> cache(1024);
    const std::int32_t twice[] = {1, 1}, before[] = {0, 0}, outside[] = {30};
    for (const std::int32_t* kept : {twice, before})
        EXPECT_THROW(keepKv(cache.data(), cache.data(), KvType::F16, 16, 4, kept, 2, 1, 8),
                     std::invalid_argument);
    EXPECT_THROW(keepKv(cache.data(), cache.data(), KvType::F16, 16, 4, outside, 1, 1, 8),
                 std::invalid_argument);
}

TEST(Attention, RefusesWhatDoesNotFit) {
    WorkerPool pool(1);
    AttentionArgs a;
    a.heads = 3;
    a.kvHeads = 2;
    a.headDim = 8;
    a.tokens = 1;
    a.capacity = 4;
    EXPECT_THROW(attention(a, pool), std::invalid_argument);
    a.heads = 4;
    a.past = 4;
    EXPECT_THROW(attention(a, pool), std::invalid_argument);
    EXPECT_THROW(appendKv(nullptr, nullptr, 0, nullptr, nullptr, KvType::Int4, 4, 0, 1, 1, 7),
                 std::invalid_argument);
    EXPECT_THROW(appendKv(nullptr, nullptr, 0, nullptr, nullptr, KvType::NvFp4, 4, 0, 1, 1, 24),
                 std::invalid_argument);
    EXPECT_THROW(appendKv(nullptr, nullptr, 0, nullptr, nullptr, KvType::F16, 4, 4, 1, 1, 8),
                 std::invalid_argument);
}

}  // namespace
}  // namespace fettle::kernels
