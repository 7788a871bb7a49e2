// Rotations folded into a model: orthogonal, and the model computes the same.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/backend/cpu_backend.h"
#include "engine/model/model_initializer.h"
#include "engine/model/transformer.h"
#include "engine/quant/rotation.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

TEST(Rotation, IsOrthogonalForEverySize) {
    kernels::WorkerPool pool(2);
    for (const std::int64_t n : {1, 2, 6, 32, 96, 100, 256, 768}) {
        const Rotation rotation(n, 5);
        std::vector<float> rows(static_cast<std::size_t>(n * n));
        for (std::int64_t i = 0; i < n; ++i)
            rows[static_cast<std::size_t>(i * n + i)] = 1;
        std::vector<float> columns = rows;
        rotation.apply(rows.data(), n, 1, pool);  // I R
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
                double dot = 0;
                for (std::int64_t k = 0; k < n; ++k)
                    dot += static_cast<double>(rows[static_cast<std::size_t>(i * n + k)]) *
                           rows[static_cast<std::size_t>(j * n + k)];
                ASSERT_NEAR(dot, i == j ? 1 : 0, 1e-5) << n;
            }
        // Along columns it is the transpose: R^T I.
        rotation.apply(columns.data(), 1, n, pool);
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j)
                ASSERT_NEAR(columns[static_cast<std::size_t>(i * n + j)],
                            rows[static_cast<std::size_t>(j * n + i)], 1e-6);
    }
}

TEST(Rotation, SpreadsAPlantedOutlierOverAllChannels) {
    kernels::WorkerPool pool(1);
    std::vector<float> x(512, 0.0f);
    x[77] = 100;
    Rotation(512, 1).apply(x.data(), 1, 1, pool);
    for (const float value : x)
        EXPECT_NEAR(std::fabs(value), 100 / std::sqrt(512.0f), 1e-3);
}

class RotatedModel : public ::testing::Test {
protected:
    Model tiny(const std::string& family, bool untied) {
        nlohmann::json config = test::tinyConfig(family);
        if (untied)
            config["tie_word_embeddings"] = false;
        test::FolderParts parts = test::tinyParts(family);
        parts.config = config;
        parts.tensors = test::tinyTensors(config);
        const auto path = folder / (family + (untied ? "-untied" : ""));
        test::writeFolder(path, parts);
        return loadModel(path.string());
    }
    std::vector<float> logits(const Model& model) {
        Transformer transformer(model, backend);
        const std::vector<std::int32_t> ids = {3, 14, 15, 9, 2, 6, 5, 35};
        KvCache cache = transformer.makeCache(8, kernels::KvType::F32);
        transformer.forward(ids, cache);
        std::vector<float> out(8 * static_cast<std::size_t>(model.config.vocabularySize));
        transformer.logits(0, 8, out.data());
        return out;
    }
    test::TempFolder folder;
    CpuBackend backend{2};
};

TEST_F(RotatedModel, ComputesTheSameInFullPrecision) {
    for (const char* family : {"llama", "qwen3"}) {
        const Model model = withType(tiny(family, true), DType::F32);
        Model rotated = model;
        const ModelRotation rotation(model, 7, backend.pool());
        rotation.rotateEnds(rotated);
        for (std::int64_t i = 0; i < model.config.layerCount(); ++i)
            rotation.rotateLayer(rotated, i);
        EXPECT_NE(rotated.weight("layers.0.attn.q.weight").toFloat(),
                  model.weight("layers.0.attn.q.weight").toFloat());
        const std::vector<float> before = logits(model), after = logits(rotated);
        double largest = 0;
        for (const float value : before)
            largest = std::max<double>(largest, std::fabs(value));
        for (std::size_t i = 0; i < before.size(); ++i)
            ASSERT_NEAR(before[i], after[i], 1e-4 * largest) << family;
    }
}

TEST_F(RotatedModel, RefusesWhatCannotFoldInWords) {
    const auto why = [&](const Model& model) { return rotationRefusal(model); };
    EXPECT_NE(why(tiny("gpt2", false)).find("LayerNorm"), std::string::npos);
    EXPECT_NE(why(tiny("gemma3", false)).find("norms between"), std::string::npos);
    EXPECT_NE(why(tiny("qwen3", false)).find("shares its weights"), std::string::npos);
    EXPECT_EQ(why(tiny("llama", false)), "");
    try {
        const ModelRotation rotation(tiny("gpt2", false), 1, backend.pool());
        FAIL();
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::Usage);
        EXPECT_NE(std::string(error.what()).find("cannot be rotated"), std::string::npos);
    }
}

}  // namespace
}  // namespace fettle
