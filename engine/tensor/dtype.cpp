#include "engine/tensor/dtype.h"

namespace fettle {

std::size_t dtypeBytes(DType dtype) {
    switch (dtype) {
        case DType::F32:
        case DType::I32:
            return 4;
        case DType::F16:
        case DType::BF16:
            return 2;
        case DType::I8:
        case DType::U8:
        case DType::F8E4M3:
            return 1;
        case DType::I64:
            return 8;
        case DType::Block:
            return 0;
    }
    return 0;
}

std::string toString(DType dtype) {
    switch (dtype) {
        case DType::F32:
            return "F32";
        case DType::F16:
            return "F16";
        case DType::BF16:
            return "BF16";
        case DType::I8:
            return "I8";
        case DType::U8:
            return "U8";
        case DType::I32:
            return "I32";
        case DType::I64:
            return "I64";
        case DType::F8E4M3:
            return "F8_E4M3";
        case DType::Block:
            return "Block";
    }
    return "?";
}

}  // namespace fettle
