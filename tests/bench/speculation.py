#!/usr/bin/env python3
"""Measures speculative decoding against its targets, everything in one run, and prints what holds.

    speculation.py --fettle build/release/app/fettle-cli --pair demo=demo-draft [--pair TARGET=DRAFT ...]
                   [--large MODEL.gguf] [--llama llama-speculative-simple [--llama-pair TARGET.gguf=DRAFT.gguf]]
                   [--transformers-pair TARGET=DRAFT]

For every pair: the speed-up against 0.9 times what the formula promises from the measured acceptance and costs, whether
it reaches --gain (default 1.2), whether answers are the same as without draft, the time to the first token. For every
target: n-grams on prompts that copy (1.5 times) and on prompts without sense (never more than 3% slower). For --large, a
model whose weights do not fit the caches: a pass over 8 tokens against one step (at most 1.3). Speeds with and without
draft are taken in turns on the same prompts by fettle-cli itself; a round is one such run, medians of rounds are judged.
With --llama the same GGUF pair runs in llama.cpp's greedy speculative example, with --transformers-pair the same folders
in transformers' assisted generation (the better of float32 and bfloat16; FETTLE_INTEROP_PYTHON names a Python that has
it), in turns with ours. --compute bf16 multiplies weights in bfloat16 as such, see docs/speculation.md.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout)


class Judge:
    def __init__(self):
        self.missed = 0

    def row(self, what, value, target, holds):
        self.missed += not holds
        print(f"| {what} | {value} | {target} | {'yes' if holds else 'NO'} |", flush=True)


def trials(arguments, model, drafts, tokens="auto", tree="off"):
    return run_json([arguments.fettle, "drafts", model, "--json", "--threads", str(arguments.threads), "--compute", arguments.compute,
                     "--draft", ",".join(drafts), "--draft-tokens", tokens, "--draft-tree", tree,
                     "--prompt-tokens", str(arguments.prompt), "--new-tokens", str(arguments.new),
                     "--repeats", str(arguments.repeats)] + (["--text", arguments.text] if arguments.text else []))


def medians(rounds, key):
    return statistics.median(trial[key] for trial in rounds)


def judge_pair(arguments, judge, target, draft):
    rounds = []
    for _ in range(arguments.rounds):
        trial = trials(arguments, target, [draft], arguments.tokens, arguments.tree)["trials"][0]
        if "refusal" in trial:
            sys.exit(trial["refusal"])
        rounds.append(trial)
    name = f"{target.rsplit('/', 1)[-1]} + {draft.rsplit('/', 1)[-1]}"
    speedup = medians(rounds, "speedup")
    ratio = statistics.median(t["speedup"] / t["expected_speedup"] for t in rounds)
    ttft = statistics.median(t["ttft_ms"] / t["ttft_ms_plain"] for t in rounds)
    detail = f"{medians(rounds, 'acceptance_rate'):.0f}% accepted, cost {medians(rounds, 'draft_cost'):.1f}%"
    judge.row(f"{name}: speed-up", f"{speedup:.2f} ({detail})", f">= {arguments.gain}", speedup >= arguments.gain)
    judge.row(f"{name}: of the formula's promise", f"{ratio:.2f}", ">= 0.9", ratio >= 0.9)
    judge.row(f"{name}: first token", f"{ttft:.2f}", "<= 1.05", ttft <= 1.05)
    same = min(t["identical_output"] for t in rounds)
    judge.row(f"{name}: same answers", f"{same:.0f}%", "100%", same == 100)
    return speedup


def judge_lookup(arguments, judge, target):
    name = target.rsplit("/", 1)[-1]
    copies, nonsense = [], []
    for _ in range(arguments.rounds):
        copies.append(trials(arguments, target, ["ngram"])["trials"][0]["speedup_copy"])
        random = run_json([arguments.fettle, "bench", target, "--json", "--threads", str(arguments.threads),
                           "--compute", arguments.compute, "--draft", "ngram", "--prompt-tokens", str(arguments.prompt), "--new-tokens", str(arguments.new),
                           "--repeats", str(arguments.repeats), "--thorough"])
        nonsense.append(random["speedup_random"])
    copy, worst = statistics.median(copies), statistics.median(nonsense)
    judge.row(f"{name} + ngram: copying", f"{copy:.2f}", ">= 1.5", copy >= 1.5)
    judge.row(f"{name} + ngram: nonsense", f"{worst:.3f}", ">= 0.97", worst >= 0.97)


def judge_verification(arguments, judge, model):
    costs = []
    for _ in range(arguments.rounds):
        report = trials(arguments, model, ["ngram"], "8")
        costs.append(report["verify_cost"][7])
    cost = statistics.median(costs)
    judge.row(f"{model.rsplit('/', 1)[-1]}: a pass over 8 tokens", f"{cost:.2f} steps", "<= 1.3", cost <= 1.3)


def llama_speed(arguments, target, draft):
    """The better of two draft lengths, as ours finds its own."""
    speeds = []
    for most in ("3", "6"):  # 3: its default
        done = subprocess.run([arguments.llama, "-m", target, "-md", draft, "--spec-type", "draft-simple", "--spec-draft-n-max", most,
                               "-p", arguments.llama_prompt, "-n", str(arguments.new), "--temp", "0", "-t", str(arguments.threads),
                               "-td", str(arguments.threads), "-c", "256"], capture_output=True, text=True)
        found = re.search(r"decoded\s+\d+ tokens in\s+[\d.]+ seconds, speed:\s+([\d.]+) t/s", done.stdout + done.stderr)
        if not found:
            sys.exit(f"{arguments.llama} said no speed and ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
        speeds.append(float(found.group(1)))
    return max(speeds)


def fettle_speed(arguments, target, draft):
    report = run_json([arguments.fettle, "generate", target, "--json", "--threads", str(arguments.threads),
                       "--compute", arguments.compute, "--prompt", arguments.llama_prompt, "-n", str(arguments.new), "--draft", draft])
    return report["decode_tokens_per_s"]


def judge_rival(arguments, judge, target, draft, name, rival):
    speeds = [(fettle_speed(arguments, target, draft), rival(arguments, target, draft)) for _ in range(arguments.rounds)]
    ratio = statistics.median(ours / theirs for ours, theirs in speeds)
    ours, theirs = (statistics.median(column) for column in zip(*speeds))
    judge.row(f"{target.rsplit('/', 1)[-1]}: against {name}", f"{ratio:.2f} ({ours:.0f} and {theirs:.0f} tokens/s)", ">= 1.3", ratio >= 1.3)


ASSISTED = """
import sys, time, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
target, draft, prompt, new, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
dtype = getattr(torch, sys.argv[6])
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(target, dtype=dtype).eval()
helper = AutoModelForCausalLM.from_pretrained(draft, dtype=dtype).eval()
tokenizer = AutoTokenizer.from_pretrained(target)
ids = tokenizer(prompt, return_tensors="pt").input_ids
for tokens in (8, new):  # the first one warms up
    start = time.perf_counter()
    with torch.no_grad():
        out = model.generate(ids, assistant_model=helper, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False,
                             pad_token_id=0)
    seconds = time.perf_counter() - start
