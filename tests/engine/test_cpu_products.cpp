// Products of bfloat16 on the CPU: refused where there are none, nearly the model's own answers,
// speculative text bit for bit that of plain decoding.
#include <gtest/gtest.h>

#include "engine/backend/cpu_backend.h"
#include "engine/core/error.h"
#include "engine/job/recipe_runner.h"
#include "engine/speculative/draft_source.h"
#include "engine/speculative/speculation_measure.h"
#include "engine/speculative/speculative_decoder.h"
#include "kernels/cpu/isa.h"

namespace fettle {
namespace {

class CpuProducts : public ::testing::Test {
protected:
    void SetUp() override {
        if (!kernels::hasBf16Products())
            GTEST_SKIP() << "this processor has no products of bfloat16";
    }
    std::vector<std::int32_t> ids() const {
        return m_model.tokenizer->encode(speculationText(""), false);
    }

    NullProgress m_sink;
    RunControl m_control{{}, nullptr, m_sink};
    Model m_model = loadModel("demo");
};

TEST(CpuProductsElsewhere, AreRefused) {
    CpuBackend backend(1);
    EXPECT_EQ(backend.products(), kernels::Products::Float32);
    const kernels::Isa before = kernels::currentIsa();
    kernels::setIsa(kernels::Isa::Baseline);
    try {
        backend.useProducts(kernels::Products::BFloat16);
        ADD_FAILURE() << "taken";
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::Device);
        EXPECT_NE(std::string(error.what()).find("AVX512_BF16"), std::string::npos);
    }
    kernels::setIsa(before);
    EXPECT_EQ(backend.products(), kernels::Products::Float32);
}

TEST_F(CpuProducts, AreNearlyTheModelsOwn) {
    CpuBackend exact(2), rounded(2);
    rounded.useProducts(kernels::Products::BFloat16);
    Transformer a(m_model, exact), b(m_model, rounded);
    const std::vector<std::int32_t> text = ids();
    const auto vocabulary = m_model.config.vocabularySize;
    constexpr std::int64_t kTokens = 128;
    KvCache first = a.makeCache(kTokens), second = b.makeCache(kTokens);
    a.forward(std::span(text).first(kTokens), first);
    b.forward(std::span(text).first(kTokens), second);
    std::vector<float> p(static_cast<std::size_t>(kTokens * vocabulary)), q = p;
    a.logits(0, kTokens, p.data());
    b.logits(0, kTokens, q.data());
    EXPECT_NE(p, q);
    double sum = 0;
    for (std::int64_t i = 0; i < kTokens; ++i) {
        const float* x = p.data() + i * vocabulary;
        const float* y = q.data() + i * vocabulary;
        sum += kernels::klDivergence(x, kernels::summarizeLogits(x, vocabulary).logSumExp, y,
                                     kernels::summarizeLogits(y, vocabulary).logSumExp, vocabulary);
    }
    // Eight bits of mantissa: some hundredths of what eight-bit weights cost this model.
    EXPECT_LT(sum / kTokens, 1e-4);
}

TEST_F(CpuProducts, SpeculativeTextIsThatOfPlainDecoding) {
    CpuBackend backend(2);
    backend.useProducts(kernels::Products::BFloat16);
    Transformer target(m_model, backend);
    const std::vector<std::int32_t> text = ids();
    const auto decode = [&](std::span<const std::int32_t> prompt, Proposer* proposer,
                            DraftLength* length, const DraftTree& tree) {
        constexpr int kNew = 24;
        SpeculativeDecoder decoder(target, proposer, length, {},
                                   static_cast<std::int64_t>(prompt.size()) + kNew, tree);
        decoder.begin(prompt, m_control);
        const std::size_t wanted = prompt.size() + kNew;
        while (decoder.text().size() < wanted)
            decoder.next(static_cast<int>(wanted - decoder.text().size()), m_control);
        return decoder.text();
    };
    for (const DraftWords& words :
         {DraftWords{"int8:demo-draft", "4", "off"}, DraftWords{"demo-draft", "auto", "auto"},
          DraftWords{"suffix", "15", "off"}}) {
        const SpeculativeSetup setup = makeSetup(words, m_model, backend, {}, m_control);
        const auto proposer =
            makeProposer(setup, m_model, target, backend, backend.pool(), m_control);
        const auto length = makeDraftLength(setup);
        for (std::size_t i = 0; i < 40; ++i) {
            const auto prompt = std::span(text).subspan(i * 61, 8 + i % 40);
            EXPECT_EQ(decode(prompt, proposer.get(), length.get(), draftTree(setup.tree)),
                      decode(prompt, nullptr, nullptr, {}))
                << words.draft << ", prompt " << i;
        }
    }
}

}  // namespace
}  // namespace fettle
