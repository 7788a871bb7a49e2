// fettle-cli logits MODEL --ids 1,2,3
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/output.h"
#include "engine/model/transformer.h"

namespace fettle::cli {

namespace {

struct LogitsArguments {
    std::string model;
    std::vector<std::int64_t> ids;
};

std::vector<std::int32_t> checkedIds(const LogitsArguments& options, const ModelConfig& config) {
    std::vector<std::int32_t> ids;
    for (const std::int64_t id : options.ids) {
        if (id < 0 || id >= config.vocabularySize)
            throw EngineError(ErrorKind::Usage,
                              "--ids: " + std::to_string(id) + " is not a token of " +
                                  options.model + " (0 to " +
                                  std::to_string(config.vocabularySize - 1) + ")");
        ids.push_back(static_cast<std::int32_t>(id));
    }
    if (config.learnedPositions && static_cast<std::int64_t>(ids.size()) > config.contextLength)
        throw EngineError(ErrorKind::Usage, "--ids: " + std::to_string(ids.size()) +
                                                " tokens are more than the model's context of " +
                                                std::to_string(config.contextLength));
    return ids;
}

double logSumExp(const std::vector<float>& values) {
    const double largest = *std::max_element(values.begin(), values.end());
    double sum = 0;
    for (const float value : values)
        sum += std::exp(value - largest);
    return largest + std::log(sum);
}

int logits(const CommandLine& line, const LogitsArguments& options) {
    return runDirectly(line, [&](Backend& backend, RunControl& control) {
        const Model model = loadModel(options.model, &control);
        const std::vector<std::int32_t> ids = checkedIds(options, model.config);
        Transformer transformer(model, backend, &control);
        KvCache cache = transformer.makeCache(static_cast<std::int64_t>(ids.size()));
        transformer.forward(ids, cache, &control);
        const float* last = transformer.lastLogits();
        const std::vector<float> values(last, last + model.config.vocabularySize);
        const auto top = std::max_element(values.begin(), values.end()) - values.begin();
        if (line.json) {
            printJson({{"argmax", top}, {"logsumexp", logSumExp(values)}, {"logits", values}});
            return kExitDone;
        }
        std::vector<std::int32_t> order(values.size());
        for (std::size_t i = 0; i < order.size(); ++i)
            order[i] = static_cast<std::int32_t>(i);
        const std::size_t shown = std::min<std::size_t>(10, order.size());
        std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown),
                          order.end(), [&](std::int32_t a, std::int32_t b) {
                              return values[static_cast<std::size_t>(a)] >
                                     values[static_cast<std::size_t>(b)];
                          });
        const double total = logSumExp(values);
        std::printf("argmax %td, logsumexp %.6f\n", top, total);
        for (std::size_t i = 0; i < shown; ++i) {
            const float value = values[static_cast<std::size_t>(order[i])];
            std::printf("%6d  %10.5f  %5.1f%%  %s\n", order[i], value,
                        100 * std::exp(value - total),
                        jsonText(model.tokenizer->decode({order[i]}, false), -1).c_str());
        }
        return kExitDone;
    });
}

}  // namespace

void addLogits(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<LogitsArguments>();
    CLI::App* command = addCommand(app, line, "logits", "Show the logits after a row of token ids",
                                   [&line, options] { return logits(line, *options); });
    command->add_option("MODEL", options->model, "Folder, .gguf file, or demo")->required();
    command->add_option("--ids", options->ids, "Token ids, separated by commas")
        ->delimiter(',')
        ->required();
}

}  // namespace fettle::cli
