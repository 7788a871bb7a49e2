#!/usr/bin/env python3
"""How much of what ptq loses qat and qad win back: recovery.py FETTLE_CLI MODEL TRAIN EVALUATE [--schemes int3-g128,int2-g64]
[--tasks FILE] [--tokens 200000] [--max-tokens 16384] [--context 256] [--seed 1] [--threads 0] [--params JSON] [--ptq JSON]

Runs ptq, ptq + qat and ptq + qad for each scheme through fettle-cli and prints perplexity and divergence from the original on the
evaluation text, which training never sees, and the share of the lost perplexity and task accuracy that came back. The interval of
a share is that of the trained model's perplexity, the two lines it lies between held fixed.
"""
import argparse
import json
import subprocess
import tempfile


def run(arguments, steps, name):
    recipe = {"name": name, "steps": steps, "seed": arguments.seed}
    command = [arguments.cli, "run", json.dumps(recipe), "--model", arguments.model, "--train", arguments.train, "--evaluate",
               arguments.evaluate, "--max-tokens", str(arguments.max_tokens), "--context", str(arguments.context), "--no-speed", "--db", arguments.db,
               "--threads", str(arguments.threads), "--json"]
    if arguments.tasks:
        command += ["--tasks", arguments.tasks]
    document = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return {m["name"]: m for m in document["measurements"]}


def recovered(lost_from, full, now):
    return float("nan") if lost_from == full else 100 * (lost_from - now) / (lost_from - full)


def row(label, m, quantized, original):
    p = m["perplexity"]
    text = f"{label:24s} ppl {p['value']:8.4f} [{p['low']:.4f}, {p['high']:.4f}]  KL {m.get('kl_mean', {'value': 0})['value']:.5f}"
    if quantized:
        q, o = quantized["perplexity"]["value"], original["perplexity"]["value"]
        text += f"  recovered {recovered(q, o, p['value']):6.1f}% [{recovered(q, o, p['high']):.1f}, {recovered(q, o, p['low']):.1f}]"
    if "task_accuracy" in m:
        a = m["task_accuracy"]
        text += f"  tasks {a['value']:.1f} [{a['low']:.1f}, {a['high']:.1f}]"
        if quantized:
            share = recovered(quantized["task_accuracy"]["value"], original["task_accuracy"]["value"], a["value"])
            text += f" recovered {share:.0f}%"
    if "recovery" in m:
        text += f"  (validation {m['recovery']['value']:.1f}%)"
    print(text, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cli")
    parser.add_argument("model")
    parser.add_argument("train")
    parser.add_argument("evaluate")
    parser.add_argument("--schemes", default="int3-g128,int2-g64")
    parser.add_argument("--tasks")
    parser.add_argument("--tokens", type=int, default=200000)
    parser.add_argument("--max-tokens", type=int, default=16384)
    parser.add_argument("--context", type=int, default=256, help="tokens of an evaluation window")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--params", type=json.loads, default={}, help="more parameters of qat and qad")
    parser.add_argument("--ptq", type=json.loads, default={}, help="more parameters of ptq: how badly it begins")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments.db = folder + "/recovery.db"
        original = run(arguments, [], "original")
        row("original", original, None, None)
        for scheme in arguments.schemes.split(","):
            ptq = {"technique": "ptq", "params": {"scheme": scheme, **arguments.ptq}}
            quantized = run(arguments, [ptq], "ptq " + scheme)
            row(f"{scheme} ptq", quantized, None, None)
            for technique in ("qat", "qad"):
                step = {"technique": technique, "params": {"tokens": arguments.tokens, **arguments.params}}
                row(f"{scheme} {technique}", run(arguments, [ptq, step], f"{technique} {scheme}"), quantized, original)


main()
