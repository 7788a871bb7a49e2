// The training loop: batches in, a better network out. Accumulates gradients over micro-batches,
// schedules the rate, clips, validates, keeps the best, writes checkpoints, goes on from one. The
// weights that come out depend on model, data, options and seed alone: not on threads, not on
// whether the run was killed and went on.
#pragma once

#include <string>
#include <vector>

#include "engine/data/batch_source.h"
#include "engine/experiment/run_values.h"
#include "engine/train/train_engine.h"

namespace fettle {

struct TrainerOptions {
    std::int64_t tokens = 1'000'000;  ///< budget; the run has tokens / batchTokens steps
    std::int64_t batchTokens = 4096;  ///< of a step: as many micro-batches as it takes
    LearningRate rate;
    OptimizerOptions optimizer;
    TrainLoss loss;
    bool checkpointing = false;        ///< of activations: less memory, a third more work
    bool bf16 = false;                 ///< products of bfloat16, of the teacher too
    std::int64_t evaluateEvery = 0;    ///< steps; 0: up to twenty times a run
    double targetLoss = 0;             ///< > 0: stop once the validation loss is at most this
    bool keepBest = true;              ///< the weights that validated best, not the last ones
    std::string checkpointFolder;      ///< empty: no checkpoints
    double checkpointMinutes = 5;      ///< 0: by steps alone
    std::int64_t checkpointEvery = 0;  ///< steps; 0: by minutes alone
    /// Names what else decides the result, e.g. the steps of a recipe before. A checkpoint of
    /// another run is not continued.
    std::string identity;
};

/// What techniques do between the steps.
class TrainHooks {
public:
    virtual ~TrainHooks() = default;
    /// Before the first step and after a checkpoint has been restored; `step` steps are done.
    virtual void begin(TrainEngine&, std::int64_t step) { static_cast<void>(step); }
    /// After each update; `step` counts from 1.
    virtual void afterStep(TrainEngine&, std::int64_t step) { static_cast<void>(step); }
};

/// What validation says. Losses are means over the scored tokens, nats.
struct Validation {
    double loss = 0;  ///< the weighted terms that are minimized
    double perplexity = 0;
    double kl = 0;  ///< to the teacher, temperature 1; 0 without one
};

enum class TrainEnd { Budget, Target, StoppedEarly };

struct TrainOutcome {
    TrainEnd end = TrainEnd::Budget;
    std::int64_t steps = 0;
    std::int64_t tokens = 0;       ///< trained on, all epochs
    double trainLoss = 0;          ///< running mean of the last steps
    Validation first, last, best;  ///< all zero where nothing is held back
    std::int64_t bestStep = 0;
    std::int64_t skippedSteps = 0;  ///< gradients were not finite
    double seconds = 0;             ///< of this process
    double tokensPerSecond = 0;     ///< of training steps alone, this process
};

/// Trains the engine's network; what it learnt is in network().values() afterwards. The engine has
/// a teacher where the loss needs one and the batches do not know what it predicts. `hooks` may be
/// null. The engine's options are those of engineOptions().
/// Reports into the current phase of `control`, and series: train_loss, learning_rate,
/// gradient_norm, tokens_per_second, validation_loss, validation_perplexity, validation_kl. Ends
/// early and keeps what there is when `control` says so. Throws EngineError(BadInput) when training
/// diverges, (Io) when a checkpoint cannot be written, (OutOfMemory), (Device), Cancelled.
TrainOutcome train(TrainEngine& engine, BatchSource& data, const TrainerOptions& options,
                   TrainHooks* hooks, RunControl& control);
/// On the CPU.
TrainOutcome train(Network& student, BatchSource& data, const TrainerOptions& options,
                   Network* teacher, TrainHooks* hooks, kernels::WorkerPool& pool,
                   RunControl& control);
TrainEngineOptions engineOptions(const TrainerOptions& options);

/// How many batches of `data` a whole run reads.
std::int64_t batchesToRead(const TrainerOptions& options, const BatchSource& data);

/// The loss, perplexity and divergence over `batches`.
Validation validate(TrainEngine& engine, const std::vector<TrainBatch>& batches,
                    const TrainLoss& loss, RunControl& control);

}  // namespace fettle
