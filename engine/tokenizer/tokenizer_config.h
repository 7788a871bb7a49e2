// What lies beside a tokenizer.json: tokenizer_config.json, generation_config.json, config.json,
// chat_template.jinja.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace fettle {

struct TokenizerConfig {
    std::string bosToken, eosToken, padToken;  ///< empty if not given
    std::optional<bool> addBos, addEos;        ///< overrule the post-processor where given
    std::optional<std::int64_t> bosId;
    std::vector<std::int64_t> eosIds;
    std::string chatTemplate;
};

/// Files that are absent say nothing. Throws EngineError(BadInput) for files that are broken.
TokenizerConfig readTokenizerConfig(const std::filesystem::path& folder);

/// Texts of tokens that end a turn or a text, by which generation stops where the vocabulary has
/// them.
const std::vector<std::string>& knownStopTokens();

}  // namespace fettle
