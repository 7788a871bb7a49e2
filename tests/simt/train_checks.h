// Training on a CUDA device, on the emulator or a real one, against training on the CPU.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "engine/data/data_loader.h"
#include "engine/train/trainer.h"
#include "kernels/ops/loss.h"
#include "tests/simt/model_checks.h"

namespace fettle::test {

struct TrainCase {
    std::string name, family, scheme;
    ScaleLearning scales = ScaleLearning::Scale;
    TrainLoss loss = {};
    std::int64_t known = 0;  ///< likeliest tokens that the batch knows of its teacher; 0: it runs
    bool checkpointing = false, bf16 = false, masked = false;
    // Relative: of losses and gradient norms, and of all that values have moved, as root mean
    // squares.
    double losses = 1e-5, values = 1e-4;
};

inline std::vector<TrainCase> trainCases() {
    TrainLoss distillation;
    distillation.crossEntropy = 0;
    distillation.distillation = 1;
    distillation.temperature = 2;
    TrainLoss both = distillation;
    both.crossEntropy = 0.5F;
    std::vector<TrainCase> all;
    const auto add = [&](const char* name, const char* family, const char* scheme) -> TrainCase& {
        all.push_back({name, family, scheme});
        return all.back();
    };
    for (const char* family : {"llama", "qwen3", "gpt2", "gemma3"})
        add(family, family, "");
    add("llama_distilled", "llama", "").loss = distillation;
    add("gemma3_distilled_and_text", "gemma3", "").loss = both;
    TrainCase& known = add("llama_known_teacher", "llama", "");
    known.loss = both;
    known.known = 8;
    add("gemma3_checkpointing", "gemma3", "").checkpointing = true;
    add("llama_masked", "llama", "").masked = true;
    TrainCase& bf16 = add("gpt2_bf16", "gpt2", "");
    bf16.bf16 = true;
    bf16.losses = 2e-3;
    bf16.values = 0.05;
    add("llama_int4", "llama", "int4-g32");
    add("llama_int4_fixed_scales", "llama", "int4-g32").scales = ScaleLearning::None;
    add("gpt2_int4_lsq", "gpt2", "int4-g32-asym").scales = ScaleLearning::Step;
    add("llama_int8", "llama", "int8");
    TrainCase& int8 = add("gemma3_int8_distilled", "gemma3", "int8");
    int8.loss = distillation;
    int8.checkpointing = true;
    add("qwen3_fp8_lsq", "qwen3", "fp8").scales = ScaleLearning::Step;
    add("llama_nvfp4", "llama", "nvfp4");
    add("llama_mxfp4_weights", "llama", "mxfp4-w4a16");
    add("llama_nf4_lsq", "llama", "nf4-g32").scales = ScaleLearning::Step;
    return all;
}
/// Those with quantized weights.
inline std::vector<TrainCase> quantizedTrainCases() {
    std::vector<TrainCase> all = trainCases();
    std::erase_if(all, [](const TrainCase& c) { return c.scheme.empty(); });
    return all;
}
inline std::string trainCaseName(const ::testing::TestParamInfo<TrainCase>& test) {
    return test.param.name;
}

/// Two sequences, the second one short.
inline TrainBatch trainBatch(unsigned seed) {
    std::mt19937 rng(seed);
    TrainBatch batch;
    for (const int count : {9, 4}) {
        std::vector<std::int32_t> ids;
        for (int i = 0; i < count; ++i)
            ids.push_back(static_cast<std::int32_t>(rng() % kVocabulary));
        batch.add(ids);
    }
    return batch;
}

/// What `teacher` predicts, as far as its `top` likeliest tokens tell.
inline TeacherRows knownRows(Network& teacher, const TrainBatch& batch, std::int64_t top,
                             float temperature) {
    TeacherRows rows;
    rows.top = top;
    rows.vocabulary = teacher.config().vocabularySize;
    rows.temperature = temperature;
    const auto v = static_cast<std::size_t>(rows.vocabulary), kept = static_cast<std::size_t>(top);
    const auto take = [&](std::int64_t, std::int64_t count, const float* logits) {
        for (std::int64_t r = 0; r < count; ++r) {
            std::vector<float> row(logits + r * rows.vocabulary,
                                   logits + (r + 1) * rows.vocabulary);
            std::vector<std::int32_t> order(v);
            std::iota(order.begin(), order.end(), 0);
            std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
                return row[static_cast<std::size_t>(a)] > row[static_cast<std::size_t>(b)];
            });
            for (std::size_t i = 0; i < kept; ++i) {
                float& logit = row[static_cast<std::size_t>(order[i])];
                rows.ids.push_back(order[i]);
                rows.logits.push_back(logit);
                logit = -std::numeric_limits<float>::infinity();
            }
            rows.rest.push_back(temperature * static_cast<float>(kernels::logSumExpRow(
                                                  row.data(), rows.vocabulary, temperature)));
            rows.restAtOne.push_back(
                static_cast<float>(kernels::logSumExpRow(row.data(), rows.vocabulary, 1)));
        }
    };
    teacher.eachLogits(batch, nullptr, take);
    return rows;
}

