// ptq with a scheme per weight: the budget, what it gains over one scheme for all, its scores.
#include <gtest/gtest.h>

#include <map>

#include "engine/backend/cpu_backend.h"
#include "engine/core/error.h"
#include "engine/experiment/bit_allocation.h"
#include "engine/job/recipe_runner.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

class MixedPrecision : public ::testing::Test {
protected:
    RunResult run(nlohmann::json params, const std::string& artifact = "") {
        params["method"] = "rtn";
        params["calibration_tokens"] = 1024;
        RunRequest request;
        request.modelPath = "demo";
        request.recipe.steps = {{"ptq", std::move(params)}};
        request.measure.maxTokens = 2048;
        request.measure.speed = false;
        request.artifactFolder = artifact;
        return runRecipe(request, m_backend, m_control);
    }
    static double metric(const RunResult& result, const std::string& name) {
        for (const Measurement& each : result.metrics)
            if (each.name == name)
                return each.value;
        ADD_FAILURE() << "no metric " << name;
        return 0;
    }
    CpuBackend m_backend{2};
    NullProgress m_sink;
    RunControl m_control{{}, nullptr, m_sink};
};

TEST_F(MixedPrecision, KeepsTheBudgetAndBeatsOneSchemeForAll) {
    test::TempFolder folder;
    const RunResult uniform = run({{"scheme", "int3-g128"}});
    const RunResult mixed =
        run({{"target_bits", 3.125}, {"mix", {"int2-g64", "int3-g128", "int4-g32"}}},
            (folder / "mixed").string());
    EXPECT_LE(metric(mixed, "mixed_bits"), 3.125 + 1e-9);
    EXPECT_GT(metric(mixed, "mixed_bits"), 3.0);
    EXPECT_LT(metric(mixed, "kl_mean"), metric(uniform, "kl_mean"));
    // Scores of single weights do not add up exactly, but to the right order.
    EXPECT_GT(metric(mixed, "predicted_kl"), 0.3 * metric(mixed, "kl_mean"));
    EXPECT_LT(metric(mixed, "predicted_kl"), 3 * metric(mixed, "kl_mean"));

    const Model artifact = loadModel((folder / "mixed").string());
    std::map<std::string, int> schemes;
    for (const std::string& name : linearWeightNames(artifact.config)) {
        const Weight& weight = artifact.weight(name);
        ++schemes[weight.isQuantized() ? weight.quantized().scheme.id : "none"];
    }
    EXPECT_GE(schemes.size(), 3U);
    for (std::int64_t i = 0; i < artifact.config.layerCount(); ++i) {
        const std::string at = "layers." + std::to_string(i) + ".";
        EXPECT_EQ(artifact.weight(at + "attn.q.weight").typeName(),
                  artifact.weight(at + "attn.v.weight").typeName());
        EXPECT_EQ(artifact.weight(at + "ffn.gate.weight").typeName(),
                  artifact.weight(at + "ffn.up.weight").typeName());
    }

    // Another target needs the stored scores only.
    const std::vector<AllocationUnit> units = allocationUnitsFrom(mixed.layerMetrics);
    ASSERT_EQ(units.size(), static_cast<std::size_t>(4 * artifact.config.layerCount()));
    double all = 0;
    for (const AllocationUnit& unit : units)
        all += unit.choices.back().bytes;
    EXPECT_LT(allocateBits(units, all / 2).loss, allocateBits(units, all / 4).loss);
}

TEST_F(MixedPrecision, GivenSchemesAreTakenExactlyAndTheFirstThatFitsCounts) {
    test::TempFolder folder;
    const RunResult result = run({{"scheme", "int8"},
                                  {"schemes",
                                   {"layers.0.attn.qkv=int4-g32", "layers.0.ffn.gate_up=none",
                                    "layers.0.*=int3-g128", "*.ffn.down.weight=int2-g64"}}},
                                 (folder / "given").string());
    const Model artifact = loadModel((folder / "given").string());
    const auto type = [&](const std::string& name) {
        const Weight& weight = artifact.weight(name);
        return weight.isQuantized() ? weight.quantized().scheme.id : std::string("none");
    };
    for (const char* part : {"q", "k", "v"})
        EXPECT_EQ(type("layers.0.attn." + std::string(part) + ".weight"), "int4-g32");
    EXPECT_EQ(type("layers.0.attn.o.weight"), "int3-g128");
    EXPECT_EQ(type("layers.0.ffn.down.weight"), "int3-g128");
    EXPECT_EQ(type("layers.0.ffn.up.weight"), "none");
    EXPECT_EQ(type("layers.1.ffn.down.weight"), "int2-g64");
    EXPECT_EQ(type("layers.1.attn.o.weight"), "int8");
}

TEST_F(MixedPrecision, UnitsAreNamedAsSensitivityNamesThem) {
    const Model model = loadModel("demo");
    const RunResult scored =
        run({{"target_bits", 4}, {"sensitivity", "fisher"}, {"mix", {"int3-g128", "int4-g32"}}});
    const std::vector<AllocationUnit> units = allocationUnitsFrom(scored.layerMetrics);
    std::size_t found = 0;
    for (const std::string& name : linearWeightNames(model.config))
        for (const AllocationUnit& unit : units)
            found += unit.name == allocationUnitOf(name);
    EXPECT_EQ(found, static_cast<std::size_t>(7 * model.config.layerCount()));
    // What the scores chose, given as schemes, makes the same model.
    double weights = 0;
    for (const AllocationUnit& unit : units)
        weights += unit.choices.back().bytes / 2;  // 16 bits each as they are
    const BitAllocation chosen = allocateBits(units, 4.0 / 8 * weights);
    const RunResult again = run({{"schemes", schemeAssignments(units, chosen)}});
    EXPECT_EQ(metric(again, "bits_per_weight"), metric(scored, "bits_per_weight"));
    EXPECT_EQ(metric(again, "kl_mean"), metric(scored, "kl_mean"));
}

TEST_F(MixedPrecision, RefusesWhatCannotBe) {
    const auto reason = [&](const nlohmann::json& params) -> std::string {
        try {
            run(params);
        } catch (const EngineError& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_NE(reason({{"target_bits", 1.5}}).find("fewer than the smallest"), std::string::npos);
    EXPECT_NE(reason({{"target_bits", 4}, {"mix", {"int5-g7"}}}).find("int5-g7"),
              std::string::npos);
    EXPECT_NE(reason({{"target_bits", 4}, {"mix", nlohmann::json::array()}}).find("mix"),
              std::string::npos);
    EXPECT_NE(reason({{"schemes", {"layers.0.*"}}}).find("NAME=SCHEME"), std::string::npos);
    EXPECT_NE(reason({{"schemes", {"layers.0.*=int5-g7"}}}).find("int5-g7"), std::string::npos);
    EXPECT_NE(reason({{"schemes", {"layers.0.*=int8"}}, {"target_bits", 4}}).find("one of the two"),
              std::string::npos);
}

}  // namespace
}  // namespace fettle
