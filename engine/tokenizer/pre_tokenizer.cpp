#include "engine/tokenizer/pre_tokenizer.h"

#include <utility>

#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

void emit(const TextPiece& piece, std::size_t begin, std::size_t end, PieceSink& out) {
    if (begin < end) {
        out.take({piece.text.substr(begin, end - begin), piece.first && begin == 0});
    }
}

class Split : public PreTokenizer {
public:
    Split(const std::string& pattern, RegexPattern::Syntax syntax, SplitBehavior behavior,
          bool invert, const std::string& origin)
        : m_pattern(pattern, syntax, origin), m_behavior(behavior), m_invert(invert) {}

    void split(const TextPiece& piece, PieceSink& out) const override {
        switch (m_behavior) {
            case SplitBehavior::Isolated:
                return m_pattern.forEachPart(piece.text, [&](const auto& part, bool) {
                    emit(piece, part.begin, part.end, out);
                });
            case SplitBehavior::Removed:
                return m_pattern.forEachPart(piece.text, [&](const auto& part, bool isMatch) {
                    if (isMatch == m_invert) {
                        emit(piece, part.begin, part.end, out);
                    }
                });
            default:
                break;
        }
        merged(piece, out);
    }

private:
    struct Part {
        std::size_t begin, end;
        bool isMatch;
    };

    /// Whether `later` is glued to the part before it, by the rules of Hugging Face's
    /// NormalizedString::split.
    bool joins(const Part& earlier, const Part& later) const {
        switch (m_behavior) {
            case SplitBehavior::Contiguous:
                return earlier.isMatch == later.isMatch;
            case SplitBehavior::MergedWithPrevious:
                return later.isMatch && !earlier.isMatch;
            default:
                return earlier.isMatch && !later.isMatch;  // MergedWithNext
        }
    }

    void merged(const TextPiece& piece, PieceSink& out) const {
        std::size_t begin = 0;
        Part earlier{0, 0, false};
        bool any = false;
        m_pattern.forEachPart(piece.text, [&](const auto& match, bool isMatch) {
            const Part part{match.begin, match.end, isMatch != m_invert};
            if (any && !joins(earlier, part)) {
                emit(piece, begin, earlier.end, out);
                begin = part.begin;
            }
            earlier = part;
            any = true;
        });
        emit(piece, begin, piece.text.size(), out);
    }

    RegexPattern m_pattern;
    SplitBehavior m_behavior;
    bool m_invert;
};

class ByteLevelSplit : public PreTokenizer {
public:
    ByteLevelSplit(bool addPrefixSpace, bool useRegex, bool mapBytes, const std::string& origin)
        : m_addPrefixSpace(addPrefixSpace), m_mapBytes(mapBytes) {
        if (useRegex) {
            m_pattern = std::make_unique<RegexPattern>(kGpt2Pattern,
                                                       RegexPattern::Syntax::Oniguruma, origin);
        }
    }

    void split(const TextPiece& piece, PieceSink& out) const override {
        if (m_addPrefixSpace && !piece.text.starts_with(' ')) {
            const std::string prefixed = " " + std::string(piece.text);
            return splitText({prefixed, piece.first}, out);
        }
        splitText(piece, out);
    }

private:
    void splitText(const TextPiece& piece, PieceSink& out) const {
        if (!m_pattern) {
            return hand(piece, out);
        }
        m_pattern->forEachPart(piece.text, [&](const auto& part, bool) {
            if (part.begin < part.end) {
                hand({piece.text.substr(part.begin, part.end - part.begin),
                      piece.first && part.begin == 0},
                     out);
            }
        });
    }
    void hand(const TextPiece& piece, PieceSink& out) const {
        if (m_mapBytes) {
            out.take({toByteLevel(piece.text), piece.first});
        } else {
            out.take(piece);
        }
    }

    std::unique_ptr<RegexPattern> m_pattern;
    bool m_addPrefixSpace, m_mapBytes;
};

