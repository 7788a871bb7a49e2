// Low-rank corrections of quantized weights as a LoRA adapter in the layout of PEFT
// (huggingface.co/docs/peft, "LoRA"): adapter_config.json and adapter_model.safetensors with
// "base_model.model.<module>.lora_A.weight" [rank, in] and "...lora_B.weight" [out, rank], scaled
// by 1. Parts of fused tensors are named apart, which only Fettle reads.
#pragma once

#include <filesystem>

#include "engine/core/run_control.h"
#include "engine/model/model.h"

namespace fettle {

/// Where it lies in a model's folder, and the key of config.json that says so.
inline constexpr const char* kAdapterFolder = "adapter";
inline constexpr const char* kAdapterKey = "low_rank_adapter";

/// Writes the corrections of `model` to `folder`, which it makes.
void writeLowRankAdapter(const Model& model, const std::filesystem::path& folder,
                         RunControl& control);
/// Gives the quantized weights of `model` the corrections in `folder`. Throws EngineError(BadInput)
/// naming the file for one that does not fit the model.
void readLowRankAdapter(const std::filesystem::path& folder, Model& model);

}  // namespace fettle
