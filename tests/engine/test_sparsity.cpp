// Zeros in place of single weights: how many, where, and what is gained by choosing well.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/backend/cpu_backend.h"
#include "engine/prune/sparse_pruner.h"
#include "engine/prune/unit_pruner.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

constexpr std::int64_t kRows = 12, kCols = 64;

class Sparsity : public ::testing::Test {
protected:
    Sparsity() : weight(kRows * kCols), gram(kCols * kCols, 0.0F) {
        std::mt19937 rng(5);
        std::normal_distribution<float> normal;
        for (float& w : weight)
            w = normal(rng);
        std::vector<float> x(kCols);
        for (int t = 0; t < 400; ++t) {
            for (std::int64_t c = 0; c < kCols; ++c)
                x[static_cast<std::size_t>(c)] =
                    normal(rng) * (1 + static_cast<float>(c % 5)) +
                    (c > 0 ? 0.7F * x[static_cast<std::size_t>(c - 1)] : 0.0F);
            for (std::int64_t a = 0; a < kCols; ++a)
                for (std::int64_t b = 0; b < kCols; ++b)
                    gram[static_cast<std::size_t>(a * kCols + b)] +=
                        x[static_cast<std::size_t>(a)] * x[static_cast<std::size_t>(b)] / 400;
        }
    }
    std::vector<float> identity() const {
        std::vector<float> matrix(kCols * kCols, 0.0F);
        for (std::int64_t i = 0; i < kCols; ++i)
            matrix[static_cast<std::size_t>(i * kCols + i)] = 1;
        return matrix;
    }
    std::vector<float> smallest(const SparsityTarget& target, const std::vector<float>& norm = {}) {
        std::vector<float> w = weight;
        zeroSmallest(w, kRows, kCols, norm, target, pool);
        return w;
    }
    std::vector<float> sparse(const SparsityTarget& target, const std::vector<float>& inputs,
                              std::int64_t block = 16) {
        const GptqFactor factor = factorInputs(inputs, kCols, 1e-4, false, pool, control);
        EXPECT_TRUE(factor.usable);
        std::vector<float> w = weight;
        sparseGpt(w, kRows, kCols, factor, target, block, pool, control);
        return w;
    }
    std::vector<float> inputNorms() const {
        std::vector<float> norms;
        for (std::int64_t i = 0; i < kCols; ++i)
            norms.push_back(std::sqrt(gram[static_cast<std::size_t>(i * kCols + i)]));
        return norms;
    }
    double error(const std::vector<float>& w) {
        return relativeOutputError(weight, w, gram, kCols, pool);
    }
    CpuBackend backend{2};
    kernels::WorkerPool& pool = backend.pool();
    NullProgress sink;
    RunControl control{{}, nullptr, sink};
    std::vector<float> weight, gram;
    SparsityTarget half{SparsityPattern::Unstructured, 0.5};
    SparsityTarget twoFour{SparsityPattern::TwoFour, 0.5};
};

TEST_F(Sparsity, EveryRowLosesExactlyItsShare) {
    for (const double ratio : {0.0, 0.3, 0.5, 0.77, 1.0}) {
        const SparsityTarget target{SparsityPattern::Unstructured, ratio};
        const std::vector<float> w = smallest(target, inputNorms());
        for (std::int64_t r = 0; r < kRows; ++r)
            EXPECT_EQ(std::count(w.begin() + r * kCols, w.begin() + (r + 1) * kCols, 0.0F),
                      std::llround(ratio * kCols));
        const std::vector<float> g = sparse(target, gram);
        EXPECT_EQ(std::count(g.begin(), g.end(), 0.0F), kRows * std::llround(ratio * kCols));
    }
}

TEST_F(Sparsity, TwoOfEveryFourNeighboursGo) {
    for (const std::vector<float>& w : {smallest(twoFour, inputNorms()), sparse(twoFour, gram)})
        for (std::size_t i = 0; i < w.size(); i += 4)
            EXPECT_EQ(std::count(w.begin() + static_cast<std::ptrdiff_t>(i),
                                 w.begin() + static_cast<std::ptrdiff_t>(i) + 4, 0.0F),
                      2);
}

