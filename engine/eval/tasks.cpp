#include "engine/eval/tasks.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/backend/range_marker.h"
#include "engine/eval/statistics.h"
#include "engine/eval/text_windows.h"
#include "engine/experiment/block_bootstrap.h"

namespace fettle {

namespace {

ChoiceTask parseTask(const std::string& line, const std::string& where) {
    try {
        const nlohmann::json json = nlohmann::json::parse(line);
        ChoiceTask task;
        task.prompt = json.at("prompt").get<std::string>();
        task.choices = json.at("choices").get<std::vector<std::string>>();
        const std::int64_t answer = json.at("answer").get<std::int64_t>();
        if (task.choices.size() < 2)
            throwBadInput(where, "a task needs at least two choices");
        if (answer < 0 || answer >= static_cast<std::int64_t>(task.choices.size()))
            throwBadInput(where, "answer " + std::to_string(answer) + " is not one of the " +
                                     std::to_string(task.choices.size()) + " choices");
        task.answer = static_cast<std::size_t>(answer);
        return task;
    } catch (const nlohmann::json::exception& error) {
        throwBadInput(where, std::string("not a task line: ") + error.what());
    }
}

// Moves trailing blanks of the prompt to the continuation, since tokenizers attach blanks to the
// word that follows.
void moveTrailingBlanks(std::string& prompt, std::string& continuation) {
    const std::size_t end = prompt.find_last_not_of(" \t\n");
    const std::size_t keep = end == std::string::npos ? 0 : end + 1;
    continuation.insert(0, prompt.substr(keep));
    prompt.resize(keep);
}

class ChoiceScorer {
public:
    ChoiceScorer(Transformer& transformer, const Tokenizer& tokenizer, RunControl& control)
        : m_transformer(transformer), m_tokenizer(tokenizer), m_control(control) {}

    std::size_t pick(const ChoiceTask& task) {
        std::vector<double> scores;
        std::vector<std::vector<std::int32_t>> encoded;
        std::vector<std::size_t> starts;
        std::size_t longest = 0;
        for (const std::string& choice : task.choices) {
            std::string prompt = task.prompt, continuation = choice;
            moveTrailingBlanks(prompt, continuation);
            encoded.push_back(m_tokenizer.encode(prompt + continuation, true));
            starts.push_back(
                std::min(m_tokenizer.encode(prompt, true).size(), encoded.back().size() - 1));
            longest = std::max(longest, encoded.back().size());
        }
        KvCache cache = m_transformer.makeCache(static_cast<std::int64_t>(longest));
        m_cached.clear();
        for (std::size_t i = 0; i < encoded.size(); ++i)
            scores.push_back(logLikelihood(encoded[i], std::max<std::size_t>(1, starts[i]), cache));
        return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) -
                                        scores.begin());
    }

private:
    // Sum of log p(ids[i]) for i >= start. Whatever the cache shares with `ids` is not computed
    // again.
    double logLikelihood(const std::vector<std::int32_t>& ids, std::size_t start, KvCache& cache) {
        m_control.check();
        const std::size_t limit = start - 1;  // the position that predicts ids[start] must be run
        const std::size_t shared = static_cast<std::size_t>(
            std::mismatch(m_cached.begin(),
                          m_cached.begin() + static_cast<std::ptrdiff_t>(
                                                 std::min({m_cached.size(), ids.size(), limit})),
                          ids.begin())
                .first -
            m_cached.begin());
        cache.truncate(static_cast<std::int64_t>(shared));
        m_transformer.forward(std::span(ids).subspan(shared), cache, &m_control);
        m_cached = ids;
        const std::int64_t vocabulary = m_transformer.config().vocabularySize;
        const std::int64_t rows = static_cast<std::int64_t>(ids.size() - start);
        m_logits.resize(static_cast<std::size_t>(rows * vocabulary));
        m_summaries.resize(static_cast<std::size_t>(rows));
        m_transformer.logits(static_cast<std::int64_t>(start - 1 - shared), rows, m_logits.data());
        m_transformer.backend().summarizeLogits(m_logits.data(), rows, vocabulary,
                                                m_summaries.data());
        double sum = 0;
        for (std::int64_t r = 0; r < rows; ++r)
            sum += m_logits[static_cast<std::size_t>(r * vocabulary +
                                                     ids[start + static_cast<std::size_t>(r)])] -
                   static_cast<double>(m_summaries[static_cast<std::size_t>(r)].logSumExp);
        return sum;
    }

    Transformer& m_transformer;
    const Tokenizer& m_tokenizer;
    RunControl& m_control;
    std::vector<std::int32_t> m_cached;
    std::vector<float> m_logits;
    std::vector<kernels::RowSummary> m_summaries;
};

}  // namespace

std::vector<ChoiceTask> readTasks(const std::string& path) {
    std::istringstream lines(readText(path));
    std::vector<ChoiceTask> tasks;
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number)
        if (line.find_first_not_of(" \t\r") != std::string::npos)
            tasks.push_back(parseTask(line, path + " line " + std::to_string(number)));
    if (tasks.empty())
        throwBadInput(path, "holds no tasks");
    return tasks;
}

TaskScores scoreTasks(Transformer& transformer, const Tokenizer& tokenizer,
                      const std::vector<ChoiceTask>& tasks, RunControl& control) {
    const RangeScope range(transformer.backend(), "evaluation");
    ChoiceScorer scorer(transformer, tokenizer, control);
    TaskScores scores;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
        control.progress(static_cast<double>(i) / static_cast<double>(tasks.size()),
                         "task " + std::to_string(i + 1) + " of " + std::to_string(tasks.size()));
        scores.picked.push_back(scorer.pick(tasks[i]));
        scores.correct.push_back(scores.picked.back() == tasks[i].answer);
    }
    return scores;
}

Measurement taskAccuracy(const TaskScores& scores, bool native) {
    const auto accuracy = [&](const std::vector<int>& counts) {
        double right = 0, total = 0;
        for (std::size_t i = 0; i < counts.size(); ++i) {
            right += scores.correct[i] ? counts[i] : 0;
            total += counts[i];
        }
        return 100 * right / total;
    };
    const Interval interval = bootstrapBlocks(scores.correct.size(), accuracy);
    Measurement metric;
    metric.name = "task_accuracy";
    metric.unit = "%";
    metric.value = accuracy(std::vector<int>(scores.correct.size(), 1));
    metric.low = interval.low;
    metric.high = interval.high;
    metric.native = native;
    return metric;
}

}  // namespace fettle
