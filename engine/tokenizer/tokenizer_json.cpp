#include "engine/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "engine/core/error.h"
#include "engine/tokenizer/gguf_pre.h"
#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/json_reader.h"
#include "engine/tokenizer/model_json.h"
#include "engine/tokenizer/post_processor.h"

namespace fettle {

namespace {

constexpr std::uintmax_t kLargestFile = 256u << 20;
constexpr std::size_t kLargestPart = 32u << 20;  // of what is read into a JSON tree

class Loader {
public:
    explicit Loader(const std::filesystem::path& file)
        : m_file(file.string()), m_text(readTextFile(file, kLargestFile)) {
        m_parts.origin = m_file;
    }

    TokenizerParts run() {
        JsonReader reader(m_text, m_file);
        JsonReader::Scope scope = reader.enterObject();
        bool hasModel = false;
        std::string_view key;
        while (reader.nextKey(scope, key)) {
            if (key == "model") {
                readBpeModel(reader, m_file, m_text.size(), m_parts.vocabulary, m_parts.bpe);
                hasModel = true;
            } else {
                const std::string name(key);
                m_trees[name] = parseTree(name, reader.skipValue());
            }
        }
        reader.finish();
        if (!hasModel) {
            throwBadInput(m_file, "'model' is missing");
        }
        assemble();
        return std::move(m_parts);
    }

private:
    nlohmann::json parseTree(const std::string& name, std::string_view text) const {
        static constexpr const char* kWanted[] = {"version",       "added_tokens",   "normalizer",
                                                  "pre_tokenizer", "post_processor", "decoder"};
        if (std::find(std::begin(kWanted), std::end(kWanted), name) == std::end(kWanted)) {
            return nullptr;
        }
        if (text.size() > kLargestPart) {
            throwBadInput(m_file, "'" + name + "' is larger than 32 MiB");
        }
        nlohmann::json tree = nlohmann::json::parse(text, nullptr, false);
        if (tree.is_discarded()) {
            throwBadInput(m_file, "'" + name + "' is not valid JSON");
        }
        return tree;
    }

    JsonPart part(const char* name) { return {m_trees[name], m_file, name}; }

    void assemble() {
        if (const JsonPart version = part("version");
            !version.isNull() && version.string() != "1.0") {
            version.fail("the version " + quoteForMessage(version.string()) + " is not known");
        }
        m_parts.normalizers = parseNormalizer(part("normalizer"));
        ParsedPreTokenizer pre = parsePreTokenizer(part("pre_tokenizer"));
        m_parts.preTokenizers = std::move(pre.steps);
        m_parts.bpe.byteLevel = pre.byteLevel;
        m_parts.ggufPre = ggufPreName(pre.signature);
        addTokens();
        const SequenceTemplate around = parsePostProcessor(
            part("post_processor"), tokenIdEnd(m_parts.vocabulary, m_parts.added));
        m_parts.prefix = around.prefix;
        m_parts.suffix = around.suffix;
        m_parts.decoders = parseDecoder(part("decoder"));
        std::string probe = "a";
        normalizeText(m_parts.normalizers, m_file, probe);
        m_parts.addSpacePrefix = pre.prependsMark || probe.starts_with(kSpaceMark);
    }

    void addTokens() {
        std::vector<AddedToken> added;
        std::vector<std::string> searched;
        std::unordered_map<std::string, std::int32_t> seen;
        std::unordered_map<std::int32_t, std::string> owners;
        if (!part("added_tokens").isNull()) {
            for (const JsonPart& entry : part("added_tokens").elements()) {
                AddedToken token;
                token.content = entry.at("content").string();
                token.id = addedId(entry, token.content);
                token.special = entry.boolean("special", false);
                token.singleWord = entry.boolean("single_word", false);
                token.lstrip = entry.boolean("lstrip", false);
                token.rstrip = entry.boolean("rstrip", false);
                token.normalized = entry.boolean("normalized", !token.special);
                if (token.content.empty() || !seen.emplace(token.content, token.id).second) {
                    continue;
                }
                if (!owners.emplace(token.id, token.content).second) {
                    entry.fail("the id " + std::to_string(token.id) + " is given twice");
                }
                searched.push_back(token.content);
                normalizeText(m_parts.normalizers, m_file, searched.back());
                added.push_back(std::move(token));
            }
        }
        m_parts.added.build(std::move(added), searched);
    }

    /// A token that the model knows keeps the model's id, whatever the entry says.
    std::int32_t addedId(const JsonPart& entry, const std::string& content) const {
        const TokenTable& tokens = m_parts.vocabulary.tokens;
        if (const std::int32_t known = tokens.find(content); known >= 0) {
            return known;
        }
        const std::int64_t id = entry.at("id").integer();
        if (id < 0 || id > largestTokenId(tokens.count())) {
            entry.fail("the id " + std::to_string(id) + " is out of range");
        }
        if (tokens.contains(static_cast<std::int32_t>(id))) {
            entry.fail("the id " + std::to_string(id) + " of " + quoteForMessage(content) +
                       " belongs to the token " +
                       quoteForMessage(tokens.text(static_cast<std::int32_t>(id))));
        }
        return static_cast<std::int32_t>(id);
    }

    std::string m_file;
    std::string m_text;
    TokenizerParts m_parts;
    std::unordered_map<std::string, nlohmann::json> m_trees;
};

}  // namespace

std::string readTextFile(const std::filesystem::path& file, std::uintmax_t most) {
    std::error_code error;
    const std::uintmax_t size = std::filesystem::file_size(file, error);
    if (error) {
        throwBadInput(file.string(), "cannot be read: " + error.message());
    }
    if (size > most) {
        throwBadInput(file.string(), "is larger than " + std::to_string(most >> 20) + " MiB");
    }
    std::ifstream stream(file, std::ios::binary);
    std::string text(static_cast<std::size_t>(size), '\0');
    stream.read(text.data(), static_cast<std::streamsize>(size));
    if (!stream) {
        throwBadInput(file.string(), "cannot be read");
    }
    return text;
}

TokenizerParts readTokenizerJson(const std::filesystem::path& file) {
    return Loader(file).run();
}

}  // namespace fettle
