#include "engine/train/trainer.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "engine/train/train_checkpoint.h"

namespace fettle {

namespace {

// A validated token costs a third of a trained one; so validating takes a tenth of the time at most
// where it may, and never comes less than four times.
constexpr std::int64_t kMostValidations = 20, kLeastValidations = 4;
constexpr double kValidatedShare = 0.3;
constexpr std::int64_t kMostPoints = 2000;  // of a curve
// Running means remember about ten steps.
constexpr double kMemory = 0.9;
// Steps in a row without a finite gradient, after which no good can come.
constexpr std::int64_t kMostSkipped = 10;
// A running loss this far above its lowest, for so many steps in a row, has left for good.
constexpr double kDivergedNats = 3;
constexpr std::int64_t kDivergedSteps = 50;

const char* toString(ScheduleKind kind) {
    switch (kind) {
        case ScheduleKind::Constant:
            return "constant";
        case ScheduleKind::Linear:
            return "linear";
        case ScheduleKind::Cosine:
            return "cosine";
        case ScheduleKind::WarmupStableDecay:
            return "wsd";
    }
    return "";
}

double objective(const LossSums& sums, const TrainLoss& loss) {
    const double tokens = static_cast<double>(std::max<std::int64_t>(1, sums.tokens));
    return (static_cast<double>(loss.crossEntropy) * sums.crossEntropy +
            static_cast<double>(loss.distillation) * sums.distillation +
            static_cast<double>(loss.hidden) * sums.hidden +
            static_cast<double>(loss.attention) * sums.attention) /
           tokens;
}

std::string hashOf(const std::vector<float>& values) {
    char digits[17];
    std::snprintf(
        digits, sizeof digits, "%016llx",
        static_cast<unsigned long long>(XXH3_64bits(values.data(), values.size() * sizeof(float))));
    return digits;
}

/// Everything that decides the weights, but the data.
nlohmann::json describe(const TrainerOptions& o) {
    return {{"tokens", o.tokens},
            {"batch_tokens", o.batchTokens},
            {"learning_rate", o.rate.peak},
            {"schedule", toString(o.rate.schedule)},
            {"warmup", o.rate.warmup},
            {"decay", o.rate.decay},
            {"last_ratio", o.rate.lastRatio},
            {"beta1", o.optimizer.beta1},
            {"beta2", o.optimizer.beta2},
            {"epsilon", o.optimizer.epsilon},
            {"weight_decay", o.optimizer.decay},
            {"clip", o.optimizer.clip},
            {"cross_entropy", o.loss.crossEntropy},
            {"distillation", o.loss.distillation},
            {"temperature", o.loss.temperature},
            {"hidden", o.loss.hidden},
            {"attention", o.loss.attention},
            {"bf16", o.bf16},
            {"evaluate_every", o.evaluateEvery},
            {"target_loss", o.targetLoss},
            {"keep_best", o.keepBest},
            {"identity", o.identity}};
}

std::int64_t validations(const TrainerOptions& options, const BatchSource& data) {
    double held = 1;
    for (const TrainBatch& batch : data.validation())
        held += static_cast<double>(batch.ids.size());
    return std::clamp(
        static_cast<std::int64_t>(kValidatedShare * static_cast<double>(options.tokens) / held),
        kLeastValidations, kMostValidations);
}

std::int64_t stepsOf(const TrainerOptions& options) {
    return std::max<std::int64_t>(1,
                                  options.tokens / std::max<std::int64_t>(1, options.batchTokens));
}

std::int64_t microBatchesOf(const TrainerOptions& options, const BatchSource& data) {
    return std::max<std::int64_t>(
        1, static_cast<std::int64_t>(
               std::llround(static_cast<double>(options.batchTokens) /
                            static_cast<double>(std::max<std::int64_t>(1, data.batchTokens())))));
}

nlohmann::json toJson(const Validation& v) {
    return {{"loss", v.loss}, {"perplexity", v.perplexity}, {"kl", v.kl}};
}
Validation validationFromJson(const nlohmann::json& json) {
    return {json.at("loss"), json.at("perplexity"), json.at("kl")};
}

class Trainer {
public:
    Trainer(TrainEngine& engine, BatchSource& data, const TrainerOptions& options,
            TrainHooks* hooks, RunControl& control)
        : m_engine(engine),
          m_student(engine.network()),
          m_data(data),
          m_options(options),
          m_hooks(hooks),
          m_control(control),
          m_steps(stepsOf(options)),
          m_microBatches(microBatchesOf(options, data)),
          m_evaluateEvery(options.evaluateEvery > 0
                              ? options.evaluateEvery
                              : std::max<std::int64_t>(1, m_steps / validations(options, data))),
          m_pointEvery(std::max<std::int64_t>(1, m_steps / kMostPoints)),
          m_start(steadySeconds()),
          m_lastCheckpoint(m_start) {
        if (const std::string advice = engine.advice(); !advice.empty())
            control.warn(advice);
        m_identity = {
            {"options", describe(options)},
            {"data", data.fingerprint()},
            {"weights", hashOf(m_student.values())},
            {"teacher", engine.teacher() ? hashOf(engine.teacher()->values()) : std::string()}};
        // Sums are made in another order there: the bits are others.
        if (!engine.onCpu())
            m_identity["device"] = "cuda";
    }

