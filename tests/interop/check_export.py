#!/usr/bin/env python3
"""Do other systems load what fettle-cli exports, and do they compute the same with it?

    check_export.py FETTLE_CLI [--model FOLDER] [--texts FOLDER] [--work DIR] [--only NAME ...]

Checks (each named; --only picks some):
  source        logits and perplexity of the model itself, against transformers
  safetensors   exported folder, loaded by transformers
  int8          W8A8, exported as compressed-tensors, loaded by transformers + compressed-tensors
  int4          int4 group 128, pack-quantized, the same way
  pruned-METHOD width, ffn, heads, channels, layers: a pruned model, loaded by transformers, with the logits that fettle-cli
                gives; its sizes in config.json
  gguf-f16, gguf-q8_0, gguf-q4_0
                read with the gguf package: every tensor close to its source, and transformers with the dequantized tensors
                gives the logits that fettle-cli gives for the file

With LLAMA_CPP_BIN naming a folder with llama-perplexity, llama.cpp also runs the GGUF files; its perplexity is compared
with transformers' under the same protocol.
"""
import argparse
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import interop_env

interop_env.ensure({"torch": "torch", "transformers": "transformers>=4.50", "compressed_tensors": "compressed-tensors",
                    "accelerate": "accelerate", "gguf": "gguf>=0.17", "tokenizers": "tokenizers", "safetensors": "safetensors"})

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import gguf  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

DEMO = interop_env.ROOT / "resources" / "demo"
CONTEXT, WINDOWS = 128, 24


class Mismatch(Exception):
    pass


def expect(condition, text):
    print(("    ok    " if condition else "    WRONG ") + text, flush=True)
    if not condition:
        raise Mismatch(text)


