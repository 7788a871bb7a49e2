#!/usr/bin/env python3
"""Races ptq against other systems' quantizers on the same model, calibration tokens and evaluation text.

    compare_quantizers.py FETTLE_CLI --model FOLDER [--model FOLDER ...] [--texts FOLDER] [--llama BIN]
                          [--work DIR] [--only TEXT ...] [--out FILE.md]

Rivals: nvidia-modelopt, llm-compressor (installed into an environment of their own from PyPI, see interop_env.py) and,
with --llama, llama.cpp's programs. Everyone gets the same first --calibration tokens of calibration.txt in sequences of
--context tokens. What a rival makes of the weights comes back as a model folder (or GGUF file) and is measured by
fettle-cli evaluate against the unquantized model: perplexity, KL divergence, same top token, each with its interval.
Where a rival rounds activations too, its own forward pass is measured instead, on the same windows of the same text.
Seconds are those of calibrating and quantizing, without loading and saving, on the same number of threads. Systems that
fail are listed with their error. Rows of one "bits" column are comparable; the table's last line per scheme is the ratio
of Fettle's KL divergence to the best rival's.
"""
import argparse
import copy
import datetime
import json
import math
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

import interop_env

interop_env.ensure({"torch": "torch", "transformers": "transformers", "safetensors": "safetensors", "modelopt": "nvidia-modelopt",
                    "llmcompressor": "llmcompressor", "compressed_tensors": "compressed-tensors", "datasets": "datasets"})

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
import torch  # noqa: E402
if not torch.cuda.is_available():  # llm-compressor pins memory without asking
    torch.Tensor.pin_memory = lambda self, *_: self
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

DEMO = interop_env.ROOT / "resources" / "demo"


class Context:
    """One model and what everyone is given."""

    def __init__(self, options, model, work):
        self.options, self.model, self.work = options, pathlib.Path(model), work
        self.texts = pathlib.Path(options.texts)
        self.calibration = work / "calibration.txt"
        text = (self.texts / "calibration.txt").read_text(encoding="utf-8")
        # Cut so that the whole of it is the wanted number of tokens, then everyone takes all of it.
        low, high = 0, len(text)
        while high - low > 64:
            middle = (low + high) // 2
            self.calibration.write_text(text[:middle], encoding="utf-8")
            low, high = (middle, high) if len(self.ids(self.calibration)) < options.calibration else (low, middle)
        self.calibration.write_text(text[:high], encoding="utf-8")
        ids, step = self.ids(self.calibration), options.context
        self.sequences = [ids[at:at + step] for at in range(0, len(ids) - step + 1, step)]
        evaluation = self.ids(self.texts / "evaluate.txt")[:options.tokens]
        self.windows = [evaluation[at:at + step] for at in range(0, len(evaluation), step)]
        self.baseline_logits = None
        self.bits = {}  # per weight of the layers' matrices, of the files that were measured

    def layer_bits(self, path):
        tensors = [t for t in self.call("inspect", path)["tensors"] if len(t["shape"]) == 2 and ".blk." in "." + t["name"]]
        return 8 * sum(t["bytes"] for t in tensors) / sum(math.prod(t["shape"]) for t in tensors)

    def call(self, *arguments):
        run = subprocess.run([self.options.cli, *map(str, arguments), "--json", "--threads", str(self.options.threads)], capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"fettle-cli {' '.join(map(str, arguments))} ended with {run.returncode}: {run.stderr.strip()[-300:]}")
        return json.loads(run.stdout)

    def ids(self, path):
        return self.call("tokenize", self.model, "--file", path)["ids"]

    def evaluate(self, model):
        answer = self.call("evaluate", model, "--baseline", self.model, "--text", self.texts / "evaluate.txt", "--context", self.options.context,
                           "--max-tokens", self.options.tokens)
        return {m["name"]: m for m in answer["measurements"]}

    def load(self):
        return AutoModelForCausalLM.from_pretrained(self.model, dtype=torch.float32).eval()

    def batches(self, size=16):
        for at in range(0, len(self.sequences), size):
            yield torch.tensor(self.sequences[at:at + size])

    def save(self, model, folder, weights):
        """A copy of the model's folder with `weights` (name without .weight: tensor) in the place of its own."""
        shutil.rmtree(folder, ignore_errors=True)
        fresh = self.load()
        modules = dict(fresh.named_modules())
        with torch.no_grad():
            for name, weight in weights.items():
                modules[name].weight.copy_(weight.float())
        fresh.save_pretrained(folder)
        for file in self.model.iterdir():
            if "token" in file.name:
                shutil.copy(file, folder / file.name)
        return folder

    @torch.no_grad()
    def evaluate_forward(self, model):
        """The same figures from a forward pass in torch, for schemes that round activations."""
        def logits(net):
            return [torch.log_softmax(net(torch.tensor([w])).logits[0].float(), -1) for w in self.windows if len(w) > 1]
        if self.baseline_logits is None:
            self.baseline_logits = logits(self.load())
        kl, nll, same = [], [], []
        for window, p, q in zip((w for w in self.windows if len(w) > 1), self.baseline_logits, logits(model)):
            p, q, target = p[:-1], q[:-1], torch.tensor(window[1:])
            kl.append((p.exp() * (p - q)).sum(-1))
            nll.append(-q.gather(1, target[:, None])[:, 0])
            same.append((p.argmax(-1) == q.argmax(-1)).float())
        kl, nll, same = torch.cat(kl), torch.cat(nll), torch.cat(same)

        def measured(value, low=None, high=None):
            return {"value": value, "low": low, "high": high}
        def interval(values):
            half = 1.96 * values.std().item() / math.sqrt(len(values))
            return values.mean().item(), values.mean().item() - half, values.mean().item() + half
        loss = interval(nll)
        return {"perplexity": measured(*(math.exp(x) for x in loss)), "kl_mean": measured(*interval(kl)),
                "kl_p99": measured(torch.quantile(kl, 0.99).item()), "top1_agreement": measured(*(100 * x for x in interval(same)))}


