// From tensors as they lie in files to canonical weights: transposed, fused and permuted ones are
// put right (copied); everything else stays a view of the mapped file.
#pragma once

#include "engine/io/stored_tensor.h"
#include "engine/model/architectures/architecture.h"
#include "engine/tensor/weight.h"

namespace fettle {

/// How a file format holds the tensors of an architecture.
struct FileLayout {
    bool transposed = false;  ///< honours TensorFlag::kTransposed (Hugging Face)
    bool permuted = false;    ///< honours TensorFlag::kPermuted (GGUF)
};

/// Rows of the whole fused tensor, and where the part begins; for a tensor of its own, its rows and
/// 0.
struct FusedRows {
    std::int64_t total = 0;
    std::int64_t first = 0;
};
FusedRows fusedRows(const TensorPlace& place, const ModelConfig& config);

/// The weight at `place` out of `stored`, called `name` in its file. Throws BadInput for a wrong
/// type or shape.
Weight readPlainWeight(const TensorPlace& place, const ModelConfig& config,
                       const StoredTensor& stored, const std::string& name, FileLayout layout);
/// The rows of one part of a fused quantized weight.
QuantizedTensor sliceRows(const QuantizedTensor& whole, std::int64_t first, std::int64_t rows);

/// Source row for row `row` of a head-wise permuted matrix: canonical from GGUF order.
std::int64_t permutedRow(std::int64_t row, std::int64_t headDim);

}  // namespace fettle