print((out.shape[1] - ids.shape[1]) / seconds)
"""


def transformers_speed(arguments, target, draft):
    """The better of two types, as ours has a choice too."""
    python = os.environ.get("FETTLE_INTEROP_PYTHON", sys.executable)
    speeds = []
    for dtype in ("float32", "bfloat16"):
        done = subprocess.run([python, "-c", ASSISTED, target, draft, arguments.llama_prompt, str(arguments.new),
                               str(arguments.threads), dtype],
                              capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        if done.returncode:
            sys.exit(f"transformers: {done.stderr.strip()[-400:]}")
        speeds.append(float(done.stdout.split()[-1]))
    return max(speeds)


def pair(text):
    target, _, draft = text.partition("=")
    if not draft:
        raise argparse.ArgumentTypeError(f"{text} is not TARGET=DRAFT")
    return target, draft


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fettle", required=True, help="fettle-cli")
    parser.add_argument("--pair", type=pair, action="append", default=[], help="TARGET=DRAFT, may be repeated")
    parser.add_argument("--lookup", action="append", default=[], help="target for n-grams, may be repeated")
    parser.add_argument("--large", action="append", default=[], help="bandwidth-bound model, may be repeated")
    parser.add_argument("--llama", help="llama-speculative-simple")
    parser.add_argument("--llama-pair", type=pair, action="append", default=[])
    parser.add_argument("--transformers-pair", type=pair, action="append", default=[])
    parser.add_argument("--llama-prompt", default="The history of the lighthouse begins with")
    parser.add_argument("--text", help="text whose pieces are the prompts")
    parser.add_argument("--tokens", default="auto")
    parser.add_argument("--tree", default="off")
    parser.add_argument("--gain", type=float, default=1.2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compute", default="f32", choices=("f32", "bf16"))
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.llama_pair and not arguments.llama:
        parser.error("--llama-pair needs --llama")
    judge = Judge()
    print("| what | measured | target | holds |")
    print("|---|---|---|---|")
    for target, draft in arguments.pair:
        judge_pair(arguments, judge, target, draft)
    for target in arguments.lookup:
        judge_lookup(arguments, judge, target)
    for model in arguments.large:
        judge_verification(arguments, judge, model)
    for target, draft in arguments.llama_pair:
        judge_rival(arguments, judge, target, draft, "llama.cpp's speculative example", llama_speed)
    for target, draft in arguments.transformers_pair:
        judge_rival(arguments, judge, target, draft, "transformers' assisted generation", transformers_speed)
    return 1 if judge.missed else 0


if __name__ == "__main__":
    sys.exit(main())