# ---- the systems: each gives (seconds, model for evaluate() or None, module for evaluate_forward() or None)


def fettle(params):
    def run(c):
        recipe = c.work / "recipe.json"
        full = dict(params, calibration_tokens=len(c.sequences) * c.options.context, calibration_length=c.options.context)
        recipe.write_text(json.dumps({"name": "race", "steps": [{"technique": "ptq", "params": full}], "seed": 1}))
        answer = c.call("run", recipe, "--model", c.model, "--calibration", c.calibration, "--evaluate", c.texts / "evaluate.txt", "--context",
                        c.options.context, "--max-tokens", c.options.tokens, "--no-speed", "--db", c.work / "race.db")
        measures = {m["name"]: m for m in answer["measurements"]}
        return measures["recipe_seconds"]["value"], measures, None
    return run


def nvfp4_in_torch(x, block_size, amax, *_):
    """What modelopt's CUDA kernel does to NVFP4 blocks (nearest codes under E4M3 scales of block amax / 6, themselves under
    amax / (6 * 448)), for machines without one."""
    shared = (amax.amax() / (6 * 448)).clamp(min=1e-30)
    blocks = x.float().reshape(-1, block_size)
    scale = (blocks.abs().amax(-1, keepdim=True) / 6 / shared).clamp(max=448).to(torch.float8_e4m3fn).float() * shared
    units = torch.where(scale > 0, blocks / scale, torch.zeros_like(blocks))
    steps = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    below, above = torch.bucketize(units.abs(), steps), torch.bucketize(units.abs(), steps, right=True)
    even = torch.where(below % 2 == 0, below, above)  # the same but on ties
    return (values[even] * units.sign() * scale).reshape(x.shape).to(x.dtype)


