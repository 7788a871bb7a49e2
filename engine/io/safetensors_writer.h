// Writes one safetensors file (layout: safetensors_reader.h). The values of each tensor come from a
// callback when its turn comes, so that nothing is held.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/io/staged_output.h"
#include "engine/tensor/tensor.h"

namespace fettle {

struct TensorToWrite {
    std::string name;
    DType dtype = DType::F32;
    Shape shape;
    /// Writes exactly the tensor's bytes.
    std::function<void(FileWriter&)> write;

    std::uint64_t bytes() const {
        return static_cast<std::uint64_t>(elementCount(shape)) * dtypeBytes(dtype);
    }
};

/// Tensors of wide types come first, so that all are aligned. `written` is called after each with
/// the bytes so far.
void writeSafetensors(
    const std::filesystem::path& path, std::vector<TensorToWrite> tensors,
    const std::function<void(const std::string& name, std::uint64_t bytes)>& written);

}  // namespace fettle
