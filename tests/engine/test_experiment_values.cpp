// Plain values: the metric catalogue, numbers as text, titles, summaries, JSON of results.
#include <gtest/gtest.h>

#include <clocale>
#include <cmath>
#include <limits>
#include <set>

#include "engine/experiment/experiment_record.h"
#include "engine/experiment/job_values.h"

namespace fettle {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(MetricCatalogue, IdsAreUniqueAndEveryEntryIsComplete) {
    std::set<std::string> ids;
    for (const MetricInfo& info : metricCatalogue()) {
        EXPECT_TRUE(ids.insert(info.id).second) << info.id;
        EXPECT_FALSE(info.title.empty()) << info.id;
        EXPECT_EQ(info.help.back(), '.') << info.id;
        EXPECT_EQ(findMetric(info.id), &info);
    }
    for (const char* id : {"perplexity", "kl_mean", "kl_p99", "top1_agreement", "task_accuracy",
                           "ttft_ms", "prefill_tokens_per_s", "decode_tokens_per_s",
                           "inter_token_ms_p95", "weight_bytes", "peak_bytes", "bits_per_weight",
                           "acceptance_rate", "speedup", "wall_seconds", "calibration_tokens"})
        EXPECT_NE(findMetric(id), nullptr) << id;
    EXPECT_EQ(findMetric("perplexit"), nullptr);
    EXPECT_EQ(findMetric("perplexity")->better, BetterWhen::Lower);
    EXPECT_EQ(findMetric("decode_tokens_per_s")->better, BetterWhen::Higher);
}

TEST(Format, Bytes) {
    const std::pair<double, const char*> cases[] = {
        {0, "0 B"},
        {1, "1 B"},
        {1023, "1023 B"},
        {1024, "1.00 KiB"},
        {1536, "1.50 KiB"},
        {10240, "10.0 KiB"},
        {1047552, "1023 KiB"},
        {1048000, "1023 KiB"},
        {1048500, "1.00 MiB"},
        {1320702443, "1.23 GiB"},
        {5e12, "4.55 TiB"},
        {-2048, "-2.00 KiB"},
        {kNan, "–"},
        {kInfinity, "–"},
        {10239, "10.0 KiB"},
    };
    for (const auto& [bytes, text] : cases)
        EXPECT_EQ(formatBytes(bytes), text) << bytes;
}

TEST(Format, Durations) {
    const std::pair<double, const char*> cases[] = {
        {0, "0.0 ms"},       {0.0042, "4.2 ms"}, {0.25, "250 ms"},     {0.9996, "1.0 s"},
        {1.25, "1.2 s"},     {9.94, "9.9 s"},    {12.4, "12 s"},       {59.6, "1 min"},
        {65, "1 min 5 s"},   {3599.6, "1 h"},    {8040, "2 h 14 min"}, {86400, "1 d"},
        {273600, "3 d 4 h"}, {-1, "–"},          {kNan, "–"},          {kInfinity, "–"},
    };
    for (const auto& [seconds, text] : cases)
        EXPECT_EQ(formatDuration(seconds), text) << seconds;
}

TEST(Format, Metrics) {
    struct Case {
        const char* id;
        double value;
        const char* text;
    };
    const Case cases[] = {
        {"perplexity", 7.2134, "7.213"},
        {"perplexity", 27.456, "27.46"},
        {"perplexity", 123456, "123456"},
        {"perplexity", kInfinity, "∞"},
        {"ppl_ratio", 1.0203, "1.020"},
        {"weight_bytes", 1320702443, "1.23 GiB"},
        {"decode_tokens_per_s", 48.71, "48.7 tokens/s"},
        {"decode_tokens_per_s", 9.996, "10.0 tokens/s"},
        {"prefill_tokens_per_s", 1234.6, "1235 tokens/s"},
        {"ttft_ms", 12.44, "12.4 ms"},
        {"kl_mean", 0.001234, "0.00123"},
        {"kl_mean", 0, "0.00"},
        {"kl_mean", 2.5e-9, "2.50e-09"},
        {"top1_agreement", 98.765, "98.77%"},
        {"bits_per_weight", 4.5, "4.50 bits"},
        {"speedup", 1.5, "1.50×"},
        {"calibration_tokens", 131072, "131,072 tokens"},
        {"calibration_tokens", -999, "-999 tokens"},
        {"parameters", 1234567, "1,234,567"},
        {"wall_seconds", 65, "1 min 5 s"},
        {"delta_p_mean", -0.001, "0.00%"},
        {"of_a_newer_version", 3.14159, "3.142"},
        {"perplexity", kNan, "–"},
    };
    for (const Case& c : cases)
        EXPECT_EQ(formatMetric(c.id, c.value), c.text) << c.id << " " << c.value;
}

TEST(Format, DoesNotFollowTheLocale) {
    const std::string before = std::setlocale(LC_NUMERIC, nullptr);
    for (const char* name : {"de_DE.UTF-8", "fr_FR.UTF-8"})
        std::setlocale(LC_NUMERIC, name);
    EXPECT_EQ(formatMetric("perplexity", 7.25), "7.250");
    std::setlocale(LC_NUMERIC, before.c_str());
}

Recipe recipeOf(std::vector<RecipeStep> steps) {
    return {"", std::move(steps), 1};
}

TEST(RecipeSummary, SaysWhatWasDone) {
    EXPECT_EQ(recipeSummary(recipeOf({})), "baseline");
    EXPECT_EQ(recipeSummary(recipeOf({{"ptq", {{"scheme", "int8"}}}})), "ptq int8");
    EXPECT_EQ(recipeSummary(recipeOf({{"ptq", {{"schemes", {"lm_head=none"}}}}})), "ptq mixed");
    EXPECT_EQ(recipeSummary(recipeOf({{"ptq", {{"scheme", "int4-g32"}, {"method", "auto"}}},
                                      {"qat", {{"tokens", 1000}}}})),
              "ptq int4-g32 + qat");
    EXPECT_EQ(recipeSummary(recipeOf({{"ptq", {{"scheme", "int4-g32"}, {"method", "gptq"}}}})),
              "ptq int4-g32 gptq");
    EXPECT_EQ(recipeSummary(
                  recipeOf({{"prune", {{"method", "wanda"}, {"ratio", 0.5}, {"pattern", "2:4"}}}})),
              "prune wanda 50% 2:4");
    EXPECT_EQ(recipeSummary(recipeOf({{"speculative", {{"draft", "/models/tiny"}}}})),
              "speculative tiny");
    EXPECT_EQ(recipeSummary(recipeOf({{"odd", nlohmann::json::array()}})), "odd");
}

TEST(JobValues, TitlesAndExitCodes) {
    EXPECT_EQ(jobTitle(InspectRequest{"/models/gemma.gguf"}), "Inspect gemma.gguf");
    EXPECT_EQ(jobTitle(InspectRequest{"/models/qwen/"}), "Inspect qwen");
    EXPECT_EQ(jobTitle(InspectRequest{"/"}), "Inspect /");
    RunRequest run;
    run.modelPath = "demo";
    EXPECT_EQ(jobTitle(run), "Measure demo");
    run.recipe = recipeOf({{"ptq", {{"scheme", "int8"}}}});
    EXPECT_EQ(jobTitle(run), "ptq int8 on demo");
    run.recipe.name = "INT8";
    EXPECT_EQ(jobTitle(run), "INT8 on demo");
    EXPECT_EQ(exitCode(ErrorKind::Usage), 2);
    EXPECT_EQ(exitCode(ErrorKind::BadInput), 3);
    EXPECT_EQ(exitCode(ErrorKind::Io), 3);
    EXPECT_EQ(exitCode(ErrorKind::Device), 4);
    EXPECT_EQ(exitCode(ErrorKind::OutOfMemory), 4);
}

TEST(ExperimentStatus, SurvivesBeingText) {
    for (const auto status :
         {ExperimentStatus::Queued, ExperimentStatus::Running, ExperimentStatus::Finished,
          ExperimentStatus::Failed, ExperimentStatus::Cancelled, ExperimentStatus::Interrupted})
        EXPECT_EQ(experimentStatusFromString(toString(status)), status);
    EXPECT_EQ(experimentStatusFromString("of a newer version"), ExperimentStatus::Interrupted);
}

TEST(RunJson, ResultsSurviveBeingText) {
    RunResult result;
    result.modelHash = "abc";
    result.deviceName = "cpu, 2 threads";
    result.deviceMemory = std::numeric_limits<std::uint64_t>::max();
    result.steps = {{0, "ptq", {{"scheme", "int8"}}, 1.5}};
    result.metrics = {{"perplexity", 7.5, "", 7.0, 8.0, false, true, "ppl windows=256"},
                      {"kl_max", kInfinity, "nats", {}, {}, true, false, ""},
                      {"kl_mean", -kInfinity, "nats", {}, {}, true, false, ""}};
    result.layerMetrics = {{3, "layers.3.q", "sqnr_db", 41.5}, {-1, "head", "mse", kNan}};
    result.samples = {{"Once", " upon a time\n"}};
    result.artifact = ArtifactReport{"/a", "compressed-tensors", 1ull << 40, "ff"};
    result.estimate = RecipeEstimate{1, 2, 3.5, 4.5, {"p"}, {"n"}};

    const RunResult back = runResultFromJson(nlohmann::json::parse(toJson(result).dump()));
    EXPECT_EQ(toJson(back), toJson(result));
    EXPECT_EQ(back.metrics, result.metrics);
    EXPECT_EQ(back.deviceMemory, result.deviceMemory);
    EXPECT_TRUE(std::isnan(back.layerMetrics[1].value));
    ASSERT_TRUE(back.artifact);
    EXPECT_EQ(back.artifact->bytes, 1ull << 40);
}

TEST(RunJson, MeasureOptionsSurviveBeingText) {
    MeasureOptions options;
    options.context = 1024;
    options.maxTokens = 0;
    options.protocol = PerplexityProtocol::LlamaCpp;
    options.speed = false;
    options.threads = 7;
    const MeasureOptions back = measureOptionsFromJson(toJson(options));
    EXPECT_EQ(toJson(back), toJson(options));
    EXPECT_EQ(back.protocol, PerplexityProtocol::LlamaCpp);
    EXPECT_NE(accuracyProtocol(options, "t"), accuracyProtocol({}, "t"));
    EXPECT_NE(accuracyProtocol(options, "t"), accuracyProtocol(options, "u"));
    MeasureOptions otherSpeed = options;
    otherSpeed.repeats = 9;  // says nothing about accuracy
    EXPECT_EQ(accuracyProtocol(options, "t"), accuracyProtocol(otherSpeed, "t"));
}

TEST(RunJson, ReportKeysAreTheDocumentedOnes) {
    ModelReport report;
    report.architecture = "llama";
    report.tensors = {{"w", "BF16", {2, 3}, 12, 16}};
    const nlohmann::json json = toJson(report);
    for (const char* key : {"architecture", "parameters", "layers", "dtype", "file_bytes",
                            "weight_bytes", "bits_per_weight", "tensors"})
        EXPECT_TRUE(json.contains(key)) << key;
    EXPECT_EQ(json["tensors"][0]["shape"], (nlohmann::json{2, 3}));
}

TEST(ExportFormats, AreTheOnesOfTheCommandLine) {
    for (const char* id : {"safetensors", "compressed-tensors", "gguf-f16", "gguf-q8_0",
                           "gguf-q4_0", "gguf-q4_k_m", "gguf-q5_k_m", "gguf-q6_k"}) {
        const ExportFormatInfo* format = findExportFormat(id);
        ASSERT_NE(format, nullptr) << id;
        EXPECT_FALSE(format->loadedBy.empty()) << id;
        EXPECT_EQ(format->isFile, std::string(id).rfind("gguf", 0) == 0) << id;
    }
    EXPECT_EQ(findExportFormat("onnx"), nullptr);
    EXPECT_FALSE(ExportReport{}.verified());
    ExportReport report;
    report.checks = {{"reload", true, ""}, {"logits", true, ""}};
    EXPECT_TRUE(report.verified());
    report.checks[1].passed = false;
    EXPECT_FALSE(report.verified());
}

}  // namespace
}  // namespace fettle