/// A student and what it learns from.
class TrainSetup {
public:
    /// Embeddings are `nudge` of themselves larger.
    TrainSetup(const TrainCase& c, kernels::WorkerPool& pool, float nudge = 0)
        : m_case(c), m_model(nudged(tinyModel(c.family), nudge)), m_network(m_model, pool) {
        if (!c.scheme.empty()) {
            Model quantized = m_model;
            test::quantize(quantized, c.scheme);
            FakeQuantOptions options;
            options.scales = c.scales;
            m_network.quantize(quantized, m_model.weights, options);
        }
        if (c.loss.needsTeacher()) {
            m_teacher = std::make_unique<Network>(m_model, pool);
            for (std::size_t i = 0; i < m_teacher->values().size(); ++i)
                m_teacher->values()[i] *= 1.5F + std::sin(static_cast<float>(i));
        }
    }

    static constexpr int kSteps = 3;
    static constexpr float kRate = 1e-3F;

    TrainEngineOptions options() const {
        TrainEngineOptions options;
        // With the usual one the first updates are signs of gradients: nothing could be said of
        // values whose gradient is as small as its error.
        options.optimizer.epsilon = 1e-4F;
        options.checkpointing = m_case.checkpointing;
        options.bf16 = m_case.bf16;
        return options;
    }
    Network& network() { return m_network; }
    Network* teacher() { return m_teacher.get(); }
    /// Null where the batches know what it says.
    Network* runningTeacher() { return m_case.known > 0 ? nullptr : m_teacher.get(); }

    struct Trace {
        std::vector<double> losses, norms;
        double validation = 0;
        std::vector<float> before, after;
    };
    /// Steps of two micro-batches each.
    Trace train(TrainEngine& engine) {
        Trace trace;
        trace.before = std::as_const(m_network).values();
        if (m_case.masked)
            mask(engine);
        for (unsigned step = 0; step < kSteps; ++step) {
            std::vector<TrainBatch> batches = {batch(2 * step), batch(2 * step + 1)};
            const float scale =
                1.0F / static_cast<float>(batches[0].scored() + batches[1].scored());
            double loss = 0;
            for (const TrainBatch& b : batches) {
                const LossSums sums = engine.accumulate(b, m_case.loss, scale, nullptr);
                loss += m_case.loss.crossEntropy * sums.crossEntropy +
                        m_case.loss.distillation * sums.distillation;
            }
            trace.losses.push_back(loss);
            trace.norms.push_back(engine.step(kRate).gradientNorm);
        }
        const LossSums sums = engine.evaluate(batch(100), m_case.loss, nullptr);
        trace.validation = sums.crossEntropy + sums.distillation;
        engine.fetch();
        trace.after = std::as_const(m_network).values();
        return trace;
    }

private:
    static Model nudged(Model model, float nudge) {
        model.config.embeddingScale *= 1 + nudge;
        return model;
    }
    /// Every second value of a weight stays 0.
    void mask(TrainEngine& engine) {
        const TrainParameter& p = m_network.parameter("layers.1.ffn.down.weight");
        ZeroMask mask{p.offset, std::vector<bool>(static_cast<std::size_t>(p.count()))};
        for (std::size_t i = 0; i < mask.zero.size(); i += 2)
            mask.zero[i] = true;
        engine.keepZeros({mask});
    }
    TrainBatch batch(unsigned seed) {
        TrainBatch made = trainBatch(seed);
        if (m_case.known > 0)
            made.teacher = knownRows(*m_teacher, made, m_case.known, m_case.loss.temperature);
        return made;
    }

