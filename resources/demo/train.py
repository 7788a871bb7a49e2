#!/usr/bin/env python3
"""Trains the demo models: a byte-level BPE tokenizer, the teacher, and its small draft. CPU, one thread is enough.

    pip install torch transformers tokenizers safetensors numpy
    python generate.py .                              texts and tasks
    python train.py tokenizer                         teacher/tokenizer.json, draft/tokenizer.json
    python train.py teacher --minutes 75 --state teacher.pt
    python train.py draft --minutes 12 --state draft.pt
    python train.py score                             figures for README.md and the two reference.json

The text of generate.stream() is endless, so no window is seen twice; texts/train.txt is a small piece of the same kind.
The learning rate stays flat and falls to zero in the last third of the given minutes; --state lets a run continue.
"""
import argparse
import json
import math
import os
import pathlib
import random
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

import generate

HERE = pathlib.Path(__file__).resolve().parent
VOCAB, CONTEXT, EOS = 2048, 256, "<|endoftext|>"
SHAPES = {
    "teacher": dict(hidden=256, layers=4, heads=8, kv_heads=4, head_dim=32, ffn=768, tied=False),
    "draft": dict(hidden=128, layers=2, heads=4, kv_heads=2, head_dim=32, ffn=384, tied=True),
}
EPS, THETA = 1e-6, 10000.0


