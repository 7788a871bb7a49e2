// One tensor as a file holds it: the common ground of the readers.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "engine/tensor/tensor.h"
#include "kernels/formats/weight_format.h"

namespace fettle {

struct StoredTensor {
    std::string file;  ///< which file it came from, for messages
    std::string type;  ///< as the file says: "BF16", "Q4_K", "I32"
    /// Row-major shape (GGUF's dimensions are turned round). Bytes without a DType of their own
    /// (blocks, F64, ...) have DType::Block.
    Tensor tensor;
    std::optional<kernels::WeightFormat> format;  ///< set for the types a weight may have
};

using StoredTensors = std::map<std::string, StoredTensor>;

}  // namespace fettle
