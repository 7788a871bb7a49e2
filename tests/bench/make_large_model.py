#!/usr/bin/env python3
"""Writes a Llama of a given shape with random bfloat16 weights, a tensor at a time: a model that is larger than memory.

    make_large_model.py OUT_FOLDER --tokenizer FOLDER [--shape 8b|1b|tiny] [--layers N]

The tokenizer is that of another model's folder; the rest of the vocabulary is padding. Weights are normal with deviation
0.02, drawn once and used again from shifting places, which is all that timing and memory ask for. Then, for example,

    fettle-cli run '{"name":"8b","steps":[{"technique":"ptq","params":{"scheme":"int4-g128"}}],"seed":1}'
               --model OUT_FOLDER --no-baseline --no-speed --json

whose optimize_peak_bytes is the largest resident size (VmHWM) of the process.
"""
import argparse
import json
import pathlib
import shutil
import struct

import numpy

SHAPES = {
    "8b": dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, vocab_size=128256),
    "1b": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, vocab_size=128256),
    "tiny": dict(hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4, vocab_size=2048),
}
POOL = 1 << 26  # values drawn


def tensors(c):
    h, f, head = c["hidden_size"], c["intermediate_size"], c["hidden_size"] // c["num_attention_heads"]
    kv = c["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", (c["vocab_size"], h)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (h,)
        for name, rows, cols in (("self_attn.q_proj", h, h), ("self_attn.k_proj", kv, h), ("self_attn.v_proj", kv, h), ("self_attn.o_proj", h, h)):
            yield p + name + ".weight", (rows, cols)
        yield p + "post_attention_layernorm.weight", (h,)
        for name, rows, cols in (("mlp.gate_proj", f, h), ("mlp.up_proj", f, h), ("mlp.down_proj", h, f)):
            yield p + name + ".weight", (rows, cols)
    yield "model.norm.weight", (h,)
    yield "lm_head.weight", (c["vocab_size"], h)


def bfloat16(values):
    bits = values.astype(numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(numpy.uint16)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--layers", type=int, help="fewer of them, where one layer tells enough")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    shape = SHAPES[options.shape] | ({"num_hidden_layers": options.layers} if options.layers else {})
    options.out.mkdir(parents=True, exist_ok=True)
    for file in options.tokenizer.iterdir():
        if "token" in file.name:
            shutil.copy(file, options.out / file.name)
    (options.out / "config.json").write_text(json.dumps(shape | {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "torch_dtype": "bfloat16", "hidden_act": "silu",
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": False}, indent=2))
    random = numpy.random.default_rng(options.seed)
    pool = bfloat16(random.standard_normal(POOL, dtype=numpy.float32) * numpy.float32(0.02))
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, dims in tensors(shape):
        size = 2 * int(numpy.prod(dims))
        header[name] = {"dtype": "BF16", "shape": dims, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(options.out / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, dims in tensors(shape):
            left = int(numpy.prod(dims))
            if len(dims) == 1:
                file.write(numpy.full(left, 0x3F80, numpy.uint16).tobytes())  # 1.0
                continue
            while left > 0:
                at = int(random.integers(0, POOL))
                piece = pool[at:at + left]
                file.write(piece.tobytes())
                left -= len(piece)
    print(f"{options.out}: {offset / 1e9:.2f} GB of weights")


if __name__ == "__main__":
    main()
