// Some weights of a model exactly as they are in memory, in one safetensors file with a JSON object
// of the writer's beside them: what long work leaves on disk as it goes, to hold less and to go on
// from. Quantized weights are "<name>/codes", "/scales", and
// where they have them "/zero_points", "/low_rank_in" and "/low_rank_out"; the tensor of bytes
// "state" says under which schemes.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "engine/tensor/weight.h"

namespace fettle {

struct WeightFile {
    nlohmann::json state;  ///< an object
    std::map<std::string, Weight> weights;
};

/// Written beside, fsynced and renamed: `path` is whole or as it was. Throws EngineError(Io) naming
/// the file for a full disk, (Internal) for GGUF's block formats.
void writeWeightFile(const std::filesystem::path& path, const WeightFile& content);

/// The weights are views of the mapped file. Nothing where there is none; EngineError(BadInput)
/// naming the file for one that writeWeightFile did not write.
std::optional<WeightFile> readWeightFile(const std::filesystem::path& path);

}  // namespace fettle
