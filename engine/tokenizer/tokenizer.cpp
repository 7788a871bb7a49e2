// The two ways to a tokenizer: a Hugging Face folder and GGUF metadata.
#include "engine/tokenizer/tokenizer.h"

#include <algorithm>

#include "engine/core/error.h"
#include "engine/tokenizer/gguf_tokenizer.h"
#include "engine/tokenizer/pipeline_tokenizer.h"
#include "engine/tokenizer/tokenizer_config.h"
#include "engine/tokenizer/tokenizer_json.h"

namespace fettle {

namespace {

std::int32_t idOf(const TokenizerParts& parts, const std::string& content) {
    if (content.empty()) {
        return -1;
    }
    const AddedToken* added = parts.added.find(content);
    return added != nullptr ? added->id : parts.vocabulary.tokens.find(content);
}

/// Makes the presence of `id` in `around` what the configuration says.
void setPresence(std::vector<std::int32_t>& around, std::int32_t id, std::optional<bool> wanted,
                 bool atFront) {
    if (!wanted || id < 0) {
        return;
    }
    const bool there = std::find(around.begin(), around.end(), id) != around.end();
    if (*wanted && !there) {
        around.insert(atFront ? around.begin() : around.end(), id);
    } else if (!*wanted && there) {
        std::erase(around, id);
    }
}

void applyConfig(const TokenizerConfig& config, TokenizerParts& parts) {
    const std::int64_t end = tokenIdEnd(parts.vocabulary, parts.added);
    const auto checked = [&](std::int64_t id) {
        return id >= 0 && id < end ? static_cast<std::int32_t>(id) : -1;
    };
    parts.bos = idOf(parts, config.bosToken);
    if (parts.bos < 0 && config.bosId) {
        parts.bos = checked(*config.bosId);
    }
    if (parts.bos < 0 && !parts.prefix.empty()) {
        parts.bos = parts.prefix.front();
    }
    parts.eos = idOf(parts, config.eosToken);
    if (parts.eos < 0 && !config.eosIds.empty()) {
        parts.eos = checked(config.eosIds.front());
    }
    parts.padding = idOf(parts, config.padToken);
    setPresence(parts.prefix, parts.bos, config.addBos, true);
    setPresence(parts.suffix, parts.eos, config.addEos, false);
    parts.chatTemplate = config.chatTemplate;

    parts.stopIds.push_back(parts.eos);
    for (const std::int64_t id : config.eosIds) {
        parts.stopIds.push_back(checked(id));
    }
    addKnownStopIds(parts);
}

}  // namespace

void addKnownStopIds(TokenizerParts& parts) {
    for (const std::string& content : knownStopTokens()) {
        const AddedToken* token = parts.added.find(content);
        if (token != nullptr) {  // some files mark them as user-defined
            parts.stopIds.push_back(token->id);
        }
    }
    std::erase_if(parts.stopIds, [](std::int32_t id) { return id < 0; });
    std::sort(parts.stopIds.begin(), parts.stopIds.end());
    parts.stopIds.erase(std::unique(parts.stopIds.begin(), parts.stopIds.end()),
                        parts.stopIds.end());
}

std::shared_ptr<const Tokenizer> Tokenizer::fromFolder(const std::filesystem::path& folder) {
    const std::filesystem::path file = folder / "tokenizer.json";
    if (!std::filesystem::exists(file)) {
        throwBadInput(folder.string(), "holds no tokenizer.json");
    }
    TokenizerParts parts = readTokenizerJson(file);
    applyConfig(readTokenizerConfig(folder), parts);
    return std::make_shared<PipelineTokenizer>(std::move(parts));
}

std::shared_ptr<const Tokenizer> Tokenizer::fromGguf(const GgufTokenizerData& data,
                                                     const std::string& origin) {
    return std::make_shared<PipelineTokenizer>(partsFromGguf(data, origin));
}

}  // namespace fettle
