// Llama 1 to 3: Touvron et al. 2023, Grattafiori et al. 2024. Biases as some derivatives have them.
#include "engine/model/architectures/architecture.h"

namespace fettle {
namespace {

constexpr TensorRule kLlamaTensors[] = {
    {"embed.weight", "model.embed_tokens.weight", "token_embd.weight", Dim::Vocabulary,
     Dim::Hidden},
    {"layers.N.attn_norm.weight", "model.layers.N.input_layernorm.weight", "blk.N.attn_norm.weight",
     Dim::Hidden, Dim::None, kNorm},
    {"layers.N.attn.q.weight", "model.layers.N.self_attn.q_proj.weight", "blk.N.attn_q.weight",
     Dim::Query, Dim::Hidden, kLinear | kPermuted},
    {"layers.N.attn.q.bias", "model.layers.N.self_attn.q_proj.bias", "blk.N.attn_q.bias",
     Dim::Query, Dim::None, kOptional | kPermuted},
    {"layers.N.attn.k.weight", "model.layers.N.self_attn.k_proj.weight", "blk.N.attn_k.weight",
     Dim::KeyValue, Dim::Hidden, kLinear | kPermuted},
    {"layers.N.attn.k.bias", "model.layers.N.self_attn.k_proj.bias", "blk.N.attn_k.bias",
     Dim::KeyValue, Dim::None, kOptional | kPermuted},
    {"layers.N.attn.v.weight", "model.layers.N.self_attn.v_proj.weight", "blk.N.attn_v.weight",
     Dim::KeyValue, Dim::Hidden, kLinear},
    {"layers.N.attn.v.bias", "model.layers.N.self_attn.v_proj.bias", "blk.N.attn_v.bias",
     Dim::KeyValue, Dim::None, kOptional},
    {"layers.N.attn.o.weight", "model.layers.N.self_attn.o_proj.weight", "blk.N.attn_output.weight",
     Dim::Hidden, Dim::Query, kLinear},
    {"layers.N.attn.o.bias", "model.layers.N.self_attn.o_proj.bias", "blk.N.attn_output.bias",
     Dim::Hidden, Dim::None, kOptional},
    {"layers.N.ffn_norm.weight", "model.layers.N.post_attention_layernorm.weight",
     "blk.N.ffn_norm.weight", Dim::Hidden, Dim::None, kNorm},
    {"layers.N.ffn.gate.weight", "model.layers.N.mlp.gate_proj.weight", "blk.N.ffn_gate.weight",
     Dim::FeedForward, Dim::Hidden, kLinear},
    {"layers.N.ffn.gate.bias", "model.layers.N.mlp.gate_proj.bias", "blk.N.ffn_gate.bias",
     Dim::FeedForward, Dim::None, kOptional},
    {"layers.N.ffn.up.weight", "model.layers.N.mlp.up_proj.weight", "blk.N.ffn_up.weight",
     Dim::FeedForward, Dim::Hidden, kLinear},
    {"layers.N.ffn.up.bias", "model.layers.N.mlp.up_proj.bias", "blk.N.ffn_up.bias",
     Dim::FeedForward, Dim::None, kOptional},
    {"layers.N.ffn.down.weight", "model.layers.N.mlp.down_proj.weight", "blk.N.ffn_down.weight",
     Dim::Hidden, Dim::FeedForward, kLinear},
    {"layers.N.ffn.down.bias", "model.layers.N.mlp.down_proj.bias", "blk.N.ffn_down.bias",
     Dim::Hidden, Dim::None, kOptional},
    {"final_norm.weight", "model.norm.weight", "output_norm.weight", Dim::Hidden, Dim::None, kNorm},
    {"lm_head.weight", "lm_head.weight", "output.weight", Dim::Vocabulary, Dim::Hidden,
     kLinear | kTiedHead},
};

}  // namespace

const Architecture& llamaArchitecture() {
    static const Architecture architecture{
        "llama", {"llama"}, "LlamaForCausalLM", {}, kLlamaTensors};
    return architecture;
}

}  // namespace fettle