    TrainOutcome run() {
        restore();
        if (m_hooks)
            m_hooks->begin(m_engine, m_outcome.steps);
        if (!m_done) {
            FinishableScope scope(m_control);
            if (m_outcome.steps == 0)
                evaluate();
            while (m_outcome.steps < m_steps && !m_done)
                advance();
            finish();
        }
        if (m_best.empty())
            m_engine.fetch();
        else
            m_student.values() = m_best;
        m_outcome.seconds = steadySeconds() - m_start;
        m_outcome.tokensPerSecond = m_trainSeconds > 0 ? m_trainTokens / m_trainSeconds : 0;
        return m_outcome;
    }

private:
    /// While it lives, the job can be asked to end early.
    class FinishableScope {
    public:
        explicit FinishableScope(RunControl& control) : m_control(control) {
            control.setFinishable(true);
        }
        ~FinishableScope() { m_control.setFinishable(false); }
        FinishableScope(const FinishableScope&) = delete;
        FinishableScope& operator=(const FinishableScope&) = delete;

    private:
        RunControl& m_control;
    };

    void advance() {
        if (m_control.finishRequested()) {
            m_control.info("stopped early after step " + std::to_string(m_outcome.steps) + " of " +
                           std::to_string(m_steps) + "; what there is is kept");
            m_outcome.end = TrainEnd::StoppedEarly;
            m_done = true;
            return;
        }
        step();
        if (m_outcome.steps % m_evaluateEvery == 0 || m_outcome.steps == m_steps)
            evaluate();
        if (!m_done && m_outcome.steps < m_steps && checkpointDue())
            save();
    }