TEST_F(Sparsity, WandaWithInputsAllAlikeIsMagnitude) {
    EXPECT_EQ(smallest(half, std::vector<float>(kCols, 3.0F)), smallest(half));
    EXPECT_NE(smallest(half, inputNorms()), smallest(half));
}

TEST_F(Sparsity, SparseGptWithIndependentInputsIsMagnitude) {
    // One block over all rows and columns: the smallest of all weights, the others unchanged.
    const std::vector<float> w = sparse(half, identity(), kCols);
    std::vector<float> sorted = weight;
    std::nth_element(sorted.begin(), sorted.begin() + kRows * kCols / 2, sorted.end(),
                     [](float a, float b) { return std::fabs(a) < std::fabs(b); });
    const float threshold = std::fabs(sorted[kRows * kCols / 2]);
    for (std::size_t i = 0; i < w.size(); ++i)
        if (std::fabs(weight[i]) < threshold)
            EXPECT_EQ(w[i], 0);
        else
            EXPECT_NEAR(w[i], weight[i], 1e-5);
    const std::vector<float> groups = sparse(twoFour, identity()), plain = smallest(twoFour);
    for (std::size_t i = 0; i < groups.size(); ++i)
        EXPECT_NEAR(groups[i], plain[i], 1e-5);
}

TEST_F(Sparsity, OutputsSufferLessTheMoreIsKnownOfTheInputs) {
    for (const SparsityTarget& target : {half, twoFour}) {
        const double magnitude = error(smallest(target)),
                     wanda = error(smallest(target, inputNorms())),
                     gpt = error(sparse(target, gram));
        EXPECT_LT(wanda, magnitude);
        EXPECT_LT(gpt, 0.9 * wanda);
    }
}

TEST_F(Sparsity, TheBlockDoesNotMatterForGroupsOfFour) {
    const std::vector<float> a = sparse(twoFour, gram, 8), b = sparse(twoFour, gram, kCols);
    for (std::size_t i = 0; i < a.size(); ++i)
        EXPECT_NEAR(a[i], b[i], 1e-3);
}

TEST_F(Sparsity, AModelIsPrunedWhereItIsToBe) {
    test::TempFolder folder;
    test::writeFolder(folder / "model", test::tinyParts("llama"));
    CalibrationText text;
    std::mt19937 rng(1);
    for (int s = 0; s < 16; ++s) {
        text.sequences.emplace_back();
        for (int i = 0; i < 16; ++i)
            text.sequences.back().push_back(static_cast<std::int32_t>(rng() % test::kVocabulary));
        text.tokens += 16;
    }
    for (const SparsityMethod method :
         {SparsityMethod::Magnitude, SparsityMethod::Wanda, SparsityMethod::SparseGpt}) {
        Model model = loadModel((folder / "model").string());
        const std::vector<float> untouched = model.weight("layers.0.attn.k.weight").toFloat();
        SparseOptions options;
        options.method = method;
        options.target = twoFour;
        options.chosen = [](const std::string& name) {
            return layerOf(name) >= 0 && name != "layers.0.attn.k.weight";
        };
        std::vector<LayerMetric> metrics;
        EXPECT_EQ(pruneSparse(model, method == SparsityMethod::Magnitude ? CalibrationText{} : text,
                              options, backend, pool, control, metrics),
                  13U);
        EXPECT_EQ(model.weight("layers.0.attn.k.weight").toFloat(), untouched);
        EXPECT_DOUBLE_EQ(zeroShare(model.weight("layers.1.ffn.down.weight").toFloat()), 0.5);
        EXPECT_NEAR(modelSparsity(model, control), 0.5, 0.05);
    }
}

}  // namespace
}  // namespace fettle
