#!/usr/bin/env python3
"""A training step beside PyTorch, eager and compiled, taking turns:

    compare_torch_train.py BENCH_TRAINING MODEL [ROUNDS 3] [ROWS 8] [CONTEXT 256] [STEPS 10] [f32|bf16] [--device cuda]

MODEL is a model folder or the config.json of a shape (shapes/*.json): random weights. Random tokens, AdamW, clipping,
two threads everywhere; bf16: weights in float32, PyTorch under autocast. Prints tokens/s and peak memory (resident, or the device's), and the ratios of each
round. Needs torch and transformers; FETTLE_INTEROP_PYTHON names another Python that has them. With --device both train there; where one cannot, its reason is
said and nothing is raced.
"""
import json
import os
import statistics
import subprocess
import sys

TORCH = """
import json, resource, sys, time, torch
from transformers import AutoConfig, AutoModelForCausalLM
path, rows, context, steps, compiled = sys.argv[1], *map(int, sys.argv[2:6])
bf16 = sys.argv[6] == "bf16"
device = sys.argv[7]
if device != "cpu" and not torch.cuda.is_available():
    print(json.dumps({"skipped": "PyTorch sees no CUDA device"}))
    sys.exit()
torch.set_num_threads(2)
torch.manual_seed(1)
if path.endswith(".json"):
    settings = json.load(open(path))
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings)).float()
else:
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
model.config.use_cache = False
model.to(device)
opt = torch.optim.AdamW(model.parameters(), lr=1e-5)
run = torch.compile(model, dynamic=False) if compiled else model
seconds = []
for step in range(steps + 2):
    ids = torch.randint(0, model.config.vocab_size, (rows, context), device=device)
    start = time.perf_counter()
    with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=bf16):
        loss = run(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    opt.zero_grad()
    if device != "cpu":
        torch.cuda.synchronize()
    seconds.append(time.perf_counter() - start)
print(json.dumps({"tokens_per_s": rows * context / sorted(seconds[2:])[steps // 2],
                  "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if device == "cpu"
                  else torch.cuda.max_memory_allocated()}))
"""


def run(command):
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    arguments, device = sys.argv[1:], "cpu"
    if "--device" in arguments:
        at = arguments.index("--device")
        device = arguments[at + 1]
        del arguments[at:at + 2]
    bench, model, *values = arguments
    dtype = values.pop() if values and values[-1] in ("f32", "bf16") else "f32"
    numbers = [int(a) for a in values] + [3, 8, 256, 10][len(values):]
    rounds, rows, context, steps = numbers
    python = os.environ.get("FETTLE_INTEROP_PYTHON", sys.executable)
    shape = [model, str(rows), str(context), str(steps)]
    runs = {"fettle": [bench, *shape, "2", dtype, device],
            "eager": [python, "-c", TORCH, *shape, "0", dtype, device],
            "compile": [python, "-c", TORCH, *shape, "1", dtype, device]}
    got = {name: [] for name in runs}
    for turn in range(rounds):
        for name, command in runs.items():
            got[name].append(run(command))
            if "skipped" in got[name][-1]:
                print(f"skipped: {got[name][-1]['skipped']}")
                return
            print(turn + 1, name, {k: round(v) for k, v in got[name][-1].items()}, flush=True)
    print(f"{rows} x {context} tokens, {dtype}, load", *os.getloadavg())
    for key in ("tokens_per_s", "peak_bytes"):
        for other in ("eager", "compile"):
            ratios = sorted(a[key] / b[key] for a, b in zip(got["fettle"], got[other]))
            print(f"{key}: fettle / {other} = {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


main()
