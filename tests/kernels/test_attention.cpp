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
                                  {4, 2, 6, 35, 20, 15, 5, 0, KvType::Int4}};

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
            for (const std::int64_t step : {1, 3, 29})
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

TEST(KvFormat, ZerosStayZeroAndDamageShows) {
    for (const KvType type : {KvType::Int8, KvType::Int4, KvType::Fp8}) {
        std::uint8_t codes[4];
        float scale = 1;
        const float zeros[4] = {}, bad[4] = {1, std::nanf(""), 2, 3};
        quantizeKv(type, zeros, 4, codes, &scale);
        for (const std::uint8_t code : codes)
            EXPECT_EQ(kvCodeValue(type, code) * scale, 0) << name(type);
        quantizeKv(type, bad, 4, codes, &scale);
        EXPECT_TRUE(std::isnan(scale)) << name(type);
    }
}

TEST(KvFormat, NamesAndSizes) {
    for (const KvType type : {KvType::F32, KvType::F16, KvType::Int8, KvType::Fp8, KvType::Int4})
        EXPECT_EQ(findKvType(name(type)), type);
    EXPECT_FALSE(findKvType("int5"));
    EXPECT_EQ(kvBytes(KvType::F16, 2, 10, 64), 2560U);
    EXPECT_EQ(kvBytes(KvType::Int8, 2, 10, 64), 1280U + 80U);
    EXPECT_EQ(kvBytes(KvType::Int4, 2, 10, 64), 640U + 80U);
    EXPECT_EQ(kvBytes(KvType::Int8, 1, 1, 7), 64U + 4U);
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
    EXPECT_THROW(appendKv(nullptr, nullptr, 0, nullptr, nullptr, KvType::F16, 4, 4, 1, 1, 8),
                 std::invalid_argument);
}

}  // namespace
}  // namespace fettle::kernels
