#!/usr/bin/env python3
"""Races fettle-cli bench against llama.cpp's llama-bench on the same GGUF files, in turns, and prints the ratios.

    compare_llama.py --fettle build/release/app/fettle-cli --llama-bench PATH MODEL.gguf [MODEL.gguf ...]

Both run the same number of threads, prompt tokens and new tokens. Each round runs one after the other, so that a
machine whose speed drifts treats both alike; the ratio of a pair is taken within its round, the medians are printed.
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
                       "--prompt-tokens", str(arguments.prompt), "--new-tokens", str(arguments.new), "--repeats", "2"])
    return report["prefill_tokens_per_s"], report["decode_tokens_per_s"]


def llama(arguments, model):
    rows = run_json([arguments.llama_bench, "-m", model, "-t", str(arguments.threads), "-p", str(arguments.prompt),
                     "-n", str(arguments.new), "-r", "2", "-o", "json"])
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
    arguments = parser.parse_args()

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
