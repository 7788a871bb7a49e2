// A model as loaded: description, named weights, tokenizer, and where it came from. Weights carry
// canonical names, the same for every family and file format:
//
//   embed, position_embed, final_norm, lm_head                (+ ".weight" / ".bias")
//   layers.N.attn_norm  layers.N.attn.{q,k,v,o}  layers.N.attn.{q_norm,k_norm}
//   layers.N.post_attn_norm layers.N.ffn_norm   layers.N.ffn.{gate,up,down}  layers.N.post_ffn_norm
//   (+ ".weight" / ".bias")
//
// A linear weight is [out, in] whatever its file said (GPT-2's transposed and fused ones are split
// on loading, GGUF's permuted q/k rows are put back). A family without a gate (GPT-2) has up and
// down only. lm_head is absent when tied. Copying a Model is cheap: weights share their memory.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/experiment/model_report.h"
#include "engine/model/model_config.h"
#include "engine/model/speculative_setup.h"
#include "engine/tensor/weight.h"
#include "engine/tokenizer/tokenizer.h"

namespace fettle {

class MappedFile;

struct Model {
    std::string name;
    std::string path;
    std::string format;  ///< "safetensors" or "gguf"
    std::string hash;    ///< of the content that decides the numbers: config, tokenizer, weights
    std::uint64_t fileBytes = 0;
    ModelConfig config;
    std::shared_ptr<const Tokenizer> tokenizer;
    std::map<std::string, Weight> weights;
    /// Tensors as the files hold them, with their own names; a quantized weight with its parts is
    /// one entry.
    std::vector<TensorReport> fileTensors;
    /// The file's name of each canonical one; fused tensors stand for several.
    std::map<std::string, std::string> fileNames;
    /// The mapped files, kept to notice when one changes on disk while it is in use.
    std::vector<std::shared_ptr<const MappedFile>> files;
    /// Files beside the weights that an export carries along (tokenizer.json,
    /// generation_config.json, ...).
    std::vector<std::filesystem::path> sideFiles;
    std::vector<std::string> warnings;
    /// How it is to be decoded speculatively, if it is.
    std::optional<SpeculativeSetup> speculative;

    bool has(const std::string& canonical) const { return weights.count(canonical) != 0; }
    /// Throws EngineError(BadInput) naming the model and the missing tensor.
    const Weight& weight(const std::string& canonical) const;
    /// Whether some weight has a low-rank correction.
    bool hasLowRank() const;
    std::uint64_t weightBytes() const;
    std::uint64_t parameters() const;
    double bitsPerWeight() const;
};

/// Canonical names of the linear weights ("….weight") in model order: per layer
/// q,k,v,o,gate,up,down; then lm_head.
std::vector<std::string> linearWeightNames(const ModelConfig& config);
/// Layer number in a canonical name, -1 outside the layers.
int layerOf(const std::string& canonical);

/// Loads a Hugging Face folder, a .gguf file, or "demo" (the bundled teacher) / "demo-draft".
/// Weights stay memory-mapped. Throws EngineError(BadInput) with one line naming the file and the
/// cause; never reads outside a file's bounds.
Model loadModel(const std::string& pathOrName, RunControl* control = nullptr);
/// What `inspect` reports about a loaded model.
ModelReport describeModel(const Model& model);
/// Computes content statistics of one weight by canonical or file name.
TensorHistogram tensorHistogram(const Model& model, const std::string& tensor, int bins,
                                RunControl& control);

/// Throws EngineError(BadInput) naming file and tensor if any weight or scale is NaN or infinite.
/// Reads every weight once.
void refuseNonFinite(const Model& model, RunControl& control);
/// Hash over configuration, tokenizer and all weights (XXH3-128, 32 hexadecimal digits). Reads
/// every weight once.
std::string modelHash(const Model& model, RunControl& control);

/// Throws EngineError(BadInput) if a file of the model changed on disk after it was opened: what
/// was computed from it is then worthless. Asked at the end of work that reads weights.
void refuseChangedFiles(const Model& model);

/// The folder "resources", which holds demo/: $FETTLE_RESOURCES, beside the binary, the install
/// prefix, or the source tree.
std::filesystem::path resourcesFolder();

}  // namespace fettle
