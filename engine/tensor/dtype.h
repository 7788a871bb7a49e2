// Element types of stored tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fettle {

enum class DType : std::uint8_t { F32, F16, BF16, I8, U8, I32, I64, F8E4M3, Block };

/// Bytes of one element; 0 for Block (GGUF block formats have no per-element size).
std::size_t dtypeBytes(DType dtype);
/// "F32", "BF16", ... as safetensors writes them.
std::string toString(DType dtype);

}  // namespace fettle