    const TrainCase& m_case;
    Model m_model;
    Network m_network;
    std::unique_ptr<Network> m_teacher;
};

inline std::unique_ptr<TrainEngine> deviceEngine(Backend& backend, TrainSetup& setup) {
    const std::unique_ptr<TrainDevice> device = trainDeviceOf()(backend);
    EXPECT_EQ(device->whyNot(setup.network().config(), {}), "");
    return device->makeTrainEngine(setup.network(), setup.runningTeacher(), setup.options());
}

inline double rootMeanSquare(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
    return std::sqrt(sum / static_cast<double>(a.size()));
}

/// How far `trace` is from `want`: losses, norms and the validation relatively, the most of them;
/// and what values have moved.
struct TrainDistance {
    double losses = 0, norms = 0, values = 0;
    TrainDistance(const TrainSetup::Trace& trace, const TrainSetup::Trace& want) {
        const auto apart = [](double a, double b) { return std::fabs(a / b - 1); };
        for (std::size_t i = 0; i < want.losses.size(); ++i) {
            losses = std::max(losses, apart(trace.losses[i], want.losses[i]));
            norms = std::max(norms, apart(trace.norms[i], want.norms[i]));
        }
        losses = std::max(losses, apart(trace.validation, want.validation));
        values = rootMeanSquare(trace.after, want.after) / rootMeanSquare(want.after, want.before);
    }
};

/// `otherMath`: the device has exp and tanh of its own.
inline void expectTheCpusTraining(const TrainCase& c, Backend& backend, bool otherMath) {
    kernels::WorkerPool pool(2);
    const auto onCpu = [&](float nudge) {
        TrainSetup setup(c, pool, nudge);
        TrainEngineOptions exact = setup.options();
        exact.bf16 = false;  // not every processor has such products
        return setup.train(
            *makeCpuTrainEngine(setup.network(), setup.runningTeacher(), exact, pool));
    };
    const TrainSetup::Trace want = onCpu(0);
    TrainSetup setup(c, pool);
    const std::unique_ptr<TrainEngine> engine = deviceEngine(backend, setup);
    const TrainSetup::Trace got = setup.train(*engine);
    ASSERT_EQ(got.after.size(), want.after.size());
    EXPECT_GT(rootMeanSquare(want.after, want.before),
              0.01 * static_cast<double>(TrainSetup::kRate));
    for (std::size_t i = 0; i < want.after.size(); ++i)
        ASSERT_TRUE(want.after[i] != 0 || got.after[i] == 0) << "a masked value moved";

    TrainDistance most(want, want);
    most.losses = (otherMath ? 10 : 1) * c.losses;
    most.norms = 10 * most.losses;
    most.values = (otherMath ? 10 : 1) * c.values;
    // Inputs of quantized products are rounded: one that lies between two codes takes the other one
    // where sums were added in another order, and many more behind it. How much comes of that, the
    // CPU says of itself, nudged a little.
    double shaken = 0;
    if (setup.network().quantized())
        for (const float nudge : {-6e-7F, -4e-7F, -2e-7F, 2e-7F, 4e-7F, 6e-7F}) {
            const TrainDistance own(onCpu(nudge), want);
            shaken = std::max(shaken, own.values);
            most.losses = std::max(most.losses, 10 * own.losses);
            most.norms = std::max(most.norms, 10 * own.norms);
            most.values = std::max(most.values, 10 * own.values);
        }
    const TrainDistance apart(got, want);
    EXPECT_LT(apart.losses, most.losses);
    EXPECT_LT(apart.norms, most.norms);
    EXPECT_LT(apart.values, most.values);
    ::testing::Test::RecordProperty("apart", std::to_string(apart.values));
    ::testing::Test::RecordProperty("losses_apart", std::to_string(apart.losses));
    ::testing::Test::RecordProperty("nudged", std::to_string(shaken));
}

