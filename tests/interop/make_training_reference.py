#!/usr/bin/env python3
"""Writes tests/data/training/NAME.json: what PyTorch makes of the fixture models in training.

    python tests/interop/make_training_reference.py FIXTURES [NAME...]

Loss and gradients of one batch (norm and eight samples of each tensor), and the losses of five AdamW steps on it,
float32. For llama-4m also a curve of 200 steps over windows of texts/train.txt. Needs torch and transformers.
"""
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

OUT = Path(__file__).resolve().parent.parent / "data" / "training"
NAMES = ["llama-4m", "qwen3-draft-500k", "gpt2-random", "gemma3-random"]
CURVE = {"steps": 200, "rows": 4, "context": 64, "learning_rate": 2e-4, "decay": 0.1, "clip": 1.0, "warmup": 20}


def optimizer(model, rate, decay):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), eps=1e-8)


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager")
    return model.eval().float()


def reference(folder):
    model = load(folder)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, min(model.config.vocab_size, 2000), (3, 40), generator=generator)
    out = {"ids": ids.tolist()}
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    out["loss"] = loss.item()
    out["gradients"] = {}
    for name, p in model.named_parameters():
        flat = p.grad.flatten()
        at = [i * (flat.numel() - 1) // 7 for i in range(8)]
        out["gradients"][name] = {"norm": flat.norm().item(), "at": at, "values": [flat[i].item() for i in at]}
    opt = optimizer(model, 1e-3, 0.1)
    out["steps"] = []
    for _ in range(5):
        opt.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        opt.step()
        out["steps"].append(loss.item())
    return out


def curve(fixtures):
    model = load(fixtures / "llama-4m")
    tokenizer = AutoTokenizer.from_pretrained(fixtures / "llama-4m")
    text = (fixtures / "texts" / "train.txt").read_text()[:400000]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    c = dict(CURVE)
    opt = optimizer(model, c["learning_rate"], c["decay"])
    losses = []
    need = c["rows"] * c["context"]
    for step in range(c["steps"]):
        batch = torch.tensor(ids[step * need:(step + 1) * need]).view(c["rows"], c["context"])
        for group in opt.param_groups:
            group["lr"] = c["learning_rate"] * min(1.0, (step + 1) / c["warmup"])
        opt.zero_grad()
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), c["clip"])
        opt.step()
        losses.append(round(loss.item(), 6))
    c["characters"] = 400000
    c["losses"] = losses
    return c


def main():
    fixtures = Path(sys.argv[1])
    torch.manual_seed(0)
    OUT.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or NAMES:
        result = reference(fixtures / name)
        if name == "llama-4m":
            result["curve"] = curve(fixtures)
        (OUT / f"{name}.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")
        print(name, result["loss"], result["steps"])


main()