    void step() {
        const double begin = steadySeconds();
        std::vector<TrainBatch> batches;
        std::int64_t scored = 0, tokens = 0;
        for (std::int64_t i = 0; i < m_microBatches; ++i) {
            batches.push_back(m_data.next());
            scored += batches.back().scored();
            tokens += static_cast<std::int64_t>(batches.back().ids.size());
        }
        const float scale = 1.0F / static_cast<float>(std::max<std::int64_t>(1, scored));
        LossSums sums;
        for (const TrainBatch& batch : batches) {
            const LossSums part = m_engine.accumulate(batch, m_options.loss, scale, &m_control);
            sums.crossEntropy += part.crossEntropy;
            sums.distillation += part.distillation;
            sums.hidden += part.hidden;
            sums.attention += part.attention;
            sums.tokens += part.tokens;
        }
        const float rate = learningRateAt(m_options.rate, m_outcome.steps, m_steps);
        const Optimizer::Report report = m_engine.step(rate);
        const std::int64_t number = ++m_outcome.steps;
        if (m_hooks)
            m_hooks->afterStep(m_engine, number);
        m_outcome.tokens += tokens;
        const double seconds = steadySeconds() - begin;
        m_trainSeconds += seconds;
        m_trainTokens += static_cast<double>(tokens);
        watch(objective(sums, m_options.loss), report.skipped);
        const double speed = static_cast<double>(tokens) / std::max(1e-9, seconds);
        if (number % m_pointEvery == 0 || number == 1)
            emit(number, objective(sums, m_options.loss), rate, report, speed);
        char detail[96];
        std::snprintf(detail, sizeof detail, "step %lld of %lld, loss %.4f",
                      static_cast<long long>(number), static_cast<long long>(m_steps),
                      m_outcome.trainLoss);
        m_control.progress(static_cast<double>(number) / static_cast<double>(m_steps), detail,
                           m_trainTokens / std::max(1e-9, m_trainSeconds));
    }

    void emit(std::int64_t number, double loss, float rate, const Optimizer::Report& report,
              double speed) {
        const double at = static_cast<double>(number);
        point("train_loss", at, loss);
        point("learning_rate", at, static_cast<double>(rate));
        point("gradient_norm", at, report.gradientNorm);
        point("tokens_per_second", at, speed);
    }

    void point(const std::string& name, double step, double value) {
        if (!std::isfinite(value))
            return;
        m_series.push_back({name, step, value});
        m_control.sink().series(m_series.back());
    }

    /// Keeps the running loss and notices when training has left for good.
    void watch(double loss, bool skipped) {
        const std::string at = "step " + std::to_string(m_outcome.steps);
        if (skipped || !std::isfinite(loss)) {
            ++m_outcome.skippedSteps;
            if (++m_skippedInARow == 1)
                m_control.warn(at + ": the gradient is not finite; the step is skipped");
            if (m_skippedInARow >= kMostSkipped)
                throw EngineError(ErrorKind::BadInput, "training diverged: no finite gradient in " +
                                                           std::to_string(kMostSkipped) +
                                                           " steps up to " + at +
                                                           "; a lower learning rate may help");
            return;
        }
        m_skippedInARow = 0;
        m_outcome.trainLoss =
            m_finiteSteps == 0 ? loss : kMemory * m_outcome.trainLoss + (1 - kMemory) * loss;
        ++m_finiteSteps;
        m_lowest = m_finiteSteps == 1 ? loss : std::min(m_lowest, m_outcome.trainLoss);
        const bool high = m_outcome.trainLoss > std::max(2 * m_lowest, m_lowest + kDivergedNats);
        m_highSteps = high ? m_highSteps + 1 : 0;
        if (m_highSteps >= kDivergedSteps) {
            char text[160];
            std::snprintf(text, sizeof text,
                          "training diverged: the loss rose from %.3f to %.3f and stayed there for "
                          "%lld steps up to ",
                          m_lowest, m_outcome.trainLoss, static_cast<long long>(kDivergedSteps));
            throw EngineError(ErrorKind::BadInput, text + at + "; a lower learning rate may help");
        }
    }

    void evaluate() {
        if (m_data.validation().empty())
            return;
        m_evaluated = m_outcome.steps;
        const Validation now = validate(m_engine, m_data.validation(), m_options.loss, m_control);
        const double at = static_cast<double>(m_outcome.steps);
        point("validation_loss", at, now.loss);
        point("validation_perplexity", at, now.perplexity);
        if (m_engine.teacher() || m_options.loss.distillation != 0)
            point("validation_kl", at, now.kl);
        m_outcome.last = now;
        if (m_outcome.steps == 0)
            m_outcome.first = now;
        const bool better =
            std::isfinite(now.loss) && (!m_haveBest || now.loss < m_outcome.best.loss);
        if (better) {
            m_haveBest = true;
            m_outcome.best = now;
            m_outcome.bestStep = m_outcome.steps;
            if (m_options.keepBest) {
                m_engine.fetch();
                m_best = m_student.values();
            }
        }
        if (m_options.targetLoss > 0 && now.loss <= m_options.targetLoss) {
            m_control.info("the validation loss has reached its target after step " +
                           std::to_string(m_outcome.steps));
            m_outcome.end = TrainEnd::Target;
            m_done = true;
        }
    }

