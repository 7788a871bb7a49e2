// fettle-cli train MODEL --train FILE --tokens N --out FOLDER
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/output.h"
#include "engine/job/train_model.h"

namespace fettle::cli {

namespace {

struct TrainArguments {
    TrainRequest request;
    std::string schedule = "cosine";
    std::int64_t microTokens = 0;
    double distillation = 1;
    double crossEntropy = 0;
};

TrainRequest requestOf(const TrainArguments& options) {
    TrainRequest request = options.request;
    const std::map<std::string, ScheduleKind> kinds = {{"constant", ScheduleKind::Constant},
                                                       {"linear", ScheduleKind::Linear},
                                                       {"cosine", ScheduleKind::Cosine},
                                                       {"wsd", ScheduleKind::WarmupStableDecay}};
    request.trainer.rate.schedule = kinds.at(options.schedule);
    request.data.seed = request.seed;
    request.data.batchTokens =
        options.microTokens > 0 ? options.microTokens : request.trainer.batchTokens;
    if (!request.teacher.empty()) {
        request.trainer.loss.distillation = static_cast<float>(options.distillation);
        request.trainer.loss.crossEntropy = static_cast<float>(options.crossEntropy);
    }
    return request;
}

void print(const TrainReport& report) {
    const TrainOutcome& o = report.outcome;
    char loss[64];
    std::snprintf(loss, sizeof loss, "%.4f", o.trainLoss);
    std::vector<std::pair<std::string, std::string>> fields = {
        {"model", report.path},
        {"parameters", std::to_string(report.parameters)},
        {"steps", std::to_string(o.steps)},
        {"tokens", std::to_string(o.tokens)},
        {"training loss", loss}};
    if (o.best.perplexity > 0) {
        char text[96];
        std::snprintf(text, sizeof text, "%.3f (step %lld; before: %.3f)", o.best.perplexity,
                      static_cast<long long>(o.bestStep), o.first.perplexity);
        fields.push_back({"validation perplexity", text});
    }
    fields.push_back({"device", report.device});
    fields.push_back({"time", formatDuration(o.seconds)});
    fields.push_back(
        {"speed", std::to_string(static_cast<long long>(o.tokensPerSecond)) + " tokens/s"});
    fields.push_back({"peak memory", formatBytes(static_cast<double>(report.peakBytes))});
    printFields(fields);
}

int train(const CommandLine& line, const TrainArguments& options) {
    requireDevice(line);
    ProgressPrinter printer;
    PauseGate gate;
    RunControl control(Interrupt::token(), &gate, printer);
    const Interrupt::FinishHandler finish([&gate] { gate.finishEarly(); });
    const std::unique_ptr<Backend> backend = makeBackend(line.device, line.threads);
    TrainRequest request = requestOf(options);
    request.trainer.bf16 = line.products == kernels::Products::BFloat16;
    const TrainReport report = trainModel(request, *backend, control);
    printer.clear();
    if (line.json)
        printJson(toJson(report));
    else
        print(report);
    return kExitDone;
}

void addTrainingOptions(CLI::App& command, TrainArguments& options) {
    TrainerOptions& trainer = options.request.trainer;
    command.add_option("--tokens", trainer.tokens, "Tokens to train on (default 1000000)")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 50));
    command.add_option("--learning-rate", trainer.rate.peak, "Its highest value (default 1e-4)")
        ->check(CLI::Range(0.0, 10.0));
    command
        .add_option("--schedule", options.schedule,
                    "How the rate falls: constant, linear, cosine (default), wsd")
        ->check(CLI::IsMember({"constant", "linear", "cosine", "wsd"}));
    command
        .add_option("--warmup", trainer.rate.warmup,
                    "Share of the steps in which the rate rises (default 0.05)")
        ->check(CLI::Range(0.0, 1.0));
    command
        .add_option("--decay-share", trainer.rate.decay,
                    "wsd: share of the steps at the end in which the rate falls (default 0.2)")
        ->check(CLI::Range(0.0, 1.0));
    command
        .add_option("--last-ratio", trainer.rate.lastRatio,
                    "The rate at the end, as a share of the highest (default 0.1)")
        ->check(CLI::Range(0.0, 1.0));
    command.add_option("--weight-decay", trainer.optimizer.decay, "AdamW, matrices (default 0.1)")
        ->check(CLI::Range(0.0, 10.0));
    command.add_option("--beta2", trainer.optimizer.beta2, "AdamW (default 0.95)")
        ->check(CLI::Range(0.0, 0.99999));
    command
        .add_option("--clip", trainer.optimizer.clip,
                    "Largest norm of the gradient (default 1; 0: any)")
        ->check(CLI::Range(0.0, 1e9));
    command.add_option("--batch-tokens", trainer.batchTokens, "Tokens of a step (default 4096)")
        ->check(CLI::Range(2, 1 << 30));
    command
        .add_option("--micro-tokens", options.microTokens,
                    "Tokens computed at once; less needs less memory (default: --batch-tokens)")
        ->check(CLI::Range(2, 1 << 30));
    command.add_flag("--checkpointing", trainer.checkpointing,
                     "Compute activations twice instead of holding them");
    command
        .add_option("--evaluate-every", trainer.evaluateEvery,
                    "Steps between validations (default: up to twenty a run)")
        ->check(CLI::Range(1, 1 << 30));
    command.add_option("--target-loss", trainer.targetLoss, "Stop once validation has reached it")
        ->check(CLI::Range(0.0, 1e9));
    command
        .add_option("--checkpoint-minutes", trainer.checkpointMinutes,
                    "Minutes between checkpoints (default 5; 0: none)")
        ->check(CLI::Range(0.0, 1e6));
    command
        .add_option("--checkpoint-every", trainer.checkpointEvery,
                    "Steps between checkpoints, besides")
        ->check(CLI::Range(1, 1 << 30));
    command.add_flag("!--keep-last", trainer.keepBest,
                     "Keep the last weights, not those that validated best");
}

