#include "engine/tokenizer/decoder.h"

#include <algorithm>
#include <utility>

#include "engine/tokenizer/bpe_model.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/regex_pattern.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

namespace {

constexpr std::size_t kMostDecoders = 64;
constexpr std::size_t kLongestContent = 64;  // bytes
constexpr const char* kMark = "\u2581";

class ByteLevelDecoder : public DecoderStep {
public:
    void apply(std::vector<std::string>& tokens) const override {
        std::string bytes;
        for (const std::string& token : tokens) {
            if (!appendFromByteLevel(token, bytes)) {
                bytes += token;
            }
        }
        tokens.assign(1, std::move(bytes));
    }
};

class Fuse : public DecoderStep {
public:
    void apply(std::vector<std::string>& tokens) const override {
        std::string text;
        for (const std::string& token : tokens) {
            text += token;
        }
        tokens.assign(1, std::move(text));
    }
};

/// What a decoder without steps does.
class JoinWithSpaces : public DecoderStep {
public:
    void apply(std::vector<std::string>& tokens) const override {
        for (std::size_t i = 1; i < tokens.size(); ++i) {
            tokens[i].insert(0, " ");
        }
    }
};

class ByteFallback : public DecoderStep {
public:
    void apply(std::vector<std::string>& tokens) const override {
        for (std::string& token : tokens) {
            if (const int byte = byteOfToken(token); byte >= 0) {
                token.assign(1, static_cast<char>(byte));
            }
        }
    }
};

class Replace : public DecoderStep {
public:
    Replace(std::string pattern, RegexPattern::Syntax syntax, std::string content,
            const std::string& origin)
        : m_pattern(std::move(pattern), syntax, origin),
          m_needsUtf8(syntax != RegexPattern::Syntax::Literal || m_pattern.pattern().empty()),
          m_content(std::move(content)) {}

    void apply(std::vector<std::string>& tokens) const override {
        for (std::string& token : tokens) {
            if (token.empty() || (m_needsUtf8 && !isValidUtf8(token))) {
                continue;
            }
            std::string out;
            m_pattern.forEachPart(token, [&](const RegexPattern::Match& part, bool isMatch) {
                if (isMatch) {
                    out += m_content;
                } else {
                    out.append(token, part.begin, part.end - part.begin);
                }
            });
            token = std::move(out);
        }
    }

private:
    RegexPattern m_pattern;
    bool m_needsUtf8;
    std::string m_content;
};

class Strip : public DecoderStep {
public:
    Strip(std::string content, std::size_t start, std::size_t stop)
        : m_content(std::move(content)), m_start(start), m_stop(stop) {}

    void apply(std::vector<std::string>& tokens) const override {
        for (std::string& token : tokens) {
            std::string_view rest = token;
            for (std::size_t i = 0; i < m_start && rest.starts_with(m_content); ++i) {
                rest.remove_prefix(m_content.size());
            }
            for (std::size_t i = 0; i < m_stop && rest.ends_with(m_content); ++i) {
                rest.remove_suffix(m_content.size());
            }
            token = std::string(rest);
        }
    }

private:
    std::string m_content;
    std::size_t m_start, m_stop;
};

class Metaspace : public DecoderStep {
public:
    Metaspace(std::string mark, bool stripFirst)
        : m_mark(std::move(mark)), m_stripFirst(stripFirst) {}

    void apply(std::vector<std::string>& tokens) const override {
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            const char* to = i == 0 && m_stripFirst ? "" : " ";
            std::string out;
            std::size_t from = 0;
            for (std::size_t at = 0; (at = tokens[i].find(m_mark, from)) != std::string::npos;
                 from = at + m_mark.size()) {
                out.append(tokens[i], from, at - from).append(to);
            }
            tokens[i] = out.append(tokens[i], from);
        }
    }

private:
    std::string m_mark;
    bool m_stripFirst;
};

std::string shortString(const JsonPart& part) {
    if (part.string().size() > kLongestContent) {
        part.fail("is longer than " + std::to_string(kLongestContent) + " bytes");
    }
    return part.string();
}

std::string oneCharacter(const JsonPart& part) {
    part.character();
    return part.string();
}

std::size_t smallCount(const JsonPart& part) {
    const std::int64_t value = part.integer();
    if (value < 0 || value > 1'000'000) {
        part.fail("is not a count");
    }
    return static_cast<std::size_t>(value);
}

void appendSteps(const JsonPart& part, int depth, DecoderSteps& steps) {
    if (depth > kDeepestSequence || steps.size() >= kMostDecoders) {
        part.fail("there are too many decoders");
    }
    const std::string& type = part.at("type").string();
    if (type == "Sequence") {
        for (const JsonPart& element : part.at("decoders").elements()) {
            appendSteps(element, depth + 1, steps);
        }
    } else if (type == "ByteLevel") {
        steps.push_back(std::make_unique<ByteLevelDecoder>());
    } else if (type == "Fuse") {
        steps.push_back(std::make_unique<Fuse>());
    } else if (type == "ByteFallback") {
        steps.push_back(std::make_unique<ByteFallback>());
    } else if (type == "Replace") {
        const JsonPart pattern = part.at("pattern");
        const bool regex = pattern.has("Regex");
        steps.push_back(std::make_unique<Replace>(
            pattern.at(regex ? "Regex" : "String").string(),
            regex ? RegexPattern::Syntax::Oniguruma : RegexPattern::Syntax::Literal,
            shortString(part.at("content")), part.file()));
    } else if (type == "Strip") {
        steps.push_back(std::make_unique<Strip>(oneCharacter(part.at("content")),
                                                smallCount(part.at("start")),
                                                smallCount(part.at("stop"))));
    } else if (type == "Metaspace") {
        const bool prepends = part.string("prepend_scheme", "always") != "never" &&
                              part.boolean("add_prefix_space", true);
        steps.push_back(
            std::make_unique<Metaspace>(oneCharacter(part.at("replacement")), prepends));
    } else {
        part.fail("the decoder " + quoteForMessage(type) + " is not supported");
    }
}

}  // namespace

DecoderSteps parseDecoder(const JsonPart& part) {
    DecoderSteps steps;
    if (part.isNull()) {
        steps.push_back(std::make_unique<JoinWithSpaces>());
    } else {
        appendSteps(part, 0, steps);
    }
    return steps;
}

DecoderSteps makeByteLevelDecoder() {
    DecoderSteps steps;
    steps.push_back(std::make_unique<ByteLevelDecoder>());
    return steps;
}

DecoderSteps makeSentencePieceDecoder(bool stripFirst) {
    DecoderSteps steps;
    steps.push_back(
        std::make_unique<Replace>(kMark, RegexPattern::Syntax::Literal, " ", std::string()));
    steps.push_back(std::make_unique<ByteFallback>());
    steps.push_back(std::make_unique<Fuse>());
    if (stripFirst) {
        steps.push_back(std::make_unique<Strip>(" ", 1, 0));
    }
    return steps;
}

}  // namespace fettle
