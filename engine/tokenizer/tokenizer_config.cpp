#include "engine/tokenizer/tokenizer_config.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/core/error.h"
#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/tokenizer_json.h"

namespace fettle {

namespace {

constexpr std::uintmax_t kLargestConfig = 16u << 20;

/// Calls `read` with the document if the file is there.
template <class Read>
void withJson(const std::filesystem::path& file, const Read& read) {
    if (!std::filesystem::exists(file)) {
        return;
    }
    const nlohmann::json tree =
        nlohmann::json::parse(readTextFile(file, kLargestConfig), nullptr, false);
    const std::string name = file.string();
    if (tree.is_discarded() || !tree.is_object()) {
        throwBadInput(name, "is not a JSON object");
    }
    read(JsonPart(tree, name, ""));
}

/// A token as "<s>" or as {"content": "<s>", ...}.
std::string tokenText(const JsonPart& config, const char* key) {
    if (!config.has(key)) {
        return {};
    }
    const JsonPart value = config.at(key);
    return value.isObject() ? value.at("content").string() : value.string();
}

std::string chatTemplate(const JsonPart& config) {
    if (!config.has("chat_template")) {
        return {};
    }
    const JsonPart value = config.at("chat_template");
    if (value.isString()) {
        return value.string();
    }
    std::string first;
    for (const JsonPart& entry : value.elements()) {
        const std::string& text = entry.at("template").string();
        if (entry.at("name").string() == "default") {
            return text;
        }
        first = first.empty() ? text : first;
    }
    return first;
}

std::vector<std::int64_t> eosIds(const JsonPart& config) {
    std::vector<std::int64_t> ids;
    if (config.has("eos_token_id")) {
        const JsonPart value = config.at("eos_token_id");
        if (value.isArray()) {
            for (const JsonPart& id : value.elements()) {
                ids.push_back(id.integer());
            }
        } else {
            ids.push_back(value.integer());
        }
    }
    return ids;
}

void readIds(const JsonPart& config, TokenizerConfig& result) {
    for (const std::int64_t id : eosIds(config)) {
        result.eosIds.push_back(id);
    }
    if (!result.bosId && config.has("bos_token_id")) {
        result.bosId = config.at("bos_token_id").integer();
    }
}

}  // namespace

TokenizerConfig readTokenizerConfig(const std::filesystem::path& folder) {
    TokenizerConfig result;
    withJson(folder / "tokenizer_config.json", [&](const JsonPart& config) {
        result.bosToken = tokenText(config, "bos_token");
        result.eosToken = tokenText(config, "eos_token");
        result.padToken = tokenText(config, "pad_token");
        if (config.has("add_bos_token")) {
            result.addBos = config.at("add_bos_token").boolean();
        }
        if (config.has("add_eos_token")) {
            result.addEos = config.at("add_eos_token").boolean();
        }
        result.chatTemplate = chatTemplate(config);
    });
    withJson(folder / "generation_config.json",
             [&](const JsonPart& config) { readIds(config, result); });
    withJson(folder / "config.json", [&](const JsonPart& config) {
        if (result.eosIds.empty()) {
            readIds(config, result);
        }
    });
    if (const auto file = folder / "chat_template.jinja"; std::filesystem::exists(file)) {
        result.chatTemplate = readTextFile(file, kLargestConfig);
    }
    return result;
}

const std::vector<std::string>& knownStopTokens() {
    static const std::vector<std::string> tokens = {
        "<|eot_id|>", "<|eom_id|>",    "<|im_end|>",     "<|end|>",
        "<|eot|>",    "<end_of_turn>", "<|endoftext|>",  "<|end_of_text|>",
        "<EOT>",      "<|return|>",    "<|end_of_turn|>"};
    return tokens;
}

}  // namespace fettle
