// Writes a model in a format that other runtimes load, then proves it by reading it back.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/model/model.h"

namespace fettle {

/// By canonical name of a linear weight: the mean square of each of its inputs.
using ImportanceMatrix = std::map<std::string, std::vector<float>>;

/// Writes `model` as `format` (an id of exportFormats()) to `out`: a file for gguf-*, else a
/// folder. Everything is written beside, fsynced and renamed, so that `out` is whole or absent; an
/// existing `out` is replaced only then. Formats: "safetensors" (plain HF folder, model's own float
/// type, quantized weights dequantized to bf16/f16), "compressed-tensors" (keeps int8 and int4
/// codes bit by bit), "gguf-f16", "gguf-q8_0", "gguf-q4_0", "gguf-q3_k_m", "gguf-q4_k_m",
/// "gguf-q5_k_m", "gguf-q6_k", whose codes are chosen under `importance` where there is one. Throws
/// EngineError(BadInput) when the model cannot be expressed in the format, (Io) on a full disk. NaN
/// or infinite values, and zero or missing scales, are refused by name. A draft that the model is
/// decoded with is written along: in the folder "draft", or beside a GGUF file.
ExportReport exportModel(const Model& model, const std::string& format,
                         const std::filesystem::path& out, RunControl& control,
                         const ImportanceMatrix* importance = nullptr);

/// The type that a K-quant format is named after; nothing for the id of another format.
std::optional<kernels::WeightFormat> kQuantBase(const std::string& format);

/// The working format of the artifact store: a Hugging Face folder, plain or compressed-tensors as
/// the weights ask.
ExportReport writeModelFolder(const Model& model, const std::filesystem::path& out,
                              RunControl& control);

/// Reloads `report.path` with the ordinary reader and appends checks: reload, tensors complete,
/// codes identical bit by bit (or values within the format's own rounding), scales finite and
/// non-zero. Logits are compared by the caller, which owns the forward pass.
void verifyExport(const Model& model, ExportReport& report, RunControl& control);

}  // namespace fettle