/// Keeps what a run says.
class Said : public NullProgress {
public:
    void log(JobLog::Level level, const std::string& text) override {
        lines.push_back((level == JobLog::Level::Warning ? "warning: " : "") + text);
    }
    bool has(const std::string& part) const {
        return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
            return line.find(part) != std::string::npos;
        });
    }
    std::string all() const {
        std::string text;
        for (const std::string& line : lines)
            text += line + "\n";
        return text;
    }
    std::vector<std::string> lines;
};

inline std::string trainingText() {
    std::string text;
    for (int i = 0; i < 120; ++i)
        text += std::string("ABCDEFGHIJ").substr(0, static_cast<std::size_t>(4 + i % 5)) +
                std::to_string(i % 10) + "QRSTUVWX=" + std::to_string(i % 10) + "\n\n";
    return text;
}

/// A whole run of the training loop on a device, with checkpoints in `folder`.
struct DeviceRun {
    TrainOutcome outcome;
    std::vector<float> values;
    Said said;
};
inline DeviceRun trainOnDevice(Backend& backend, const TempFolder& folder,
                               const TrainerOptions& options, TrainHooks* hooks) {
    DeviceRun run;
    RunControl control({}, nullptr, run.said);
    control.beginPhase("Training", 1);
    TrainCase c{"", "llama", "int4-g32"};
    TrainSetup setup(c, backend.pool());
    writeFile(folder / "text.txt", trainingText());
    DataOptions data;
    data.path = (folder / "text.txt").string();
    data.context = 16;
    data.batchTokens = 16;
    data.validationTokens = 32;
    data.validationShare = 0.1;
    DataLoader loader(tinyModel("llama").tokenizer, data, control);
    const TrainPlace place("test", backend, {&setup.network().config()}, options.loss, "", control);
    const std::unique_ptr<TrainEngine> engine =
        place.engine(setup.network(), nullptr, engineOptions(options));
    run.outcome = train(*engine, loader, options, hooks, control);
    run.values = std::as_const(setup.network()).values();
    return run;
}

/// Ends a run in the middle.
class EndAfter : public TrainHooks {
public:
    explicit EndAfter(std::int64_t step) : m_step(step) {}
    void begin(TrainEngine&, std::int64_t step) override { began = step; }
    void afterStep(TrainEngine&, std::int64_t step) override {
        if (step == m_step)
            throw EngineError(ErrorKind::Internal, "ended by the test");
    }
    std::int64_t began = -1;

private:
    std::int64_t m_step;
};

inline void expectResumedRunsEndWithTheSameBits(Backend& backend) {
    TempFolder whole, broken;
    TrainerOptions options;
    options.tokens = 6 * 16;
    options.batchTokens = 16;
    options.rate.peak = 3e-3F;
    options.evaluateEvery = 3;
    options.keepBest = false;
    const DeviceRun unbroken = trainOnDevice(backend, whole, options, nullptr);
    EXPECT_TRUE(unbroken.said.has("test trains on cuda:0")) << unbroken.said.all();
    EXPECT_EQ(unbroken.outcome.steps, 6);
    EXPECT_GT(unbroken.outcome.last.perplexity, 0);

    options.checkpointFolder = (broken / "checkpoints").string();
    options.checkpointEvery = 2;
    EndAfter end(5), none(-1);
    EXPECT_THROW(trainOnDevice(backend, broken, options, &end), EngineError);
    EXPECT_EQ(end.began, 0);
    const DeviceRun resumed = trainOnDevice(backend, broken, options, &none);
    EXPECT_EQ(none.began, 4);
    EXPECT_EQ(resumed.values, unbroken.values);
    EXPECT_EQ(resumed.outcome.last.loss, unbroken.outcome.last.loss);
}

}  // namespace fettle::test
