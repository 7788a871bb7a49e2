#include "app/cli/measure_options.h"

namespace fettle::cli {

void addAccuracyOptions(CLI::App& command, MeasureOptions& measure, std::int64_t maxTokens) {
    measure.maxTokens = maxTokens;
    command
        .add_option("--context", measure.context, "Tokens of an evaluation window (default 256)")
        ->check(CLI::Range(2, 1 << 20));
    command
        .add_option("--max-tokens", measure.maxTokens,
                    "Tokens of the evaluation text to use, 0 = all (default " +
                        std::to_string(maxTokens) + ")")
        ->check(CLI::NonNegativeNumber);
    command
        .add_option("--protocol", measure.protocol,
                    "plain: windows, first token unscored; llama.cpp: BOS in each window, second "
                    "half scored")
        ->transform(CLI::CheckedTransformer(std::map<std::string, PerplexityProtocol>{
            {"plain", PerplexityProtocol::Plain}, {"llama.cpp", PerplexityProtocol::LlamaCpp}}));
}

void addSpeedOptions(CLI::App& command, MeasureOptions& measure) {
    command
        .add_option("--prompt-tokens", measure.promptTokens, "Tokens of the prompt (default 512)")
        ->check(CLI::Range(1, 1 << 20));
    command.add_option("--new-tokens", measure.newTokens, "Tokens to generate (default 128)")
        ->check(CLI::Range(2, 1 << 20));
    command
        .add_option("--repeats", measure.repeats, "Repeats, of which the median counts (default 3)")
        ->check(CLI::Range(1, 1000));
}

void addKvCacheOption(CLI::App& command, std::string& kvCache) {
    command
        .add_option(
            "--kv-cache", kvCache,
            "Keep keys and values as f16, int8, fp8, int4 or nvfp4 (default: what the model names, "
            "else f16)")
        ->check(CLI::IsMember({"f32", "f16", "int8", "fp8", "int4", "nvfp4"}));
}

void addDraftOptions(CLI::App& command, std::string& draft, std::string& draftTokens,
                     std::string& draftTree) {
    command.add_option(
        "--draft", draft,
        "Decode speculatively: a draft model, SCHEME:MODEL to round it (int8:...), ngram, suffix, "
        "self:N or self:SCHEME, ngram+ or suffix+ before another for a look first; "
        "none ignores the draft that the model names");
    command.add_option("--draft-tokens", draftTokens,
                       "Tokens drafted per round, or auto (default): as many as pay");
    command.add_option("--draft-tree", draftTree,
                       "Several guesses at one place: auto, widths by depth such as 3-2-1, or off "
                       "(default)");
}

}  // namespace fettle::cli
