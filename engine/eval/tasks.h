// Multiple-choice accuracy by log-likelihood, as lm-evaluation-harness scores it.
#pragma once

#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/experiment/measurement.h"
#include "engine/model/transformer.h"
#include "engine/tokenizer/tokenizer.h"

namespace fettle {

struct ChoiceTask {
    std::string prompt;
    std::vector<std::string> choices;
    std::size_t answer = 0;
};

/// Reads JSON lines {"prompt": text, "choices": [text, ...], "answer": index}. Throws
/// EngineError(BadInput) with the line.
std::vector<ChoiceTask> readTasks(const std::string& path);

/// The choice whose tokens have the highest summed log-probability after the prompt, per task; and
/// its accuracy (share of 0..100 %) with a bootstrap interval over tasks.
struct TaskScores {
    std::vector<std::size_t> picked;
    std::vector<char> correct;
};
TaskScores scoreTasks(Transformer& transformer, const Tokenizer& tokenizer,
                      const std::vector<ChoiceTask>& tasks, RunControl& control);
Measurement taskAccuracy(const TaskScores& scores, bool native);

}  // namespace fettle
