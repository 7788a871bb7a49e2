#include "engine/tokenizer/tokenizer_json_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "engine/core/error.h"
#include "engine/tokenizer/gguf_pre.h"
#include "engine/tokenizer/gguf_token_type.h"
#include "engine/tokenizer/pipeline_tokenizer.h"

namespace fettle {

namespace {

using nlohmann::json;

class Writer {
public:
    Writer(const GgufTokenizerData& data, const std::string& origin)
        : m_data(data), m_origin(origin) {}

    json write() const {
        const bool sentencePiece = m_data.model == "llama";
        if (!sentencePiece && m_data.model != "gpt2")
            throwBadInput(m_origin, "the tokenizer model \"" + m_data.model +
                                        "\" cannot be written as tokenizer.json");
        json out;
        out["version"] = "1.0";
        out["truncation"] = nullptr;
        out["padding"] = nullptr;
        out["added_tokens"] = addedTokens();
        if (sentencePiece)
            addSentencePiece(out);
        else
            addByteLevel(out);
        out["post_processor"] = postProcessor();
        return out;
    }

private:
    std::int32_t typeOf(std::size_t id) const {
        return id < m_data.tokenTypes.size() ? m_data.tokenTypes[id] : kNormal;
    }
    const std::string& text(std::int32_t id) const {
        return m_data.tokens.at(static_cast<std::size_t>(id));
    }

    json addedTokens() const {
        json added = json::array();
        for (std::size_t id = 0; id < m_data.tokens.size(); ++id)
            if (typeOf(id) == kControl || typeOf(id) == kUserDefined)
                added.push_back({{"id", id},
                                 {"content", m_data.tokens[id]},
                                 {"single_word", false},
                                 {"lstrip", false},
                                 {"rstrip", false},
                                 {"normalized", false},
                                 {"special", typeOf(id) == kControl}});
        return added;
    }

    json vocabulary() const {
        json vocabulary = json::object();
        for (std::size_t id = 0; id < m_data.tokens.size(); ++id)
            vocabulary[m_data.tokens[id]] = id;
        return vocabulary;
    }

    json model(json merges, bool byteFallback, json unknown, bool ignoreMerges) const {
        return {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", std::move(unknown)},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr},
                {"fuse_unk", byteFallback},
                {"byte_fallback", byteFallback},
                {"ignore_merges", ignoreMerges},
                {"vocab", vocabulary()},
                {"merges", std::move(merges)}};
    }

    // All (left, right) pairs that make a token, best token first.
    json mergesFromScores() const {
        std::unordered_map<std::string_view, std::int32_t> ids;
        for (std::size_t id = 0; id < m_data.tokens.size(); ++id)
            if (typeOf(id) == kNormal || typeOf(id) == kUserDefined)
                ids.emplace(m_data.tokens[id], static_cast<std::int32_t>(id));
        struct Merge {
            float score;
            std::int32_t left, right;
        };
        std::vector<Merge> merges;
        for (std::size_t id = 0; id < m_data.tokens.size(); ++id) {
            const std::string_view token = m_data.tokens[id];
            if (typeOf(id) != kNormal)
                continue;
            for (std::size_t cut = 1; cut < token.size(); ++cut) {
                if ((static_cast<unsigned char>(token[cut]) & 0xC0) == 0x80)
                    continue;  // inside a character
                const auto left = ids.find(token.substr(0, cut)),
                           right = ids.find(token.substr(cut));
                if (left != ids.end() && right != ids.end())
                    merges.push_back({m_data.scores.at(id), left->second, right->second});
            }
        }
        std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
            return std::tuple(-a.score, a.left, a.right) < std::tuple(-b.score, b.left, b.right);
        });
        json pairs = json::array();
        for (const Merge& merge : merges)
            pairs.push_back({text(merge.left), text(merge.right)});
        return pairs;
    }