class Checker:
    def __init__(self, cli, model, texts, work):
        self.cli, self.model, self.texts, self.work = cli, model, texts, work
        self.tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        text = (texts / "evaluate.txt").read_text(encoding="utf-8")
        self.ids = torch.tensor(self.tokenizer.encode(text, add_special_tokens=False).ids)
        self.prompts = [self.ids[:12].tolist(), self.ids[700:755].tolist(), self.ids[:1].tolist()]
        self.source = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()

    # -- fettle-cli -----------------------------------------------------------------------------------------------
    def call(self, *arguments):
        run = subprocess.run([self.cli, *map(str, arguments), "--json"], capture_output=True, text=True, encoding="utf-8")
        if run.returncode:
            raise Mismatch(f"fettle-cli {' '.join(map(str, arguments))} ended with {run.returncode}: {run.stderr.strip()[-400:]}")
        return json.loads(run.stdout)

    def our_logits(self, model, ids):
        answer = self.call("logits", model, "--ids", ",".join(map(str, ids)))
        return torch.tensor(answer["logits"], dtype=torch.float32), answer

    def our_perplexity(self, model):
        answer = self.call("evaluate", model, "--text", self.texts / "evaluate.txt", "--context", CONTEXT, "--max-tokens", CONTEXT * WINDOWS)
        return answer.get("perplexity") or answer["metrics"]["perplexity"]

    def artifact(self, scheme, method="rtn"):
        return self.run_step(scheme, "ptq", {"scheme": scheme, "method": method})

    def run_step(self, name, technique, params):
        recipe = self.work / f"{name}.json"
        recipe.write_text(json.dumps({"name": name, "steps": [{"technique": technique, "params": params}], "seed": 1}))
        answer = self.call("run", recipe, "--model", self.model, "--calibration", self.texts / "calibration.txt", "--db", self.work / "interop.db")
        artifact = answer["artifact"]
        return pathlib.Path(artifact["path"] if isinstance(artifact, dict) else artifact)

    def export(self, model, kind, out, *more):
        self.call("export", model, "--format", kind, "--out", out, *more)
        return out

    # -- transformers ---------------------------------------------------------------------------------------------
    @torch.no_grad()
    def perplexity(self, model, llama_cpp=False, context=CONTEXT, windows=WINDOWS):
        ids = self.ids[:context * windows].view(-1, context)
        first = context // 2 if llama_cpp else 0
        total = count = 0
        for chunk in ids.split(8):
            logits = model(input_ids=chunk).logits.float()[:, first:-1]
            total += F.cross_entropy(logits.reshape(-1, logits.shape[-1]), chunk[:, first + 1:].reshape(-1), reduction="sum").item()
            count += chunk[:, first + 1:].numel()
        return math.exp(total / count)

    @torch.no_grad()
    def compare(self, theirs, ours, tolerance, perplexity_tolerance):
        """Logits of three prompts (root mean square of the difference relative to their spread) and perplexity."""
        for ids in self.prompts:
            logits, answer = self.our_logits(ours, ids)
            want = theirs(input_ids=torch.tensor([ids])).logits[0, -1].float()
            spread = want.std().item()
            off = (logits - want).square().mean().sqrt().item() / spread
            top = want.topk(2).values
            expect(off <= tolerance, f"logits after {len(ids)} tokens: difference {off:.2e} standard deviations (at most {tolerance:.0e})")
            expect(answer["argmax"] == want.argmax().item() or (top[0] - top[1]).item() < 5 * tolerance * spread, "same most likely token")
            away = abs(answer["logsumexp"] - want.logsumexp(0).item())
            expect(away <= 5 * tolerance * spread, f"logsumexp {away:.2e} away")
        mine, other = self.our_perplexity(ours), self.perplexity(theirs)
        expect(abs(mine / other - 1) <= perplexity_tolerance, f"perplexity {mine:.4f}, transformers {other:.4f}")

    # -- checks ---------------------------------------------------------------------------------------------------
    def check_source(self):
        self.compare(self.source, self.model, 1e-3, 1e-3)

    def check_safetensors(self):
        out = self.export(self.model, "safetensors", self.work / "safetensors")
        loaded = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
        theirs, mine = loaded.state_dict(), self.source.state_dict()
        expect(theirs.keys() == mine.keys() and all(torch.equal(theirs[k], mine[k]) for k in mine), "every tensor is the source's, bit by bit")
        self.compare(loaded, out, 1e-3, 1e-3)

    def compressed(self, scheme, tolerance, perplexity_tolerance):
        out = self.export(self.artifact(scheme), "compressed-tensors", self.work / f"ct-{scheme}")
        config = json.loads((out / "config.json").read_text())
        expect(config.get("quantization_config", {}).get("quant_method") == "compressed-tensors", "config.json names compressed-tensors")
        loaded = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
        quantized = [n for n, m in loaded.named_modules() if getattr(m, "quantization_scheme", None) is not None]
        expect(len(quantized) >= 7 * loaded.config.num_hidden_layers, f"{len(quantized)} layers are quantized in transformers' eyes")
        self.compare(loaded, out, tolerance, perplexity_tolerance)

    def check_int8(self):
        # Both round the activations to int8 at run time, on grids that differ a little (127 or 127.5 steps to the maximum).
        # Both sides quantize activations anew for each token, but not alike: here the largest magnitude becomes 127, there
        # 127.5. On a text of a single token nothing averages that out; the perplexity below is the judge.
        self.compressed("int8", 1e-1, 5e-3)

    def check_int4(self):
        # Ours multiplies integers, activations rounded to int8 block by block; transformers multiplies floats.
        self.compressed("int4-g128", 3e-2, 5e-3)

    def check_pruned(self, method):
        folder = self.run_step(f"pruned-{method}", "prune", {"method": method, "ratio": 0.3})
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        before, after = self.source.num_parameters(), loaded.num_parameters()
        expect(after < 0.95 * before, f"{after} of {before} parameters are left")
        self.compare(loaded, folder, 1e-3, 1e-3)
        path = self.work / f"pruned-{method}.gguf"
        self.export(folder, "gguf-f16", path)
        self.llama_cpp(path, loaded)

    def gguf_weights(self, path):
        """Hugging Face names and shapes; ggml's Llama order of the rows of q and k is undone."""
        config, out, kinds = self.source.config, {}, {}
        plain = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
        inner = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
                 "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
        reader = gguf.GGUFReader(str(path))
        for tensor in reader.tensors:
            base = tensor.name.removesuffix(".weight")
            if base in plain:
                name = plain[base]
            elif match := re.fullmatch(r"blk\.(\d+)\.(\w+)", base):
                name = f"model.layers.{match[1]}.{inner[match[2]]}"
            else:
                continue  # rope factors and the like
            value = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape([int(d) for d in reversed(tensor.shape)])
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(base.split(".")[-1])
            if heads:
                value = value.reshape(heads, value.shape[0] // heads // 2, 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
            out[name + ".weight"], kinds[name + ".weight"] = torch.from_numpy(np.ascontiguousarray(value)), tensor.tensor_type.name
        return out, kinds

    def check_gguf(self, kind, budget, tolerance):
        path = self.work / f"demo-{kind}.gguf"
        self.export(self.model, "gguf", path, "--type", kind)
        weights, kinds = self.gguf_weights(path)
        source = self.source.state_dict()
        missing = [k for k in source if k not in weights and not (k == "lm_head.weight" and self.source.config.tie_word_embeddings)]
        expect(not missing, f"all tensors are there ({missing[:3]})" if missing else "all tensors are there")
        wanted = kind.upper()
        share = sum(weights[k].numel() for k in weights if kinds[k] == wanted) / sum(w.numel() for w in weights.values())
        expect(share > 0.6, f"{share:.0%} of the weights are {wanted}")
        worst = max(((weights[k] - source[k]).norm() / source[k].norm()).item() for k in weights)
        expect(worst <= budget, f"largest relative error of a tensor {worst:.4f} (at most {budget})")
        theirs = AutoModelForCausalLM.from_pretrained(self.model, dtype=torch.float32).eval()
        theirs.load_state_dict(weights, strict=False)
        if theirs.config.tie_word_embeddings:
            theirs.tie_weights()
        self.compare(theirs, path, tolerance, 5e-3)
        self.llama_cpp(path, theirs)

    def llama_cpp(self, path, theirs):
        folder = os.environ.get("LLAMA_CPP_BIN")
        if not folder:
            return
        text = self.texts / "evaluate.txt"
        run = subprocess.run([str(pathlib.Path(folder) / "llama-perplexity"), "-m", str(path), "-f", str(text), "-c", str(CONTEXT), "-t", "1", "--chunks", str(WINDOWS)],
                             capture_output=True, text=True, errors="replace")
        # "[n]value" is the perplexity of the first n windows; the last lines are sometimes lost when it ends.
        running = re.findall(r"\[(\d+)\]([\d.]+)", run.stdout + run.stderr)
        expect(bool(running), "llama.cpp loads and runs the file" if running else f"llama.cpp: {(run.stdout + run.stderr).strip()[-300:]}")
        windows, value = int(running[-1][0]), float(running[-1][1])
        wanted = self.perplexity(theirs, llama_cpp=True, windows=windows)
        expect(abs(value / wanted - 1) <= 0.01, f"llama.cpp's perplexity {value:.4f}, transformers {wanted:.4f} under the same protocol")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cli")
    parser.add_argument("--model", type=pathlib.Path, default=DEMO / "teacher")
    parser.add_argument("--texts", type=pathlib.Path, default=DEMO / "texts")
    parser.add_argument("--work", type=pathlib.Path, help="keep what is exported here")
    parser.add_argument("--only", nargs="+", default=[])
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or pathlib.Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        checker = Checker(options.cli, options.model, options.texts, work)
        checks = {"source": checker.check_source, "safetensors": checker.check_safetensors, "int8": checker.check_int8, "int4": checker.check_int4,
                  "gguf-f16": lambda: checker.check_gguf("f16", 1e-3, 1e-3), "gguf-q8_0": lambda: checker.check_gguf("q8_0", 1e-2, 4e-2),
                  "gguf-q4_0": lambda: checker.check_gguf("q4_0", 0.15, 3e-2)}
        for method in ("width", "ffn", "heads", "channels", "layers"):
            checks[f"pruned-{method}"] = lambda method=method: checker.check_pruned(method)
        failed = []
        for name, check in checks.items():
            if options.only and name not in options.only:
                continue
            print(name, flush=True)
            try:
                check()
            except Mismatch as problem:
                print(f"    FAILED {problem}", flush=True)
                failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all agree")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
