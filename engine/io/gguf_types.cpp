#include "engine/io/gguf_types.h"

#include "engine/core/error.h"

namespace fettle {
namespace {

using kernels::WeightFormat;

const GgmlType kGgmlTypes[] = {
    {0, "F32", 1, 4, WeightFormat::F32},
    {1, "F16", 1, 2, WeightFormat::F16},
    {2, "Q4_0", 32, 18, WeightFormat::Q4_0},
    {3, "Q4_1", 32, 20, WeightFormat::Q4_1},
    {6, "Q5_0", 32, 22, WeightFormat::Q5_0},
    {7, "Q5_1", 32, 24, WeightFormat::Q5_1},
    {8, "Q8_0", 32, 34, WeightFormat::Q8_0},
    {9, "Q8_1", 32, 36, {}},
    {10, "Q2_K", 256, 84, {}},
    {11, "Q3_K", 256, 110, WeightFormat::Q3_K},
    {12, "Q4_K", 256, 144, WeightFormat::Q4_K},
    {13, "Q5_K", 256, 176, WeightFormat::Q5_K},
    {14, "Q6_K", 256, 210, WeightFormat::Q6_K},
    {15, "Q8_K", 256, 292, {}},
    {16, "IQ2_XXS", 256, 66, {}},
    {17, "IQ2_XS", 256, 74, {}},
    {18, "IQ3_XXS", 256, 98, {}},
    {19, "IQ1_S", 256, 50, {}},
    {20, "IQ4_NL", 32, 18, {}},
    {21, "IQ3_S", 256, 110, {}},
    {22, "IQ2_S", 256, 82, {}},
    {23, "IQ4_XS", 256, 136, {}},
    {24, "I8", 1, 1, {}},
    {25, "I16", 1, 2, {}},
    {26, "I32", 1, 4, {}},
    {27, "I64", 1, 8, {}},
    {28, "F64", 1, 8, {}},
    {29, "IQ1_M", 256, 56, {}},
    {30, "BF16", 1, 2, WeightFormat::BF16},
    {34, "TQ1_0", 256, 54, {}},
    {35, "TQ2_0", 256, 66, {}},
    {39, "MXFP4", 32, 17, {}},
    {40, "NVFP4", 64, 36, {}},
};

}  // namespace

std::size_t ggufTypeBytes(GgufType type) {
    switch (type) {
        case GgufType::U8:
        case GgufType::I8:
        case GgufType::Bool:
            return 1;
        case GgufType::U16:
        case GgufType::I16:
            return 2;
        case GgufType::U32:
        case GgufType::I32:
        case GgufType::F32:
            return 4;
        case GgufType::U64:
        case GgufType::I64:
        case GgufType::F64:
            return 8;
        case GgufType::String:
        case GgufType::Array:
            return 0;
    }
    return 0;
}

const char* toString(GgufType type) {
    constexpr const char* kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                      "bool", "string", "array", "u64", "i64", "f64"};
    const auto index = static_cast<std::size_t>(type);
    return index < std::size(kNames) ? kNames[index] : "?";
}

const GgmlType* findGgmlType(std::uint32_t id) {
    for (const GgmlType& type : kGgmlTypes)
        if (type.id == id)
            return &type;
    return nullptr;
}

const GgmlType& ggmlType(WeightFormat format) {
    for (const GgmlType& type : kGgmlTypes)
        if (type.format == format)
            return type;
    throw EngineError(ErrorKind::Internal,
                      std::string("GGUF has no type for ") + kernels::name(format));
}

}  // namespace fettle
