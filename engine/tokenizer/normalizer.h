// Text to normalized text, before it is cut into words. One class per kind that Hugging Face's
// tokenizers names in `normalizer`. Immutable; may be shared by threads.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

class JsonPart;

class Normalizer {
public:
    virtual ~Normalizer() = default;
    /// `text` is valid UTF-8 and stays so.
    virtual void apply(std::string& text) const = 0;
};

using NormalizerList = std::vector<std::unique_ptr<const Normalizer>>;

/// The steps of `normalizer` in order, sequences unfolded; none where it is null. Throws
/// EngineError(BadInput).
NormalizerList parseNormalizer(const JsonPart& part);
/// Replaces each space, as SentencePiece vocabularies want it.
std::unique_ptr<const Normalizer> makeSpaceReplacer(const std::string& to);
std::unique_ptr<const Normalizer> makePrepender(const std::string& prefix);
std::unique_ptr<const Normalizer> makeNfc();

}  // namespace fettle
