#include "engine/tokenizer/post_processor.h"

#include <string>

#include "engine/tokenizer/json_part.h"

namespace fettle {

namespace {

constexpr std::size_t kMostTokens = 64;

class PostProcessorParser {
public:
    explicit PostProcessorParser(std::int64_t idEnd) : m_idEnd(idEnd) {}

    void run(const JsonPart& part, int depth) {
        if (depth > kDeepestSequence) {
            part.fail("sequences are nested more than " + std::to_string(kDeepestSequence) +
                      " deep");
        }
        const std::string& type = part.at("type").string();
        if (type == "Sequence") {
            for (const JsonPart& element : part.at("processors").elements()) {
                run(element, depth + 1);
            }
        } else if (type == "TemplateProcessing") {
            fromTemplate(part);
        } else if (type == "RobertaProcessing" || type == "BertProcessing") {
            surround(part, {idOfPair(part.at("cls"))}, {idOfPair(part.at("sep"))});
        } else if (type != "ByteLevel") {  // that one only moves offsets
            part.fail("the post-processor " + quoteForMessage(type) + " is not supported");
        }
    }

    const SequenceTemplate& result() const { return m_result; }

private:
    std::int32_t checked(const JsonPart& part) const {
        const std::int64_t id = part.integer();
        if (id < 0 || id >= m_idEnd) {
            part.fail("the token id " + std::to_string(id) + " is not below " +
                      std::to_string(m_idEnd));
        }
        return static_cast<std::int32_t>(id);
    }

    std::int32_t idOfPair(const JsonPart& part) const {
        const std::vector<JsonPart> pair = part.elements();
        if (pair.size() != 2) {
            part.fail("wanted a token and its id");
        }
        return checked(pair[1]);
    }

    void fromTemplate(const JsonPart& part) {
        const JsonPart specials = part.at("special_tokens");
        std::vector<std::int32_t> prefix, suffix;
        bool sequenceSeen = false;
        for (const JsonPart& piece : part.at("single").elements()) {
            if (piece.has("Sequence")) {
                if (sequenceSeen || piece.at("Sequence").at("id").string() != "A") {
                    piece.fail("a template must hold the sequence A once");
                }
                sequenceSeen = true;
                continue;
            }
            const std::string& name = piece.at("SpecialToken").at("id").string();
            for (const JsonPart& id : specials.at(name.c_str()).at("ids").elements()) {
                (sequenceSeen ? suffix : prefix).push_back(checked(id));
            }
        }
        if (!sequenceSeen) {
            part.fail("a template must hold the sequence A once");
        }
        surround(part, prefix, suffix);
    }

    void surround(const JsonPart& part, std::vector<std::int32_t> prefix,
                  const std::vector<std::int32_t>& suffix) {
        prefix.insert(prefix.end(), m_result.prefix.begin(), m_result.prefix.end());
        m_result.prefix = std::move(prefix);
        m_result.suffix.insert(m_result.suffix.end(), suffix.begin(), suffix.end());
        if (m_result.prefix.size() + m_result.suffix.size() > kMostTokens) {
            part.fail("the template has more than " + std::to_string(kMostTokens) + " tokens");
        }
    }

    std::int64_t m_idEnd;
    SequenceTemplate m_result;
};

}  // namespace

SequenceTemplate parsePostProcessor(const JsonPart& part, std::int64_t idEnd) {
    PostProcessorParser parser(idEnd);
    if (!part.isNull()) {
        parser.run(part, 0);
    }
    return parser.result();
}

}  // namespace fettle
