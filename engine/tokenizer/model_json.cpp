#include "engine/tokenizer/model_json.h"

#include <utility>

#include "engine/core/error.h"
#include "engine/tokenizer/json_part.h"

namespace fettle {

namespace {

/// The parts of `model` other than its two tables.
struct ModelSettings {
    std::string type, unknown;
    bool hasVocab = false, hasMerges = false;
};

class ModelReader {
public:
    ModelReader(const std::string& file, std::size_t fileBytes, Vocabulary& vocabulary,
                BpeOptions& options)
        : m_file(file), m_fileBytes(fileBytes), m_vocabulary(vocabulary), m_options(options) {}

    void run(JsonReader& reader) {
        std::string_view key;
        std::string_view lateMerges;
        JsonReader::Scope scope = reader.enterObject();
        while (reader.nextKey(scope, key)) {
            if (key == "vocab") {
                readVocab(reader);
            } else if (key == "merges" && m_settings.hasVocab) {
                readMerges(reader);
            } else if (key == "merges") {
                lateMerges = reader.skipValue();
            } else {
                readSetting(std::string(key), reader);
            }
        }
        if (!lateMerges.empty() && m_settings.hasVocab) {
            JsonReader merges(lateMerges, m_file + ": merges");
            readMerges(merges);
        }
        check();
    }

private:
    void readSetting(const std::string& key, JsonReader& reader) {
        const char first = reader.peek();
        if (key == "type") {
            m_settings.type = reader.readString();
        } else if (key == "unk_token" && first == '"') {
            m_settings.unknown = reader.readString();
        } else if ((key == "continuing_subword_prefix" || key == "end_of_word_suffix") &&
                   first == '"') {
            if (!reader.readString().empty()) {
                reader.fail("a model with " + key + " is not supported");
            }
        } else if (key == "byte_fallback" || key == "fuse_unk" || key == "ignore_merges") {
            const std::string value(reader.skipValue());
            const bool on = value.starts_with("true");
            if (!on && !value.starts_with("false") && !value.starts_with("null")) {
                reader.fail("wanted true or false for " + key);
            }
            (key == "byte_fallback" ? m_options.byteFallback
             : key == "fuse_unk"    ? m_options.fuseUnknown
                                    : m_options.ignoreMerges) = on;
        } else {
            reader.skipValue();
        }
    }

    void readVocab(JsonReader& reader) {
        if (reader.peek() == '[') {  // what a Unigram model has
            reader.skipValue();
            return;
        }
        if (m_settings.hasVocab) {
            reader.fail("'vocab' is there twice");
        }
        m_settings.hasVocab = true;
        TokenTable& tokens = m_vocabulary.tokens;
        const std::int64_t largest = largestTokenId(m_fileBytes / 32);
        std::string text;
        std::string_view key;
        JsonReader::Scope scope = reader.enterObject();
        while (reader.nextKey(scope, key)) {
            text = key;
            const std::int64_t id = reader.readInteger();
            if (id < 0 || id > largest) {
                reader.fail("the id " + std::to_string(id) + " of the token " +
                            quoteForMessage(text) + " is out of range");
            }
            switch (tokens.add(static_cast<std::int32_t>(id), text)) {
                case TokenTable::Added::Yes:
                    break;
                case TokenTable::Added::IdTaken:
                    reader.fail("the id " + std::to_string(id) + " is given twice");
                case TokenTable::Added::TextTaken:
                    reader.fail("the token " + quoteForMessage(text) + " is there twice");
            }
        }
        if (tokens.idEnd() > largestTokenId(tokens.count())) {
            reader.fail("the largest id is " + std::to_string(tokens.idEnd() - 1) + " for " +
                        std::to_string(tokens.count()) + " tokens");
        }
    }

    void readMerges(JsonReader& reader) {
        m_settings.hasMerges = true;
        MergeTable& merges = m_vocabulary.merges;
        merges.reserve(m_vocabulary.tokens.count());
        std::string left, right;
        std::uint32_t rank = 0;
        JsonReader::Scope scope = reader.enterArray();
        while (reader.nextElement(scope)) {
            if (reader.peek() == '[') {
                JsonReader::Scope pair = reader.enterArray();
                if (!reader.nextElement(pair)) {
                    reader.fail("a merge of nothing");
                }
                left = reader.readString();
                if (!reader.nextElement(pair)) {
                    reader.fail("a merge of one token");
                }
                right = reader.readString();
                if (reader.nextElement(pair)) {
                    reader.fail("a merge of more than two tokens");
                }
            } else {
                const std::string_view both = reader.readString();
                if (both.starts_with("#version")) {
                    continue;
                }
                const std::size_t space = both.find(' ');
                if (space == std::string_view::npos ||
                    both.find(' ', space + 1) != std::string_view::npos) {
                    reader.fail("the merge " + quoteForMessage(both) + " is not of two tokens");
                }
                left = both.substr(0, space);
                right = both.substr(space + 1);
            }
            const std::string wrong = m_vocabulary.addMerge(left, right, rank++);
            if (!wrong.empty()) {
                reader.fail(wrong);
            }
        }
    }

    void check() {
        const std::string& type = m_settings.type;
        if (!type.empty() && type != "BPE") {
            throwBadInput(m_file, "the model type " + quoteForMessage(type) +
                                      " is not supported; only BPE is");
        }
        if (!m_settings.hasVocab || !m_settings.hasMerges) {
            throwBadInput(m_file, "the model has no vocab or no merges, so it is not BPE");
        }
        if (m_vocabulary.tokens.count() == 0) {
            throwBadInput(m_file, "the vocabulary is empty");
        }
        m_options.unknown =
            m_settings.unknown.empty() ? -1 : m_vocabulary.tokens.find(m_settings.unknown);
    }

    const std::string& m_file;
    std::size_t m_fileBytes;
    Vocabulary& m_vocabulary;
    BpeOptions& m_options;
    ModelSettings m_settings;
};

}  // namespace

void readBpeModel(JsonReader& reader, const std::string& file, std::size_t fileBytes,
                  Vocabulary& vocabulary, BpeOptions& options) {
    ModelReader(file, fileBytes, vocabulary, options).run(reader);
}

}  // namespace fettle