void addDataOptions(CLI::App& command, DataOptions& data) {
    command.add_option("--train", data.path, "Text, or JSON lines with \"text\" (.jsonl, .ndjson)")
        ->required();
    command.add_option("--validation", data.validationPath,
                       "Text to validate on (default: a share of the training text)");
    command
        .add_option("--validation-share", data.validationShare,
                    "Share that is held back (default 0.05; 0: none)")
        ->check(CLI::Range(0.0, 0.9));
    command
        .add_option("--validation-tokens", data.validationTokens,
                    "Most tokens to validate on (default 8192)")
        ->check(CLI::Range(2, 1 << 30));
    command.add_option("--context", data.context, "Tokens of a sequence (default 256)")
        ->check(CLI::Range(2, 1 << 20));
}

}  // namespace

void addTrain(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<TrainArguments>();
    CLI::App* command =
        addCommand(app, line, "train",
                   "Train a model on a text, from random weights or on from what it is.\n"
                   "The same command goes on where a killed one stopped; SIGUSR1 ends it early "
                   "and keeps what there is.",
                   [&line, options] { return train(line, *options); });
    TrainRequest& request = options->request;
    command
        ->add_option("MODEL", request.model,
                     "Folder, .gguf file, demo; or a config.json: random weights")
        ->required();
    command->add_flag("--from-scratch", request.fresh, "Random weights in the model's shape");
    command->add_option("--tokenizer", request.tokenizer,
                        "Folder of tokenizer.json (default: beside config.json, or the model's)");
    command->add_option("--out", request.out, "Folder to write the model to")->required();
    command->add_option("--dtype", request.type, "Of the weights: f32, f16, bf16")
        ->check(CLI::IsMember({"f32", "f16", "bf16"}));
    command->add_option("--seed", request.seed, "Of weights and order (default 1)");
    command->add_option("--teacher", request.teacher, "Model to distil from");
    command
        ->add_option("--temperature", request.trainer.loss.temperature,
                     "Of the distillation (default 1)")
        ->check(CLI::Range(0.01, 100.0));
    command
        ->add_option("--distillation", options->distillation,
                     "Weight of the divergence from the teacher (default 1)")
        ->check(CLI::Range(0.0, 1e6));
    command
        ->add_option("--cross-entropy", options->crossEntropy,
                     "Weight of the text itself beside a teacher (default 0)")
        ->check(CLI::Range(0.0, 1e6));
    addDataOptions(*command, request.data);
    addTrainingOptions(*command, *options);
}

}  // namespace fettle::cli
