// Reads safetensors files and sharded checkpoints. Byte layout of a file (little endian):
//
//   u64      n = length of the header
//   n bytes  JSON {"name": {"dtype": "BF16", "shape": [..], "data_offsets": [begin, end]}, ...,
//            "__metadata__": {string: string}}; may be padded with spaces
//   rest     the data; offsets count from here. The tensors fill it from first to last byte: no
//   gaps, no overlaps.
//
// A sharded checkpoint has model.safetensors.index.json: {"metadata": {...}, "weight_map": {tensor:
// file name}}. Nothing is copied but tensors whose bytes are not aligned for their type.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/io/mapped_file.h"
#include "engine/io/stored_tensor.h"

namespace fettle {

/// The tensors of one file. Throws EngineError(BadInput) naming the file, the tensor and the cause.
StoredTensors readSafetensors(const std::shared_ptr<const MappedFile>& file);

struct Checkpoint {
    StoredTensors tensors;
    std::vector<std::shared_ptr<const MappedFile>> files;
};
/// model.safetensors, or the shards that model.safetensors.index.json lists.
Checkpoint readCheckpoint(const std::filesystem::path& folder);

}  // namespace fettle
