// The state of a training run in one safetensors file: named float32 vectors and a JSON object (a
// tensor of bytes). Written beside and renamed, so that a killed process leaves the last whole one.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/run_control.h"

namespace fettle {

struct TrainCheckpoint {
    nlohmann::json state;
    std::map<std::string, std::vector<float>> vectors;
};

/// The file of a run in `folder`.
std::filesystem::path checkpointFile(const std::filesystem::path& folder);

/// Throws EngineError(Io) naming the file for a full disk.
void writeTrainCheckpoint(const std::filesystem::path& folder, const nlohmann::json& state,
                          const std::map<std::string, std::span<const float>>& vectors,
                          RunControl& control);

/// Nothing where there is none. Throws EngineError(BadInput) naming the file for a broken one.
std::optional<TrainCheckpoint> readTrainCheckpoint(const std::filesystem::path& folder);

}  // namespace fettle