# -- model: parameter names are those of Hugging Face's LlamaForCausalLM ------------------------------------------
class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, EPS)


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.q_proj = nn.Linear(s["hidden"], s["heads"] * s["head_dim"], bias=False)
        self.k_proj = nn.Linear(s["hidden"], s["kv_heads"] * s["head_dim"], bias=False)
        self.v_proj = nn.Linear(s["hidden"], s["kv_heads"] * s["head_dim"], bias=False)
        self.o_proj = nn.Linear(s["heads"] * s["head_dim"], s["hidden"], bias=False)

    def forward(self, x, rope):
        b, t, _ = x.shape
        s = self.s
        q = self.q_proj(x).view(b, t, s["heads"], s["head_dim"]).transpose(1, 2)
        k = self.k_proj(x).view(b, t, s["kv_heads"], s["head_dim"]).transpose(1, 2)
        v = self.v_proj(x).view(b, t, s["kv_heads"], s["head_dim"]).transpose(1, 2)
        cos, sin = rope
        half = s["head_dim"] // 2

        def turn(y):
            return y * cos[:t] + torch.cat((-y[..., half:], y[..., :half]), -1) * sin[:t]

        q, k = turn(q).to(v.dtype), turn(k).to(v.dtype)
        repeat = s["heads"] // s["kv_heads"]
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class Mlp(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.gate_proj = nn.Linear(s["hidden"], s["ffn"], bias=False)
        self.up_proj = nn.Linear(s["hidden"], s["ffn"], bias=False)
        self.down_proj = nn.Linear(s["ffn"], s["hidden"], bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.input_layernorm, self.self_attn = Norm(s["hidden"]), Attention(s)
        self.post_attention_layernorm, self.mlp = Norm(s["hidden"]), Mlp(s)

    def forward(self, x, rope):
        x = x + self.self_attn(self.input_layernorm(x), rope)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB, s["hidden"])
        self.layers = nn.ModuleList(Layer(s) for _ in range(s["layers"]))
        self.norm = Norm(s["hidden"])


class Llama(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        self.lm_head = nn.Linear(shape["hidden"], VOCAB, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                scale = 0.02 / math.sqrt(2 * shape["layers"]) if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
                nn.init.normal_(p, std=scale * (2.0 if shape["hidden"] < 256 else 1.5))
        if shape["tied"]:
            self.lm_head.weight = self.model.embed_tokens.weight
        angle = torch.outer(torch.arange(CONTEXT).float(),
                            THETA ** (-torch.arange(0, shape["head_dim"], 2).float() / shape["head_dim"]))
        angle = torch.cat((angle, angle), -1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, ids):
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, (self.cos, self.sin))
        return self.lm_head(self.model.norm(x))


# -- data ---------------------------------------------------------------------------------------------------------
def train_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(generate.stream(500, 6_000_000), trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[EOS], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    for model in SHAPES:
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


def batches(tokenizer, batch, shard=1000):
    """Endless batches [batch, CONTEXT + 1] of fresh text. One document in ten is preceded by the end-of-text token."""
    while True:
        rng, ids = random.Random(shard), []
        documents = [d + "\n\n" for d in generate.stream(shard, 3_000_000)]
        for encoding in tokenizer.encode_batch(documents):
            if rng.random() < 0.1:
                ids.append(0)
            ids.extend(encoding.ids)
        ids = torch.tensor(ids[rng.randrange(CONTEXT):])
        rows = len(ids) // (CONTEXT + 1)
        ids = ids[:rows * (CONTEXT + 1)].view(rows, CONTEXT + 1)
        ids = ids[torch.randperm(rows, generator=torch.Generator().manual_seed(shard))]
        for i in range(0, rows - batch + 1, batch):
            yield shard, ids[i:i + batch]
        shard += 1


# -- training -----------------------------------------------------------------------------------------------------
def train(which, minutes, state_path, batch, learning_rate, bf16, compiled):
    torch.manual_seed(1)
    model, tokenizer = Llama(SHAPES[which]), load_tokenizer()
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "layers" in n]
    others = [p for n, p in model.named_parameters() if not (p.dim() == 2 and "layers" in n)]
    optimizers = [torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
                  torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0)]
    average = {k: v.clone() for k, v in model.state_dict().items()}
    step, spent, tokens, shard = 0, 0.0, 0, 1000
    if state_path and os.path.exists(state_path):
        state = torch.load(state_path)
        model.load_state_dict(state["model"])
        for o, s in zip(optimizers, state["optimizers"]):
            o.load_state_dict(s)
        average, step, spent, tokens, shard = (state[k] for k in ("average", "step", "spent", "tokens", "shard"))
    print(which, sum(p.numel() for p in model.parameters()), "parameters", flush=True)

    def save():
        torch.save(dict(model=model.state_dict(), optimizers=[o.state_dict() for o in optimizers], average=average,
                        step=step, spent=spent, tokens=tokens, shard=shard + 1), str(state_path) + ".new")
        os.replace(str(state_path) + ".new", state_path)

    teacher = None
    if which == "draft":
        teacher = Llama(SHAPES["teacher"])
        teacher.load_state_dict(read_weights("teacher"))
        teacher.eval()
    run = torch.compile(model, dynamic=False) if compiled else model
    budget, mark, seen, last_save = minutes * 60, time.time(), 0.0, time.time()
    for shard, rows in batches(tokenizer, batch, shard):
        done = spent / budget
        if done >= 1:
            break
        factor = min(1.0, (step + 1) / 50) * min(1.0, max(0.01, (1 - done) / 0.35))
        for o in optimizers:
            for group in o.param_groups:
                group["lr"] = learning_rate * factor
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = run(rows[:, :-1]).float().view(-1, VOCAB)
            if teacher is not None:
                with torch.no_grad():
                    target = teacher(rows[:, :-1]).float().view(-1, VOCAB).softmax(-1)
        loss = F.cross_entropy(logits, rows[:, 1:].reshape(-1))
        total = loss if teacher is None else 0.3 * loss + 0.7 * F.cross_entropy(logits, target)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in optimizers:
            o.step()
            o.zero_grad(set_to_none=True)
        step, tokens, seen = step + 1, tokens + rows[:, 1:].numel(), seen + loss.item()
        keep = min(0.995, (step + 1) / (step + 10))
        with torch.no_grad():
            for k, v in model.state_dict().items():
                average[k].lerp_(v, 1 - keep)
        now = time.time()
        spent, mark = spent + now - mark, now
        if step % 50 == 0:
            print(f"step {step} tokens {tokens} loss {seen / 50:.4f} minutes {spent / 60:.1f} tokens/s {tokens / spent:.0f}", flush=True)
            seen = 0.0
        if state_path and now - last_save > 120:
            save()
            last_save = now
    save()
    write_model(which, average)


# -- files --------------------------------------------------------------------------------------------------------
def write_model(which, weights):
    from safetensors.torch import save_file
    s, folder = SHAPES[which], HERE / which
    tensors = {k: v.to(torch.bfloat16).contiguous() for k, v in weights.items() if not (s["tied"] and k == "lm_head.weight")}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 0, "eos_token_id": 0, "dtype": "bfloat16", "torch_dtype": "bfloat16", "head_dim": s["head_dim"],
        "hidden_act": "silu", "hidden_size": s["hidden"], "initializer_range": 0.02, "intermediate_size": s["ffn"],
        "max_position_embeddings": CONTEXT, "mlp_bias": False, "num_attention_heads": s["heads"],
        "num_hidden_layers": s["layers"], "num_key_value_heads": s["kv_heads"], "rms_norm_eps": EPS, "rope_theta": THETA,
        "rope_scaling": None, "tie_word_embeddings": s["tied"], "use_cache": True, "vocab_size": VOCAB}, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 0}, indent=2) + "\n")


def read_weights(which):
    from safetensors.torch import load_file
    weights = {k: v.float() for k, v in load_file(str(HERE / which / "model.safetensors")).items()}
    if SHAPES[which]["tied"]:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    return weights


# -- measuring, with transformers ---------------------------------------------------------------------------------
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
    for which in SHAPES:
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
    parser.add_argument("what", choices=["tokenizer", "teacher", "draft", "export", "score"])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--state", help="checkpoint to write and to continue from")
    parser.add_argument("--batch", type=int, default=16, help="windows of 256 tokens per step")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--float32", action="store_true", help="no bfloat16 autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile; needs a C++ compiler")
    parser.add_argument("--model", choices=list(SHAPES), default="teacher", help="export: which one")
    parser.add_argument("--quick", action="store_true", help="score: unrounded weights only, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if options.what == "tokenizer":
        train_tokenizer()
    elif options.what == "export":
        write_model(options.model, torch.load(options.state)["average"])
    elif options.what == "score":
        score(write=not options.quick, quick=options.quick)
    else:
        train(options.what, options.minutes, options.state or f"{options.what}.pt", options.batch, options.learning_rate, not options.float32, options.compile)


if __name__ == "__main__":
    main()
