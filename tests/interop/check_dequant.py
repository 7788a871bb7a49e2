#!/usr/bin/env python3
"""Golden values for the GGUF block formats, made by the gguf package's own dequantize.

    check_dequant.py            the committed goldens still equal what the gguf package says
    check_dequant.py --write    make them anew: tests/data/goldens/dequant.gguf and dequant.f32.bin

dequant.gguf holds one tensor of ROWS x 256 values per type, filled with random codes and with scales that are negative,
zero, subnormal and ordinary (never infinite or NaN). dequant.f32.bin holds the dequantized float32 values of the tensors
one after the other, in the file's order, little endian. The C++ test compares bit by bit; every value is a chain of
single float32 operations (no fused multiply-add) in the order of ggml's formulas.
"""
import pathlib
import sys
import tempfile

import interop_env

interop_env.ensure({"numpy": "numpy", "gguf": "gguf>=0.17"})

import gguf  # noqa: E402
import numpy as np  # noqa: E402

GOLDENS = interop_env.ROOT / "tests" / "data" / "goldens"
ROWS, COLUMNS = 6, 256
# Where the float16 scales sit in a block.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
          "Q3_K": [108]}
TYPES = ["F32", "F16", "BF16", *SCALES]


def finite_bits(rng, shape, width, exponent_mask):
    """Random bit patterns without infinities and NaN; a few zeros and subnormals are forced."""
    bits = rng.randint(0, 2 ** 32, size=shape, dtype=np.uint64) & (2 ** width - 1)
    bits = np.where(bits & exponent_mask == exponent_mask, bits ^ exponent_mask, bits)
    flat = bits.reshape(-1)
    flat[0:8] = [0, 1 << (width - 1), 1, (1 << (width - 1)) | 1, 3, 7, exponent_mask - 1, ((1 << (width - 1)) | exponent_mask) - 1]
    return bits.astype({16: np.uint16, 32: np.uint32}[width])


def scales(rng, count):
    values = (rng.standard_normal(count) * 10.0 ** rng.uniform(-4, 1, count)).astype(np.float16)
    values[rng.permutation(count)[:4]] = np.array([0.0, -0.0, 6e-8, -3.1e-5], np.float16)
    return values


def tensors():
    rng = np.random.RandomState(7)  # this generator's stream is frozen across numpy versions
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        if name == "F32":
            raw = finite_bits(rng, (ROWS, COLUMNS), 32, 0x7F800000).view(np.float32)
        elif name == "F16":
            raw = finite_bits(rng, (ROWS, COLUMNS), 16, 0x7C00).view(np.float16)
        elif name == "BF16":
            raw = finite_bits(rng, (ROWS, COLUMNS), 16, 0x7F80).view(np.uint8)
        else:
            block, size = gguf.GGML_QUANT_SIZES[kind]
            blocks = rng.randint(0, 256, size=(ROWS * COLUMNS // block, size), dtype=np.uint8)
            for offset in SCALES[name]:
                blocks[:, offset:offset + 2] = scales(rng, len(blocks)).view(np.uint8).reshape(-1, 2)
            raw = blocks.reshape(ROWS, -1)
        yield name, kind, raw, gguf.quants.dequantize(raw, kind).astype(np.float32).reshape(ROWS, COLUMNS)


def write(folder):
    writer = gguf.GGUFWriter(str(folder / "dequant.gguf"), "goldens")
    values = []
    for name, kind, raw, value in tensors():
        writer.add_tensor(name.lower(), raw, raw_dtype=None if name in ("F32", "F16") else kind)
        assert np.isfinite(value).all(), name
        values.append(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "dequant.f32.bin").write_bytes(np.stack(values).astype("<f4").tobytes())


def main():
    if "--write" in sys.argv:
        GOLDENS.mkdir(parents=True, exist_ok=True)
        write(GOLDENS)
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write(folder)
        for name in ("dequant.gguf", "dequant.f32.bin"):
            if (folder / name).read_bytes() != (GOLDENS / name).read_bytes():
                sys.exit(f"{name} differs from what gguf makes now")
    reader = gguf.GGUFReader(str(GOLDENS / "dequant.gguf"))
    stored = np.fromfile(GOLDENS / "dequant.f32.bin", "<f4").reshape(-1, ROWS, COLUMNS)
    for tensor, value in zip(reader.tensors, stored, strict=True):
        again = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(ROWS, COLUMNS)
        if again.tobytes() != value.tobytes():
            sys.exit(f"{tensor.name} differs")
        print(f"{tensor.name:5} {tensor.tensor_type.name:5} {list(map(int, tensor.shape))} ok")


if __name__ == "__main__":
    main()
