#!/usr/bin/env python3
"""A training step beside PyTorch eager, taking turns: compare_torch_train.py BENCH_TRAINING MODEL [ROUNDS]

8 x 256 random tokens, AdamW, float32, two threads. Prints tokens/s and peak resident memory of both, and the ratios.
Needs torch and transformers.
"""
import json
import os
import statistics
import subprocess
import sys

TORCH = """
import json, resource, sys, time, torch
from transformers import AutoModelForCausalLM
torch.set_num_threads(2)
torch.manual_seed(1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
opt = torch.optim.AdamW(model.parameters(), lr=1e-5)
seconds = []
for step in range(12):
    ids = torch.randint(0, model.config.vocab_size, (8, 256))
    start = time.perf_counter()
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    opt.zero_grad()
    seconds.append(time.perf_counter() - start)
print(json.dumps({"tokens_per_s": 2048 / sorted(seconds[2:])[5],
                  "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def run(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main():
    bench, model = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run([bench, model, "8", "256", "10", "2"]))
        theirs.append(run([sys.executable, "-c", TORCH, model]))
    print("load", os.getloadavg())
    for key in ("tokens_per_s", "peak_bytes"):
        a = statistics.median(r[key] for r in ours)
        b = statistics.median(r[key] for r in theirs)
        print(f"{key}: fettle {a:.0f}, torch {b:.0f}, ratio {a / b:.2f}")


main()