    void finish() {
        m_done = true;
        if (m_evaluated != m_outcome.steps)
            evaluate();
        save();
    }

    bool checkpointDue() const {
        if (m_options.checkpointFolder.empty())
            return false;
        const bool steps =
            m_options.checkpointEvery > 0 && m_outcome.steps % m_options.checkpointEvery == 0;
        const bool minutes = m_options.checkpointMinutes > 0 &&
                             steadySeconds() - m_lastCheckpoint >= 60 * m_options.checkpointMinutes;
        return steps || minutes;
    }

    void save() {
        if (m_options.checkpointFolder.empty())
            return;
        nlohmann::json series = nlohmann::json::object();
        for (const SeriesPoint& p : m_series)
            series[p.name].push_back({p.step, p.value});
        const DataPosition position = m_data.position();
        m_engine.fetch();
        const TrainEngine::Moments moments = m_engine.moments();
        const nlohmann::json state = {
            {"identity", m_identity},
            {"done", m_done},
            {"end", static_cast<int>(m_outcome.end)},
            {"step", m_outcome.steps},
            {"optimizer_steps", moments.steps},
            {"position", {position.epoch, position.group, position.window}},
            {"tokens", m_outcome.tokens},
            {"train_loss", m_outcome.trainLoss},
            {"skipped", m_outcome.skippedSteps},
            {"watch", {m_skippedInARow, m_finiteSteps, m_highSteps}},
            {"lowest", m_lowest},
            {"evaluated", m_evaluated},
            {"have_best", m_haveBest},
            {"best_step", m_outcome.bestStep},
            {"first", toJson(m_outcome.first)},
            {"last", toJson(m_outcome.last)},
            {"best", toJson(m_outcome.best)},
            {"series", series}};
        std::map<std::string, std::span<const float>> vectors = {
            {"values", std::as_const(m_student).values()},
            {"first_moments", moments.first},
            {"second_moments", moments.second}};
        if (!m_best.empty())
            vectors["best"] = m_best;
        writeTrainCheckpoint(m_options.checkpointFolder, state, vectors, m_control);
        m_lastCheckpoint = steadySeconds();
    }

    void restore() {
        if (m_options.checkpointFolder.empty())
            return;
        std::optional<TrainCheckpoint> found = readTrainCheckpoint(m_options.checkpointFolder);
        if (!found)
            return;
        const std::string file = checkpointFile(m_options.checkpointFolder).string();
        if (found->state.value("identity", nlohmann::json()) != m_identity) {
            m_control.warn(file +
                           " is of a run with another model, text or setting: training "
                           "starts anew");
            return;
        }
        try {
            restoreState(found->state);
        } catch (const nlohmann::json::exception& error) {
            throwBadInput(file, std::string("is no whole checkpoint: ") + error.what());
        }
        const auto take = [&](const char* name) {
            std::vector<float>& values = found->vectors[name];
            if (values.size() != m_student.values().size())
                throwBadInput(file, std::string("is no whole checkpoint: ") + name);
            return std::move(values);
        };
        m_student.values() = take("values");
        m_engine.load();
        std::vector<float> first = take("first_moments"), second = take("second_moments");
        m_engine.restore(std::move(first), std::move(second), found->state.at("optimizer_steps"));
        if (m_options.keepBest && m_haveBest)
            m_best = take("best");
        m_control.info("going on from step " + std::to_string(m_outcome.steps) + " of " +
                       std::to_string(m_steps));
        for (const SeriesPoint& p : m_series)
            m_control.sink().series(p);
    }

