// Gemma 3, text: Gemma Team 2025. Norms before and after each half, norms over each head of q and
// k; Hugging Face files store a norm's w where GGUF stores 1 + w.
#include "engine/model/architectures/architecture.h"

namespace fettle {
namespace {

constexpr TensorRule kGemma3Tensors[] = {
    {"embed.weight", "model.embed_tokens.weight", "token_embd.weight", Dim::Vocabulary,
     Dim::Hidden},
    {"layers.N.attn_norm.weight", "model.layers.N.input_layernorm.weight", "blk.N.attn_norm.weight",
     Dim::Hidden, Dim::None, kNorm},
    {"layers.N.attn.q.weight", "model.layers.N.self_attn.q_proj.weight", "blk.N.attn_q.weight",
     Dim::Query, Dim::Hidden, kLinear},
    {"layers.N.attn.k.weight", "model.layers.N.self_attn.k_proj.weight", "blk.N.attn_k.weight",
     Dim::KeyValue, Dim::Hidden, kLinear},
    {"layers.N.attn.v.weight", "model.layers.N.self_attn.v_proj.weight", "blk.N.attn_v.weight",
     Dim::KeyValue, Dim::Hidden, kLinear},
    {"layers.N.attn.o.weight", "model.layers.N.self_attn.o_proj.weight", "blk.N.attn_output.weight",
     Dim::Hidden, Dim::Query, kLinear},
    {"layers.N.attn.q_norm.weight", "model.layers.N.self_attn.q_norm.weight",
     "blk.N.attn_q_norm.weight", Dim::HeadDim, Dim::None, kNorm},
    {"layers.N.attn.k_norm.weight", "model.layers.N.self_attn.k_norm.weight",
     "blk.N.attn_k_norm.weight", Dim::HeadDim, Dim::None, kNorm},
    {"layers.N.post_attn_norm.weight", "model.layers.N.post_attention_layernorm.weight",
     "blk.N.post_attention_norm.weight", Dim::Hidden, Dim::None, kNorm},
    {"layers.N.ffn_norm.weight", "model.layers.N.pre_feedforward_layernorm.weight",
     "blk.N.ffn_norm.weight", Dim::Hidden, Dim::None, kNorm},
    {"layers.N.ffn.gate.weight", "model.layers.N.mlp.gate_proj.weight", "blk.N.ffn_gate.weight",
     Dim::FeedForward, Dim::Hidden, kLinear},
    {"layers.N.ffn.up.weight", "model.layers.N.mlp.up_proj.weight", "blk.N.ffn_up.weight",
     Dim::FeedForward, Dim::Hidden, kLinear},
    {"layers.N.ffn.down.weight", "model.layers.N.mlp.down_proj.weight", "blk.N.ffn_down.weight",
     Dim::Hidden, Dim::FeedForward, kLinear},
    {"layers.N.post_ffn_norm.weight", "model.layers.N.post_feedforward_layernorm.weight",
     "blk.N.post_ffw_norm.weight", Dim::Hidden, Dim::None, kNorm},
    {"final_norm.weight", "model.norm.weight", "output_norm.weight", Dim::Hidden, Dim::None, kNorm},
    {"lm_head.weight", "lm_head.weight", "output.weight", Dim::Vocabulary, Dim::Hidden,
     kLinear | kTiedHead},
};

}  // namespace

const Architecture& gemma3Architecture() {
    // The prefixes are those of the multimodal checkpoints, whose text part this is.
    static const Architecture architecture{"gemma3",
                                           {"gemma3_text", "gemma3"},
                                           "Gemma3ForCausalLM",
                                           {"language_model.", "model.language_model."},
                                           kGemma3Tensors};
    return architecture;
}

}  // namespace fettle
