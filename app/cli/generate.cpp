// fettle-cli generate MODEL --prompt T
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/measure_options.h"
#include "app/cli/output.h"

namespace fettle::cli {

namespace {

struct GenerateArguments {
    GenerateRequest request;
};

int generate(const CommandLine& line, GenerateArguments options) {
    options.request.threads = line.threads;
    EngineSession engine(line);
    engine.printer().streamText(!line.json);
    const auto report = engine.run<GenerateReport>(options.request);
    if (line.json) {
        printJson(toJson(report));
        return kExitDone;
    }
    std::printf("\n");
    std::fflush(stdout);
    std::fprintf(stderr, "%zu tokens, first after %s, then %s\n", report.ids.size(),
                 formatMetric("ttft_ms", report.ttftMs).c_str(),
                 formatMetric("decode_tokens_per_s", report.decodeTokensPerSecond).c_str());
    if (report.speculation)
        std::fprintf(stderr, "%s: %lld of %lld drafted tokens accepted, %.2f tokens per pass\n",
                     report.speculation->draft.c_str(),
                     static_cast<long long>(report.speculation->accepted),
                     static_cast<long long>(report.speculation->drafted),
                     report.speculation->meanAcceptedLength);
    return kExitDone;
}

}  // namespace

void addGenerate(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<GenerateArguments>();
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
    command
        ->add_option("--top-k", request.topK,
                     "Sample from this many of the likeliest (default all)")
        ->check(CLI::Range(0, 1 << 24));
    command
        ->add_option(
            "--min-p", request.minP,
            "Sample from tokens at least this share as likely as the likeliest (default 0)")
        ->check(CLI::Range(0.0, 1.0));
    command->add_flag("--chat", request.chat,
                      "Wrap the prompt in the model's chat template, where it has a known one");
    addKvCacheOption(*command, request.kvCache);
    addDraftOptions(*command, request.draft, request.draftTokens, request.draftTree);
}

}  // namespace fettle::cli