    void restoreState(const nlohmann::json& state) {
        m_done = state.at("done");
        m_outcome.end = static_cast<TrainEnd>(std::clamp(state.at("end").get<int>(), 0, 2));
        m_outcome.steps = state.at("step");
        m_outcome.tokens = state.at("tokens");
        m_outcome.trainLoss = state.at("train_loss");
        m_outcome.skippedSteps = state.at("skipped");
        const nlohmann::json& watched = state.at("watch");
        m_skippedInARow = watched.at(0);
        m_finiteSteps = watched.at(1);
        m_highSteps = watched.at(2);
        m_lowest = state.at("lowest");
        m_evaluated = state.at("evaluated");
        m_haveBest = state.at("have_best");
        m_outcome.bestStep = state.at("best_step");
        m_outcome.first = validationFromJson(state.at("first"));
        m_outcome.last = validationFromJson(state.at("last"));
        m_outcome.best = validationFromJson(state.at("best"));
        for (const auto& [name, points] : state.at("series").items())
            for (const nlohmann::json& p : points)
                m_series.push_back({name, p.at(0), p.at(1)});
        const nlohmann::json& position = state.at("position");
        m_data.seek({position.at(0), position.at(1), position.at(2)});
    }

    TrainEngine& m_engine;
    Network& m_student;
    BatchSource& m_data;
    const TrainerOptions& m_options;
    TrainHooks* m_hooks;
    RunControl& m_control;
    const std::int64_t m_steps, m_microBatches, m_evaluateEvery, m_pointEvery;
    const double m_start;
    double m_lastCheckpoint;
    nlohmann::json m_identity;

    TrainOutcome m_outcome;
    bool m_done = false, m_haveBest = false;
    std::int64_t m_evaluated = -1;  ///< the step that was validated last
    std::vector<float> m_best;
    std::vector<SeriesPoint> m_series;
    std::int64_t m_skippedInARow = 0, m_finiteSteps = 0, m_highSteps = 0;
    double m_lowest = 0;
    double m_trainSeconds = 0, m_trainTokens = 0;
};

}  // namespace

Validation validate(TrainEngine& engine, const std::vector<TrainBatch>& batches,
                    const TrainLoss& loss, RunControl& control) {
    // All terms at temperature 1, whatever is trained on: numbers of different runs compare. Hidden
    // states and attention help training only.
    TrainLoss terms;
    LossSums sums;
    for (const TrainBatch& batch : batches) {
        control.check();
        terms.distillation = engine.teacher() || !batch.teacher.empty() ? 1.0F : 0.0F;
        const LossSums part = engine.evaluate(batch, terms, &control);
        sums.crossEntropy += part.crossEntropy;
        sums.distillation += part.distillation;
        sums.tokens += part.tokens;
    }
    const double tokens = static_cast<double>(std::max<std::int64_t>(1, sums.tokens));
    return {objective(sums, loss), std::exp(sums.crossEntropy / tokens),
            sums.distillation / tokens};
}

std::int64_t batchesToRead(const TrainerOptions& options, const BatchSource& data) {
    return stepsOf(options) * microBatchesOf(options, data);
}

TrainEngineOptions engineOptions(const TrainerOptions& options) {
    return {options.optimizer, options.checkpointing, options.bf16};
}

TrainOutcome train(TrainEngine& engine, BatchSource& data, const TrainerOptions& options,
                   TrainHooks* hooks, RunControl& control) {
    return Trainer(engine, data, options, hooks, control).run();
}

TrainOutcome train(Network& student, BatchSource& data, const TrainerOptions& options,
                   Network* teacher, TrainHooks* hooks, kernels::WorkerPool& pool,
                   RunControl& control) {
    return train(*makeCpuTrainEngine(student, teacher, engineOptions(options), pool), data, options,
                 hooks, control);
}

}  // namespace fettle
