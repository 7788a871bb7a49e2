// Distillation: hidden states in the loss, masks, text written by the student, students made anew,
// and the technique from end to end.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/backend/cpu_backend.h"
#include "engine/data/data_loader.h"
#include "engine/distill/fresh_model.h"
#include "engine/distill/hidden_match.h"
#include "engine/distill/on_policy_source.h"
#include "engine/distill/weight_masks.h"
#include "engine/model/transformer.h"
#include "engine/prune/pruner.h"
#include "engine/prune/sparsity.h"
#include "engine/technique/technique.h"
#include "tests/support/model_files.h"
#include "tests/support/network_state.h"

namespace fettle {
namespace {

class Distilling : public ::testing::Test {
protected:
    Distilling() {
        std::mt19937 rng(9);
        std::string text;
        for (int document = 0; document < 60; ++document) {
            for (int i = 0; i < 150; ++i)
                text += static_cast<char>('!' + (rng() % 7 == 0 ? rng() % 60 : i * 5 % 60));
            text += "\n\n";
        }
        test::writeFile(folder / "train.txt", text);
    }
    Model tiny(const std::string& family, unsigned seed = 1) {
        test::FolderParts parts = test::tinyParts(family);
        parts.tensors = test::tinyTensors(parts.config, seed);
        test::writeFolder(folder / (family + std::to_string(seed)), parts);
        return loadModel((folder / (family + std::to_string(seed))).string());
    }
    /// Without `channels` of its width and without its first layer.
    Model smaller(const Model& model, std::int64_t channels) {
        PruningPlan plan = keepAll(model.config);
        plan.layers.erase(plan.layers.begin());
        plan.channels = allIndices(model.config.hiddenSize - channels);
        return pruneModel(model, plan, control);
    }
    TrainBatch batch(int sequences = 3) {
        std::mt19937 rng(4);
        TrainBatch b;
        for (int s = 0; s < sequences; ++s) {
            std::vector<std::int32_t> ids;
            for (int i = 0; i < 12; ++i)
                ids.push_back(static_cast<std::int32_t>(rng() % test::kVocabulary));
            b.add(ids);
        }
        return b;
    }
    DataLoader loader() {
        DataOptions options;
        options.path = (folder / "train.txt").string();
        options.context = 32;
        options.batchTokens = 128;
        return {tiny("llama").tokenizer, options, control};
    }
    Model apply(const Model& original, const Model& model, nlohmann::json params) {
        const Technique* distill = findTechnique("distill");
        const ValidatedParams valid = validateParams(distill->descriptor(), params);
        EXPECT_TRUE(valid.problems.empty()) << valid.problems.front();
        RunInputs inputs;
        inputs.train = (folder / "train.txt").string();
        MeasureOptions measure;
        measure.context = 32;
        TechniqueContext context{original,     backend, pool,    inputs,       measure,
                                 valid.params, 1,       control, layerMetrics, metrics};
        return distill->apply(model, context);
    }
    double metric(const std::string& name) {
        for (const Measurement& m : metrics)
            if (m.name == name)
                return m.value;
        return NAN;
    }
    test::TempFolder folder;
    CpuBackend backend{2};
    kernels::WorkerPool& pool = backend.pool();
    NullProgress sink;
    RunControl control{{}, nullptr, sink};
    std::vector<LayerMetric> layerMetrics;
    std::vector<Measurement> metrics;
};

TEST_F(Distilling, ATeacherThatIsTheStudentHasNothingToSay) {
    const Model model = tiny("qwen3");
    Network student(model, pool), teacher(model, pool);
    student.matchHidden({{0, 0}, {1, 1}}, model.config.hiddenSize);
    TrainLoss loss{0, 0, 1, 1};
    EXPECT_EQ(student.evaluate(batch(), loss, &teacher, nullptr).hidden, 0);
    student.accumulate(batch(), loss, 1, &teacher, nullptr);
    for (const float g : student.grads())
        ASSERT_EQ(g, 0);
}

TEST_F(Distilling, TheGradientOfHiddenStatesIsTheSlopeOfTheirLoss) {
    for (const std::string family : {"llama", "gemma3", "gpt2"})
        for (const std::int64_t channels : {0, 16}) {
            const Model model = tiny(family);
            if (family == "gpt2" && channels > 0)
                continue;  // its heads would have to go with them
            Network teacher(model, pool), student(smaller(model, channels), pool);
            const auto pairs =
                evenPairs(student.config().layerCount(), model.config.layerCount(), 4);
            student.matchHidden(pairs, model.config.hiddenSize);
            if (channels > 0)
                fitProjections(student, teacher, pairs, {batch()}, pool, control);
            const TrainBatch b = batch();
            TrainLoss loss{0, 0, 1, 1};
            const LossSums sums = student.accumulate(b, loss, 1, &teacher, nullptr);
            EXPECT_NEAR(student.evaluate(b, loss, &teacher, nullptr).hidden, sums.hidden,
                        1e-5 * sums.hidden);
            // Along the gradient the loss changes by its squared length.
            double power = 0;
            for (const float g : student.grads())
                power += static_cast<double>(g) * g;
            ASSERT_GT(power, 0);
            const double step = 2e-3 * sums.hidden / power;
            const std::vector<float> before = student.values(), slope = test::gradsOf(student);
            const auto lossAt = [&](double by) {
                for (std::size_t i = 0; i < before.size(); ++i)
                    student.values()[i] = before[i] + static_cast<float>(by) * slope[i];
                return student.evaluate(b, loss, &teacher, nullptr).hidden;
            };
            EXPECT_NEAR((lossAt(step) - lossAt(-step)) / (2 * step * power), 1, 0.02)
                << family << channels;
            student.values() = before;
            student.setCheckpointing(true);
            student.zeroGrads();
            student.accumulate(b, loss, 1, &teacher, nullptr);
            EXPECT_EQ(test::gradsOf(student), slope) << family;
        }
}

TEST_F(Distilling, TheGradientOfAttentionIsTheSlopeOfItsLoss) {
    for (const std::string family : {"llama", "qwen3", "gemma3", "gpt2"}) {
        Network teacher(tiny(family, 2), pool), student(tiny(family), pool);
        // Random models look everywhere alike, and the little they differ by drowns in rounding.
        for (Network* network : {&teacher, &student})
            for (const TrainParameter& p : network->parameters())
                if (p.name.ends_with("attn.q.weight") || p.name.ends_with("attn.q_norm.weight"))
                    for (std::int64_t i = 0; i < p.count(); ++i)
                        network->values()[static_cast<std::size_t>(p.offset + i)] *= 6;
        const TrainBatch b = batch();
        TrainLoss loss{0, 0, 1, 0};
        loss.attention = 1;
        EXPECT_EQ(student.evaluate(b, loss, &student, nullptr).attention, 0) << family;
        const LossSums sums = student.accumulate(b, loss, 1, &teacher, nullptr);
        EXPECT_NEAR(student.evaluate(b, loss, &teacher, nullptr).attention, sums.attention,
                    1e-5 * sums.attention);
        double power = 0;
        for (const float g : student.grads())
            power += static_cast<double>(g) * g;
        ASSERT_GT(power, 0);
        const double step = 2e-3 * sums.attention / power;
        const std::vector<float> before = student.values(), slope = test::gradsOf(student);
        const auto lossAt = [&](double by) {
            for (std::size_t i = 0; i < before.size(); ++i)
                student.values()[i] = before[i] + static_cast<float>(by) * slope[i];
            return student.evaluate(b, loss, &teacher, nullptr).attention;
        };
        EXPECT_NEAR((lossAt(step) - lossAt(-step)) / (2 * step * power), 1, 0.02) << family;
        student.values() = before;
        student.setCheckpointing(true);
        student.zeroGrads();
        student.accumulate(b, loss, 1, &teacher, nullptr);
        EXPECT_EQ(test::gradsOf(student), slope) << family;
    }
}

TEST_F(Distilling, AttentionIsFollowedAndOtherHeadsAreRefused) {
    const Model teacher = tiny("llama"), student = tiny("llama", 2);
    const auto apartAfter = [&](double weight) {
        const Model trained = apply(teacher, student,
                                    {{"tokens", 10000},
                                     {"batch_tokens", 512},
                                     {"learning_rate", 0.003},
                                     {"attention_weight", weight}});
        Network after(trained, pool), wise(teacher, pool);
        TrainLoss loss{0, 0, 1, 0};
        loss.attention = 1;
        return after.evaluate(batch(8), loss, &wise, nullptr).attention;
    };
    EXPECT_LT(apartAfter(5), 0.7 * apartAfter(0));
    ModelConfig fewer = student.config;
    fewer.heads /= 2;
    try {
        Network::requireSameAttention(fewer, teacher.config);
        FAIL() << "heads of another number are compared";
    } catch (const EngineError& error) {
        EXPECT_NE(std::string(error.what()).find("attention_weight"), std::string::npos);
    }
}

TEST_F(Distilling, ProjectionsStartAtTheLeastSquares) {
    const Model model = tiny("llama");
    Network teacher(model, pool), student(smaller(model, 16), pool);
    const auto pairs = evenPairs(1, 2, 4);
    student.matchHidden(pairs, 64);
    TrainLoss loss{0, 0, 1, 1};
    const double zero = student.evaluate(batch(8), loss, &teacher, nullptr).hidden;
    EXPECT_NEAR(zero, static_cast<double>(batch(8).scored()), 1e-3);  // nothing is predicted
    fitProjections(student, teacher, pairs, {batch(8)}, pool, control);
    EXPECT_LT(student.evaluate(batch(8), loss, &teacher, nullptr).hidden, 0.7 * zero);
    EXPECT_NO_THROW(student.toModel(smaller(model, 16)));
}

TEST_F(Distilling, LayersArePairedEvenly) {
    const auto last = evenPairs(3, 12, 4).back();
    EXPECT_EQ(last.student, 2);
    EXPECT_EQ(last.teacher, 11);
    EXPECT_EQ(evenPairs(3, 12, 4).front().teacher, 3);
    EXPECT_EQ(evenPairs(24, 24, 4).size(), 4U);
    for (const auto& pair : evenPairs(24, 24, 4))
        EXPECT_EQ(pair.student, pair.teacher);
    EXPECT_EQ(evenPairs(8, 2, 8).front().teacher, 0);
}

TEST_F(Distilling, ZerosOfAPrunedModelStayZeroWhileItLearns) {
    Model model = tiny("llama");
    std::vector<std::string> pruned;
    for (const std::string& name : linearWeightNames(model.config)) {
        if (layerOf(name) < 0)
            continue;
        const Weight weight = model.weight(name);
        std::vector<float> values = weight.toFloat();
        zeroSmallest(values, weight.shape()[0], weight.shape()[1], {},
                     {SparsityPattern::TwoFour, 0.5}, pool);
        model.weights[name] = weightLike(weight, values);
        pruned.push_back(name);
    }
    // No kernel leaves the zeros out, so what is measured is not what 2:4 can do.
    EXPECT_TRUE(Transformer(tiny("llama"), backend).native());
    EXPECT_FALSE(Transformer(model, backend).native());
    const Model trained = apply(tiny("llama"), model, {{"tokens", 2560}, {"batch_tokens", 256}});
    EXPECT_FALSE(Transformer(trained, backend).native());
    bool moved = false;
    for (const std::string& name : pruned) {
        const std::vector<float> before = model.weight(name).toFloat(),
                                 after = trained.weight(name).toFloat();
        EXPECT_DOUBLE_EQ(zeroShare(after), 0.5) << name;
        for (std::size_t i = 0; i < before.size(); ++i) {
            ASSERT_EQ(before[i] == 0, after[i] == 0) << name;
            moved = moved || before[i] != after[i];
        }
    }
    EXPECT_TRUE(moved);
}

TEST_F(Distilling, TheStudentComesNearerToItsTeacher) {
    const Model teacher = tiny("llama");
    const Model student = smaller(teacher, 0);
    for (const double hidden : {0.0, 0.5}) {
        metrics.clear();
        const Model trained = apply(teacher, student,
                                    {{"tokens", 40000},
                                     {"batch_tokens", 512},
                                     {"learning_rate", 0.003},
                                     {"hidden_weight", hidden}});
        EXPECT_EQ(trained.config.layerCount(), 1);
        EXPECT_GT(metric("training_tokens"), 35000);
        Network before(student, pool), after(trained, pool), wise(teacher, pool);
        DataLoader texts = loader();
        TrainLoss kl{0, 1, 1};
        const auto divergence = [&](Network& network) {
            return validate(*makeCpuTrainEngine(network, &wise, {}, pool), texts.validation(), kl,
                            control)
                .kl;
        };
        const double lost = divergence(before), left = divergence(after);
        EXPECT_LT(left, 0.5 * lost) << hidden;
    }
}

TEST_F(Distilling, WhatTheStudentWritesDependsOnThePositionAlone) {
    const Model model = tiny("llama");
    const Network student(model, pool);
    DataLoader texts = loader(), again = loader();
    const OnPolicySource::Options options{0.5, 0.25, 3};
    OnPolicySource first(texts, student, model, backend, options, control),
        second(again, student, model, backend, options, control);
    std::vector<std::vector<std::int32_t>> seen;
    std::vector<DataPosition> at;
    for (int i = 0; i < 8; ++i) {
        at.push_back(first.position());
        const TrainBatch b = first.next();
        EXPECT_GT(b.scored(), 0);
        seen.push_back(b.ids);
    }
    EXPECT_GT(first.writtenTokens(), 0);
    second.seek(at[5]);
    EXPECT_EQ(second.next().ids, seen[5]);
    DataLoader plain = loader();
    int same = 0;
    for (const auto& ids : seen)
        same += plain.next().ids == ids ? 1 : 0;
    EXPECT_GT(same, 0);
    EXPECT_LT(same, 8);
    EXPECT_NE(first.fingerprint(), texts.fingerprint());
}

TEST_F(Distilling, AFreshModelIsAPlainModelOfItsConfiguration) {
    const Model like = tiny("llama");
    for (const std::string family : {"llama", "qwen3", "gpt2", "gemma3"}) {
        nlohmann::json config = test::tinyConfig(family);
        const ModelConfig parsed = modelConfigFromHuggingFace(config, "config.json");
        const Model fresh = freshModel(parsed, like, 5, control);
        Network network(fresh, pool);
        const LossSums sums = network.evaluate(batch(), {}, nullptr, nullptr);
        EXPECT_NEAR(sums.crossEntropy / static_cast<double>(sums.tokens),
                    std::log(test::kVocabulary), 0.2)
            << family;
        EXPECT_EQ(fresh.weight("embed.weight").toFloat(),
                  freshModel(parsed, like, 5, control).weight("embed.weight").toFloat());
        EXPECT_NE(fresh.weight("embed.weight").toFloat(),
                  freshModel(parsed, like, 6, control).weight("embed.weight").toFloat());
    }
    nlohmann::json config = test::tinyConfig("llama");
    config["num_hidden_layers"] = 1;
    test::writeFile(folder / "student.json", config.dump());
    const Model trained = apply(
        like, like,
        {{"student", (folder / "student.json").string()}, {"tokens", 2000}, {"batch_tokens", 256}});
    EXPECT_EQ(trained.config.layerCount(), 1);
    config["vocab_size"] = 32;
    test::writeFile(folder / "other.json", config.dump());
    EXPECT_THROW(apply(like, like, {{"student", (folder / "other.json").string()}}), EngineError);
}

TEST_F(Distilling, RefusesWhatCannotLearn) {
    const Model model = tiny("llama");
    EXPECT_THROW(apply(model, model, {{"teacher", (folder / "nowhere").string()}}), EngineError);
    EXPECT_THROW(apply(model, model, {{"student", (folder / "nowhere.json").string()}}),
                 EngineError);
    const Technique* ptq = findTechnique("ptq");
    const ValidatedParams valid = validateParams(ptq->descriptor(), {{"scheme", "int8"}});
    RunInputs inputs;
    MeasureOptions measure;
    TechniqueContext context{model,        backend, pool,    inputs,       measure,
                             valid.params, 1,       control, layerMetrics, metrics};
    const Model quantized = ptq->apply(model, context);
    try {
        apply(model, quantized, {{"tokens", 1000}});
        FAIL() << "learned through int8";
    } catch (const EngineError& error) {
        EXPECT_NE(std::string(error.what()).find("qad"), std::string::npos);
    }
}

}  // namespace
}  // namespace fettle
