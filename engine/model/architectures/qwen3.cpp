// Qwen3 (dense): Yang et al. 2025. Llama's layout with norms over each head of q and k, rows
// unpermuted in GGUF.
#include "engine/model/architectures/architecture.h"

namespace fettle {
namespace {

constexpr TensorRule kQwen3Tensors[] = {
    {"embed.weight", "model.embed_tokens.weight", "token_embd.weight", Dim::Vocabulary,
     Dim::Hidden},
    {"layers.N.attn_norm.weight", "model.layers.N.input_layernorm.weight", "blk.N.attn_norm.weight",
     Dim::Hidden, Dim::None, kNorm},
    {"layers.N.attn.q.weight", "model.layers.N.self_attn.q_proj.weight", "blk.N.attn_q.weight",
     Dim::Query, Dim::Hidden, kLinear},
    {"layers.N.attn.q.bias", "model.layers.N.self_attn.q_proj.bias", "blk.N.attn_q.bias",
     Dim::Query, Dim::None, kOptional},
    {"layers.N.attn.k.weight", "model.layers.N.self_attn.k_proj.weight", "blk.N.attn_k.weight",
     Dim::KeyValue, Dim::Hidden, kLinear},
    {"layers.N.attn.k.bias", "model.layers.N.self_attn.k_proj.bias", "blk.N.attn_k.bias",
     Dim::KeyValue, Dim::None, kOptional},
    {"layers.N.attn.v.weight", "model.layers.N.self_attn.v_proj.weight", "blk.N.attn_v.weight",
     Dim::KeyValue, Dim::Hidden, kLinear},
    {"layers.N.attn.v.bias", "model.layers.N.self_attn.v_proj.bias", "blk.N.attn_v.bias",
     Dim::KeyValue, Dim::None, kOptional},
    {"layers.N.attn.o.weight", "model.layers.N.self_attn.o_proj.weight", "blk.N.attn_output.weight",
     Dim::Hidden, Dim::Query, kLinear},
    {"layers.N.attn.o.bias", "model.layers.N.self_attn.o_proj.bias", "blk.N.attn_output.bias",
     Dim::Hidden, Dim::None, kOptional},
    {"layers.N.attn.q_norm.weight", "model.layers.N.self_attn.q_norm.weight",
     "blk.N.attn_q_norm.weight", Dim::HeadDim, Dim::None, kNorm},
    {"layers.N.attn.k_norm.weight", "model.layers.N.self_attn.k_norm.weight",
     "blk.N.attn_k_norm.weight", Dim::HeadDim, Dim::None, kNorm},
    {"layers.N.ffn_norm.weight", "model.layers.N.post_attention_layernorm.weight",
     "blk.N.ffn_norm.weight", Dim::Hidden, Dim::None, kNorm},
    {"layers.N.ffn.gate.weight", "model.layers.N.mlp.gate_proj.weight", "blk.N.ffn_gate.weight",
     Dim::FeedForward, Dim::Hidden, kLinear},
    {"layers.N.ffn.up.weight", "model.layers.N.mlp.up_proj.weight", "blk.N.ffn_up.weight",
     Dim::FeedForward, Dim::Hidden, kLinear},
    {"layers.N.ffn.down.weight", "model.layers.N.mlp.down_proj.weight", "blk.N.ffn_down.weight",
     Dim::Hidden, Dim::FeedForward, kLinear},
    {"final_norm.weight", "model.norm.weight", "output_norm.weight", Dim::Hidden, Dim::None, kNorm},
    {"lm_head.weight", "lm_head.weight", "output.weight", Dim::Vocabulary, Dim::Hidden,
     kLinear | kTiedHead},
};

}  // namespace

const Architecture& qwen3Architecture() {
    static const Architecture architecture{
        "qwen3", {"qwen3"}, "Qwen3ForCausalLM", {}, kQwen3Tensors};
    return architecture;
}

}  // namespace fettle
