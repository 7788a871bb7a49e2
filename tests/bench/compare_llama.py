#!/usr/bin/env python3
"""Races fettle-cli bench against llama.cpp's llama-bench on the same GGUF files, in turns, and prints the ratios.

    compare_llama.py --fettle build/release/app/fettle-cli --llama-bench PATH [--device cuda] MODEL.gguf [MODEL.gguf ...]

Both run the same number of threads, prompt tokens and new tokens. Each round runs one after the other, so that a
machine whose speed drifts treats both alike; the ratio of a pair is taken within its round, the medians are printed.
With --device both run there, all layers of llama.cpp's too; where Fettle or llama.cpp cannot, the reason is said and nothing
is raced.
"""

import argparse
import json
import statistics
import subprocess
import sys


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout)


def fettle(arguments, model):
    report = run_json([arguments.fettle, "bench", model, "--json", "--threads", str(arguments.threads),
                       "--device", arguments.device, "--prompt-tokens", str(arguments.prompt), "--new-tokens", str(arguments.new),
                       "--repeats", "2"])
    return report["prefill_tokens_per_s"], report["decode_tokens_per_s"]


def llama_rows(arguments, model, prompt, new):
    layers = "0" if arguments.device == "cpu" else "999"
    return run_json([arguments.llama_bench, "-m", model, "-t", str(arguments.threads), "-ngl", layers, "-p", str(prompt),
                     "-n", str(new), "-r", "2", "-o", "json"])


def why_not(arguments):
    """Why the two cannot run on the device; None where they can."""
    if arguments.device == "cpu":
        return None
    devices = run_json([arguments.fettle, "devices", "--json"])["devices"]
    wanted = [d for d in devices if d["id"] == arguments.device or d["id"].startswith(arguments.device + ":")]
    if not any(d["usable"] for d in wanted):
        return wanted[0]["reason"] if wanted else f"fettle-cli sees no device {arguments.device}"
    backends = {row.get("backends", "") for row in llama_rows(arguments, arguments.models[0], 16, 1)}
    if not any("CUDA" in name for name in backends):
        return f"llama-bench computes on {', '.join(sorted(backends))}; build llama.cpp with GGML_CUDA=ON"
    return None


def llama(arguments, model):
    rows = llama_rows(arguments, model, arguments.prompt, arguments.new)
    prefill = next(row["avg_ts"] for row in rows if row["n_prompt"] and not row["n_gen"])
    decode = next(row["avg_ts"] for row in rows if row["n_gen"] and not row["n_prompt"])
    return prefill, decode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--fettle", required=True, help="fettle-cli")
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    arguments = parser.parse_args()
    reason = why_not(arguments)
    if reason:
        print(f"skipped: {reason}")
        return

    print("| model | what | fettle tokens/s | llama.cpp tokens/s | ratio (median of rounds) |")
    print("|---|---|---|---|---|")
    for model in arguments.models:
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(fettle(arguments, model))
            theirs.append(llama(arguments, model))
        for at, what in enumerate((f"prefill {arguments.prompt}", f"decode {arguments.new}")):
            a, b = [pair[at] for pair in ours], [pair[at] for pair in theirs]
            ratio = statistics.median(x / y for x, y in zip(a, b))
            print(f"| {model.rsplit('/', 1)[-1]} | {what} | {statistics.median(a):.1f} | {statistics.median(b):.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
