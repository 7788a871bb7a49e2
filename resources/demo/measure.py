#!/usr/bin/env python3
"""The demo's tokenizer, and its figures measured with transformers in float32, apart from Fettle.

    pip install torch transformers tokenizers safetensors
    python measure.py tokenizer      teacher/tokenizer.json, draft/tokenizer.json
    python measure.py score          prints the figures of README.md, writes the two reference.json
    python measure.py score --quick  unrounded weights only, writes nothing

The models themselves are trained by train.sh, with fettle-cli.
"""
import argparse
import json
import math
import os
import pathlib

import torch
import torch.nn as nn
import torch.nn.functional as F

import generate

HERE = pathlib.Path(__file__).resolve().parent
VOCAB, CONTEXT, EOS = 2048, 256, "<|endoftext|>"
MODELS = ("teacher", "draft")


def train_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(generate.stream(500, 6_000_000), trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[EOS], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    for model in MODELS:
        folder = HERE / model
        folder.mkdir(exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({
            "bos_token": EOS, "eos_token": EOS, "unk_token": EOS, "add_bos_token": False, "add_prefix_space": False,
            "clean_up_tokenization_spaces": False, "model_max_length": CONTEXT,
            "tokenizer_class": "PreTrainedTokenizerFast"}, indent=2) + "\n")


def load_tokenizer():
    from tokenizers import Tokenizer
    return Tokenizer.from_file(str(HERE / "teacher" / "tokenizer.json"))


def round_weights(model, bits, group):
    """Round-to-nearest, symmetric, one scale per `group` inputs; every linear layer but the head."""
    top = 2 ** (bits - 1) - 1
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and not name.endswith("lm_head"):
                w = module.weight.view(module.weight.shape[0], -1, group)
                scale = w.abs().amax(-1, keepdim=True).clamp(min=1e-8) / top
                module.weight.copy_(((w / scale).round().clamp(-top, top) * scale).view_as(module.weight))


@torch.no_grad()
def perplexity(model, tokenizer, text, context=CONTEXT):
    ids = torch.tensor(tokenizer.encode(text).ids)
    rows = len(ids) // context
    total = count = 0
    for chunk in ids[:rows * context].view(rows, context).split(16):
        logits = model(input_ids=chunk).logits[:, :-1].float()
        total += F.cross_entropy(logits.reshape(-1, logits.shape[-1]), chunk[:, 1:].reshape(-1), reduction="sum").item()
        count += chunk[:, 1:].numel()
    return math.exp(total / count), count


@torch.no_grad()
def task_accuracy(model, tokenizer, items):
    right, kinds = 0, {}
    for item in items:
        prompt = tokenizer.encode(item["prompt"]).ids
        rows = [tokenizer.encode(c).ids for c in item["choices"]]
        width = len(prompt) + max(map(len, rows))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, :len(prompt) + len(row)] = torch.tensor(prompt + row)
        logp = model(input_ids=ids).logits.float().log_softmax(-1)
        score = [sum(logp[i, len(prompt) - 1 + j, token].item() for j, token in enumerate(row)) for i, row in enumerate(rows)]
        hit = score.index(max(score)) == item["answer"]
        right += hit
        asked = item["prompt"]
        kind = ("sum" if "What is " in asked and any(f" {o} " in asked for o in "+-") else "count" if "How many" in asked else
                "recall" if asked.count(". ") >= 2 else "fact")
        kinds.setdefault(kind, []).append(hit)
    return right / len(items), {k: round(sum(v) / len(v), 3) for k, v in sorted(kinds.items())}


@torch.no_grad()
def reference(model, tokenizer, folder, figures):
    cases = []
    for text in ("Question: What colour is the", "One morning Kremel walked to the market with a", "7 + 5 = 12, 345 naïve   spaces!\n"):
        ids = tokenizer.encode(text).ids
        logits = model(input_ids=torch.tensor([ids])).logits[0].float()
        row, grown = logits[-1], list(ids)
        for _ in range(32):
            grown.append(model(input_ids=torch.tensor([grown])).logits[0, -1].argmax().item())
        cases.append({"text": text, "ids": ids, "argmax": row.argmax().item(), "logsumexp": row.logsumexp(0).item(),
                      "logits_last": row.tolist(), "argmax_all": logits.argmax(-1).tolist(), "greedy_32": grown[len(ids):]})
    (folder / "reference.json").write_text(json.dumps({
        "made_with": "transformers, float32 compute from the saved weights", "cases": cases, **figures}, ensure_ascii=False) + "\n")


def score(write, quick=False):
    from transformers import LlamaForCausalLM
    tokenizer = load_tokenizer()
    text = (HERE / "texts" / "evaluate.txt").read_text(encoding="utf-8")
    items = [json.loads(line) for line in open(HERE / "tasks.jsonl", encoding="utf-8")]
    for which in MODELS:
        if not (HERE / which / "model.safetensors").exists():
            continue
        for bits in (None,) if quick else (None, 8, 4, 3, 2):
            model = LlamaForCausalLM.from_pretrained(HERE / which, dtype=torch.float32)
            model.eval()
            if bits:
                round_weights(model, bits, 64)
            value, count = perplexity(model, tokenizer, text)
            accuracy, kinds = task_accuracy(model, tokenizer, items)
            print(f"{which} {bits or 'bf16'}: perplexity {value:.4f} ({count} tokens), tasks {accuracy:.4f} {kinds}", flush=True)
            if write and not bits:
                short, short_count = perplexity(model, tokenizer, text, 128)
                reference(model, tokenizer, HERE / which, {
                    "perplexity": value, "perplexity_tokens": count,
                    "perplexity_protocol": "texts/evaluate.txt, all tokens, windows of N without overlap (rest dropped), N-1 scored per window, no BOS",
                    "perplexity_context_256": {"value": value, "scored_tokens": count},
                    "perplexity_context_128": {"value": short, "scored_tokens": short_count}, "task_accuracy": accuracy})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tokenizer", "score"])
    parser.add_argument("--quick", action="store_true", help="score: unrounded weights only, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if options.what == "tokenizer":
        train_tokenizer()
    else:
        score(write=not options.quick, quick=options.quick)


if __name__ == "__main__":
    main()