def modelopt(config_name, block=None, forward=False):
    def run(c):
        import modelopt.torch.quantization as mtq
        if not torch.cuda.is_available():
            from modelopt.torch.quantization import tensor_quant
            tensor_quant.dynamic_block_quantize_op = nvfp4_in_torch
        config = copy.deepcopy(getattr(mtq, config_name))
        if block:
            def resize(node):
                if isinstance(node, dict):
                    for key, value in node.items():
                        if key == "block_sizes" and isinstance(value, dict) and -1 in value:
                            value[-1] = block
                        else:
                            resize(value)
                elif isinstance(node, list):
                    for each in node:
                        resize(each)
            resize(config)
        model = c.load()

        def loop(net):
            for batch in c.batches():
                net(batch)
        start = time.perf_counter()
        with torch.no_grad():
            mtq.quantize(model, config, loop)
        seconds = time.perf_counter() - start
        if forward:
            mtq.fold_weight(model)  # rounded once, not in every pass
            return seconds, None, model
        weights = {}
        with torch.no_grad():
            for name, module in model.named_modules():
                quantizer = getattr(module, "weight_quantizer", None)
                if quantizer is None or not quantizer.is_enabled:
                    continue
                weight = quantizer(module.weight)
                scale = getattr(module.input_quantizer, "pre_quant_scale", None)
                weights[name] = weight if scale is None else weight * scale
        return seconds, c.save(model, c.work / "rival", weights), None
    return run


