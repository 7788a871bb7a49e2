// What goes around an encoded text: `post_processor` of a tokenizer.json.
#pragma once

#include <cstdint>
#include <vector>

namespace fettle {

class JsonPart;

struct SequenceTemplate {
    std::vector<std::int32_t> prefix, suffix;
};

/// Throws EngineError(BadInput) for kinds that are not supported and for ids that are not below
/// `idEnd`.
SequenceTemplate parsePostProcessor(const JsonPart& part, std::int64_t idEnd);

}  // namespace fettle
