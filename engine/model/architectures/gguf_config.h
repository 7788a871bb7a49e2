// GGUF metadata in terms of config.json. Keys as llama.cpp reads them:
//   {arch}.block_count, .context_length, .embedding_length, .feed_forward_length, .vocab_size,
//   .attention.{head_count, head_count_kv, layer_norm_rms_epsilon, layer_norm_epsilon, key_length,
//   value_length, sliding_window, sliding_window_pattern}, .rope.{dimension_count, freq_base,
//   freq_base_swa, scaling.type, scaling.factor}, .final_logit_softcapping; tokenizer.ggml.*
// llama 3's frequency scaling is a tensor: rope_freqs.weight F32 [head_dim / 2], what each
// frequency is divided by.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/io/gguf_reader.h"
#include "engine/model/model_config.h"
#include "engine/tokenizer/tokenizer.h"

namespace fettle {

/// The configuration of a GGUF model; config.source is what it amounts to as a config.json. Throws
/// BadInput.
ModelConfig modelConfigFromGguf(const GgufFile& file);
GgufTokenizerData tokenizerFromGguf(const GgufFile& file);

/// What each rotary frequency is divided by: [headDim / 2] (transformers, modeling_rope_utils,
/// "llama3").
std::vector<float> llama3RopeFactors(const RopeConfig& rope, std::int64_t headDim);
/// The scale of the attention scores that llama.cpp derives for a Gemma 3 model; the file does not
/// say it.
float gemma3GgufAttentionScale(const ModelConfig& config);

}  // namespace fettle
