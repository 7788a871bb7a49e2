// Reads `pre_tokenizer` of a tokenizer.json.
#include <utility>

#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

namespace {

constexpr std::size_t kMostPreTokenizers = 64;

SplitBehavior parseBehavior(const JsonPart& part) {
    const std::string& name = part.string();
    if (name == "Removed")
        return SplitBehavior::Removed;
    if (name == "Isolated")
        return SplitBehavior::Isolated;
    if (name == "MergedWithPrevious")
        return SplitBehavior::MergedWithPrevious;
    if (name == "MergedWithNext")
        return SplitBehavior::MergedWithNext;
    if (name == "Contiguous")
        return SplitBehavior::Contiguous;
    part.fail("the behavior " + quoteForMessage(name) + " is not known");
}

class PreTokenizerParser {
public:
    ParsedPreTokenizer run(const JsonPart& part) {
        if (!part.isNull()) {
            append(part, 0, true);
        }
        return std::move(m_result);
    }

private:
    /// `last`: nothing comes after it.
    void append(const JsonPart& part, int depth, bool last) {
        if (depth > kDeepestSequence || m_result.steps.size() >= kMostPreTokenizers) {
            part.fail("there are too many pre-tokenizers");
        }
        const std::string& type = part.at("type").string();
        if (type == "Sequence") {
            const std::vector<JsonPart> elements = part.at("pretokenizers").elements();
            for (const JsonPart& element : elements) {
                append(element, depth + 1, last && &element == &elements.back());
            }
        } else if (type == "ByteLevel") {
            byteLevel(part, last);
        } else if (type == "Split") {
            split(part);
        } else if (type == "Metaspace") {
            metaspace(part);
        } else if (!simple(part, type)) {
            part.fail("the pre-tokenizer " + quoteForMessage(type) + " is not supported");
        }
    }

    void add(const JsonPart& part, const std::string& pattern, RegexPattern::Syntax syntax,
             SplitBehavior behavior, bool invert) {
        m_result.steps.push_back(makeSplit(pattern, syntax, behavior, invert, part.file()));
    }

    void byteLevel(const JsonPart& part, bool last) {
        const bool prefix = part.at("add_prefix_space").boolean();
        const bool regex = part.boolean("use_regex", true);
        m_result.byteLevel = last;
        if (prefix || regex || !last) {
            m_result.steps.push_back(makeByteLevel(prefix, regex, !last, part.file()));
        }
        if (prefix) {
            m_result.signature.emplace_back("prefix space");
        }
        if (regex) {
            m_result.signature.emplace_back(kGpt2Pattern);
        }
        m_result.signature.emplace_back("bytes");
    }

    void split(const JsonPart& part) {
        const JsonPart pattern = part.at("pattern");
        const bool regex = pattern.has("Regex");
        const std::string& text = pattern.at(regex ? "Regex" : "String").string();
        const SplitBehavior behavior = parseBehavior(part.at("behavior"));
        const bool invert = part.boolean("invert", false);
        add(part, text, regex ? RegexPattern::Syntax::Oniguruma : RegexPattern::Syntax::Literal,
            behavior, invert);
        // A regex that covers every text is the same whether its matches or what lies between them
        // is taken.
        const bool isolates =
            behavior == SplitBehavior::Isolated || (behavior == SplitBehavior::Removed && invert);
        m_result.signature.push_back(isolates && regex ? text : "split otherwise: " + text);
    }

    void metaspace(const JsonPart& part) {
        std::string mark;
        appendUtf8(mark, part.at("replacement").character());
        const std::string scheme = part.string("prepend_scheme", "always");
        PrependScheme prepend = PrependScheme::Always;
        if (scheme == "never" || !part.boolean("add_prefix_space", true)) {
            prepend = PrependScheme::Never;
        } else if (scheme == "first") {
            prepend = PrependScheme::First;
        } else if (scheme != "always") {
            part.fail("the prepend_scheme " + quoteForMessage(scheme) + " is not known");
        }
        m_result.steps.push_back(makeMetaspace(mark, prepend, part.boolean("split", true)));
        m_result.metaspace = true;
        m_result.prependsMark = prepend != PrependScheme::Never;
        m_result.signature.emplace_back("metaspace");
    }

    bool simple(const JsonPart& part, const std::string& type) {
        const auto regex = RegexPattern::Syntax::Oniguruma;
        if (type == "Digits") {
            const bool individual = part.boolean("individual_digits", false);
            add(part, R"(\p{N})", regex,
                individual ? SplitBehavior::Isolated : SplitBehavior::Contiguous, false);
            m_result.signature.emplace_back(individual ? R"(\p{N})" : R"(\p{N}+)");
        } else if (type == "Whitespace") {
            // Rust's \w, which also takes the joiners but not every number.
            const std::string word = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D})";
            add(part, "[" + word + "]+|[^" + word + R"(\s]+)", regex, SplitBehavior::Removed, true);
            m_result.signature.emplace_back("whitespace");
        } else if (type == "WhitespaceSplit") {
            add(part, R"(\s)", regex, SplitBehavior::Removed, false);
            m_result.signature.emplace_back("whitespace split");
        } else if (type == "Punctuation") {
            add(part, R"([!-/:-@\[-`{-~\p{P}])", regex,
                part.has("behavior") ? parseBehavior(part.at("behavior")) : SplitBehavior::Isolated,
                false);
            m_result.signature.emplace_back("punctuation");
        } else if (type == "CharDelimiterSplit" || type == "Delimiter") {
            add(part, part.at("delimiter").string(), RegexPattern::Syntax::Literal,
                SplitBehavior::Removed, false);
            m_result.signature.emplace_back("delimiter");
        } else {
            return false;
        }
        return true;
    }

    ParsedPreTokenizer m_result;
};

}  // namespace

ParsedPreTokenizer parsePreTokenizer(const JsonPart& part) {
    return PreTokenizerParser().run(part);
}

}  // namespace fettle
