#include "engine/tokenizer/gguf_pre.h"

#include <algorithm>

#include "engine/tokenizer/pre_tokenizer.h"

namespace fettle {

namespace {

// As in the tokenizer.json files of the families; llama.cpp (src/llama-vocab.cpp) adapts them to
// its own engine.
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+)"
    R"([\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Named {
    GgufPre pre;
    std::vector<std::string_view> names;  // the first is the one to write
};

const std::vector<Named>& table() {
    static const std::vector<Named> entries = {
        {{{kGpt2Pattern}},
         {"gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "mellum", "modern-bert", "exaone4",
          "a.x-4.0", "trillion", "granite-docling"}},
        {{{kLlama3}, true, true},
         {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
          "lfm2"}},
        {{{kLlama3}}, {"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}},
        {{{kQwen2}, false, false, true},
         {"qwen2", "deepseek-r1-qwen", "megrez", "kormo", "f2llmv2"}},
        {{{kQwen2}}, {"stablelm2", "hunyuan", "grok-2", "solar-open"}},
        {{{kQwen35}, false, false, true}, {"qwen35"}},
        {{{R"(\p{N})", kGpt2Pattern}},
         {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
          "mellum2"}},
        {{{kGpt4o}}, {"gpt-4o", "llama4", "kanana2", "minimax-m2"}},
        {{{kTekken}, true, true}, {"tekken"}},
        {{{R"(\p{N}{1,3})", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", kDeepseek3}},
         {"deepseek-v3", "hunyuan-dense", "joyai-llm"}},
        {{{R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Pattern, "[0-9][0-9][0-9]"}}, {"falcon"}},
        {{{R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
         {"default", ""}}};
    return entries;
}

}  // namespace

const GgufPre* findGgufPre(std::string_view name) {
    for (const Named& entry : table()) {
        if (std::find(entry.names.begin(), entry.names.end(), name) != entry.names.end()) {
            return &entry.pre;
        }
    }
    return nullptr;
}

std::string ggufPreName(const std::vector<std::string>& signature) {
    for (const Named& entry : table()) {
        const auto& patterns = entry.pre.patterns;
        if (signature.size() == patterns.size() + 1 && signature.back() == "bytes" &&
            std::equal(patterns.begin(), patterns.end(), signature.begin())) {
            return std::string(entry.names.front());
        }
    }
    return "default";
}

}  // namespace fettle
