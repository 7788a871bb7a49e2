// Training against PyTorch (losses, gradients, AdamW steps of the fixture models; the references
// are made by tests/interop/make_training_reference.py) and against itself.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "engine/backend/cpu_backend.h"
#include "engine/eval/text_windows.h"
#include "engine/model/architectures/architecture.h"
#include "engine/model/transformer.h"
#include "engine/train/optimizer.h"
#include "tests/support/fixtures.h"
#include "tests/support/network_state.h"

namespace fettle {
namespace {

using Sequences = std::vector<std::vector<std::int32_t>>;

nlohmann::json referenceOf(const std::string& name) {
    return test::readJson(std::filesystem::path(FETTLE_TEST_DATA) / "training" / (name + ".json"));
}

TrainBatch batchOf(const Sequences& sequences) {
    TrainBatch batch;
    for (const auto& sequence : sequences)
        batch.add(sequence);
    return batch;
}

double lossOf(const LossSums& sums) {
    return sums.crossEntropy / static_cast<double>(sums.tokens);
}

/// The gradient as the Hugging Face file would lay it out: parts of fused tensors together,
/// transposed where the file is.
std::vector<float> fileGradient(Network& network, const std::vector<TensorPlace>& parts) {
    std::vector<float> rows;
    std::int64_t total = 0, cols = 0;
    for (const TensorPlace& part : parts) {
        const TrainParameter& p = network.parameter(part.canonical);
        const float* g = network.grads().data() + p.offset;
        rows.insert(rows.end(), g, g + p.count());
        total += p.rows;
        cols = p.cols;
    }
    if (!parts.front().is(TensorFlag::kTransposed))
        return rows;
    std::vector<float> turned(rows.size());
    for (std::int64_t r = 0; r < total; ++r)
        for (std::int64_t c = 0; c < cols; ++c)
            turned[static_cast<std::size_t>(c * total + r)] =
                rows[static_cast<std::size_t>(r * cols + c)];
    return turned;
}

class TrainingParity : public ::testing::TestWithParam<std::string> {};

TEST_P(TrainingParity, LossGradientsAndStepsEqualPyTorch) {
    const auto folder = test::fixture(GetParam());
    FETTLE_NEED_FILE(folder);
    const nlohmann::json reference = referenceOf(GetParam());
    const Model model = loadModel(folder.string());
    kernels::WorkerPool pool(2);
    Network network(model, pool);
    const TrainBatch batch = batchOf(reference.at("ids").get<Sequences>());
    const float scale = 1.0F / static_cast<float>(batch.scored());
    const double loss = lossOf(network.accumulate(batch, {}, scale, nullptr, nullptr));
    const double wanted = reference.at("loss").get<double>();
    EXPECT_NEAR(loss, wanted, 1e-5 * wanted);

    std::map<std::string, std::vector<TensorPlace>> files;
    for (const TensorPlace& place : tensorPlaces(model.config))
        if (model.has(place.canonical))
            files[place.huggingFace].push_back(place);
    std::size_t compared = 0;
    for (const auto& [name, want] : reference.at("gradients").items()) {
        const auto found = std::find_if(files.begin(), files.end(), [key = name](const auto& file) {
            return key.ends_with(file.first) || file.first.ends_with(key);
        });
        ASSERT_NE(found, files.end()) << name;
        const std::vector<float> got = fileGradient(network, found->second);
        double squares = 0;
        for (const float g : got)
            squares += static_cast<double>(g) * g;
        const double norm = want.at("norm").get<double>();
        // A bias on keys shifts all scores of a row alike: its gradient is rounding alone.
        EXPECT_NEAR(std::sqrt(squares), norm, 1e-4 * norm + 1e-9) << name;
        const double typical = norm / std::sqrt(static_cast<double>(got.size()));
        const auto at = want.at("at").get<std::vector<std::size_t>>();
        const auto values = want.at("values").get<std::vector<double>>();
        for (std::size_t i = 0; i < at.size(); ++i)
            EXPECT_NEAR(got.at(at[i]), values[i],
                        1e-4 * std::max(std::fabs(values[i]), typical) + 1e-9)
                << name << " " << at[i];
        ++compared;
    }
    EXPECT_EQ(compared, files.size());

    OptimizerOptions options;
    options.clip = 0;
    Optimizer optimizer(network, options, pool);
    for (const double expected : reference.at("steps").get<std::vector<double>>()) {
        const double here = lossOf(network.accumulate(batch, {}, scale, nullptr, nullptr));
        EXPECT_NEAR(here, expected, 1e-3 * expected);
        optimizer.step(1e-3F);
    }
}

INSTANTIATE_TEST_SUITE_P(Families, TrainingParity,
                         ::testing::Values("llama-4m", "qwen3-draft-500k", "gpt2-random",
                                           "gemma3-random"),
                         [](const auto& p) {
                             std::string name = p.param.substr(0, p.param.find('-'));
                             return name;
                         });

TEST(Training, CurveOf200StepsFollowsPyTorch) {
    const auto folder = test::fixture("llama-4m");
    FETTLE_NEED_FILE(folder);
    const nlohmann::json curve = referenceOf("llama-4m").at("curve");
    const Model model = loadModel(folder.string());
    std::string text = readText(test::fixture("texts/train.txt").string());
    // The script counts characters, the text is UTF-8.
    std::size_t end = 0;
    for (auto left = curve.at("characters").get<std::int64_t>(); left > 0 && end < text.size();
         --left)
        do
            ++end;
        while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
    const std::vector<std::int32_t> ids = model.tokenizer->encode(text.substr(0, end), false);
    const auto rows = curve.at("rows").get<std::size_t>(),
               context = curve.at("context").get<std::size_t>();
    const auto losses = curve.at("losses").get<std::vector<double>>();
    ASSERT_GE(ids.size(), rows * context * losses.size());
    kernels::WorkerPool pool(2);
    Network network(model, pool);
    OptimizerOptions options;
    options.decay = curve.at("decay").get<float>();
    options.clip = curve.at("clip").get<float>();
    Optimizer optimizer(network, options, pool);
    const std::size_t steps = test::kSanitized ? 20 : losses.size();
    for (std::size_t step = 0; step < steps; ++step) {
        TrainBatch batch;
        for (std::size_t r = 0; r < rows; ++r)
            batch.add(std::span(ids).subspan((step * rows + r) * context, context));
        const float scale = 1.0F / static_cast<float>(batch.scored());
        const double loss = lossOf(network.accumulate(batch, {}, scale, nullptr, nullptr));
        ASSERT_NEAR(loss, losses[step], 0.01 * losses[step]) << "step " << step;
        optimizer.step(
            curve.at("learning_rate").get<float>() *
            std::min(1.0F, static_cast<float>(step + 1) / curve.at("warmup").get<float>()));
    }
}

/// Gradients of a batch on `threads` threads.
std::vector<float> gradients(const Model& model, int threads, bool checkpointing,
                             const std::vector<TrainBatch>& batches, const TrainLoss& loss,
                             bool bf16 = false) {
    kernels::WorkerPool pool(threads);
    Network network(model, pool), teacher(model, pool);
    for (float& v : teacher.values())
        v *= 0.98F;
    network.setCheckpointing(checkpointing);
    network.setBf16Products(bf16);
    std::int64_t scored = 0;
    for (const TrainBatch& batch : batches)
        scored += batch.scored();
    for (const TrainBatch& batch : batches)
        network.accumulate(batch, loss, 1.0F / static_cast<float>(scored), &teacher, nullptr);
    return test::gradsOf(network);
}

double relativeDistance(const std::vector<float>& a, const std::vector<float>& b) {
    double apart = 0, size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        apart += std::pow(static_cast<double>(a[i]) - b[i], 2);
        size += std::pow(static_cast<double>(a[i]), 2);
    }
    return std::sqrt(apart / size);
}

// Activations wait for the gradient in two bytes each; recomputed ones do not, and are the same.
TEST(Training, InBfloat16ActivationsKeptAreThoseComputedAgain) {
    if (!kernels::hasBf16Products())
        GTEST_SKIP() << "this processor has no products of bfloat16";
    for (const char* name : {"llama-4m", "gemma3-random", "gpt2-random", "qwen3-draft-500k"}) {
        const auto folder = test::fixture(name);
        FETTLE_NEED_FILE(folder);
        const Model model = loadModel(folder.string());
        const TrainBatch batch = batchOf(referenceOf(name).at("ids").get<Sequences>());
        const std::vector<float> kept = gradients(model, 2, false, {batch}, {}, true);
        EXPECT_EQ(kept, gradients(model, 1, true, {batch}, {}, true)) << name;
        EXPECT_EQ(kept, gradients(model, 3, false, {batch}, {}, true)) << name;
        const double apart = relativeDistance(gradients(model, 2, false, {batch}, {}), kept);
        EXPECT_GT(apart, 0) << name;
        EXPECT_LT(apart, 0.05) << name;
    }
}

TEST(Training, ThreadsAndCheckpointingChangeNothingAccumulationRounding) {
    for (const char* name : {"llama-4m", "gemma3-random"}) {
        const auto folder = test::fixture(name);
        FETTLE_NEED_FILE(folder);
        const Model model = loadModel(folder.string());
        const Sequences sequences = referenceOf(name).at("ids").get<Sequences>();
        const TrainBatch whole = batchOf(sequences);
        for (const TrainLoss& loss : {TrainLoss{}, TrainLoss{0.5F, 1.0F, 2.0F}}) {
            const std::vector<float> one = gradients(model, 1, false, {whole}, loss);
            EXPECT_EQ(one, gradients(model, 3, false, {whole}, loss));
            EXPECT_EQ(one, gradients(model, 2, true, {whole}, loss));
            const std::vector<float> parts =
                gradients(model, 2, false,
                          {batchOf({sequences[0]}), batchOf({sequences[1], sequences[2]})}, loss);
            EXPECT_LT(relativeDistance(one, parts), 1e-5);
        }
    }
}

TEST(Training, LogitsEqualInferenceAndATeacherOfItselfTeachesNothing) {
    for (const char* name : {"llama-4m", "qwen3-draft-500k", "gpt2-random", "gemma3-random"}) {
        const auto folder = test::fixture(name);
        FETTLE_NEED_FILE(folder);
        const Model model = loadModel(folder.string());
        const auto ids = referenceOf(name).at("ids").get<Sequences>().front();
        CpuBackend backend(2);
        Network network(model, backend.pool());
        const std::vector<float> trained = network.logits(ids);
        Transformer transformer(model, backend);
        KvCache cache =
            transformer.makeCache(static_cast<std::int64_t>(ids.size()), kernels::KvType::F32);
        transformer.forward(ids, cache);
        std::vector<float> inferred(trained.size());
        transformer.logits(0, static_cast<std::int64_t>(ids.size()), inferred.data());
        for (std::size_t i = 0; i < trained.size(); ++i)
            ASSERT_NEAR(trained[i], inferred[i], 2e-4 * std::max(1.0F, std::fabs(inferred[i])))
                << name;

        Network teacher(model, backend.pool());
        const TrainBatch batch = batchOf({ids});
        const LossSums sums = network.accumulate(batch, {0, 1, 1}, 1.0F, &teacher, nullptr);
        EXPECT_NEAR(sums.distillation / static_cast<double>(sums.tokens), 0, 1e-6);
        for (const float g : network.grads())
            ASSERT_NEAR(g, 0, 1e-4);
    }
}

TEST(Training, OneBatchIsLearntByHeart) {
    const auto folder = test::fixture("qwen3-draft-500k");
    FETTLE_NEED_FILE(folder);
    const Model model = loadModel(folder.string());
    kernels::WorkerPool pool(2);
    Network network(model, pool);
    Optimizer optimizer(network, {}, pool);
    const TrainBatch batch = batchOf(referenceOf("qwen3-draft-500k").at("ids").get<Sequences>());
    const float scale = 1.0F / static_cast<float>(batch.scored());
    double loss = 0;
    for (int step = 0; step < 150; ++step) {
        loss = lossOf(network.accumulate(batch, {}, scale, nullptr, nullptr));
        optimizer.step(3e-3F);
    }
    EXPECT_LT(loss, 0.05);
    // What was learnt survives in the model that comes out.
    Network again(network.toModel(model), pool);
    EXPECT_LT(lossOf(again.evaluate(batch, {}, nullptr, nullptr)), 0.1);
}

TEST(LearningRate, RisesHoldsAndFallsAsScheduled) {
    LearningRate rate;
    rate.peak = 1;
    rate.warmup = 0.1;
    for (const ScheduleKind kind :
         {ScheduleKind::Linear, ScheduleKind::Cosine, ScheduleKind::WarmupStableDecay}) {
        rate.schedule = kind;
        EXPECT_FLOAT_EQ(learningRateAt(rate, 0, 100), 0.1F);
        EXPECT_FLOAT_EQ(learningRateAt(rate, 9, 100), 1.0F);
        EXPECT_FLOAT_EQ(learningRateAt(rate, 99, 100), 0.1F);
        for (std::int64_t step = 10; step < 100; ++step)
            EXPECT_LE(learningRateAt(rate, step, 100), learningRateAt(rate, step - 1, 100));
    }
    EXPECT_FLOAT_EQ(learningRateAt(rate, 79, 100), 1.0F);
    rate.schedule = ScheduleKind::Constant;
    EXPECT_FLOAT_EQ(learningRateAt(rate, 99, 100), 1.0F);
}

}  // namespace
}  // namespace fettle
