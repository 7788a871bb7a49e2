// GGUF's numbers: value types of metadata, and ggml's tensor types with their sizes.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/tensor/dtype.h"
#include "kernels/formats/weight_format.h"

namespace fettle {

enum class GgufType : std::uint32_t {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64
};
/// Bytes of one value; 0 for strings and arrays.
std::size_t ggufTypeBytes(GgufType type);
const char* toString(GgufType type);

struct GgmlType {
    std::uint32_t id;
    const char* name;
    std::int64_t blockValues;
    std::size_t blockBytes;
    std::optional<kernels::WeightFormat> format;  ///< empty for what Fettle cannot compute with
};
/// nullptr for an id this program does not know.
const GgmlType* findGgmlType(std::uint32_t id);
const GgmlType& ggmlType(kernels::WeightFormat format);

}  // namespace fettle
