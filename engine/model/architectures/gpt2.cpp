// GPT-2: Radford et al. 2019. Linear weights are Conv1D ([in, out]) in Hugging Face files; q, k and
// v are one tensor.
#include "engine/model/architectures/architecture.h"

namespace fettle {
namespace {

constexpr unsigned kConv = kLinear | kTransposed;

constexpr TensorRule kGpt2Tensors[] = {
    {"embed.weight", "transformer.wte.weight", "token_embd.weight", Dim::Vocabulary, Dim::Hidden},
    {"position_embed.weight", "transformer.wpe.weight", "position_embd.weight", Dim::Context,
     Dim::Hidden, kKeepFloat},
    {"layers.N.attn_norm.weight", "transformer.h.N.ln_1.weight", "blk.N.attn_norm.weight",
     Dim::Hidden, Dim::None, kNorm},
    {"layers.N.attn_norm.bias", "transformer.h.N.ln_1.bias", "blk.N.attn_norm.bias", Dim::Hidden,
     Dim::None},
    {"layers.N.attn.q.weight", "transformer.h.N.attn.c_attn.weight", "blk.N.attn_qkv.weight",
     Dim::Query, Dim::Hidden, kConv, 0},
    {"layers.N.attn.k.weight", "transformer.h.N.attn.c_attn.weight", "blk.N.attn_qkv.weight",
     Dim::KeyValue, Dim::Hidden, kConv, 1},
    {"layers.N.attn.v.weight", "transformer.h.N.attn.c_attn.weight", "blk.N.attn_qkv.weight",
     Dim::KeyValue, Dim::Hidden, kConv, 2},
    {"layers.N.attn.q.bias", "transformer.h.N.attn.c_attn.bias", "blk.N.attn_qkv.bias", Dim::Query,
     Dim::None, kRequired, 0},
    {"layers.N.attn.k.bias", "transformer.h.N.attn.c_attn.bias", "blk.N.attn_qkv.bias",
     Dim::KeyValue, Dim::None, kRequired, 1},
    {"layers.N.attn.v.bias", "transformer.h.N.attn.c_attn.bias", "blk.N.attn_qkv.bias",
     Dim::KeyValue, Dim::None, kRequired, 2},
    {"layers.N.attn.o.weight", "transformer.h.N.attn.c_proj.weight", "blk.N.attn_output.weight",
     Dim::Hidden, Dim::Query, kConv},
    {"layers.N.attn.o.bias", "transformer.h.N.attn.c_proj.bias", "blk.N.attn_output.bias",
     Dim::Hidden, Dim::None},
    {"layers.N.ffn_norm.weight", "transformer.h.N.ln_2.weight", "blk.N.ffn_norm.weight",
     Dim::Hidden, Dim::None, kNorm},
    {"layers.N.ffn_norm.bias", "transformer.h.N.ln_2.bias", "blk.N.ffn_norm.bias", Dim::Hidden,
     Dim::None},
    {"layers.N.ffn.up.weight", "transformer.h.N.mlp.c_fc.weight", "blk.N.ffn_up.weight",
     Dim::FeedForward, Dim::Hidden, kConv},
    {"layers.N.ffn.up.bias", "transformer.h.N.mlp.c_fc.bias", "blk.N.ffn_up.bias", Dim::FeedForward,
     Dim::None},
    {"layers.N.ffn.down.weight", "transformer.h.N.mlp.c_proj.weight", "blk.N.ffn_down.weight",
     Dim::Hidden, Dim::FeedForward, kConv},
    {"layers.N.ffn.down.bias", "transformer.h.N.mlp.c_proj.bias", "blk.N.ffn_down.bias",
     Dim::Hidden, Dim::None},
    {"final_norm.weight", "transformer.ln_f.weight", "output_norm.weight", Dim::Hidden, Dim::None,
     kNorm},
    {"final_norm.bias", "transformer.ln_f.bias", "output_norm.bias", Dim::Hidden, Dim::None},
    {"lm_head.weight", "lm_head.weight", "output.weight", Dim::Vocabulary, Dim::Hidden,
     kLinear | kTiedHead},
};

}  // namespace

const Architecture& gpt2Architecture() {
    static const Architecture architecture{
        "gpt2", {"gpt2"}, "GPT2LMHeadModel", {"transformer."}, kGpt2Tensors};
    return architecture;
}

}  // namespace fettle
