#!/usr/bin/env python3
"""Grows a small trained Llama into a large one that computes nearly the same, to be trained on from there.

    grow_model.py SOURCE OUT [--width 4] [--layers 8] [--noise 0.02] [--seed 1]

A model of 100M parameters cannot be trained from nothing in minutes on a CPU; one that starts as a copy of a good small one
can. Every channel, head and neuron stands --width times in the new model and shares the old weight (Chen et al. 2015,
Net2Net), which RMSNorm does not notice; new layers begin with outputs of zero (Goyal et al. 2017 start residual branches so).
--noise, relative to a weight's spread, makes copies differ, so that training can tell them apart. Stored as bfloat16; needs
numpy alone.
"""
import argparse
import json
import pathlib
import shutil
import struct

import numpy as np


def read(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + at for at in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(data[begin:end], np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(data[begin:end], {"F32": np.float32, "F16": np.float16}[entry["dtype"]]).astype(np.float32)
        out[name] = values.reshape(entry["shape"])
    return out


def write(path, tensors):
    header, at = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(value.shape), "data_offsets": [at, at + 2 * value.size]}
        at += 2 * value.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in tensors.values():
            bits = np.ascontiguousarray(value, np.float32).view(np.uint32).astype(np.uint64)
            file.write(((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--noise", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    w, rng = options.width, np.random.RandomState(options.seed)
    config = json.loads((options.source / "config.json").read_text())
    old = read(options.source / "model.safetensors")
    layers = config["num_hidden_layers"]
    if options.layers % layers:
        parser.error(f"--layers must be a multiple of {layers}")

    def wider(value, rows, columns):
        """Rows tiled; columns tiled and shared."""
        if rows:
            value = np.tile(value, (w, 1))
        if columns:
            value = np.tile(value, (1, w)) / w
        return value + options.noise * value.std() * rng.standard_normal(value.shape).astype(np.float32)

    new = {"model.embed_tokens.weight": np.tile(old["model.embed_tokens.weight"], (1, w)),
           "model.norm.weight": np.tile(old["model.norm.weight"], w),
           "lm_head.weight": wider(old.get("lm_head.weight", old["model.embed_tokens.weight"]), False, True)}
    every = options.layers // layers
    for index in range(options.layers):
        source, fresh = f"model.layers.{index // every}.", index % every > 0
        for rest in [name[len(source):] for name in old if name.startswith(source)]:
            value = old[source + rest]
            if value.ndim == 1:
                new[f"model.layers.{index}.{rest}"] = np.tile(value, w)
                continue
            value = wider(value, True, True)
            ends = rest in ("self_attn.o_proj.weight", "mlp.down_proj.weight")
            new[f"model.layers.{index}.{rest}"] = 0 * value if fresh and ends else value
    for key in ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"):
        config[key] *= w
    config |= {"num_hidden_layers": options.layers, "dtype": "bfloat16", "torch_dtype": "bfloat16", "tie_word_embeddings": False}
    options.out.mkdir(parents=True, exist_ok=True)
    for file in options.source.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, options.out / file.name)
    (options.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write(options.out / "model.safetensors", new)
    print(f"{options.out}: {sum(v.size for v in new.values()) / 1e6:.0f}M parameters")


if __name__ == "__main__":
    main()