def llmcompressor(method, group, symmetric=True):
    def run(c):
        from compressed_tensors.quantization.lifecycle.forward import fake_quantize
        from datasets import Dataset
        from llmcompressor import oneshot
        args = {"num_bits": 4, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": group}
        groups = {"group_0": {"targets": ["Linear"], "weights": args}}
        from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
        if method == "gptq":
            recipe = GPTQModifier(config_groups=groups, ignore=["lm_head"])
        else:
            from llmcompressor.modifiers.transform.awq import AWQModifier
            recipe = [AWQModifier(), QuantizationModifier(config_groups=groups, ignore=["lm_head"])]
        model = c.load()
        data = Dataset.from_dict({"input_ids": c.sequences, "attention_mask": [[1] * len(s) for s in c.sequences]})
        start = time.perf_counter()
        oneshot(model=model, tokenizer=AutoTokenizer.from_pretrained(c.model), dataset=data, recipe=recipe,
                max_seq_length=c.options.context, num_calibration_samples=len(c.sequences), log_dir=None)
        seconds = time.perf_counter() - start
        weights, norms = {}, {}
        with torch.no_grad():
            for name, module in model.named_modules():
                scheme = getattr(module, "quantization_scheme", None)
                if scheme is not None and scheme.weights is not None:
                    weights[name] = fake_quantize(module.weight, module.weight_scale, getattr(module, "weight_zero_point", None), scheme.weights)
                elif hasattr(module, "weight") and module.weight is not None:
                    norms[name] = module.weight
        return seconds, c.save(model, c.work / "rival", norms | weights), None
    return run


def llama(kind):
    def run(c):
        binaries = pathlib.Path(c.options.llama)
        plain, imatrix, out = c.work / "plain.gguf", c.work / "imatrix.gguf", c.work / "rival.gguf"
        c.call("export", c.model, "--format", "gguf-f16", "--out", plain)

        def program(name, *arguments):
            done = subprocess.run([binaries / name, *map(str, arguments)], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        threads = c.options.threads
        start = time.perf_counter()
        program("llama-imatrix", "-m", plain, "-f", c.calibration, "-o", imatrix, "-c", c.options.context, "-b", c.options.context, "-t", threads,
                "--no-ppl")
        program("llama-quantize", "--imatrix", imatrix, plain, out, kind, threads)
        seconds = time.perf_counter() - start
        c.bits[kind] = c.layer_bits(out)
        return seconds, out, None
    return run


def fettle_gguf(kind):
    """The same file format with Fettle's codes; seconds of the whole command, loading, writing and checking included."""
    def run(c):
        out = c.work / "ours.gguf"
        start = time.perf_counter()
        c.call("export", c.model, "--format", f"gguf-{kind}", "--calibration", c.calibration, "--calibration-tokens",
               len(c.sequences) * c.options.context, "--out", out)
        seconds = time.perf_counter() - start
        c.bits[kind] = c.layer_bits(out)
        return seconds, out, None
    return run


def fettle_at(kind, **params):
    """Mixed precision at the bits per weight that llama.cpp's mixture came to."""
    def run(c):
        if kind not in c.bits:
            raise RuntimeError(f"{kind} has not been measured")
        c.bits["mixed"] = c.bits[kind]
        return fettle(dict(params, target_bits=c.bits[kind]))(c)
    return run


MODELOPT, LLMC, LLAMA, FETTLE = "nvidia-modelopt", "llm-compressor", "llama.cpp", "fettle"
RACES = [
    ("int4 weights, groups of 128", [
        (MODELOPT, "INT4_AWQ", "4.13", modelopt("INT4_AWQ_CFG")),
        (LLMC, "GPTQ", "4.13", llmcompressor("gptq", 128)),
        (LLMC, "AWQ", "4.13", llmcompressor("awq", 128)),
        (FETTLE, "gptq", "4.13", fettle({"scheme": "int4-g128", "method": "gptq"})),
        (FETTLE, "gptq, follow_outputs off", "4.13", fettle({"scheme": "int4-g128", "method": "gptq", "follow_outputs": False})),
        (FETTLE, "awq", "4.13", fettle({"scheme": "int4-g128", "method": "awq"}))]),
    ("int4 weights, groups of 32", [
        (MODELOPT, "INT4_AWQ", "4.5", modelopt("INT4_AWQ_CFG", block=32)),
        (LLMC, "GPTQ", "4.5", llmcompressor("gptq", 32)),
        (LLMC, "AWQ", "4.5", llmcompressor("awq", 32)),
        (LLAMA, "Q4_K_S, imatrix", "Q4_K_S", llama("Q4_K_S")),
        (FETTLE, "gptq", "4.5", fettle({"scheme": "int4-g32", "method": "gptq"})),
        (FETTLE, "gptq, follow_outputs off", "4.5", fettle({"scheme": "int4-g32", "method": "gptq", "follow_outputs": False})),
        (FETTLE, "awq", "4.5", fettle({"scheme": "int4-g32", "method": "awq"}))]),
    ("int8 weights and activations", [
        (MODELOPT, "INT8_SMOOTHQUANT", "8.0", modelopt("INT8_SMOOTHQUANT_CFG", forward=True)),
        (FETTLE, "smoothquant", "8.0", fettle({"scheme": "int8", "method": "smoothquant"})),
        (FETTLE, "auto", "8.0", fettle({"scheme": "int8", "method": "auto"}))]),
    ("NVFP4 weights and activations", [
        (MODELOPT, "NVFP4_DEFAULT (blocks rounded in torch without CUDA)", "4.5", modelopt("NVFP4_DEFAULT_CFG", forward=True)),
        (FETTLE, "gptq", "4.5", fettle({"scheme": "nvfp4", "method": "gptq"})),
        (FETTLE, "auto", "4.5", fettle({"scheme": "nvfp4", "method": "auto"}))]),
    ("as many bits as Q4_K_M", [
        (LLAMA, "Q4_K_M, imatrix", "Q4_K_M", llama("Q4_K_M")),
        (FETTLE, "GGUF Q4_K_M", "q4_k_m", fettle_gguf("q4_k_m")),
        (FETTLE, "mixed, gptq", "mixed", fettle_at("Q4_K_M", method="gptq", mix=["int3-g32", "int4-g128", "int4-g32", "w8a16"]))]),
    ("as many bits as Q3_K_M", [
        (LLAMA, "Q3_K_M, imatrix", "Q3_K_M", llama("Q3_K_M")),
        (FETTLE, "GGUF Q3_K_M", "q3_k_m", fettle_gguf("q3_k_m")),
        (FETTLE, "mixed, gptq", "mixed", fettle_at("Q3_K_M", method="gptq", mix=["int2-g32", "int3-g128", "int3-g32", "int4-g128", "int4-g32"]))]),
    ("3-bit weights", [
        (LLAMA, "Q3_K_S, imatrix", "Q3_K_S", llama("Q3_K_S")),
        (FETTLE, "gptq int3-g32", "3.5", fettle({"scheme": "int3-g32", "method": "gptq"})),
        (FETTLE, "auto int3-g32", "3.5", fettle({"scheme": "int3-g32", "method": "auto"})),
        (FETTLE, "auto int3-g64", "3.25", fettle({"scheme": "int3-g64", "method": "auto"}))]),
]


def span(measure, digits):
    text = f"{measure['value']:.{digits}f}"
    if measure.get("low") is not None and measure.get("high") is not None:
        text += f" [{measure['low']:.{digits}f}, {measure['high']:.{digits}f}]"
    return text


def race(c, title, entries, lines):
    best = {}
    for system, name, bits, entry in entries:
        if c.options.only and not any(word in f"{system} {name} {title}" for word in c.options.only):
            continue
        if system == LLAMA and not c.options.llama:
            continue
        print(f"{c.model.name}: {title}: {system} {name}", file=sys.stderr, flush=True)
        try:
            seconds, model, forward = entry(c)
            m = c.evaluate_forward(forward) if forward is not None else model if isinstance(model, dict) else c.evaluate(model)
        except Exception as error:  # noqa: BLE001: a rival that fails is a row of the table
            traceback.print_exc()
            lines.append(f"| {title} | {system} | {name} | {bits} | failed: {str(error).splitlines()[0][:120]} | | | | |")
            continue
        bits = f"{c.bits[bits]:.2f}" if bits in c.bits else bits
        kl = m["kl_mean"]["value"]
        side = "ours" if system == FETTLE else "theirs"
        best[side] = min(kl, best.get(side, math.inf))
        lines.append(f"| {title} | {system} | {name} | {bits} | {span(m['perplexity'], 2)} | {span(m['kl_mean'], 5)} | {m['kl_p99']['value']:.4f} | "
                     f"{span(m['top1_agreement'], 1)} | {seconds:.1f} |")
        print(lines[-1], file=sys.stderr, flush=True)
    if len(best) == 2:
        lines.append(f"| | | *KL of the best of Fettle / best rival* | | | **{best['ours'] / best['theirs']:.3f}** | | | |")


def machine():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cli", metavar="FETTLE_CLI")
    parser.add_argument("--model", action="append", help="Hugging Face folder (default: the bundled teacher)")
    parser.add_argument("--texts", default=str(DEMO / "texts"), help="folder with calibration.txt and evaluate.txt")
    parser.add_argument("--llama", help="folder with llama-imatrix and llama-quantize")
    parser.add_argument("--work", help="folder for what is made on the way (default: a temporary one)")
    parser.add_argument("--only", nargs="*", help="races and systems whose names hold one of these")
    parser.add_argument("--out", help="append the table to this file")
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--calibration", type=int, default=16384)
    parser.add_argument("--tokens", type=int, default=16384, help="of the evaluation text")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.cli = str(pathlib.Path(options.cli).resolve())
    torch.set_num_threads(options.threads)
    import importlib.metadata as versions
    named = ", ".join(f"{p} {versions.version(p)}" for p in ("nvidia-modelopt", "llmcompressor", "compressed-tensors", "torch", "transformers"))
    lines = [f"Measured {datetime.date.today()} on {machine()}, {options.threads} threads; {named}. Calibration: {options.calibration} tokens in "
             f"sequences of {options.context}; evaluation: {options.tokens} tokens in windows of {options.context}, first token unscored."]
    for model in options.model or [str(DEMO / "teacher")]:
        with tempfile.TemporaryDirectory() as temporary:
            work = pathlib.Path(options.work or temporary)
            work.mkdir(parents=True, exist_ok=True)
            c = Context(options, model, work)
            lines += ["", f"### {c.model.name}", "", "| scheme | system | method | bits | perplexity | KL mean | KL p99 | same top token % | seconds |",
                      "|---|---|---|---|---|---|---|---|---|"]
            for title, entries in RACES:
                race(c, title, entries, lines)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        with open(options.out, "a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
