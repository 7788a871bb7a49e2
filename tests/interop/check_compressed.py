#!/usr/bin/env python3
"""Does compressed-tensors' own package read the codes that fettle-cli exports as the same weights?

    check_compressed.py FETTLE_CLI [--model FOLDER] [--texts FOLDER] [--work DIR] [--only SCHEME ...]

Each scheme is quantized by fettle-cli and exported twice: as compressed-tensors, and with the weights written out in the
model's own type. The package decompresses every module of the first; the result must be the second, bit by bit.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import interop_env

interop_env.ensure({"torch": "torch", "compressed_tensors": "compressed-tensors>=0.20", "safetensors": "safetensors"})

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch  # noqa: E402
from compressed_tensors.compressors import BaseCompressor  # noqa: E402
from compressed_tensors.quantization import QuantizationScheme  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

DEMO = interop_env.ROOT / "resources" / "demo"
SCHEMES = ["int8", "int8-static", "w8a16", "int4-g32", "int4-g32-asym", "int4-g128-asym", "int4-g128-a8", "int4-g32-a4", "int3-g64", "int2-g32", "fp8", "fp8-tensor", "fp8-block128", "nvfp4", "nvfp4-w4a16", "mxfp4", "mxfp4-w4a16", "mxfp8", "mxfp8-w8a16", "mxfp6-w6a16"]
PARTS = ["weight", "weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_global_scale", "input_global_scale", "input_scale"]


class Mismatch(Exception):
    pass


def call(cli, *arguments):
    run = subprocess.run([cli, *map(str, arguments), "--json"], capture_output=True, text=True, encoding="utf-8")
    if run.returncode:
        raise Mismatch(f"fettle-cli {' '.join(map(str, arguments))} ended with {run.returncode}: {run.stderr.strip()[-400:]}")
    return json.loads(run.stdout)


def artifact(options, scheme, work):
    recipe = work / f"{scheme}.json"
    recipe.write_text(json.dumps({"name": scheme, "steps": [{"technique": "ptq", "params": {"scheme": scheme, "calibration_tokens": 1024}}], "seed": 1}))
    answer = call(options.cli, "run", recipe, "--model", options.model, "--calibration", options.texts / "calibration.txt", "--db", work / "interop.db")
    place = answer["artifact"]
    return place["path"] if isinstance(place, dict) else place


def check(options, scheme, work):
    model = artifact(options, scheme, work)
    packed, plain = work / f"{scheme}-packed", work / f"{scheme}-plain"
    call(options.cli, "export", model, "--format", "compressed-tensors", "--out", packed)
    call(options.cli, "export", model, "--format", "safetensors", "--out", plain)
    config = json.loads((packed / "config.json").read_text())["quantization_config"]
    group = QuantizationScheme.model_validate(config["config_groups"]["group_0"])
    compressor = BaseCompressor.get_value_from_registry(config["format"])
    tensors, wanted = load_file(packed / "model.safetensors"), load_file(plain / "model.safetensors")
    modules = sorted(name.removesuffix(".weight_scale") for name in tensors if name.endswith(".weight_scale"))
    if not modules:
        raise Mismatch("no module is quantized")
    for module in modules:
        parts = {part: tensors[f"{module}.{part}"] for part in PARTS if f"{module}.{part}" in tensors}
        weight, want = compressor.decompress(parts, group)["weight"], wanted[f"{module}.weight"]
        same = weight.to(want.dtype) == want
        if not bool(same.all()):
            row, column = (~same).nonzero()[0].tolist()
            raise Mismatch(f"{module}: {int((~same).sum())} of {same.numel()} values differ, first [{row}, {column}]: "
                           f"{weight[row, column].item()} there, {want[row, column].item()} here")
    print(f"    ok    {len(modules)} modules as {config['format']}, bit by bit", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cli")
    parser.add_argument("--model", type=pathlib.Path, default=DEMO / "teacher")
    parser.add_argument("--texts", type=pathlib.Path, default=DEMO / "texts")
    parser.add_argument("--work", type=pathlib.Path, help="keep what is exported here")
    parser.add_argument("--only", nargs="+", default=SCHEMES)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or pathlib.Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for scheme in options.only:
            print(scheme, flush=True)
            try:
                check(options, scheme, work)
            except Mismatch as problem:
                print(f"    FAILED {problem}", flush=True)
                failed.append(scheme)
    print(f"failed: {', '.join(failed)}" if failed else "all agree")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
