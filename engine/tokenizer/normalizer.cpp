#include "engine/tokenizer/normalizer.h"

#include <utf8proc.h>
#include <utility>

#include "engine/core/error.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/regex_pattern.h"
#include "engine/tokenizer/unicode_normalization.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

namespace {

constexpr std::size_t kMostNormalizers = 64;
constexpr std::size_t kMostGrowth =
    32;  // a step that makes a text longer than this many times is refused

class UnicodeForm : public Normalizer {
public:
    explicit UnicodeForm(NormalizationForm form) : m_form(form) {}
    void apply(std::string& text) const override { normalizeUnicode(text, m_form); }

private:
    NormalizationForm m_form;
};

class Replace : public Normalizer {
public:
    Replace(std::string pattern, RegexPattern::Syntax syntax, std::string content,
            std::string origin)
        : m_pattern(std::move(pattern), syntax, origin),
          m_content(std::move(content)),
          m_origin(std::move(origin)) {}

    void apply(std::string& text) const override {
        if (text.empty()) {
            return;
        }
        std::string out;
        out.reserve(text.size() + text.size() / 4);
        m_pattern.forEachPart(text, [&](const RegexPattern::Match& part, bool isMatch) {
            if (isMatch) {
                out += m_content;
            } else {
                out.append(text, part.begin, part.end - part.begin);
            }
            checkGrowth(out.size(), text.size());
        });
        text = std::move(out);
    }

private:
    void checkGrowth(std::size_t now, std::size_t before) const {
        if (now > kMostGrowth * before + 4096) {
            throwBadInput(m_origin, "the replacement of " + quoteForMessage(m_pattern.pattern()) +
                                        " makes a text more than " + std::to_string(kMostGrowth) +
                                        " times as long");
        }
    }

    RegexPattern m_pattern;
    std::string m_content;
    std::string m_origin;
};

class Prepend : public Normalizer {
public:
    explicit Prepend(std::string prefix) : m_prefix(std::move(prefix)) {}
    void apply(std::string& text) const override {
        if (!text.empty()) {
            text.insert(0, m_prefix);
        }
    }

private:
    std::string m_prefix;
};

class Strip : public Normalizer {
public:
    Strip(bool left, bool right) : m_left(left), m_right(right) {}
    void apply(std::string& text) const override {
        if (m_right) {
            text.resize(text.size() - trailingSpaceBytes(text));
        }
        if (m_left) {
            text.erase(0, leadingSpaceBytes(text));
        }
    }

private:
    bool m_left, m_right;
};

class Lowercase : public Normalizer {
public:
    void apply(std::string& text) const override {
        std::string out;
        out.reserve(text.size());
        for (std::size_t i = 0; i < text.size();) {
            const Utf8Char c = decodeUtf8(text, i);
            i += c.length;
            if (c.code == 0x130) {  // the one letter whose lower case is two characters
                out += "i\u0307";
            } else {
                appendUtf8(out, static_cast<char32_t>(
                                    utf8proc_tolower(static_cast<utf8proc_int32_t>(c.code))));
            }
        }
        text = std::move(out);
    }
};

class StripAccents : public Normalizer {
public:
    void apply(std::string& text) const override {
        std::string out;
        out.reserve(text.size());
        for (std::size_t i = 0; i < text.size();) {
            const Utf8Char c = decodeUtf8(text, i);
            const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c.code));
            if (category != UTF8PROC_CATEGORY_MN && category != UTF8PROC_CATEGORY_MC &&
                category != UTF8PROC_CATEGORY_ME) {
                out.append(text, i, c.length);
            }
            i += c.length;
        }
        text = std::move(out);
    }
};

class ByteLevelNormalizer : public Normalizer {
public:
    void apply(std::string& text) const override { text = toByteLevel(text); }
};

std::unique_ptr<const Normalizer> parseReplace(const JsonPart& part) {
    const JsonPart pattern = part.at("pattern");
    const bool regex = pattern.has("Regex");
    return std::make_unique<Replace>(
        pattern.at(regex ? "Regex" : "String").string(),
        regex ? RegexPattern::Syntax::Oniguruma : RegexPattern::Syntax::Literal,
        part.at("content").string(), part.file());
}

void appendSteps(const JsonPart& part, int depth, NormalizerList& steps) {
    if (depth > kDeepestSequence) {
        part.fail("sequences are nested more than " + std::to_string(kDeepestSequence) + " deep");
    }
    if (steps.size() >= kMostNormalizers) {
        part.fail("there are more than " + std::to_string(kMostNormalizers) + " normalizers");
    }
    const std::string& type = part.at("type").string();
    if (type == "Sequence") {
        for (const JsonPart& element : part.at("normalizers").elements()) {
            appendSteps(element, depth + 1, steps);
        }
    } else if (type == "NFC") {
        steps.push_back(makeNfc());
    } else if (type == "NFD") {
        steps.push_back(std::make_unique<UnicodeForm>(NormalizationForm::Nfd));
    } else if (type == "NFKC") {
        steps.push_back(std::make_unique<UnicodeForm>(NormalizationForm::Nfkc));
    } else if (type == "NFKD") {
        steps.push_back(std::make_unique<UnicodeForm>(NormalizationForm::Nfkd));
    } else if (type == "Replace") {
        steps.push_back(parseReplace(part));
    } else if (type == "Prepend") {
        steps.push_back(makePrepender(part.at("prepend").string()));
    } else if (type == "Strip") {
        steps.push_back(std::make_unique<Strip>(part.at("strip_left").boolean(),
                                                part.at("strip_right").boolean()));
    } else if (type == "Lowercase") {
        steps.push_back(std::make_unique<Lowercase>());
    } else if (type == "StripAccents") {
        steps.push_back(std::make_unique<StripAccents>());
    } else if (type == "ByteLevel") {
        steps.push_back(std::make_unique<ByteLevelNormalizer>());
    } else {
        part.fail("the normalizer " + quoteForMessage(type) + " is not supported");
    }
}

}  // namespace

NormalizerList parseNormalizer(const JsonPart& part) {
    NormalizerList steps;
    if (!part.isNull()) {
        appendSteps(part, 0, steps);
    }
    return steps;
}

std::unique_ptr<const Normalizer> makeSpaceReplacer(const std::string& to) {
    return std::make_unique<Replace>(" ", RegexPattern::Syntax::Literal, to, std::string());
}

std::unique_ptr<const Normalizer> makePrepender(const std::string& prefix) {
    return std::make_unique<Prepend>(prefix);
}

std::unique_ptr<const Normalizer> makeNfc() {
    return std::make_unique<UnicodeForm>(NormalizationForm::Nfc);
}

}  // namespace fettle
