// Text to token ids and back. Byte-level BPE and SentencePiece-style BPE, exactly as Hugging Face's
// tokenizers does it for tokenizer.json files, and as GGUF metadata describes it. Immutable after
// construction; may be shared by threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

/// The tokenizer part of a GGUF file's metadata.
struct GgufTokenizerData {
    std::string model;  ///< "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE with scores)
    std::string pre;    ///< pre-tokenizer name, "llama-bpe", "qwen2", "gpt-2", ...
    std::vector<std::string> tokens;
    std::vector<float> scores;
    std::vector<std::int32_t>
        tokenTypes;  ///< 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
    std::vector<std::string> merges;  ///< "a b"
    std::int32_t bos = -1, eos = -1, unknown = -1, padding = -1;
    bool addBos = false, addEos = false, addSpacePrefix = false;
    std::string chatTemplate;
};

class Tokenizer {
public:
    virtual ~Tokenizer() = default;

    /// Reads tokenizer.json (and tokenizer_config.json, generation_config.json beside it where
    /// present). Throws EngineError(BadInput) naming the file and what in it is not supported or
    /// broken.
    static std::shared_ptr<const Tokenizer> fromFolder(const std::filesystem::path& folder);
    /// `origin` names the file in error messages.
    static std::shared_ptr<const Tokenizer> fromGguf(const GgufTokenizerData& data,
                                                     const std::string& origin);

    /// `addSpecial`: add BOS/EOS where the tokenizer's own settings say so. Special tokens spelt
    /// out in the text are recognised, as Hugging Face does by default.
    virtual std::vector<std::int32_t> encode(std::string_view text, bool addSpecial) const = 0;
    /// Bytes as they are; a piece may end inside a UTF-8 sequence when `ids` does.
    virtual std::string decode(const std::vector<std::int32_t>& ids,
                               bool skipSpecial = true) const = 0;

    virtual std::int64_t vocabularySize() const = 0;  ///< ids are below this
    virtual std::int32_t bos() const = 0;             ///< -1 if none
    virtual std::int32_t eos() const = 0;
    /// Every id that ends generation (eos and, for chat models, end of turn).
    virtual const std::vector<std::int32_t>& stopIds() const = 0;
    virtual bool addsBos() const = 0;
    virtual const std::string& chatTemplate() const = 0;
    virtual std::string describe() const = 0;  ///< "byte-level BPE, 2048 tokens"
    /// What a GGUF writer needs; also the table by which two tokenizers are compared.
    virtual GgufTokenizerData toGguf() const = 0;
};

}  // namespace fettle