    void addSentencePiece(json& out) const {
        if (m_data.scores.size() != m_data.tokens.size())
            throwBadInput(m_origin, "the tokenizer has " + std::to_string(m_data.scores.size()) +
                                        " scores for " + std::to_string(m_data.tokens.size()) +
                                        " tokens");
        const json replace = {
            {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceMark}};
        const json prepend = {{"type", "Prepend"}, {"prepend", kSpaceMark}};
        out["normalizer"] = m_data.addSpacePrefix
                                ? json{{"type", "Sequence"}, {"normalizers", {prepend, replace}}}
                                : replace;
        out["pre_tokenizer"] = nullptr;
        json decoders = json::array(
            {{{"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}},
             {{"type", "ByteFallback"}},
             {{"type", "Fuse"}}});
        if (m_data.addSpacePrefix)
            decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
        out["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
        const bool known =
            m_data.unknown >= 0 && m_data.unknown < static_cast<std::int32_t>(m_data.tokens.size());
        out["model"] = model(mergesFromScores(), true,
                             known ? json(text(m_data.unknown)) : json(nullptr), false);
    }

    void addByteLevel(json& out) const {
        const GgufPre* pre = findGgufPre(m_data.pre);
        if (!pre)
            throwBadInput(m_origin, "the pre-tokenizer \"" + m_data.pre + "\" is not known");
        out["normalizer"] = pre->nfc ? json{{"type", "NFC"}} : json(nullptr);
        json stages = json::array();
        for (const char* pattern : pre->patterns)
            stages.push_back({{"type", "Split"},
                              {"pattern", {{"Regex", pattern}}},
                              {"behavior", "Isolated"},
                              {"invert", false}});
        stages.push_back({{"type", "ByteLevel"},
                          {"add_prefix_space", false},
                          {"trim_offsets", true},
                          {"use_regex", false}});
        out["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", stages}};
        out["decoder"] = {{"type", "ByteLevel"},
                          {"add_prefix_space", true},
                          {"trim_offsets", true},
                          {"use_regex", true}};
        json merges = json::array();
        for (const std::string& merge : m_data.merges) {
            const std::size_t space = merge.find(' ', 1);
            if (space == std::string::npos)
                throwBadInput(m_origin, "the merge \"" + merge + "\" is not a pair");
            merges.push_back({merge.substr(0, space), merge.substr(space + 1)});
        }
        out["model"] = model(std::move(merges), false, nullptr, pre->ignoreMerges);
    }

    json postProcessor() const {
        const bool bos = m_data.addBos && m_data.bos >= 0, eos = m_data.addEos && m_data.eos >= 0;
        if (!bos && !eos)
            return nullptr;
        json single = json::array(), pair = json::array(), special = json::object();
        const auto addToken = [&](std::int32_t id, int sequence, json& target) {
            target.push_back({{"SpecialToken", {{"id", text(id)}, {"type_id", sequence}}}});
            special[text(id)] = {{"id", text(id)}, {"ids", {id}}, {"tokens", {text(id)}}};
        };
        const auto addSequence = [&](const char* name, int sequence, json& target) {
            if (bos)
                addToken(m_data.bos, sequence, target);
            target.push_back({{"Sequence", {{"id", name}, {"type_id", sequence}}}});
            if (eos)
                addToken(m_data.eos, sequence, target);
        };
        addSequence("A", 0, single);
        addSequence("A", 0, pair);
        addSequence("B", 1, pair);
        return {{"type", "TemplateProcessing"},
                {"single", single},
                {"pair", pair},
                {"special_tokens", special}};
    }

    const GgufTokenizerData& m_data;
    const std::string& m_origin;
};

}  // namespace

std::string tokenizerJson(const GgufTokenizerData& data, const std::string& origin) {
    // A token that is not UTF-8 must not make the whole tokenizer unwritable.
    return Writer(data, origin).write().dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string tokenizerConfigJson(const GgufTokenizerData& data) {
    json config;
    config["tokenizer_class"] = "PreTrainedTokenizerFast";
    config["clean_up_tokenization_spaces"] = false;
    config["add_bos_token"] = data.addBos;
    config["add_eos_token"] = data.addEos;
    const auto name = [&](const char* key, std::int32_t id) {
        if (id >= 0 && id < static_cast<std::int32_t>(data.tokens.size()))
            config[key] = data.tokens[static_cast<std::size_t>(id)];
    };
    name("bos_token", data.bos);
    name("eos_token", data.eos);
    name("unk_token", data.unknown);
    name("pad_token", data.padding);
    if (!data.chatTemplate.empty())
        config["chat_template"] = data.chatTemplate;
    return config.dump(2);
}

}  // namespace fettle
