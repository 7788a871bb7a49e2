// Token texts back to bytes. One class per kind that Hugging Face's tokenizers names in `decoder`;
// unlike there, bytes that are no UTF-8 stay as they are. Immutable; may be shared by threads.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace fettle {

class JsonPart;

class DecoderStep {
public:
    virtual ~DecoderStep() = default;
    virtual void apply(std::vector<std::string>& tokens) const = 0;
};

using DecoderSteps = std::vector<std::unique_ptr<const DecoderStep>>;

/// The steps of `decoder`, sequences unfolded. Null means a space between tokens. Throws
/// EngineError(BadInput).
DecoderSteps parseDecoder(const JsonPart& part);
/// Byte alphabet to bytes.
DecoderSteps makeByteLevelDecoder();
/// "▁" to spaces, <0xNN> to bytes; with `stripFirst` the space in front goes.
DecoderSteps makeSentencePieceDecoder(bool stripFirst);

}  // namespace fettle