class MarkSplit : public PreTokenizer {
public:
    MarkSplit(std::string mark, std::u32string keepTogether)
        : m_mark(std::move(mark)), m_keepTogether(std::move(keepTogether)) {}

    void split(const TextPiece& piece, PieceSink& out) const override {
        std::size_t begin = 0;
        for (std::size_t at = piece.text.find(m_mark, 1); at != std::string_view::npos;
             at = piece.text.find(m_mark, at + m_mark.size())) {
            const std::string_view before = piece.text.substr(0, at);
            if (!before.ends_with(m_mark) && !keeps(before)) {
                emit(piece, begin, at, out);
                begin = at;
            }
        }
        emit(piece, begin, piece.text.size(), out);
    }

private:
    bool keeps(std::string_view before) const {
        return !m_keepTogether.empty() &&
               m_keepTogether.find(decodeUtf8(before, lastCharacterStart(before)).code) !=
                   std::u32string::npos;
    }

    std::string m_mark;
    std::u32string m_keepTogether;
};

class Metaspace : public PreTokenizer {
public:
    Metaspace(std::string mark, PrependScheme scheme, bool split)
        : m_mark(std::move(mark)), m_scheme(scheme), m_split(split) {}

    void split(const TextPiece& piece, PieceSink& out) const override {
        std::string text;
        text.reserve(piece.text.size() + piece.text.size() / 2 + m_mark.size());
        const bool prepend =
            m_scheme == PrependScheme::Always || (m_scheme == PrependScheme::First && piece.first);
        if (prepend && !piece.text.starts_with(' ') && !piece.text.starts_with(m_mark)) {
            text += m_mark;
        }
        for (const char c : piece.text) {
            if (c == ' ') {
                text += m_mark;
            } else {
                text += c;
            }
        }
        const TextPiece marked{text, piece.first};
        std::size_t begin = 0;
        if (m_split) {  // each mark begins a piece
            for (std::size_t at = text.find(m_mark, 1); at != std::string::npos;
                 at = text.find(m_mark, at + 1)) {
                emit(marked, begin, at, out);
                begin = at;
            }
        }
        emit(marked, begin, text.size(), out);
    }

private:
    std::string m_mark;
    PrependScheme m_scheme;
    bool m_split;
};

/// Feeds what a step makes into the next step.
class StepSink : public PieceSink {
public:
    StepSink(const PreTokenizerSteps& steps, std::size_t next, PieceSink& out)
        : m_steps(steps), m_next(next), m_out(out) {}
    void take(const TextPiece& piece) override { runSteps(m_steps, m_next, piece, m_out); }

private:
    const PreTokenizerSteps& m_steps;
    std::size_t m_next;
    PieceSink& m_out;
};

}  // namespace

std::unique_ptr<const PreTokenizer> makeSplit(const std::string& pattern,
                                              RegexPattern::Syntax syntax, SplitBehavior behavior,
                                              bool invert, const std::string& origin) {
    return std::make_unique<Split>(pattern, syntax, behavior, invert, origin);
}

std::unique_ptr<const PreTokenizer> makeByteLevel(bool addPrefixSpace, bool useRegex, bool mapBytes,
                                                  const std::string& origin) {
    return std::make_unique<ByteLevelSplit>(addPrefixSpace, useRegex, mapBytes, origin);
}

std::unique_ptr<const PreTokenizer> makeMetaspace(const std::string& mark, PrependScheme scheme,
                                                  bool split) {
    return std::make_unique<Metaspace>(mark, scheme, split);
}

std::unique_ptr<const PreTokenizer> makeMarkSplit(const std::string& mark,
                                                  const std::u32string& keepTogether) {
    return std::make_unique<MarkSplit>(mark, keepTogether);
}

void runSteps(const PreTokenizerSteps& steps, std::size_t step, const TextPiece& piece,
              PieceSink& out) {
    if (step >= steps.size()) {
        return out.take(piece);
    }
    if (step + 1 == steps.size()) {
        return steps[step]->split(piece, out);
    }
    StepSink next(steps, step + 1, out);
    steps[step]->split(piece, next);
}

}  // namespace fettle
