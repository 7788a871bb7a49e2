// fettle-cli generate MODEL --prompt T
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/output.h"

namespace fettle::cli {

namespace {

struct Options {
    GenerateRequest request;
    std::string draft;
};

int generate(const CommandLine& line, Options options) {
    if (!options.draft.empty())
        throw EngineError(ErrorKind::Usage,
                          "--draft: speculative decoding is not part of this version");
    options.request.threads = line.threads;
    EngineSession engine(line);
    engine.printer().streamText(!line.json);
    const auto report = engine.run<GenerateReport>(options.request);
    if (line.json) {
        printJson({{"text", report.text},
                   {"ids", report.ids},
                   {"ttft_ms", report.ttftMs},
                   {"decode_tokens_per_s", report.decodeTokensPerSecond},
                   {"stopped", report.stopped}});
        return kExitDone;
    }
    std::printf("\n");
    std::fflush(stdout);
    std::fprintf(stderr, "%zu tokens, first after %s, then %s\n", report.ids.size(),
                 formatMetric("ttft_ms", report.ttftMs).c_str(),
                 formatMetric("decode_tokens_per_s", report.decodeTokensPerSecond).c_str());
    return kExitDone;
}

}  // namespace

void addGenerate(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<Options>();
    CLI::App* command = addCommand(app, line, "generate", "Continue a text",
                                   [&line, options] { return generate(line, *options); });
    GenerateRequest& request = options->request;
    command->add_option("MODEL", request.modelPath, "Folder, .gguf file, or demo")->required();
    command->add_option("--prompt", request.prompt, "The text to continue")->required();
    command->add_option("-n,--new-tokens", request.maxNewTokens, "Most tokens to add (default 64)")
        ->check(CLI::Range(1, 1 << 20));
    command
        ->add_option("--temperature", request.temperature,
                     "0: always the most likely token (default); higher: more varied")
        ->check(CLI::Range(0.0, 100.0));
    command
        ->add_option("--top-p", request.topP,
                     "Sample from the most likely tokens that make up this share (default 1)")
        ->check(CLI::Range(0.0, 1.0));
    command->add_option("--seed", request.seed, "Seed of the sampling (default 1)");
    command->add_option("--draft", options->draft, "Draft model for speculative decoding (later)");
}

}  // namespace fettle::cli
