// Normalized text to words, inside which the byte-pair model merges. Each step takes one piece and
// hands on the pieces it makes of it, so that a long text is never held as a list. Immutable; may
// be shared by threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/regex_pattern.h"

namespace fettle {

class JsonPart;

struct TextPiece {
    std::string_view text;  ///< valid only during the call it is handed to
    bool first = false;     ///< begins where the whole text begins
};

/// Takes pieces; never sees an empty one.
class PieceSink {
public:
    virtual ~PieceSink() = default;
    virtual void take(const TextPiece& piece) = 0;
};

class PreTokenizer {
public:
    virtual ~PreTokenizer() = default;
    virtual void split(const TextPiece& piece, PieceSink& out) const = 0;
};

using PreTokenizerSteps = std::vector<std::unique_ptr<const PreTokenizer>>;

enum class SplitBehavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };
enum class PrependScheme { Never, First, Always };

std::unique_ptr<const PreTokenizer> makeSplit(const std::string& pattern,
                                              RegexPattern::Syntax syntax, SplitBehavior behavior,
                                              bool invert, const std::string& origin);
/// GPT-2's step: a space in front, its regular expression, and with `mapBytes` the byte alphabet.
std::unique_ptr<const PreTokenizer> makeByteLevel(bool addPrefixSpace, bool useRegex, bool mapBytes,
                                                  const std::string& origin);
std::unique_ptr<const PreTokenizer> makeMetaspace(const std::string& mark, PrependScheme scheme,
                                                  bool split);
/// Cuts before each `mark` that follows a character other than `mark` and those in `keepTogether`.
std::unique_ptr<const PreTokenizer> makeMarkSplit(const std::string& mark,
                                                  const std::u32string& keepTogether);

/// Hands `piece` through `steps` from number `step` on, and what comes out to `out`.
void runSteps(const PreTokenizerSteps& steps, std::size_t step, const TextPiece& piece,
              PieceSink& out);

struct ParsedPreTokenizer {
    PreTokenizerSteps steps;
    bool byteLevel = false;  ///< the model maps each word's bytes to the byte alphabet (the last
                             ///< step left it out)
    bool metaspace = false;  ///< spaces became marks
    bool prependsMark = false;
    /// What the steps do, in words that compare equal for equal steps; by it a GGUF name is found.
    std::vector<std::string> signature;
};

/// `pre_tokenizer`; throws EngineError(BadInput) for kinds that are not supported.
ParsedPreTokenizer parsePreTokenizer(const JsonPart& part);

/// The expression of GPT-2 (openai/gpt-2, encoder.py).
extern const char* const kGpt2Pattern;

}  // namespace fettle
