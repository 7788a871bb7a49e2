// Token types of GGUF files (tokenizer.ggml.token_type).
#pragma once

#include <cstdint>

namespace fettle {

inline constexpr std::int32_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4,
                              kUnused = 5, kByte = 6;

}  // namespace fettle
